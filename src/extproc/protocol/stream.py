"""One ext_proc stream as a state machine without I/O: events in, commands out.

What the modes and the settings make of a stream is its `Plan` (`protocol.plan`); this is how it is carried out.

| state                   | event                                     | next       | command                         |
|-------------------------|-------------------------------------------|------------|---------------------------------|
| HEADERS                 | request headers, observability mode       | WATCHING   | send: nothing                   |
| HEADERS                 | request headers, body ABSENT or UNSEEN    | DECIDING   | decide                          |
| HEADERS                 | request headers, body STREAMED            | BODY       | –                               |
| HEADERS                 | request headers, body BUFFERED or PARTIAL | BODY       | send: await body                |
| HEADERS                 | request headers, body UNSUPPORTED         | DONE       | finish: 500 unsupported_mode    |
| HEADERS                 | another message of request or response    | DONE       | finish: 500 unsupported_mode    |
| BODY                    | STREAMED: body, not the last piece        | BODY       | –                               |
| BODY                    | STREAMED: end, trailers, announced length | DECIDING   | decide                          |
| BODY                    | BUFFERED, PARTIAL: body, its end or not   | DECIDING   | decide                          |
| BODY                    | body that passes a limit                  | REFUSING   | – (if the last: finish)         |
| REFUSING                | end of stream, or trailers                | DONE       | finish: 413 or 429              |
| BODY, REFUSING          | response headers (Envoy's own answer)     | RESPONDING | send: pass                      |
| DECIDING                | request body (Envoy can repeat the last)  | DECIDING   | –                               |
| DECIDING                | decided: reject or reply                  | DONE       | finish: immediate response      |
| DECIDING                | decided: route, and nobody stays          | DONE       | finish: the answers below       |
| DECIDING                | decided: route, and the stream stays      | RESPONDING | send: the answers below         |
| RESPONDING              | request body, trailers                    | RESPONDING | – (a pass, where one is owed)   |
| RESPONDING              | response headers, trailers                | RESPONDING | send: pass                      |
| RESPONDING              | response body                             | RESPONDING | send: pass (full duplex: chunk) |
| RESPONDING              | end of input                              | DONE       | finish: nothing                 |
| WATCHING                | end of input                              | DONE       | finish: nothing                 |
| WATCHING                | anything else                             | WATCHING   | –                               |
| HEADERS, BODY, DECIDING | deadline                                  | DONE       | finish: 503 decision_timeout    |
| REFUSING                | deadline                                  | DONE       | finish: 413 or 429              |
| RESPONDING              | deadline                                  | RESPONDING | –                               |
| HEADERS to DECIDING     | end of input                              | DONE       | abort                           |
| all but DONE            | a message out of its order                | DONE       | abort                           |
| any                     | unknown message                           | –          | –                               |

The answers to a route, by how the body came:

| body              | answers |
|-------------------|---------|
| ABSENT, UNSEEN    | continue |
| BUFFERED, PARTIAL | route body |
| STREAMED, whole   | replace: one CONTINUE_AND_REPLACE with the whole body |
| STREAMED, full duplex | continue, the body in chunks, trailers passed |
| STREAMED, else    | continue, a pass for each piece, trailers passed |

A route can edit the body (another name for the model). What is sent on then is the edited one; in "STREAMED, else" all
of it in the place of the first piece, and nothing in the place of the others. A body that is not whole here, or not
seen, cannot be edited: no such route is given.

A stream that leaves with its answer sees no piece of the response, and a picker that dies takes none with it. In full
duplex only one message, in one batch with the stream's status, leaves without cutting responses.
Source: docs/decisions/002; envoyproxy/envoy#46237 for the repeated piece; docs/envoy.md, "Modes".
"""

import enum
from typing import Protocol

import msgspec

from extproc.protocol.commands import (
    Abort,
    Answer,
    AwaitBody,
    Chunk,
    Command,
    Continue,
    Decide,
    Finish,
    Immediate,
    ModeOverride,
    Pass,
    RenewPiece,
    Replace,
    RouteBody,
    Send,
)
from extproc.protocol.events import (
    BodyMode,
    DeadlineExpired,
    EndOfInput,
    Event,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Unknown,
)
from extproc.protocol.plan import Body, Plan, Policy, plan_for
from extproc.values.decision import Edit, Reply, Route
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, RequestHead

CHUNK_BYTES = 62_000
"""Longest piece that is streamed back. Source: a convention of the field; Envoy takes 900 KB."""

SMALL_BYTES = 4_096
"""Pieces below it are put together as they come: kept apart, a byte would cost its object's sixty."""


