"""The model's name in a JSON body."""

import json
import re

import msgspec

from extproc.values.refusal import Reason, Reject

SECOND_LOOK_BYTES = 1 << 20
"""Up to this size, what the strict decoder refuses is read by `json`, at a far higher price in time and memory."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


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
    not be refused here. What is refused is read again: up to 1 MiB by `json`, above it with such surrogates replaced.
    """
    try:
        return _read(content)
    except _UNREADABLE:
        if len(content) <= SECOND_LOOK_BYTES:
            return _read_as_engines_do(content)
    try:
        return _read(without_surrogates(content))
    except _UNREADABLE:
        return Reject(Reason.BODY_NOT_OBJECT)


def without_surrogates(content: bytes) -> bytes:
    """`content` with every escaped surrogate, paired or not, replaced by the escape of U+FFFD: as long as before."""
    return _SURROGATE.sub(rb"\\ufffd", content)


def _read(content: bytes) -> str | Reject:
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
