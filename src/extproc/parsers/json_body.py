"""The model's name in a JSON body."""

import json
import re
from itertools import islice

import msgspec

from extproc.values.refusal import Reason, Reject

SECOND_LOOK_BYTES = 1 << 20
"""Up to this size, what the strict decoder refuses is read by `json`, at a far higher price in time and memory."""

MOST_LONE_SURROGATES = 400_000
"""Found and replaced in 0.1 s of the event loop. A body of 60 MiB has room for 10 million, as gzip in 60 kB."""

_HALF_EMOJI = b"\\ufffd"
_HEX = rb"[0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:"
    rb"[89abAB]%b(?!\\u[dD][c-fC-F]%b)|"  # a high one that no low one follows
    rb"(?<!\\u[dD][89abAB]%b\\u[dD])[c-fC-F]%b)" % (_HEX, _HEX, _HEX, _HEX)  # a low one that no high one precedes
)


class _Named(msgspec.Struct):
    """`model` as it stands in the text: a value that is no string is never built, however large it is."""

    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Named).decode
_decode_string = msgspec.json.Decoder(str).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def model_of_json(content: bytes) -> str | Reject:
    """The value of the top-level `model`, possibly empty; the last one where it is given twice, as engines read it.

    msgspec reads RFC 8259 and skips what it need not read. Engines read with Python's `json`, which also takes escaped
    lone surrogates (half an emoji, as clients cut them), NaN and a byte order mark: what the engine would take must
    not be refused here. What is refused is read again: up to 1 MiB by `json`, above it with such surrogates replaced,
    unless there are more than `MOST_LONE_SURROGATES`: then the body counts as unreadable.
    """
    try:
        return _read(content)
    except _UNREADABLE:
        if len(content) <= SECOND_LOOK_BYTES:
            return _read_as_engines_do(content)
    whole = without_lone_surrogates(content)
    try:
        return Reject(Reason.BODY_NOT_OBJECT) if whole is None else _read(whole)
    except _UNREADABLE:
        return Reject(Reason.BODY_NOT_OBJECT)


def without_lone_surrogates(content: bytes) -> bytes | bytearray | None:
    """`content` with every escaped surrogate that is no half of a pair replaced by the escape of U+FFFD.

    As long as before, and the same object where there is none. None where there are more than `MOST_LONE_SURROGATES`.
    Measured at 1 to 4 ms/MB, 18 ms/MB where it consists of pairs; it takes two copies of `content` at most.
    """
    # An escaped backslash before a `u` begins no escape: JSON within a JSON string is full of them.
    unescaped = content.replace(rb"\\", b"__")
    found = [match.start() for match in islice(_LONE_SURROGATE.finditer(unescaped), MOST_LONE_SURROGATES + 1)]
    del unescaped
    if not found:
        return content
    if len(found) > MOST_LONE_SURROGATES:
        return None
    text = bytearray(content)
    for at in found:
        text[at : at + len(_HALF_EMOJI)] = _HALF_EMOJI
    return text


def _read(content: bytes | bytearray) -> str | Reject:
    model = _decode(content).model
    if model is msgspec.UNSET:
        return Reject(Reason.MODEL_MISSING)
    raw = bytes(model)
    return _decode_string(raw) if raw.startswith(b'"') else Reject(Reason.MODEL_NOT_STRING)


def _read_as_engines_do(content: bytes) -> str | Reject:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return Reject(Reason.BODY_NOT_OBJECT)
    if not isinstance(document, dict):
        return Reject(Reason.BODY_NOT_OBJECT)
    model = document.get("model", msgspec.UNSET)
    if isinstance(model, str):
        return model
    return Reject(Reason.MODEL_MISSING if model is msgspec.UNSET else Reason.MODEL_NOT_STRING)
