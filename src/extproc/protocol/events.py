"""What an ext_proc stream can bring: the messages of the data plane, and the ends of the stream."""

import enum
from typing import ClassVar, Literal

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


class Modes(msgspec.Struct, frozen=True, cache_hash=True):
    """The filter's body modes, as the first message of recent Envoys tells them (`protocol_config`)."""

    request_body: BodyMode
    response_body: BodyMode
    sends_body_early: bool = False
    """In STREAMED, pieces of the body come before the headers are answered (`send_body_without_waiting_for_header_
    response`)."""


class RequestHeaders(msgspec.Struct, frozen=True):
    """The head of the HTTP request; `end_of_stream` where neither body nor trailers follow."""

    kind: ClassVar[str] = "request_headers"

    head: RequestHead
    end_of_stream: bool
    modes: Modes | None = None
    is_observability: bool = False
    """Envoy tells us and goes on: it waits for no answer and takes none (`observability_mode`)."""


class RequestBody(msgspec.Struct, frozen=True):
    """A piece of the request body, of any size."""

    kind: ClassVar[str] = "request_body"

    chunk: bytes
    end_of_stream: bool


class RequestTrailers(msgspec.Struct, frozen=True):
    """The request's trailers: the body is whole, also where no piece said so."""

    kind: ClassVar[str] = "request_trailers"


class ResponseHeaders(msgspec.Struct, frozen=True):
    """The head of the response; `end_of_stream` where neither body nor trailers follow."""

    kind: ClassVar[Literal["response_headers"]] = "response_headers"

    status: int
    """The HTTP status, 0 where none can be read."""
    content_type: str
    served_by: str | None
    """`ip:port` of the endpoint that really answers, after a retry too, where the data plane tells it."""
    end_of_stream: bool


class ResponseBody(msgspec.Struct, frozen=True):
    """A piece of the response body, of any size."""

    kind: ClassVar[Literal["response_body"]] = "response_body"

    chunk: bytes
    end_of_stream: bool


class ResponseTrailers(msgspec.Struct, frozen=True):
    """The response's trailers."""

    kind: ClassVar[Literal["response_trailers"]] = "response_trailers"


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


Event = (
    RequestHeaders
    | RequestBody
    | RequestTrailers
    | ResponseHeaders
    | ResponseBody
    | ResponseTrailers
    | Unknown
    | EndOfInput
    | DeadlineExpired
)
