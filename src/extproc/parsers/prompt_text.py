"""A prompt's text as it is collected: pieces up to a limit, beyond it only their size."""

import re

import msgspec
import xxhash

from extproc.parsers.json_document import decode_string
from extproc.values.request import Prompt

MOST_BYTES = 256 << 10
"""Of text: some 64,000 tokens. What two prompts share beyond it decides nothing."""
MEDIA_BYTES = 4096
"""What an image, a recording or a file counts for in the size of a prompt. At four bytes of text a token that is the
middle of what vision models make of one image: 256 tokens (Gemma 3), 576 (LLaVA), 1,280 (Qwen2-VL at 1024 by 1024),
1,601 a tile (Llama 3.2)."""

MEDIA = b"\xfb"
"""Before the 16 bytes of a hash. Like all marks here a byte that is in no UTF-8, so that no text can forge it."""

SHORT_BYTES = 8192
"""What is copied twice, as that takes less than to copy a part of it."""
MOST_VALUES = 10_000
"""Messages, their parts and tool calls together: read in 10 ms of the event loop."""

Json = msgspec.Raw | memoryview
"""A JSON value as it stands in a body that msgspec has read, without blanks around it."""

_QUOTE, _NULL, _BRACE = b'"n{'
_LONGEST_ESCAPE = 6
"""Bytes of a JSON string that become one of text: `\\u0041`. All others become more for less."""
_LONGEST_CHARACTER = 4
_SLACK_BYTES = 16
"""What a cut may take away so that no escape is cut."""
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_ESCAPES_SHOW_BYTES = 4096
"""A client that escapes the slashes of base64 and URLs has done so by then."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def kind_of(raw: Json) -> str:
    """The first letter of a value, which tells its kind; empty where it is absent."""
    return chr(memoryview(raw)[0]) if raw else ""


class TooManyValuesError(Exception):
    """A conversation has more than `MOST_VALUES`."""


class _Payload(msgspec.Struct, gc=False):
    """What images, recordings and files hold their data in, or say where it is."""

    url: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    file_data: msgspec.Raw = msgspec.Raw()
    file_id: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()


_decode_payload = msgspec.json.Decoder(_Payload).decode


class PromptText:
    """Takes values as they stand in JSON. Each may raise `json_document.UNREADABLE`."""

    __slots__ = ("_beyond_bytes", "_media_bytes", "_pieces", "_room_bytes", "_saved_bytes", "_values_left", "add_mark")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.add_mark = self._pieces.append
        """Takes bytes that are no text, and short."""
        self._room_bytes = MOST_BYTES
        """How much text is still built. Where it is 0 or less, only sizes count."""
        self._saved_bytes = 0
        """What escapes took more than what they stand for."""
        self._beyond_bytes = 0
        """Of text that is not built, as it stands in the JSON."""
        self._media_bytes = 0
        self._values_left = MOST_VALUES

    def count(self, values: int) -> None:
        """To be told of a list before it is gone through. Raises `TooManyValuesError`."""
        self._values_left -= values
        if self._values_left < 0:
            raise TooManyValuesError

    def add_unbuilt(self, size_bytes: int) -> None:
        """Text of which only the size counts."""
        self._beyond_bytes += size_bytes

    def add_short(self, raw: Json) -> bool:
        """Takes a string of the length that most have, and says whether it was one. Half of the price of the others."""
        if len(raw) > SHORT_BYTES or self._room_bytes < SHORT_BYTES:
            return False
        piece = bytes(raw)
        if piece[0] != _QUOTE:
            return False
        if b"\\" in piece:
            value = decode_string(piece).encode()
            self._saved_bytes += len(piece) - 2 - len(value)
        else:
            value = piece[1:-1]
        self._pieces.append(value)
        self._room_bytes -= len(value)
        return True

    def add_string(self, raw: Json) -> None:
        """A JSON string: its text, without a copy but the one that is kept."""
        if self.add_short(raw):
            return
        view, room = memoryview(raw), self._room_bytes
        if len(view) - 2 > room:
            self._add_beginning(view)
            return
        piece = bytes(view[1:-1])
        if b"\\" in piece:
            piece = decode_string(raw).encode()
            self._saved_bytes += len(view) - 2 - len(piece)
        self._pieces.append(piece)
        self._room_bytes = room - len(piece)

    def _add_beginning(self, view: memoryview) -> None:
        """Of a string that may be too long."""
        room, size = max(self._room_bytes, 0), len(view) - 2
        piece, end = bytes(view[1 : 1 + room]), room
        if b"\\" in piece:
            head = bytes(view[1:-1][: room * _LONGEST_ESCAPE + _SLACK_BYTES])
            end = size if len(head) == size else _cut_of(head)
            piece = decode_string(b'"%b"' % head[:end]).encode()
        self._pieces.append(piece)
        self._saved_bytes += end - len(piece)
        self._beyond_bytes += size - end
        self._room_bytes = room - len(piece)

    def add_value(self, raw: Json) -> None:
        """A string's text, or any other JSON value in one spelling of blanks and escapes; null is nothing.

        The keys of objects stay in their order, in which engines too put them into the prompt.
        """
        view, room = memoryview(raw), self._room_bytes
        if view[0] == _QUOTE:
            self.add_string(raw)
        elif view[0] != _NULL:
            is_long = len(view) > MOST_BYTES
            piece = bytes(view[: max(room, 0)]) if is_long or room <= 0 else _condensed(bytes(view))
            self._pieces.append(piece)
            self._beyond_bytes += len(view) - len(piece) if is_long or room <= 0 else 0
            self._room_bytes = room - len(piece)

    def add_media(self, raw: Json) -> None:
        """An image, a recording or a file, given as a string or in an object: a hash of 16 bytes for what it holds."""
        self._media_bytes += MEDIA_BYTES
        if self._room_bytes > 0:
            piece = MEDIA + _digest(raw)
            self._pieces.append(piece)
            self._room_bytes -= len(piece)

    def prompt(self, salt: str) -> Prompt:
        """What was added. Text that was not built is taken to be escaped as much as that which was."""
        text = b"".join(self._pieces)
        size_bytes = len(text) + self._media_bytes
        if self._beyond_bytes:
            built_bytes = len(text) or 1
            size_bytes += round(self._beyond_bytes * built_bytes / (built_bytes + self._saved_bytes))
        return Prompt(text[:MOST_BYTES], size_bytes, salt)


def _cut_of(head: bytes) -> int:
    """Where the beginning of a string can end, within no escape, pair of surrogates or character: at most 13 bytes
    before its end."""
    last = head.rfind(b"\\", -_LONGEST_ESCAPE)
    if last < 0:
        end = len(head)
        while end > len(head) - _LONGEST_CHARACTER and head[end - 1] >= 0x80:
            end -= 1
            if head[end] >= 0xC0:
                break
        return end
    escape = last if _is_escape(head, last) else last - 1
    high = escape - _LONGEST_ESCAPE
    return high if _HIGH_SURROGATE.match(head, high) and _is_escape(head, high) else escape


def _is_escape(head: bytes, at: int) -> bool:
    """Whether the backslash there is not itself escaped."""
    return (at + 1 - len(head[: at + 1].rstrip(b"\\"))) % 2 == 1


def _condensed(value: bytes) -> bytes:
    """Escapes of a letter are spelled in one way, all others are replaced by what they stand for."""
    if b"\\u" in value or b"\\/" in value:
        return _encode(_decode(value))
    return msgspec.json.format(value, indent=-1)


def _digest(raw: Json) -> bytes:
    """Of the data, the address or the id alone where it is in an object: not of how the object spells them."""
    if memoryview(raw)[0] != _BRACE:
        return _digest_of_value(raw)
    held = [value for value in msgspec.structs.astuple(_decode_payload(raw)) if value]
    if len(held) > 1:
        return xxhash.xxh3_128_digest(b"".join(map(_digest_of_value, held)))
    return _digest_of_value(held[0] if held else raw)


def _digest_of_value(raw: Json) -> bytes:
    view = memoryview(raw)
    if view[0] != _QUOTE:
        return xxhash.xxh3_128_digest(view)
    if b"\\" in bytes(view[:_ESCAPES_SHOW_BYTES]):
        return xxhash.xxh3_128_digest(decode_string(raw).encode())
    return xxhash.xxh3_128_digest(view[1:-1])
