"""The closed set of answers to "where does this request go?"."""

import msgspec

from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reject


class Scores(msgspec.Struct, frozen=True, gc=False):
    """Every score that led to a pick, by columns: row i of each column belongs to `candidates[i]`."""

    candidates: tuple[Endpoint, ...] = ()
    by_scorer: dict[str, tuple[float, ...]] = {}
    """Scorer name → one score in [0, 1] per endpoint, 1 is best."""
    totals: tuple[float, ...] = ()
    """The weighted sums."""


class Work(msgspec.Struct, frozen=True, gc=False):
    """What a request costs the endpoint that it is routed to, as far as can be told before."""

    prompt_bytes: int = 0
    prompt_tokens: float = 0.0
    """Estimated from the bytes."""
    cached_tokens: float = 0.0
    """Those of them that the endpoint is thought to have in its prefix cache."""
    blocks: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks, by which the prefix index will know it."""

    @property
    def uncached_tokens(self) -> float:
        """Those that the endpoint has to compute."""
        return self.prompt_tokens - self.cached_tokens


class Edit(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a body that are to be replaced: those from `start` to `end` by `replacement`."""

    start: int
    end: int
    replacement: bytes


NO_WORK = Work()


class Route(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Send the request to the first of `endpoints`; the rest are fallbacks, in order, that serve the same model too.

    One endpoint can stand more than once, where there are fewer than the gateway may try.
    """

    endpoints: tuple[Endpoint, ...]
    scores: Scores
    work: Work = NO_WORK
    model: str = ""
    """What the endpoint is asked for, which can be another name than the client's; empty where it is any endpoint."""
    edit: Edit | None = None
    """The change that writes the model's name into the body; None where it goes on as it came."""

    @property
    def destination(self) -> str:
        """The value of `x-gateway-destination-endpoint`: `ip:port[,ip:port…]`."""
        if len(self.endpoints) == 1:
            return self.endpoints[0].address
        return ",".join([endpoint.address for endpoint in self.endpoints])


class Reply(msgspec.Struct, frozen=True, tag=True):
    """The picker answers the client itself with this JSON body."""

    status: int
    body: bytes


class Hold(msgspec.Struct, frozen=True, tag=True):
    """Nothing can be said yet: decide again at the next snapshot, and for the last time at `until_s`."""

    until_s: float
    """Monotonic seconds."""
    probe: bool
    """Ask the probes for an extra round, whose outcome could change the decision."""


Decision = Route | Reject | Reply | Hold
