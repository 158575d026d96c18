"""What an ext_proc stream wants done next, and the answers that it can give."""

from typing import ClassVar, Literal, final

import msgspec

from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Timer
from extproc.values.decision import Reply
from extproc.values.refusal import Reject
from extproc.values.request import BodyExtent, RequestHead

REASON_HEADER = "x-extproc-reason"


@final
class Continue(msgspec.Struct, frozen=True):
    """To the request's headers: send the request to `destination`, its body as it is or as it will come."""

    kind: ClassVar[str] = "request_headers"

    destination: str
    drops_length: bool = False
    """The body that will go on has another length than the headers say."""


@final
class Replace(msgspec.Struct, frozen=True):
    """To the request's headers: send the request to `destination` with this body (CONTINUE_AND_REPLACE)."""

    kind: ClassVar[str] = "request_headers"

    destination: str
    body: bytes


class ModeOverride(msgspec.Struct, frozen=True):
    """Modes for the rest of this request, in place of the filter's: the request body BUFFERED, and this response."""

    response_body: BodyMode
    sends_response: bool
    """The response's headers and trailers come here."""


@final
class AwaitBody(msgspec.Struct, frozen=True):
    """To the request's headers: go on and send the body, it decides. A destination that the client sent is removed."""

    kind: ClassVar[str] = "request_headers"

    override: ModeOverride | None = None


@final
class RouteBody(msgspec.Struct, frozen=True):
    """To the request's body, sent here whole or as far as it is buffered: send the request to `destination`."""

    kind: ClassVar[str] = "request_body"

    destination: str
    clears_route: bool
    """Envoy is to choose the route anew. In BUFFERED_PARTIAL it cannot."""
    body: bytes | None = None
    """What goes on in place of the body that came; None where that does."""
    says_length: bool = False
    """The headers that came say a length, which must then be that of `body`."""


@final
class RenewPiece(msgspec.Struct, frozen=True):
    """To a piece of the request's body, in STREAMED: send this in its place."""

    kind: ClassVar[str] = "request_body"

    piece: bytes


PassKind = Literal["request_body", "request_trailers", "response_headers", "response_body", "response_trailers"]


@final
class Pass(msgspec.Struct, frozen=True):
    """To a message of this kind: go on, with nothing changed."""

    kind: PassKind


@final
class Chunk(msgspec.Struct, frozen=True):
    """In full duplex: a piece of the body to send on. What is not sent back is lost."""

    kind: Literal["request_body", "response_body"]
    piece: bytes | memoryview
    end_of_stream: bool


@final
class Immediate(msgspec.Struct, frozen=True):
    """Answer the client in place of an endpoint."""

    kind: ClassVar[str] = "immediate_response"

    outcome: Reject | Reply

    @property
    def status(self) -> int:
        """Of HTTP."""
        outcome = self.outcome
        return outcome.refusal.status if isinstance(outcome, Reject) else outcome.status

    @property
    def headers(self) -> dict[str, str]:
        """What the client gets beside the body."""
        headers = {"content-type": "application/json"}
        if isinstance(self.outcome, Reject):
            refusal = self.outcome.refusal
            headers[REASON_HEADER] = refusal.code
            if refusal.retry_after_s is not None:
                headers["retry-after"] = str(refusal.retry_after_s)
        return headers

    @property
    def body(self) -> bytes:
        """JSON."""
        outcome = self.outcome
        return outcome.body() if isinstance(outcome, Reject) else outcome.body


Answer = Continue | Replace | AwaitBody | RouteBody | RenewPiece | Pass | Chunk | Immediate


class Decide(msgspec.Struct, frozen=True):
    """Everything of the request that will be shown is here: decide on it, then tell the stream (`Stream.decided`)."""

    head: RequestHead
    body: bytes
    extent: BodyExtent = BodyExtent.WHOLE
    timer: Timer = Timer.NONE


class Send(msgspec.Struct, frozen=True):
    """Send the answers, in this order, and go on reading."""

    answers: tuple[Answer, ...]


class Finish(msgspec.Struct, frozen=True):
    """Send the answers and end the stream with OK, the last answer and the end in one batch.

    Without an answer nothing is owed: the end alone.
    """

    answers: tuple[Answer, ...] = ()


class Abort(msgspec.Struct, frozen=True):
    """End the stream with an error. OK without an answer would send an empty body upstream."""

    details: str
    """For Envoy's log. Never text of the client's."""
    is_callers_end: bool = False
    """The caller ended its side first, or cancelled the call, which can look the same: nobody waits for an answer."""


Command = Decide | Send | Finish | Abort
