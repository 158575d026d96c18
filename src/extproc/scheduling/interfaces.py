"""What filters, scorers and pickers are, and what they look at."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from extproc.scheduling.prefix import EndpointPrefixes
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad

if TYPE_CHECKING:
    from random import Random


class Speed(Protocol):
    """What the prefill of a request takes, in seconds: `request_s` + `token_s` for each token that must be computed."""

    request_s: float
    token_s: float


class Load(Protocol):
    """What scorers ask of an endpoint's load. `now` is in monotonic seconds."""

    reading: EngineLoad | None
    """Its last metrics page; None before the first."""
    fresh_until_s: float
    """Monotonic seconds up to which the reading is believed in full."""
    waiting: float | None
    """Requests in its queue; None where nobody says."""
    running: float | None
    """Requests in its batch; None where nobody says."""
    told: float | None
    """Requests there, waiting or running, by what it says; None where nobody says."""
    kv_free_ratio: float | None
    """Free share of its KV cache by the reading; None where nobody says."""
    kv_used_ratio: float
    """Used share of it with what was sent since; 0 where nobody says."""
    kv_token_ratio: float
    """What a token more adds to that; 0 where nobody says."""
    free_at_s: float
    """Monotonic seconds from which on `backlog_s` is 0: no later than then."""

    @property
    def speed(self) -> Speed:
        """As seen so far."""

    @property
    def is_exact(self) -> bool:
        """The ends of its responses are seen: `requests` knows more than `told`."""

    def confidence(self, now: float) -> float:
        """How much the reading still says: 1 while it is fresh, 0 where there is none."""

    def requests(self, now: float) -> float:
        """Requests there, waiting or running."""

    def backlog_s(self, now: float) -> float:
        """Seconds until the prefill of a request would begin that is sent now."""


class Candidate:
    """An endpoint that could serve a request, with what is known of it. The same for many requests."""

    __slots__ = ("endpoint", "load", "prefixes", "seed")

    def __init__(self, endpoint: Endpoint, load: Load, prefixes: EndpointPrefixes, seed: int) -> None:
        self.endpoint = endpoint
        self.load = load
        self.prefixes = prefixes
        self.seed = seed
        """A hash of its address, the same at every replica of the picker."""

    def __repr__(self) -> str:
        return f"<Candidate {self.endpoint.name}>"


class Need:
    """What one request needs, beside what its candidates have. Columns are in the order of the candidates."""

    __slots__ = (
        "_confidences",
        "_is_fresh",
        "_requests",
        "cached_tokens",
        "candidates",
        "is_adapter",
        "model",
        "now",
        "prompt_tokens",
        "rank",
        "session",
    )

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        model: str | None,
        is_adapter: bool = False,
        prompt_tokens: float = 0.0,
        cached_tokens: Sequence[float],
        session: str | None = None,
        rank: Callable[[int], float],
        now: float,
    ) -> None:
        self.candidates = candidates
        self.model = model
        self.is_adapter = is_adapter
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = cached_tokens
        """Prompt tokens that each candidate is thought to have in its prefix cache: at most all of them."""
        self.session = session
        self.rank = rank
        """How much a candidate is the one for this request's session, or its prompt, by index: see `Picker.pick`."""
        self.now = now
        """Monotonic seconds."""
        self._is_fresh: bool | None = None
        self._confidences: Sequence[float] | None = None
        self._requests: Sequence[float] | None = None

    # Each is found once, where anybody asks. functools.cached_property takes a lock for it, and 2 µs. Source:
    # docs/performance.md, "What was tried".

    @property
    def is_fresh(self) -> bool:
        """Every reading is believed in full."""
        found = self._is_fresh
        if found is None:
            found = self._is_fresh = min([each.load.fresh_until_s for each in self.candidates]) >= self.now
        return found

    @property
    def confidences(self) -> Sequence[float]:
        """How much each candidate's reading still says: see `Load.confidence`."""
        found = self._confidences
        if found is None:
            now, candidates = self.now, self.candidates
            found = [1.0] * len(candidates) if self.is_fresh else [each.load.confidence(now) for each in candidates]
            self._confidences = found
        return found

    @property
    def requests(self) -> Sequence[float]:
        """Requests that each candidate has: see `Load.requests`."""
        found = self._requests
        if found is None:
            found = self._requests = self._count_requests()
        return found

    def _count_requests(self) -> Sequence[float]:
        now, candidates = self.now, self.candidates
        told = [each.load.told for each in candidates]
        if None in told or candidates[0].load.is_exact or not self.is_fresh:
            return [each.load.requests(now) for each in candidates]
        return told  # type: ignore[return-value]  # no None is among them


class Filter(Protocol):
    """Leaves out endpoints that must not get any request, by what they are. It is asked once for each."""

    @property
    def name(self) -> str:
        """The name in the catalogue."""

    def allows(self, endpoint: Endpoint) -> bool:
        """True for an endpoint that may get requests."""


class Scorer(Protocol):
    """Says how well each endpoint would do."""

    @property
    def name(self) -> str:
        """The name in the catalogue."""

    def score(self, need: Need) -> Sequence[float]:
        """One score per candidate, in [0, 1], 1 is best. One that is better off never gets less."""


class Picker(Protocol):
    """Chooses by the weighted sums of the scores."""

    @property
    def name(self) -> str:
        """The name in the catalogue."""

    def pick(
        self, totals: Sequence[float], count: int, *, rank: Callable[[int], float], rng: "Random"
    ) -> Sequence[int]:
        """The indexes of at most `count` candidates, the choice first, then the fallbacks in order.

        `rank` orders those with equal sums, by index: the highest first.
        """
