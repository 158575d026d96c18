"""What an ext_proc stream can bring: the messages of the data plane, and the ends of the stream."""

import enum
from typing import ClassVar

import msgspec

from extproc.values.request import RequestHead


class BodyMode(enum.IntEnum):
    """Envoy's `ProcessingMode.BodySendMode`."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4
    GRPC = 5


class Modes(msgspec.Struct, frozen=True):
    """The filter's body modes, as the first message of recent Envoys tells them (`protocol_config`)."""

    request_body: BodyMode
    response_body: BodyMode


class RequestHeaders(msgspec.Struct, frozen=True):
    """The head of the HTTP request; `end_of_stream` where neither body nor trailers follow."""

    kind: ClassVar[str] = "request_headers"

    head: RequestHead
    end_of_stream: bool
    modes: Modes | None = None


class RequestBody(msgspec.Struct, frozen=True):
    """A piece of the request body, of any size."""

    kind: ClassVar[str] = "request_body"

    chunk: bytes
    end_of_stream: bool


class RequestTrailers(msgspec.Struct, frozen=True):
    """The request's trailers: the body is whole, also where no piece said so."""

    kind: ClassVar[str] = "request_trailers"


class ResponsePhase(msgspec.Struct, frozen=True):
    """Headers, a piece of the body or trailers of the response."""

    kind: str
    """The name of the field in `ProcessingRequest`."""


class Unknown(msgspec.Struct, frozen=True):
    """Bytes that are no ProcessingRequest, or one of a kind that is not known here."""

    kind: ClassVar[str] = "unknown"

    why: str


class EndOfInput(msgspec.Struct, frozen=True):
    """The data plane will send no more."""

    kind: ClassVar[str] = "end_of_input"


class DeadlineExpired(msgspec.Struct, frozen=True):
    """The time for an answer is over."""

    kind: ClassVar[str] = "deadline"

    timeout: str
    """How long it was, for people."""


Event = RequestHeaders | RequestBody | RequestTrailers | ResponsePhase | Unknown | EndOfInput | DeadlineExpired
