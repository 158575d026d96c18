"""Lists and counts as a person writes them."""

from collections.abc import Iterable

MOST_NAMED = 4


def name_some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    left = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")


def count(number: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def tell_age(seconds: float) -> str:
    """`3 s`, `5 min`, `2 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
