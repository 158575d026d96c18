"""The messages of a conversation as text that grows with it, of the chat, the Responses and the Messages API."""

import msgspec

from extproc.parsers.json_document import Message
from extproc.parsers.prompt_text import Json, PromptText, kind_of

MOST_DEPTH = 3
"""A tool's result has parts within a part. What is nested deeper is read as a value: each level costs another pass."""

MESSAGE_END, ROLE_END, NEXT, FIELD = b"\xff", b"\xfe", b"\xfd", b"\xfc"
"""Bytes that are in no UTF-8, as `prompt_text.MEDIA`: no text can contain them, whatever its client wrote."""

_ABSENT = msgspec.Raw()


class _Part(msgspec.Struct, gc=False):
    """A part of a content. What is not named here no model is shown, as `cache_control`, which moves on each turn."""

    type: str = ""
    text: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    name: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    tool_use_id: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT
    refusal: msgspec.Raw = _ABSENT
    title: msgspec.Raw = _ABSENT
    image_url: msgspec.Raw = _ABSENT
    image: msgspec.Raw = _ABSENT
    input_audio: msgspec.Raw = _ABSENT
    audio: msgspec.Raw = _ABSENT
    audio_url: msgspec.Raw = _ABSENT
    video: msgspec.Raw = _ABSENT
    video_url: msgspec.Raw = _ABSENT
    file: msgspec.Raw = _ABSENT
    file_data: msgspec.Raw = _ABSENT
    file_id: msgspec.Raw = _ABSENT
    file_url: msgspec.Raw = _ABSENT
    source: msgspec.Raw = _ABSENT


class _Function(msgspec.Struct, gc=False):
    name: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT


class _ToolCall(msgspec.Struct, gc=False):
    id: msgspec.Raw = _ABSENT
    function: _Function | None = None
    custom: _Function | None = None


_BESIDE_CONTENT = Message.__struct_fields__[2:]
_PLAIN = (_ABSENT,) * len(_BESIDE_CONTENT)
"""What stands beside role and content in most messages."""
_OF_PARTS = _Part.__struct_fields__[1:]
_MEDIA = frozenset(_OF_PARTS[_OF_PARTS.index("image_url") :])
_PARTED = frozenset({"content", "output", "summary"})
"""Strings, or lists of parts."""
_TEXTS = frozenset({"", "text", "input_text", "output_text", "summary_text", "reasoning_text"})
_ROLES = {role: role.encode() + ROLE_END for role in ("system", "developer", "user", "assistant", "tool")}
_FIELDS = {name: FIELD + name.encode() + ROLE_END for name in {*_BESIDE_CONTENT, *_OF_PARTS}}

_decode_parts = msgspec.json.Decoder(list[_Part]).decode
_decode_calls = msgspec.json.Decoder(list[_ToolCall]).decode
_beside = msgspec.structs.astuple


def add_tools(text: PromptText, tools: Json) -> None:
    """What the model may call, which templates put before the messages."""
    text.add_mark(FIELD)
    text.add_value(tools)
    text.add_mark(MESSAGE_END)


def add_message(text: PromptText, role: str, content: Json) -> None:
    """A message that its API keeps outside of the list: what is the system's, or a single one of the user's."""
    text.add_mark(_ROLES[role])
    _add_content(text, content)
    text.add_mark(MESSAGE_END)


def add_messages(text: PromptText, messages: list[Message]) -> None:
    """Each with its mark behind it, so that what follows changes nothing before. Keys of a message in one order.

    Raises `TooManyValuesError` and `json_document.UNREADABLE`.
    """
    text.count(len(messages))
    mark = text.add_mark
    for message in messages:
        mark(_ROLES.get(message.role) or message.role.encode() + ROLE_END)
        if message.content and not text.add_short(message.content):
            _add_content(text, message.content)
        beside = _beside(message)[2:]
        if beside != _PLAIN:
            _add_beside(text, beside)
        mark(MESSAGE_END)


def _add_beside(text: PromptText, values: tuple[msgspec.Raw, ...]) -> None:
    for name, value in zip(_BESIDE_CONTENT, values, strict=True):
        kind = kind_of(value)
        if kind in ("", "n") or (name == "type" and bytes(value) == b'"message"'):
            continue
        if name == "tool_calls":
            _add_calls(text, value)
            continue
        text.add_mark(_FIELDS[name])
        if name in _PARTED:
            _add_content(text, value)
        else:
            text.add_value(value)


def _add_calls(text: PromptText, raw: Json) -> None:
    calls = _decode_calls(raw)
    text.count(len(calls))
    for call in calls:
        text.add_mark(_FIELDS["tool_calls"])
        function = call.function or call.custom or _Function()
        for value in (call.id, function.name, function.arguments, function.input):
            if value:
                text.add_value(value)
            text.add_mark(NEXT)


def _add_content(text: PromptText, raw: Json, depth: int = 0) -> None:
    """A string, or a list of parts. A single part of text is the same as that text."""
    if kind_of(raw) != "[" or depth == MOST_DEPTH:
        text.add_value(raw)
        return
    parts = _decode_parts(raw)
    text.count(len(parts))
    for number, part in enumerate(parts):
        if number:
            text.add_mark(NEXT)
        if part.text and part.type in _TEXTS:
            text.add_value(part.text)
        else:
            text.add_mark(FIELD + part.type.encode() + ROLE_END)
            _add_part(text, part, depth)


def _add_part(text: PromptText, part: _Part, depth: int) -> None:
    for name, value in zip(_OF_PARTS, _beside(part)[1:], strict=True):
        if kind_of(value) in ("", "n"):
            continue
        text.add_mark(_FIELDS[name])
        if name in _MEDIA:
            text.add_media(value)
        elif name in _PARTED:
            _add_content(text, value, depth + 1)
        else:
            text.add_value(value)
