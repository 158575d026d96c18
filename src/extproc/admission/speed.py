"""How fast an engine computes prompts, learned from the counters on its metrics page."""

from extproc.values.load import EngineLoad

REQUEST_S = 0.02
"""What a request costs whatever its prompt, before anything was seen: about a step of an engine."""
TOKEN_S = 1 / 8_000
"""What each token costs that must be computed, likewise: the order of an 8B model on one data-centre GPU. Source:
docs/scheduling.md."""
SHORT_TOKENS, LONG_TOKENS = 100.0, 4_000.0
PRIOR_REQUESTS = 2.0
"""What is believed weighs as much as so many requests of each of these two lengths."""
HALF_LIFE_S = 30.0
"""Time after which what was seen counts half."""
LEAST_REQUEST_S, MOST_REQUEST_S = 0.0, 10.0
LEAST_TOKEN_S, MOST_TOKEN_S = 1e-7, 0.1
LONGEST_PREFILL_S = 600.0
LEAST_PACE, MOST_PACE = 0.02, 50.0
LARGEST_GROWTH = 1e9
"""No engine does more between two readings. It would drown all that was seen, and its square be beyond all numbers."""
PRIOR_BUSY_S = 1.0
"""How many busy seconds the belief weighs that an engine works on one prompt at a time."""


class Speed:
    """What the prefill of a request takes, `request_s` + `token_s` × tokens that must be computed, and the `pace`.

    The first two are a line through what engines say of requests that are over, by least squares. The pace is that at
    which a queue was seen to shrink, in seconds of such work a second: above 1 where short prompts share steps, below
    where a full batch or KV cache holds the others up.
    """

    __slots__ = ("_busy_s", "_busy_work_s", "_nn", "_nt", "_ny", "_prior", "_tt", "_ty", "pace", "request_s", "token_s")

    def __init__(self, prior: "Speed | None" = None) -> None:
        """`prior`: what is believed before anything was seen, and is taught by what is."""
        self._prior = prior
        self.request_s: float = prior.request_s if prior is not None else REQUEST_S
        self.token_s: float = prior.token_s if prior is not None else TOKEN_S
        self.pace: float = 1.0
        # Sums over requests: of 1, tokens, tokens², seconds, tokens × seconds. Of a sample of several their means.
        self._nn = self._nt = self._tt = self._ny = self._ty = 0.0
        self._busy_s = self._busy_work_s = 0.0

    def __repr__(self) -> str:
        return f"<Speed {self.request_s * 1e3:.1f} ms + {self.token_s * 1e6:.1f} µs/token, pace {self.pace:.2f}>"

    def work_s(self, tokens: float) -> float:
        """Seconds that the prefill of a request takes of which so many tokens must be computed."""
        return self.request_s + self.token_s * tokens

    def learn(self, before: EngineLoad, after: EngineLoad) -> None:
        """Takes in what happened between two readings of one engine. Counters that went down were reset."""
        period_s = after.asked_at_s - before.asked_at_s
        if period_s <= 0.0:
            return
        keep = 0.5 ** (period_s / HALF_LIFE_S)
        count = _growth(before.prefills, after.prefills)
        tokens = _growth(before.prefill_tokens, after.prefill_tokens)
        seconds = _growth(before.prefill_s, after.prefill_s)
        if count is not None and count >= 1.0 and tokens is not None and seconds is not None:
            self._add(count, tokens, seconds, keep)
            if self._prior is not None:
                self._prior._add(count, tokens, seconds, keep)
                self._prior._fit()
        self._fit()  # also where nothing happened: what is believed of it is what the others do
        if before.waiting and after.waiting:
            self._learn_pace(before, after, period_s, keep)

    def _add(self, count: float, tokens: float, seconds: float, keep: float) -> None:
        """Takes in so many requests, known by their sums. What no prefill takes is left out: it would spoil the line of
        all.
        """
        if seconds > count * LONGEST_PREFILL_S:
            return
        self._nn = self._nn * keep + count
        self._nt = self._nt * keep + tokens
        self._tt = self._tt * keep + tokens * tokens / count
        self._ny = self._ny * keep + seconds
        self._ty = self._ty * keep + tokens * seconds / count

    def _fit(self) -> None:
        """Lays the line. Neither part is below nothing: where one would be, the other is fitted alone."""
        prior = self._prior
        request_s, token_s = (REQUEST_S, TOKEN_S) if prior is None else (prior.request_s, prior.token_s)
        if not self._nn:
            self.request_s, self.token_s = request_s, token_s
            return
        nn, nt, tt, ny, ty = self._nn, self._nt, self._tt, self._ny, self._ty
        for length in (SHORT_TOKENS, LONG_TOKENS):
            believed_s = request_s + token_s * length
            nn += PRIOR_REQUESTS
            nt += PRIOR_REQUESTS * length
            tt += PRIOR_REQUESTS * length * length
            ny += PRIOR_REQUESTS * believed_s
            ty += PRIOR_REQUESTS * length * believed_s
        slope = (nn * ty - nt * ny) / (nn * tt - nt * nt)
        if slope * nt > ny:
            slope = ty / tt
        self.token_s = min(max(slope, LEAST_TOKEN_S), MOST_TOKEN_S)
        self.request_s = min(max((ny - self.token_s * nt) / nn, LEAST_REQUEST_S), MOST_REQUEST_S)

    def _learn_pace(self, before: EngineLoad, after: EngineLoad, period_s: float, keep: float) -> None:
        count = _growth(before.first_tokens, after.first_tokens)
        prompts = _growth(before.prompt_tokens, after.prompt_tokens)
        if count is None or prompts is None:
            return
        cached = _growth(before.cached_tokens, after.cached_tokens) or 0.0
        work_s = count * self.request_s + max(0.0, prompts - cached) * self.token_s
        self._busy_s = self._busy_s * keep + period_s
        self._busy_work_s = self._busy_work_s * keep + work_s
        pace = (self._busy_work_s + PRIOR_BUSY_S) / (self._busy_s + PRIOR_BUSY_S)
        self.pace = min(max(pace, LEAST_PACE), MOST_PACE)


def _growth(before: float | None, after: float | None) -> float | None:
    """By how much a counter grew; None where it is not told, began anew, or cannot be."""
    if before is None or after is None or not 0.0 <= after - before <= LARGEST_GROWTH:
        return None
    return after - before
