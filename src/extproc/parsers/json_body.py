"""The model's name in a JSON body."""

import json

import msgspec

from extproc.values.refusal import Reason, Reject

SECOND_LOOK_BYTES = 1 << 20
"""Up to this size, what the strict decoder refuses gets a second, lenient look."""


class _Named(msgspec.Struct):
    model: object = msgspec.UNSET


_decode = msgspec.json.Decoder(_Named).decode


def model_of_json(content: bytes) -> str | Reject:
    """The value of the top-level `model`, possibly empty; the last one where it is given twice, as engines read it.

    msgspec reads RFC 8259 and skips what it need not read. Engines read with Python's `json`, which also takes escaped
    lone surrogates (half an emoji, as clients cut them), NaN and a byte order mark: what the engine would take must
    not be refused here, so a body up to 1 MiB is read again that way.
    """
    try:
        model = _decode(content).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if len(content) > SECOND_LOOK_BYTES:
            return Reject(Reason.BODY_NOT_OBJECT)
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
