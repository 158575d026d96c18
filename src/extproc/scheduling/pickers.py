"""The pickers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class MaxScorePicker:
    """The highest sums in order."""

    name = "max-score"

    def pick(
        self, totals: Sequence[float], count: int, *, rank: Callable[[int], float], rng: "Random"
    ) -> Sequence[int]:
        """See `Picker.pick`."""
        if count == 1:
            best = max(totals)
            ties = [index for index, total in enumerate(totals) if total == best]
            return ties if len(ties) == 1 else [max(ties, key=rank)]
        order = sorted(range(len(totals)), key=lambda index: (totals[index], rank(index)), reverse=True)
        return order[:count]


class PowerOfTwoPicker:
    """The better of two that are drawn at random; then the others, the highest sums first.

    Where several pickers see the same old readings, they do not all choose the same endpoint. Source: Mitzenmacher,
    "The Power of Two Choices in Randomized Load Balancing", 2001.
    """

    name = "power-of-two"

    def pick(
        self, totals: Sequence[float], count: int, *, rank: Callable[[int], float], rng: "Random"
    ) -> Sequence[int]:
        """See `Picker.pick`."""
        drawn = [int(rng.random() * len(totals)) for _ in range(2)]
        first = max(drawn, key=lambda index: (totals[index], rank(index)))
        if count == 1:
            return [first]
        others = (index for index in range(len(totals)) if index != first)
        order = sorted(others, key=lambda index: (totals[index], rank(index)), reverse=True)
        return [first, *order[: count - 1]]
