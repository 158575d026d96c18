"""Where in a JSON text the values of its top-level `model` stand: msgspec hands over values, but no positions."""

import re
from itertools import islice
from typing import Any

import msgspec

from extproc.parsers.encoding import Content
from extproc.parsers.json_document import without_lone_surrogates

MOST_MODEL_KEYS = 200_000
"""Nested or not, marked and heard of in 0.25 s of the event loop. A body of 60 MiB has room for 6 million."""
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

_MODEL_KEY = re.compile(
    rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"[ \t\r\n]*+:[ \t\r\n]*+'
)


class _Place:
    """Stands for a byte position, so that msgspec hands it over as soon as it has read it."""


class _Marked(msgspec.Struct):
    model: _Place | msgspec.UnsetType = msgspec.UNSET


def mark_models(text: Content) -> bytearray | None:
    """`text` with the position of each `model` key's value put before it: `"model":"phi"` becomes
    `"model":9,"_":"phi"`. The positions are those in `text`.

    What engines take beyond RFC 8259 (lone surrogates, NaN) is masked, in as many bytes. None where it would take too
    long: more than `MOST_MODEL_KEYS`, or `MOST_LONE_SURROGATES`. It takes some copies of `text` and builds nothing.
    """
    masked = without_lone_surrogates(text)
    if masked is None:
        return None
    masked = masked.replace(b"NaN", b"100").replace(b"Infinity", b"10000000")
    ends = [key.end() for key in islice(_MODEL_KEY.finditer(masked), MOST_MODEL_KEYS + 1)]
    if len(ends) > MOST_MODEL_KEYS:
        return None
    marked, rest, begin = bytearray(), memoryview(masked), 0
    for end in ends:
        marked += rest[begin:end]
        marked += b'%d,"_":' % end
        begin = end
    marked += rest[begin:]
    return marked


def read_marks(marked: bytearray, positions: list[int]) -> None:
    """Appends where the values of the top-level `model` stand, in the order of the text.

    What is nested msgspec skips in C; of what is at the top a hook hears at once, so that those before a damaged or
    missing end are in `positions` when this raises `json_document.UNREADABLE`.
    """

    def keep(_: type, position: Any) -> _Place:
        positions.append(position)
        return _Place()

    msgspec.json.decode(marked, type=_Marked, dec_hook=keep)
