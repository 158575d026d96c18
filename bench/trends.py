"""What grows over time: the slope of a series with its interval, however its noise is distributed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_Z_95 = 1.96


@dataclass(frozen=True)
class Slope:
    """Per unit of time. With 95 % confidence it is between `low` and `high`."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:+.2f} ({self.low:+.2f}–{self.high:+.2f})"


def theil_sen(times: Sequence[float], values: Sequence[float]) -> Slope:
    """The median of the slopes between all pairs, and the interval of Sen (1968) from Kendall's rank statistic.

    Outliers, up to a third of all, move it little. Few values, of which no rank can be told with that confidence, have
    the smallest and the largest slope as their interval. Errors: ValueError with fewer than two.
    """
    if len(times) < 2:
        raise ValueError("a slope takes two values")
    pairs = list(zip(times, values, strict=True))
    slopes = sorted(
        (later - value) / (then - at) for index, (at, value) in enumerate(pairs) for then, later in pairs[index + 1 :]
    )
    count = len(pairs)
    spread = _Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low, high = math.floor((len(slopes) - spread) / 2), math.ceil((len(slopes) + spread) / 2)
    return Slope(median(slopes), slopes[max(0, low - 1)], slopes[min(len(slopes) - 1, high)])
