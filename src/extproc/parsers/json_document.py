"""The members of a JSON body that are asked for, found in one pass and left as they stand in the text."""

import re
from itertools import islice

import msgspec

from extproc.parsers.encoding import Content

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MOST_LONE_SURROGATES = 400_000
"""Found and replaced in 0.1 s of the event loop. A body of 60 MiB has room for 10 million, as gzip in 60 kB."""
LARGE_BYTES = 256 << 10
"""Of a body. In those below there is room for 90,000 objects: 20 ms and 20 MB to build, which happens once."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders here raise."""

_HALF_EMOJI = b"\\ufffd"
_HEX = rb"[0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:"
    rb"[89abAB]%b(?!\\u[dD][c-fC-F]%b)|"  # a high one that no low one follows
    rb"(?<!\\u[dD][89abAB]%b\\u[dD])[c-fC-F]%b)" % (_HEX, _HEX, _HEX, _HEX)  # a low one that no high one precedes
)


class Message(msgspec.Struct, gc=False):
    """A message of chat or Anthropic's Messages, or an item of Responses."""

    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    name: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    tool_call_id: msgspec.Raw = msgspec.Raw()
    call_id: msgspec.Raw = msgspec.Raw()
    arguments: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    summary: msgspec.Raw = msgspec.Raw()


class _Members(msgspec.Struct, gc=False):
    """Members at the top of a body, empty where absent, the last one where given twice.

    Nothing is built of a value before it is asked for, however large it is. Eight members take no longer than one:
    1.2 µs of 4 KB, 16 µs of 64 KB, nearly all of it to step over strings.
    """

    model: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    cache_salt: msgspec.Raw = msgspec.Raw()


class Document(_Members, gc=False):
    """The members of any body."""

    messages: msgspec.Raw = msgspec.Raw()


class Chat(_Members, gc=False):
    """The members of a body of few objects, whose messages, if it has any, are what they should be.

    They are read in the same pass: to step over them first and read them then takes twice as long.
    """

    messages: list[Message] | None = None


decode_chat = msgspec.json.Decoder(Chat).decode
"""As `decode_document`, but also raises `UNREADABLE` where the messages are no list of objects with a role."""
decode_document = msgspec.json.Decoder(Document).decode
"""The members of an RFC 8259 object. Raises `UNREADABLE`."""
decode_messages = msgspec.json.Decoder(list[Message]).decode
"""Messages that were left as they stand. Raises `UNREADABLE`."""
decode_string = msgspec.json.Decoder(str).decode
"""The value of one JSON string. Raises `UNREADABLE`."""


def has_braces(content: Content, count: int) -> bool:
    """Whether there are `count` opening braces or more. Objects are no more than braces.

    60 to 200 ns for each that is found. What makes a body large has few: `find` passes 50 GB/s of images. `count` takes
    0.5 µs/KB, as long as to read the body.
    """
    at = 0
    for _ in range(count):
        at = content.find(b"{", at) + 1
        if not at:
            return False
    return True


def without_lone_surrogates(content: Content) -> Content | None:
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
