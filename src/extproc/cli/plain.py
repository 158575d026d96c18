"""Text from pods, clients and servers as a terminal may show it."""

LONGEST = 300


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` on one line, cut after `longest` characters, with escapes for what a terminal would obey or not show."""
    shown = "".join(each if each.isprintable() else _escape(each) for each in text[:longest])
    return f"{shown}…" if len(text) > longest else shown


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
