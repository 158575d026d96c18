"""A decision that was made, as those are told of it who watch: the log, the journal, traces."""

from collections.abc import Callable, Iterable

import msgspec

from extproc.values.decision import Reply, Route
from extproc.values.refusal import Reject
from extproc.values.request import RequestHead

Metadata = Callable[[], Iterable[tuple[str, str | bytes]]]
"""Gives the metadata of the call that brings a request."""


class Decided(msgspec.Struct, frozen=True):
    """One decision. It holds no prompt; who keeps it for long should keep no more of it than is needed."""

    head: RequestHead
    named: str | None
    """The model that the client asked for."""
    model: str | None
    """The one that the request is counted by: once it is routed, the model that serves it."""
    outcome: Route | Reject | Reply
    began_at_s: float
    """Monotonic seconds at which the request was whole."""
    seconds: float
    """From then to the decision, waiting for news included."""
    snapshot_version: int
    held_s: float = 0.0
    """How much of it was waited for news."""
    metadata: Metadata = tuple


Observer = Callable[[Decided], None]
"""Is told of each decision, on the event loop, before it is carried out. It must be quick, and must not raise."""
