"""The scorers that look at one thing each, as today's pickers have them: values in [0, 1], 1 is best.

What is not known of an endpoint scores as if it were in the middle: unknown is not idle, and not full either. What is
known fades to that with its age, so that nothing flips when a page is late.
"""

from collections.abc import Sequence

from extproc.scheduling.interfaces import Candidate, Need

UNKNOWN = 0.5


class QueueScorer:
    """Fewest waiting requests, those sent since the last reading included: from 1 for the least to 0 for the most."""

    name = "queue"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        return _fewest([each.load.waiting for each in need.candidates], need)


class RunningScorer:
    """Fewest requests in the batch, likewise."""

    name = "running"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        return _fewest([each.load.running for each in need.candidates], need)


class InFlightScorer:
    """Fewest requests, waiting or running: exact where the ends of responses are seen, else the best that is known."""

    name = "inflight"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        return _normalize(need.requests)


class KvCacheScorer:
    """The free share of the KV cache."""

    name = "kv-cache"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        return _fade([each.load.kv_free_ratio for each in need.candidates], need)


class PrefixScorer:
    """The share of the prompt that the endpoint is thought to have in its prefix cache."""

    name = "prefix"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        if need.prompt_tokens <= 0.0:
            return [0.0] * len(need.candidates)
        prompt_tokens = need.prompt_tokens
        return [cached / prompt_tokens if cached < prompt_tokens else 1.0 for cached in need.cached_tokens]


class LoraAffinityScorer:
    """Where the adapter is running; then where there is room for it; then where requests wait for it, or nobody knows;
    last where another one must go. Equal for all where the model is no adapter.
    """

    name = "lora-affinity"

    RUNNING = 1.0
    HAS_ROOM = 0.75
    WAITING = 0.5
    FULL = 0.0

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        if not need.is_adapter:
            return [1.0] * len(need.candidates)
        return _fade([self._affinity(need, each) for each in need.candidates], need)

    def _affinity(self, need: Need, candidate: Candidate) -> float | None:
        reading = candidate.load.reading
        if reading is None or reading.adapters is None:
            return None
        adapters = reading.adapters
        if need.model in adapters.running:
            return self.RUNNING
        if need.model in adapters.waiting:
            return self.WAITING
        return self.HAS_ROOM if len(adapters.running | adapters.waiting) < adapters.most else self.FULL


class SessionScorer:
    """The endpoint that a session's requests all go to, told from the session alone: 1, and 0 for the others.

    An endpoint that comes or goes moves only the sessions that it has or had.
    """

    name = "session"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        if need.session is None:
            return [1.0] * len(need.candidates)
        ranks = [need.rank(index) for index in range(len(need.candidates))]
        highest = max(ranks)
        return [1.0 if rank == highest else 0.0 for rank in ranks]


def _fade(scores: Sequence[float | None], need: Need) -> Sequence[float]:
    """The scores, each as far as the reading that it rests on is believed."""
    if need.is_fresh:
        if None not in scores:
            return scores  # type: ignore[return-value]  # no None is among them
        return [UNKNOWN if score is None else score for score in scores]
    return [
        UNKNOWN if score is None else UNKNOWN + (score - UNKNOWN) * confidence
        for score, confidence in zip(scores, need.confidences, strict=True)
    ]


def _fewest(counts: Sequence[float | None], need: Need) -> Sequence[float]:
    """Scores of counts of which some may be missing."""
    known = [count for count in counts if count is not None]
    if not known:
        return [UNKNOWN] * len(counts)
    most = max(known)
    span = most - min(known)
    if not span:
        # Where all have as many, nobody can tell whether that is much: only none at all is surely better than unknown.
        alike = UNKNOWN if most else 1.0
        return _fade([None if count is None else alike for count in counts], need)
    if len(known) == len(counts) and need.is_fresh:
        return [(most - count) / span for count in known]
    return _fade([None if count is None else (most - count) / span for count in counts], need)


def _normalize(counts: Sequence[float]) -> Sequence[float]:
    most = max(counts)
    span = most - min(counts)
    return [(most - count) / span for count in counts] if span else [1.0] * len(counts)
