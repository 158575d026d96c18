"""What filters, scorers and pickers are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest

if TYPE_CHECKING:
    from random import Random


class Filter(Protocol):
    """Leaves out endpoints that must not get a request."""

    @property
    def name(self) -> str:
        """The name in the catalogue."""

    def keep(self, request: InferenceRequest, candidates: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """The candidates that may get `request`, in the order given."""


class Scorer(Protocol):
    """Says how well each endpoint would do."""

    @property
    def name(self) -> str:
        """The name in the catalogue."""

    def score(self, request: InferenceRequest, candidates: Sequence[Endpoint], *, now: float) -> Sequence[float]:
        """One score per candidate, in [0, 1], 1 is best. `now` is in monotonic seconds."""


class Picker(Protocol):
    """Chooses by the weighted sums of the scores."""

    @property
    def name(self) -> str:
        """The name in the catalogue."""

    def pick(self, totals: Sequence[float], count: int, rng: "Random") -> Sequence[int]:
        """The indexes of at most `count` candidates, the choice first, then the fallbacks in order."""
