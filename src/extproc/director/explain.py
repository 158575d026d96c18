"""Why a request goes where it goes: what the director decides on it, with the reasons beside."""

from typing import TYPE_CHECKING

from extproc.director.decider import Decider
from extproc.values.admin import Explanation
from extproc.values.request import RequestHead
from extproc.values.snapshot import Snapshot

if TYPE_CHECKING:
    from random import Random


class Explainer:
    """Explains by deciding, with the decider that real requests are decided by. Nothing is changed."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    def explain(self, head: RequestHead, body: bytes, snapshot: Snapshot, *, now: float, rng: "Random") -> Explanation:
        """What would become of this request, of which the whole body is here. `now` is in monotonic seconds."""
        raise NotImplementedError
