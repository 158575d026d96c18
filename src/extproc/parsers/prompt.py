"""The prompt of a request, in the order in which chat templates put it, as bytes whose beginnings can be compared."""

import re
from array import array
from typing import Annotated

import msgspec

from extproc.parsers.conversation import FIELD, MESSAGE_END, add_message, add_messages, add_tools
from extproc.parsers.json_body import read_json
from extproc.parsers.json_document import UNREADABLE, Document, decode_string
from extproc.parsers.json_models import JSON_STRING
from extproc.parsers.prompt_text import MOST_BYTES, Json, PromptText, TooManyValuesError, kind_of
from extproc.values.request import Prompt

TOKEN_BYTES = 4
"""What a prompt given in tokens takes of text for each: about what one stands for in English."""
MOST_OBJECTS = 50_000
"""Counted in bodies above `COUNTED_BYTES`, which leaves room for 90,000 in those below: 20 ms and 20 MB to build."""
COUNTED_BYTES = 256 << 10

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


def prompt_of(document: Document, content: bytes) -> Prompt | None:
    """What of a request an engine's prefix cache can know; None where there is no prompt, or none that can be read.

    By keys, not by path: `messages` (chat, Anthropic's Messages), else `prompt` (completions, tokenize), else `input`
    (Responses, embeddings). Before messages and items stand `tools`, then `system` or `instructions`. The text of a
    conversation that has grown begins with the text that it had. It is the same however blanks, escapes and the keys
    of a message are written. Of an image, a recording or a file it has a hash; `cache_control` and the ids of items it
    leaves out. Of several prompts it has the first.

    The size is in bytes of UTF-8, with `MEDIA_BYTES` for each image and such, `TOKEN_BYTES` for each token, and all
    of several prompts. What is not built of it (beyond `MOST_BYTES`) is taken to be escaped as much as what is. A
    conversation of too many pieces is taken as it is written.

    `content` is what the document was read from. Measured together with `read_json`: 6 µs of 4 KB, 40 µs of 64 KB,
    1 ms/MB of images.
    """
    text = PromptText()
    try:
        salt = decode_string(document.cache_salt) if document.cache_salt and kind_of(document.cache_salt) == '"' else ""
        if kind_of(document.messages) == "[":
            turns: Json = document.messages
        elif kind_of(document.prompt) in ('"', "["):
            _add_prompt(text, document.prompt)
            return text.prompt(salt)
        elif (kind := kind_of(document.input)) == '"' or (kind == "[" and _opens(document.input, "{")):
            turns = document.input
        elif kind == "[":
            _add_prompt(text, document.input)
            return text.prompt(salt)
        else:
            return None
        try:
            _add_conversation(text, document, turns, content)
        except TooManyValuesError:
            written = memoryview(turns)[:-1]  # without the bracket, before which it grows
            return Prompt(bytes(written[:MOST_BYTES]), len(written), salt)
        return text.prompt(salt)
    except UNREADABLE:
        return None


def _add_conversation(text: PromptText, document: Document, turns: Json, content: bytes) -> None:
    if len(content) > COUNTED_BYTES:
        _check_objects(content)
    if document.tools and kind_of(document.tools) == "[":
        add_tools(text, document.tools)
    for first in (document.system, document.instructions):
        if first and kind_of(first) in ('"', "["):
            add_message(text, "system", first)
    if turns is document.messages or kind_of(turns) == "[":
        add_messages(text, turns)
    else:
        add_message(text, "user", turns)


def _check_objects(content: bytes) -> None:
    """Raises `TooManyValuesError`. A body is large by its images, which have no braces: `find` passes 50 GB/s there."""
    at = 0
    for _ in range(MOST_OBJECTS):
        at = content.find(b"{", at) + 1
        if not at:
            return
    raise TooManyValuesError


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
