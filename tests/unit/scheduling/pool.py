"""Candidates whose loads are what a test says they are, and needs of requests for them."""

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from tests.unit.known import endpoint

from extproc.scheduling.candidates import rendezvous
from extproc.scheduling.interfaces import Candidate, Need
from extproc.scheduling.prefix import EndpointPrefixes, hash_text
from extproc.values.load import Adapters, EngineLoad

LETTERS = "abcdefghijkl"
TOKEN_KV_RATIO = 1e-7
"""Share of the KV cache that a token takes."""


class Rates:
    """A speed as told: what a prefill takes, in seconds."""

    def __init__(self, request_s: float, token_s: float) -> None:
        self.request_s = request_s
        self.token_s = token_s


class Told:
    """A load that is what the test says, at any time."""

    def __init__(
        self,
        *,
        waiting: float | None = None,
        running: float | None = None,
        requests: float = 0.0,
        backlog_s: float = 0.0,
        kv_used_ratio: float | None = None,
        adapters: Adapters | None = None,
        confidence: float = 1.0,
        is_read: bool = True,
        request_s: float = 0.0,
        token_s: float = 0.001,
    ) -> None:
        self.reading: EngineLoad | None = None
        if is_read:
            self.reading = EngineLoad(
                0.0, waiting=waiting, running=running, kv_used_ratio=kv_used_ratio, adapters=adapters
            )
        self.speed = Rates(request_s, token_s)
        self.waiting, self.running = (waiting, running) if is_read else (None, None)
        self.told: float | None = None
        self.is_exact = False
        self.kv_free_ratio = 1.0 - kv_used_ratio if is_read and kv_used_ratio is not None else None
        self.kv_used_ratio = kv_used_ratio or 0.0
        self.kv_token_ratio = TOKEN_KV_RATIO
        self.free_at_s = math.inf
        self._requests = requests
        self._backlog_s = backlog_s
        self._confidence = confidence if is_read else 0.0
        self.fresh_until_s = math.inf if self._confidence == 1.0 else -math.inf

    def confidence(self, now: float) -> float:
        return self._confidence

    def requests(self, now: float) -> float:
        return self._requests

    def backlog_s(self, now: float) -> float:
        return self._backlog_s


def candidate(letter: str, load: Told) -> Candidate:
    at = endpoint(letter)
    return Candidate(at, load, EndpointPrefixes(letter, 0), hash_text(at.address))


def need(loads: Sequence[Told], *, session: str | None = None, **about: Any) -> Need:
    """What a request needs for which the endpoints `a`, `b`… with these loads are candidates."""
    candidates = [candidate(letter, load) for letter, load in zip(LETTERS[: len(loads)], loads, strict=True)]
    key = hash_text(session or "")
    given: dict[str, Any] = {"model": "m", "cached_tokens": [0.0] * len(loads), "now": 0.0}
    return Need(candidates, session=session, rank=lambda index: rendezvous(key, candidates[index]), **given | about)


shares = st.integers(0, 1000).map(lambda number: number / 1000)
"""From 0 to 1, by thousandths: nothing so small that a product with it is no number any more."""
counts = st.none() | st.integers(0, 50).map(float) | st.floats(0.001, 1e6)
adapters = st.none() | st.builds(
    Adapters, st.frozensets(st.sampled_from("mnop")), st.frozensets(st.sampled_from("mnop")), st.integers(0, 4)
)
amounts = st.sampled_from([0.0, 1.0, 1000.0]) | st.floats(0.001, 1e9)
seconds = st.sampled_from([0.0, 1e-7, 1e-4]) | st.floats(1e-6, 10)
told: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "waiting": counts,
        "running": counts,
        "requests": amounts,
        "backlog_s": amounts,
        "kv_used_ratio": st.none() | shares,
        "adapters": adapters,
        "confidence": st.sampled_from([0.0, 0.5, 1.0]) | shares,
        "is_read": st.sampled_from([True, True, False]),
        "request_s": seconds,
        "token_s": seconds,
    }
)
"""What can be told of a load, as arguments of `Told`."""