AWAIT_BODY = Send((AwaitBody(),))
PASSES = {kind: Send((Pass(kind),)) for kind in ("response_headers", "response_body", "response_trailers")}


class Budget(Protocol):
    """The bound on what all streams hold together."""

    def take(self, size_bytes: int) -> bool:
        """Takes the bytes and returns True, or takes nothing and returns False."""

    def give_back(self, size_bytes: int) -> None:
        """Returns bytes taken before."""


class State(enum.Enum):
    """Where a stream is."""

    HEADERS = enum.auto()
    BODY = enum.auto()
    REFUSING = enum.auto()
    """A limit was passed. The rest of the body is read and dropped: HTTP/2 clients lose an answer that comes while they
    send (measured, docs/envoy.md). The deadline bounds it."""
    DECIDING = enum.auto()
    RESPONDING = enum.auto()
    WATCHING = enum.auto()
    """Envoy only shows what goes by: nothing is answered, and no error may be raised."""
    DONE = enum.auto()


ANSWERED = (State.RESPONDING, State.WATCHING, State.DONE)
"""No decision is owed any more."""

_HEADERS, _BODY, _REFUSING, _DECIDING, _RESPONDING, _WATCHING, _DONE = State
_STREAMED, _BUFFERED, _PARTIAL = Body.STREAMED, Body.BUFFERED, Body.PARTIAL
_FULL_DUPLEX = BodyMode.FULL_DUPLEX_STREAMED
_WHOLE = BodyExtent.WHOLE
"""Members of enums, looked up once: Python 3.11 takes 1,000 instructions for each, and a stream asked for thirty."""


