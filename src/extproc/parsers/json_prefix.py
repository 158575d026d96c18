"""The model's name in a JSON body of which only the beginning is there."""

import re
from itertools import islice
from typing import Any

import msgspec

from extproc.parsers.json_body import model_of_json, without_lone_surrogates
from extproc.values.refusal import Reason, Reject

MOST_MODEL_KEYS = 200_000
"""Nested or not, marked and heard of in 0.25 s of the event loop. A body of 60 MiB has room for 6 million."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MODEL_KEY = re.compile(
    rb'"(?:m|\\u006[dD])(?:o|\\u006[fF])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[cC])"[ \t\r\n]*+:[ \t\r\n]*+'
)
_BEGINNING = re.compile(rb"[ \t\r\n]*+(?:\{|\Z)")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_CUTTABLE = b"+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""What numbers and literals are made of: a cut can leave `-`, `1e` or `Na`, which alone would be damaged."""
_BROKEN_OFF = "Input data was truncated"
"""What msgspec says of a text to which only an end is missing; of all others it says something else."""


class _Place:
    """Stands for a byte position, so that msgspec hands it over as soon as it has read it."""


class _Marked(msgspec.Struct):
    model: _Place | msgspec.UnsetType = msgspec.UNSET


def model_of_json_prefix(content: bytes) -> str | Reject:
    """The value of the top-level `model` of an object of which `content` is the beginning, possibly empty.

    `MODEL_BEYOND_BUFFER` where it has not come yet or is itself cut, `BODY_NOT_OBJECT` where no end could make an
    object of it. Of two the last counts; that a further one stands behind what is there cannot be known. A whole
    document is read as `model_of_json` reads it. `BODY_NOT_OBJECT` also where marking it would take too long: it has
    more than `MOST_MODEL_KEYS`, or `MOST_LONE_SURROGATES`. Measured at 3 to 25 ms/MB, whatever is nested where; it
    takes some copies of `content` and builds nothing.

    msgspec skips what is nested in C, but loses what it has when the text breaks off. So every `model` key is given
    its own position as value (`"model":"phi"` becomes `"model":9,"_":"phi"`), and a hook hears of those at the top,
    one after the other. What engines take beyond RFC 8259 (lone surrogates, NaN) is masked, in as many bytes.
    """
    text = content.removeprefix(_BYTE_ORDER_MARK)
    start: int | None = None

    def keep(_: type, value: Any) -> _Place:
        nonlocal start
        start = value
        return _Place()

    marked = _marked(text)
    if marked is None:
        return Reject(Reason.BODY_NOT_OBJECT)
    try:
        msgspec.json.decode(marked, type=_Marked, dec_hook=keep)
    except (msgspec.DecodeError, RecursionError) as error:
        if str(error) != _BROKEN_OFF or not _BEGINNING.match(text):
            return model_of_json(content)
    else:
        return model_of_json(content)
    if start is None or start == len(text):
        return Reject(Reason.MODEL_BEYOND_BUFFER)
    if text[start] != ord('"'):
        return Reject(Reason.MODEL_NOT_STRING)
    value = _STRING.match(text, start)
    return model_of_json(b'{"model":' + value[0] + b"}") if value else Reject(Reason.MODEL_BEYOND_BUFFER)


def _marked(content: bytes) -> bytearray | None:
    """None where it would take too long: too many lone surrogates, or `model` keys."""
    masked = without_lone_surrogates(content)
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
    return marked.rstrip(_CUTTABLE)
