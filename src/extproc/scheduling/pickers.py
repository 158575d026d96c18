"""The pickers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class MaxScorePicker:
    """The highest sums in order, equals at random."""

    name = "max-score"

    def pick(self, totals: Sequence[float], count: int, rng: "Random") -> Sequence[int]:
        """See `Picker.pick`."""
        if count == 1:
            best = max(totals)
            ties = [index for index, total in enumerate(totals) if total == best]
            return ties if len(ties) == 1 else [ties[int(rng.random() * len(ties))]]
        order = sorted(range(len(totals)), key=lambda index: (-totals[index], rng.random()))
        return order[:count]
