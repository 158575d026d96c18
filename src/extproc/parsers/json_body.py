"""The model's name in a JSON body."""

import json

import msgspec

from extproc.parsers.encoding import Content
from extproc.parsers.json_document import (
    BYTE_ORDER_MARK,
    LARGE_BYTES,
    UNREADABLE,
    Chat,
    Document,
    decode_chat,
    decode_document,
    decode_string,
    has_braces,
    without_lone_surrogates,
)
from extproc.values.refusal import Reason, Reject

SECOND_LOOK_BYTES = 1 << 20
"""Up to this size, what the strict decoder refuses is read by `json`, at a far higher price in time and memory."""

SMALL_BYTES = 32 << 10
"""Of a body. In those up to here there is room for 11,000 messages: 2 ms to build, twice where one is none."""
SPARSE_BYTES = 1024
"""Of a larger body for each brace, at least: else its messages are left to be read later. To find a brace takes 0.2 µs,
to step over messages first and read them then 0.3 µs/KB more than to build them here."""

_NOT_OBJECT: str | Reject = Reject(Reason.BODY_NOT_OBJECT)


def model_of_json(content: Content) -> str | Reject:
    """The value of the top-level `model`: the first half of what `read_json` gives."""
    return read_json(content)[0]


def read_json(content: Content) -> tuple[str | Reject, Chat | Document | None]:
    """The value of the top-level `model`, possibly empty, the last one where it is given twice, as engines read it;
    beside it the document for what else is asked of it, None where it cannot be read strictly.

    msgspec reads RFC 8259 and skips what it need not read. Engines read with Python's `json`, which also takes escaped
    lone surrogates (half an emoji, as clients cut them), NaN and a byte order mark: what the engine would take must
    not be refused here. What is refused is read again: up to 1 MiB by `json`, above it with such surrogates replaced,
    unless there are more than `MOST_LONE_SURROGATES`: then the body counts as unreadable. The document has them
    replaced whatever its size; with NaN in it, it is None.

    Messages are built here only where they are few or small: up to 2 ms of the event loop.
    """
    if (size := len(content)) <= SMALL_BYTES or (size <= LARGE_BYTES and not has_braces(content, size // SPARSE_BYTES)):
        try:
            chat = decode_chat(content)
            return _model_of(chat), chat
        except UNREADABLE:
            pass
    try:
        document = decode_document(content)
        return _model_of(document), document
    except UNREADABLE:
        pass
    whole = without_lone_surrogates(content.removeprefix(BYTE_ORDER_MARK))
    model, found = _NOT_OBJECT, None
    if whole is not None:
        try:
            found = decode_document(whole)
            model = _model_of(found)
        except UNREADABLE:
            pass
    return (_read_as_engines_do(content) if len(content) <= SECOND_LOOK_BYTES else model), found


def _model_of(document: Chat | Document) -> str | Reject:
    raw = bytes(document.model)
    if raw.startswith(b'"'):
        return decode_string(raw)
    return Reject(Reason.MODEL_NOT_STRING if raw else Reason.MODEL_MISSING)


def _read_as_engines_do(content: Content) -> str | Reject:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return _NOT_OBJECT
    if not isinstance(document, dict):
        return _NOT_OBJECT
    model = document.get("model", msgspec.UNSET)
    if isinstance(model, str):
        return model
    return Reject(Reason.MODEL_MISSING if model is msgspec.UNSET else Reason.MODEL_NOT_STRING)
