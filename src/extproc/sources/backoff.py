"""Pauses that grow while something fails, with jitter so that many do not come back at once."""

from random import Random

SPREAD = 0.5


class Backoff:
    """From `first_s` on each pause is twice as long, up to `longest_s`, ± 50 %."""

    def __init__(self, first_s: float, longest_s: float, *, rng: Random) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng
        self.next_s = first_s
        """The next pause without its jitter."""

    def __repr__(self) -> str:
        return f"<Backoff {self.next_s:g} s>"

    def pause_s(self) -> float:
        """The next pause."""
        pause_s, self.next_s = self.next_s, min(2 * self.next_s, self._longest_s)
        return pause_s * self._rng.uniform(1 - SPREAD, 1 + SPREAD)

    def reset(self) -> None:
        """All is well: the next pause is the first again."""
        self.next_s = self._first_s
