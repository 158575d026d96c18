"""How commands print names, numbers and times: nothing that a terminal obeys, and short lists, counts and ages."""

from collections.abc import Iterable

LONGEST = 300
LONGEST_ERROR = 1000
MOST_NAMED = 4

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` on one line, cut after `longest` characters, with escapes for what a terminal would obey or not show.

    Names and problems come from engines, clients and servers: none of them ends a line, or begins one.
    """
    shown = text[:longest]
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else _escape(each) for each in shown)
    return f"{shown}…" if len(text) > longest else shown


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def name_some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    left = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")


def count(number: int, noun: str) -> str:
    """`1 pod`, `2 pods`, `1,000 pods`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tell_age(seconds: float) -> str:
    """`0.4 s`, `90 s`, `5 min`, `2 h`, `20 d`."""
    return " ".join(_measure(seconds))


def show_age(seconds: float) -> str:
    """The same in at most four letters, for a column: `0.4s`, `90s`, `5m`, `2h`, `20d`."""
    figure, unit = _measure(seconds)
    return figure + unit[0]


def _measure(seconds: float) -> tuple[str, str]:
    """A figure and its unit, two at least of all but seconds."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}".removesuffix(".0"), "s"
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}", unit
    return f"{seconds:.0f}", "s"