class Stream(msgspec.Struct, kw_only=True, eq=False):
    """The state of one stream. It holds the body until the answer carries it; its bytes count until that is out."""

    policy: Policy
    budget: Budget
    is_direct: bool
    state: State = _HEADERS
    plan: Plan | None = None
    """How this stream is carried out, from its headers on."""
    head: RequestHead | None = None
    """Of the request, once it was shown."""
    _pieces: list[bytes | bytearray] = []
    _pieces_seen: int = 0
    _is_ended: bool = False
    """The last piece of the body said that it is the last."""
    _has_trailers: bool = False
    _is_replaced: bool = False
    _body: bytes = b""
    _held_bytes: int = 0
    _refusal: Reject | None = None

    def __repr__(self) -> str:
        return f"<Stream {self.state.name} holding {self._held_bytes} B>"

    def receive(self, event: Event) -> Command | None:
        """Takes the next event and returns what to do, None when there is nothing to do but go on reading."""
        if type(event) is Unknown:
            return None
        state = self.state
        if state is _BODY:
            return self._receive_body(event)
        if state is _HEADERS:
            return self._receive_headers(event)
        if state is _RESPONDING:
            return self._receive_response(event)
        if state is _DECIDING:
            return self._receive_late(event)
        if state is _REFUSING:
            return self._receive_rest(event)
        if state is _WATCHING and type(event) is EndOfInput:
            return self._finish()
        return None

    def decided(self, outcome: Route | Reject | Reply) -> Send | Finish:
        """Takes the decision on the request and returns its answer; the stream goes on only after a `Send`.

        Errors: RuntimeError when no decision was asked for, or the stream is done.
        """
        if self.state is not _DECIDING or self.plan is None:
            raise RuntimeError(f"a decision in state {self.state.name}")
        if not isinstance(outcome, Route):
            return self._finish(Immediate(outcome))
        plan = self.plan
        # In STREAMED a body that is replaced and has trailers reaches the upstream twice (measured).
        self._is_replaced = plan.is_whole and (self._is_ended or plan.request_body is _FULL_DUPLEX)
        if outcome.edit is not None:
            self._body = _edited(self._body, outcome.edit)
        answers = self._answers(outcome.destination, plan, is_edited=outcome.edit is not None)
        self._body = b""  # the answers carry it now
        if plan.stays or (plan.is_whole and not self._is_replaced and not plan.may_end_early):
            self.state = _RESPONDING
            return Send(answers)
        self.state = _DONE
        return Finish(answers)

    def drop_body(self) -> None:
        """Drops the body, and returns its bytes to the budget: what carries it is out. Can be repeated."""
        self._pieces.clear()
        self._body = b""
        if self._held_bytes:
            self.budget.give_back(self._held_bytes)
            self._held_bytes = 0

    def close(self) -> None:
        """Ends the stream and lets go of all that it holds. Can be repeated."""
        self.state = _DONE
        self.drop_body()

    def _receive_headers(self, event: Event) -> Command | None:
        if type(event) is RequestHeaders:
            return self._take_headers(event)
        match event:
            case RequestBody() | RequestTrailers() | ResponseHeaders() | ResponseBody() | ResponseTrailers():
                return self._finish(Immediate(Reject(Reason.HEADERS_UNSEEN)))
            case _:
                return self._receive_end(event)

    def _take_headers(self, event: RequestHeaders) -> Command | None:
        if event.is_observability:
            self.state = _WATCHING
            return Send(())
        self.head = event.head
        plan = self.plan = plan_for(event, policy=self.policy, is_direct=self.is_direct)
        if plan.body is _STREAMED:
            self.state = _BODY
            return None
        if plan.body is _BUFFERED or plan.body is _PARTIAL:
            self.state = _BODY
            return Send((AwaitBody(ModeOverride(plan.response_body, plan.stays)),)) if plan.overrides else AWAIT_BODY
        if plan.body is Body.UNSUPPORTED:
            mode = plan.request_body
            is_streamed = mode is BodyMode.STREAMED
            reason = Reason.STREAMED_UNSUPPORTED if is_streamed else Reason.MODE_UNSUPPORTED
            return self._finish(Immediate(Reject(reason, {"mode": mode.name})))
        return self._decide(BodyExtent.UNSEEN if plan.body is Body.UNSEEN else _WHOLE)

    def _receive_body(self, event: Event) -> Command | None:
        if type(event) is RequestBody:
            return self._take_body(event.chunk, event.end_of_stream)
        match event:
            case RequestTrailers():
                return self._take_trailers()
            case ResponseHeaders():
                return self._give_way()
            case _:
                return self._receive_end(event)

    def _receive_late(self, event: Event) -> Command | None:
        if not isinstance(event, RequestBody):
            return self._receive_end(event)
        self._pieces_seen += 1
        return None

    def _give_way(self) -> Send:
        """Envoy answers the client itself, with a 413 of its own or a 408: that is not ours to decide any more."""
        self.drop_body()
        self.state = _RESPONDING
        return Send((Pass("response_headers"),))

    def _take_body(self, chunk: bytes, is_last: bool) -> Command | None:
        plan = self.plan
        assert plan is not None  # noqa: S101 - state BODY is reached through _take_headers only
        self._pieces_seen += 1
        if chunk and (refusal := self._hold(chunk)) is not None:
            return self._refuse(refusal, is_last=is_last or plan.body is not _STREAMED)
        if plan.body is _STREAMED:
            self._is_ended = is_last
            return self._decide() if is_last or self._is_announced_whole(plan) else None
        if is_last:
            return self._decide()
        if plan.overrides:
            # Either trailers follow, or the override was ignored and more of the body does: only its length can tell.
            if self._announced_bytes() not in (None, self._held_bytes):
                return self._finish(Immediate(Reject(Reason.STREAMED_UNSUPPORTED)))
            return self._decide(BodyExtent.PARTIAL)
        # With request trailers Envoy sends the one message without an end of stream.
        return self._decide(BodyExtent.PARTIAL if plan.body is _PARTIAL else _WHOLE)

    def _is_announced_whole(self, plan: Plan) -> bool:
        """In STREAMED Envoy keeps trailers back until the headers are answered: only the length tells that all came."""
        is_full_duplex = plan.request_body is _FULL_DUPLEX
        return not is_full_duplex and self._announced_bytes() == self._held_bytes

    def _announced_bytes(self) -> int | None:
        """The length of the body by its headers, None where they do not tell."""
        length = self.head.headers.get("content-length", "") if self.head is not None else ""
        return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None

    def _hold(self, chunk: bytes) -> Reject | None:
        size = len(chunk)
        if self._held_bytes + size > self.policy.max_body_bytes:
            return Reject(Reason.BODY_TOO_LARGE, {"limit": str(self.policy.max_body_bytes)})
        if not self.budget.take(size):
            return Reject(Reason.TOO_MUCH_HELD)
        self._held_bytes += size
        pieces = self._pieces
        if size >= SMALL_BYTES or not pieces:
            pieces.append(chunk)
        elif isinstance(last := pieces[-1], bytearray):
            last += chunk
        else:
            pieces.append(bytearray(chunk))
        return None

    def _refuse(self, refusal: Reject, *, is_last: bool) -> Finish | None:
        self.drop_body()
        if is_last:
            return self._finish(Immediate(refusal))
        self.state = _REFUSING
        self._refusal = refusal
        return None

    def _receive_rest(self, event: Event) -> Command | None:
        assert self._refusal is not None  # noqa: S101 - state REFUSING is reached through _refuse only
        match event:
            case RequestBody(_, False):
                return None
            case RequestBody() | RequestTrailers() | DeadlineExpired():
                return self._finish(Immediate(self._refusal))
            case ResponseHeaders():
                return self._give_way()
            case _:
                return self._receive_end(event)

    def _take_trailers(self) -> Command:
        assert self.plan is not None  # noqa: S101 - as above
        self._has_trailers = True
        if self.plan.body is not Body.STREAMED:
            # There was no body to route by, and an answer to trailers cannot set a header of the request.
            return self._finish(Immediate(Reject(Reason.BODY_MISSING)))
        return self._decide()

    def _decide(self, extent: BodyExtent = _WHOLE) -> Decide:
        assert self.head is not None  # noqa: S101 - as above
        assert self.plan is not None  # noqa: S101 - as above
        self.state = _DECIDING
        pieces = self._pieces
        if pieces:
            first = pieces[0]
            self._body = first if len(pieces) == 1 and isinstance(first, bytes) else b"".join(pieces)
            pieces.clear()
        return Decide(self.head, self._body, extent, self.plan.timer)

    def _answers(self, destination: str, plan: Plan, *, is_edited: bool) -> tuple[Answer, ...]:
        if self._is_replaced:
            return (Replace(destination, self._body),)
        if plan.body is _STREAMED:
            rest = (Pass("request_trailers"),) if self._has_trailers else ()
            if plan.request_body is _FULL_DUPLEX:
                return (Continue(destination), *self._chunks(), *rest)
            pieces = self._renewed_pieces() if is_edited else [Pass("request_body")] * self._pieces_seen
            return (Continue(destination, drops_length=is_edited), *pieces, *rest)
        if plan.body is _BUFFERED or plan.body is _PARTIAL:
            clears_route = plan.body is _BUFFERED
            if not is_edited:
                return (RouteBody(destination, clears_route),)
            return (RouteBody(destination, clears_route, self._body, self._announced_bytes() is not None),)
        return (Continue(destination),)

    def _chunks(self) -> list[Chunk]:
        """The body in pieces, of which the last says so unless trailers follow."""
        view = memoryview(self._body)
        chunks = [Chunk("request_body", view[at : at + CHUNK_BYTES], False) for at in range(0, len(view), CHUNK_BYTES)]
        if not self._has_trailers:
            last = chunks.pop().piece if chunks else b""
            chunks.append(Chunk("request_body", last, True))
        return chunks

    def _renewed_pieces(self) -> list[RenewPiece]:
        """The body in the place of the first piece that was seen of it."""
        return [RenewPiece(self._body if at == 0 else b"") for at in range(self._pieces_seen)]

    def _receive_response(self, event: Event) -> Command | None:
        plan = self.plan
        assert plan is not None  # noqa: S101 - as above
        if type(event) is ResponseBody and plan.response_body is _FULL_DUPLEX:
            return Send((Chunk("response_body", event.chunk, event.end_of_stream),))
        if event.kind in PASSES:
            return PASSES[event.kind]
        if type(event) is EndOfInput:
            return self._finish()
        match event:
            case RequestBody():
                is_owed = plan.request_body is BodyMode.STREAMED and not self._is_replaced
                return Send((Pass("request_body"),)) if is_owed else None
            case RequestTrailers():
                is_over = self._is_replaced or plan.request_body is BodyMode.FULL_DUPLEX_STREAMED
                return None if is_over else Send((Pass("request_trailers"),))
            case DeadlineExpired():
                return None
            case _:
                return self._receive_end(event)

    def _receive_end(self, event: Event) -> Command:
        """What ends a stream in every state in which a decision is owed."""
        match event:
            case DeadlineExpired(timeout):
                return self._finish(Immediate(Reject(Reason.DECISION_TIMED_OUT, {"timeout": timeout})))
            case EndOfInput():
                return self._abort("the stream ended before its answer", is_callers_end=True)
            case _:
                return self._abort(f"{event.kind} is out of order in state {self.state.name}")

    def _finish(self, *answers: Answer) -> Finish:
        self.state = _DONE
        return Finish(answers)

    def _abort(self, details: str, *, is_callers_end: bool = False) -> Abort:
        self.state = _DONE
        return Abort(details, is_callers_end)


def _edited(body: bytes, edit: Edit) -> bytes:
    view = memoryview(body)
    return b"".join((view[: edit.start], edit.replacement, view[edit.end :]))
