"""Scoring by the time to the first token: what is cached, what waits and what is full, in one currency.

Source of the constants: tried on the workloads of `python -m bench.policies`, see docs/scheduling.md.
"""

from collections.abc import Sequence
from math import fsum, inf

from extproc.scheduling.interfaces import Candidate, Need

WORK_PRICE = 8.0
"""How much a second of the request's own prefill counts against a second of waiting. It is more than its own delay: it
delays all that come after it, and what is computed twice drives other prompts out of the caches. At 1, one engine's
short queue has prefixes computed anew elsewhere until every cache is full of the same."""
REQUEST_S = 0.01
"""What each request in the batch, or on its way there, adds: its share of the steps that others wait for."""
KV_FULL_RATIO = 0.85
"""Above this used share of the KV cache requests begin to wait for blocks, or lose theirs."""
KV_FULL_S = 3.0
"""What a full cache adds; above that in proportion."""
EQUAL_S = 0.005
EQUAL_SHARE = 0.1
"""Times that differ by no more than `EQUAL_S`, and this share of the prefill of the whole prompt, are equal: the
estimate is no better than that, and among equals the one is chosen that other replicas of the picker choose too."""
ALIKE = 1.25
"""Speeds that differ by no more are equal: what is learned of engines of one kind differs by about that, and at the
price of work it would outweigh everything else."""
MIDDLE_S = 1.0
"""The time that scores 0.5."""


class FirstTokenScorer:
    """1 for at once, 0.5 for a second, 0 for never; all that are about as soon as the best score alike.

    The time is what is ahead of the request in the queue + its own prefill, of the tokens that are not cached, at the
    speed seen and at its price + a little for each request in the batch + what a nearly full KV cache costs.
    """

    name = "ttft"

    def score(self, need: Need) -> Sequence[float]:
        """See `Scorer.score`."""
        now, prompt_tokens, confidences = need.now, need.prompt_tokens, need.confidences
        fastest_request_s, fastest_token_s = _find_fastest(need.candidates)
        alike_request_s, alike_token_s = ALIKE * fastest_request_s, ALIKE * fastest_token_s
        is_guess = not need.is_fresh and any(confidences)  # where nothing is known, there is nothing to assume
        times, waits, works = [], [], []
        rows = zip(need.candidates, need.cached_tokens, need.requests, confidences, strict=True)
        for candidate, cached, requests, confidence in rows:
            load, tokens = candidate.load, prompt_tokens - cached
            wait_s = REQUEST_S * requests
            if load.free_at_s > now:
                wait_s += load.backlog_s(now)
            used_ratio = (load.kv_used_ratio + tokens * load.kv_token_ratio) * confidence
            if used_ratio > KV_FULL_RATIO:
                wait_s += KV_FULL_S * (used_ratio - KV_FULL_RATIO) / (1.0 - KV_FULL_RATIO)
            speed = load.speed
            request_s, token_s = speed.request_s, speed.token_s
            request_s = fastest_request_s if request_s <= alike_request_s else request_s
            token_s = fastest_token_s if token_s <= alike_token_s else token_s
            work_s = WORK_PRICE * (request_s + token_s * tokens)
            times.append(wait_s + work_s)
            if is_guess:
                waits.append(wait_s)
                works.append(work_s)
        if is_guess:
            times = [wait_s + work_s for wait_s, work_s in zip(_assume(waits, confidences), works, strict=True)]
        best = min(times)
        token_s = need.candidates[times.index(best)].load.speed.token_s
        equal_s = best + EQUAL_S + EQUAL_SHARE * prompt_tokens * token_s
        best_score = MIDDLE_S / (MIDDLE_S + best)
        return [best_score if time_s <= equal_s else MIDDLE_S / (MIDDLE_S + time_s) for time_s in times]


def _find_fastest(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """The least seconds of a request, and of a token."""
    request_s = token_s = inf
    for candidate in candidates:
        speed = candidate.load.speed
        if speed.request_s < request_s:
            request_s = speed.request_s
        if speed.token_s < token_s:
            token_s = speed.token_s
    return request_s, token_s


def _assume(waits: Sequence[float], confidences: Sequence[float]) -> list[float]:
    """The waits, those of which little is known no shorter than what is known of the others: unknown is not idle."""
    known = fsum(confidences)
    usual_s = fsum([wait_s * confidence for wait_s, confidence in zip(waits, confidences, strict=True)]) / known
    return [
        wait_s if wait_s >= usual_s else usual_s + (wait_s - usual_s) * confidence
        for wait_s, confidence in zip(waits, confidences, strict=True)
    ]
