"""Token usage out of a server-sent-events response that passes by in chunks."""

from typing import Annotated

import msgspec

MOST_EVENT_BYTES = 1 << 16
"""A line, or the data lines of one event together, beyond this size are dropped: usage comes in hundreds of bytes."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""Tokens: no counter must go down for what an engine writes, and a float must hold it."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that an answer took, as its engine counted them."""

    prompt_tokens: int = 0
    """All of the prompt, cached or not."""
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Those of the prompt that the engine had in its prefix cache."""


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    """OpenAI's names for chat and completions, then those of its Responses and Anthropic's Messages API."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _Details | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None

    def prompt(self) -> int | None:
        """Anthropic's `input_tokens` are those beside the cache, OpenAI's are all of them."""
        if self.prompt_tokens is not None or self.input_tokens is None:
            return self.prompt_tokens
        return self.input_tokens + (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)

    def completion(self) -> int | None:
        return self.completion_tokens if self.completion_tokens is not None else self.output_tokens

    def cached_prompt(self) -> int | None:
        details = self.prompt_tokens_details or self.input_tokens_details
        return details.cached_tokens if details is not None else self.cache_read_input_tokens


class _Event(msgspec.Struct):
    """`usage` stands at the top, in Anthropic's `message_start` under `message`, in Responses under `response`."""

    usage: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_counts = msgspec.json.Decoder(_Counts).decode


class UsageReader:
    """Reads `usage` and `has_token` out of the bytes of one response, given to `take` in order, cut anywhere.

    It never raises, keeps at most two times 64 KiB, and decodes only events that hold `"usage"`.
    Source: HTML Living Standard §9.2.6 (event stream), OpenAI and Anthropic streaming references.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        """The counts named last so far, None before the first; one that is named nowhere is 0."""
        self.has_token = False
        """Whether an event with data other than `[DONE]` has come whole."""
        self._line = bytearray()
        self._is_after_cr = False
        self._data: list[bytes] = []
        self._data_bytes = 0

    def take(self, chunk: bytes) -> None:
        """The next bytes of the response body."""
        if not chunk:
            return
        if self._is_after_cr and chunk[0] == 0x0A:
            chunk = chunk[1:]
        self._is_after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        rest = b"" if chunk.endswith((b"\n", b"\r")) or not lines else lines.pop()
        for line in lines:
            if self._line:
                self._hold(line)
                self._take_line(bytes(self._line))
                self._line.clear()
            else:
                self._take_line(line)
        if rest:
            self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        """A line grows to one byte above the limit, which shows that it is too long."""
        self._line += piece[: MOST_EVENT_BYTES + 1 - len(self._line)]

    def _take_line(self, line: bytes) -> None:
        if not line:
            if self._data_bytes:
                self._end_event()
        elif line.startswith(b"data:"):
            self._data_bytes += len(line)
            if self._data_bytes <= MOST_EVENT_BYTES:
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])

    def _end_event(self) -> None:
        is_whole = self._data_bytes <= MOST_EVENT_BYTES
        data = b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        if is_whole and data == b"[DONE]":
            return
        self.has_token = True
        if is_whole and b'"usage"' in data and (counts := _counts(data)) is not None:
            self._add(counts)

    def _add(self, counts: _Counts) -> None:
        before = self.usage or Usage()
        prompt, completion, cached = counts.prompt(), counts.completion(), counts.cached_prompt()
        if prompt is None and completion is None and cached is None:
            return
        self.usage = Usage(
            before.prompt_tokens if prompt is None else prompt,
            before.completion_tokens if completion is None else completion,
            before.cached_prompt_tokens if cached is None else cached,
        )


def _counts(data: bytes) -> _Counts | None:
    """The counts of an event, None where it has none or is no JSON that has them where they belong."""
    try:
        event = _decode_event(data)
        usage = bytes(event.usage)
        for holder in (event.message, event.response):
            if not _is_object(usage) and _is_object(bytes(holder)):
                usage = bytes(_decode_event(holder).usage)
        return _decode_counts(usage) if _is_object(usage) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_object(raw: bytes) -> bool:
    return raw.startswith(b"{")
