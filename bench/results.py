"""The line that a benchmark prints, and ratios from interleaved rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_LINE = "{:<38} {:>17} {:>17} {:>20} {:>13}  {}"
HEADER = _LINE.format("", "figure", "reference", "ratio", "goal", "")


class BenchError(Exception):
    """Nothing could be measured, or what was measured is not what it seems: answers were wrong."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure beside its reference, both with their units."""

    name: str
    figure: str
    reference: str = ""
    ratio: str = ""
    goal: str = ""
    is_ok: bool | None = None
    """None where there is no goal: the line explains another one."""

    def __str__(self) -> str:
        verdict = "" if self.is_ok is None else "ok" if self.is_ok else "short"
        return _LINE.format(self.name, self.figure, self.reference, self.ratio, self.goal, verdict).rstrip()


@dataclass(frozen=True)
class Ratio:
    """Ours to the reference's, from rounds that each measured both: what slows the machine slows both alike."""

    per_round: tuple[float, ...]

    @classmethod
    def of(cls, ours: Sequence[float], reference: Sequence[float]) -> "Ratio":
        """The ratio from the figures of each round."""
        return cls(tuple(mine / theirs for mine, theirs in zip(ours, reference, strict=True)))

    @property
    def median(self) -> float:
        """The ratio that is judged."""
        return median(self.per_round)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.per_round):.2f}–{max(self.per_round):.2f})"
