"""The prompt of a request, in the order in which chat templates put it, as bytes whose beginnings can be compared."""

import re
from array import array
from typing import Annotated

import msgspec

from extproc.parsers.conversation import FIELD, MESSAGE_END, add_message, add_messages, add_tools
from extproc.parsers.encoding import Content
from extproc.parsers.json_body import read_json
from extproc.parsers.json_document import (
    LARGE_BYTES,
    UNREADABLE,
    Chat,
    Document,
    Message,
    decode_document,
    decode_messages,
    decode_string,
    has_braces,
)
from extproc.parsers.json_models import JSON_STRING
from extproc.parsers.prompt_text import MOST_BYTES, Json, PromptText, TooManyValuesError, kind_of
from extproc.values.request import Prompt

TOKEN_BYTES = 4
"""What a prompt given in tokens takes of text for each: about what one stands for in English."""
MOST_OBJECTS = 50_000
"""In bodies above `LARGE_BYTES`, in which there is room for more."""

_LONGEST_TOKEN = 12
"""Digits, a comma and a blank: what is read of a prompt of tokens is bounded by it."""
_TOKENS = FIELD + b"tokens" + MESSAGE_END
_OPENED = re.compile(rb"\[[ \t\r\n]*+")
_Token = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
_decode_tokens = msgspec.json.Decoder(list[_Token]).decode


def read_prompt(content: bytes) -> Prompt | None:
    """The prompt of a JSON body that is read for nothing else. See `prompt_of`."""
    _, document = read_json(content)
    return None if document is None else prompt_of(document, content)


def prompt_of(document: Chat | Document, content: Content) -> Prompt | None:
    """What of a request an engine's prefix cache can know; None where there is no prompt, or none that can be read.

    By keys, not by path: `messages` (chat, Anthropic's Messages), else `prompt` (completions, tokenize), else `input`
    (Responses, embeddings). Before messages and items stand `tools`, then `system` or `instructions`. The text of a
    conversation that has grown begins with the text that it had. It is the same however blanks, escapes and the keys
    of a message are written. Of an image, a recording or a file it has a hash; `cache_control` and the ids of items it
    leaves out. Of several prompts it has the first.

    The size is in bytes of UTF-8, with `MEDIA_BYTES` for each image and such, `TOKEN_BYTES` for each token, and all
    of several prompts. What is not built of it (beyond `MOST_BYTES`) is taken to be escaped as much as what is. A
    conversation of too many pieces is taken as it is written.

    `content` is what the document was read from. Measured together with `read_json`: 6 µs of 4 KB, 40 µs of 64 KB
    (60 with many braces), 1 ms/MB of images, up to 20 ms of the smallest objects that fit `LARGE_BYTES`.
    """
    try:
        salt = decode_string(document.cache_salt) if kind_of(document.cache_salt) == '"' else ""
        turns = _turns_of(document)
        if turns is None:
            return None
        text = PromptText()
        if isinstance(turns, msgspec.Raw) and not _is_conversation(turns, document):
            _add_prompt(text, turns)
            return text.prompt(salt)
        try:
            _add_conversation(text, document, turns, content)
        except TooManyValuesError:
            if isinstance(turns, list):
                turns = decode_document(content).messages
            written = memoryview(turns)[:-1]  # without the bracket, before which it grows
            return Prompt(bytes(written[:MOST_BYTES]), len(written), salt)
        return text.prompt(salt)
    except UNREADABLE:
        return None


def _turns_of(document: Chat | Document) -> list[Message] | msgspec.Raw | None:
    """What the prompt is made of."""
    messages = document.messages
    if isinstance(messages, list) or (messages is not None and kind_of(messages) == "["):
        return messages
    for given in (document.prompt, document.input):
        if given and kind_of(given) in ('"', "["):
            return given
    return None


def _is_conversation(turns: msgspec.Raw, document: Chat | Document) -> bool:
    """Whether it is messages or items, or a text that stands for one; else it is a prompt, in text or in tokens."""
    if turns is document.prompt:
        return False
    return turns is document.messages or kind_of(turns) == '"' or _opens(turns, "{")


def _add_conversation(
    text: PromptText, document: Chat | Document, turns: list[Message] | msgspec.Raw, content: Content
) -> None:
    if len(content) > LARGE_BYTES and has_braces(content, MOST_OBJECTS):
        raise TooManyValuesError
    if document.tools and kind_of(document.tools) == "[":
        add_tools(text, document.tools)
    for first in (document.system, document.instructions):
        if first and kind_of(first) in ('"', "["):
            add_message(text, "system", first)
    if isinstance(turns, list):
        add_messages(text, turns)
    elif kind_of(turns) == "[":
        add_messages(text, decode_messages(turns))
    else:
        add_message(text, "user", turns)


def _opens(array_: Json, kind: str) -> bool:
    """Whether the first element of an array is of that kind."""
    opened = _OPENED.match(memoryview(array_))
    return opened is not None and memoryview(array_)[opened.end()] == ord(kind)


def _add_prompt(text: PromptText, prompt: Json) -> None:
    """A string, tokens, or the first of a list of either."""
    if kind_of(prompt) == '"':
        text.add_string(prompt)
        return
    view = memoryview(prompt)
    while opened := _OPENED.match(view):
        view = view[opened.end() :]
    if first := JSON_STRING.match(view):
        text.add_string(view[: first.end()])
        text.add_unbuilt(len(view) - first.end())
    elif view[0] in b"-0123456789":
        _add_tokens(text, bytes(view))


def _add_tokens(text: PromptText, listed: bytes) -> None:
    """Their numbers, four bytes each. `listed` begins with the first and goes on to the end of the last list."""
    first = listed[: listed.find(b"]")]
    if len(first) > (room := MOST_BYTES // TOKEN_BYTES * _LONGEST_TOKEN):
        first = first[: max(0, first.rfind(b",", 0, room))]  # what has no comma until there is mostly blanks
    tokens = array("I", _decode_tokens(b"[%b]" % first)).tobytes()[:MOST_BYTES]
    text.add_mark(_TOKENS)
    text.add_mark(tokens)
    text.add_unbuilt((listed.count(b",") + 1) * TOKEN_BYTES - len(tokens))
