"""One ext_proc stream as a state machine without I/O: events in, commands out.

Full duplex, the caller being Envoy itself:

| state    | event                                | next     | command |
|----------|--------------------------------------|----------|---------|
| HEADERS  | request headers, end of stream       | DECIDING | decide |
| HEADERS  | request headers, full duplex or mode not told | BODY | – |
| HEADERS  | request headers, another body mode   | DONE     | finish: 500 unsupported_mode |
| BODY     | body, not the last piece             | BODY     | – (413 or 429 and DONE where a limit is passed) |
| BODY     | body with end of stream, or trailers | DECIDING | decide |
| DECIDING | decided: route, request with body    | DONE     | finish: one CONTINUE_AND_REPLACE with the whole body |
| DECIDING | decided: route, request without body | DONE     | finish: headers response |
| DECIDING | decided: reject or reply             | DONE     | finish: immediate response |
| DECIDING | request body (Envoy can repeat the last piece) | DECIDING | – |
| not DONE | deadline                             | DONE     | finish: 503 decision_timeout |
| not DONE | end of input                         | DONE     | abort |
| not DONE | a message out of its order           | DONE     | abort |
| any      | unknown message                      | –        | – |

The stream leaves with its first answer, so that no piece of the response ever comes here and a picker that dies takes
no response with it. Only the one message in one batch with the stream's status can do that without cutting responses.
Source: docs/decisions/002; envoyproxy/envoy#46237 for the repeated piece.
"""

import enum
from typing import Protocol

from extproc.protocol.commands import Abort, Command, Continue, Decide, Finish, Immediate, Replace
from extproc.protocol.events import (
    BodyMode,
    DeadlineExpired,
    EndOfInput,
    Event,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    Unknown,
)
from extproc.values.decision import Reply, Route
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead


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
    DECIDING = enum.auto()
    DONE = enum.auto()


class Stream:
    """The state of one stream. It holds the body until it is decided; `close` returns what it took of the budget."""

    def __init__(self, *, max_body_bytes: int, budget: Budget) -> None:
        self.state = State.HEADERS
        self._max_body_bytes = max_body_bytes
        self._budget = budget
        self._head: RequestHead | None = None
        self._chunks: list[bytes] = []
        self._body: bytes | None = None
        self._held_bytes = 0

    def __repr__(self) -> str:
        return f"<Stream {self.state.name} holding {self._held_bytes} B>"

    def receive(self, event: Event) -> Command | None:
        """Takes the next event and returns what to do, None when there is nothing to do but go on reading."""
        if self.state is State.DONE or isinstance(event, Unknown):
            return None
        match event:
            case RequestBody() if self.state is State.BODY:
                return self._take_body(event)
            case RequestHeaders() if self.state is State.HEADERS:
                return self._take_headers(event)
            case RequestTrailers() if self.state is State.BODY:
                return self._decide()
            case RequestBody() if self.state is State.DECIDING:
                return None
            case DeadlineExpired(timeout):
                return self._finish(Reject(Reason.DECISION_TIMED_OUT, {"timeout": timeout}))
            case EndOfInput():
                return self._abort("the stream ended before its answer", is_callers_end=True)
            case _:
                return self._abort(f"{event.kind} is out of order in state {self.state.name}")

    def decided(self, outcome: Route | Reject | Reply) -> Finish:
        """Takes the decision on the request and returns the answer that ends the stream.

        Errors: RuntimeError when no decision was asked for, or the stream is done.
        """
        if self.state is not State.DECIDING:
            raise RuntimeError(f"a decision in state {self.state.name}")
        if not isinstance(outcome, Route):
            return self._finish(outcome)
        self.state = State.DONE
        if self._body is None:
            return Finish(Continue(outcome.destination))
        return Finish(Replace(outcome.destination, self._body))

    def close(self) -> None:
        """Drops the body and returns its bytes to the budget. Harmless when repeated."""
        self.state = State.DONE
        self._chunks.clear()
        self._body = None
        if self._held_bytes:
            self._budget.give_back(self._held_bytes)
            self._held_bytes = 0

    def _take_headers(self, event: RequestHeaders) -> Command | None:
        self._head = event.head
        if event.end_of_stream:
            self.state = State.DECIDING
            return Decide(event.head, b"")
        if event.modes is not None and event.modes.request_body is not BodyMode.FULL_DUPLEX_STREAMED:
            return self._finish(Reject(Reason.MODE_UNSUPPORTED, {"mode": event.modes.request_body.name}))
        self.state = State.BODY
        return None

    def _take_body(self, event: RequestBody) -> Command | None:
        size = len(event.chunk)
        if self._held_bytes + size > self._max_body_bytes:
            return self._finish(Reject(Reason.BODY_TOO_LARGE, {"limit": str(self._max_body_bytes)}))
        if not self._budget.take(size):
            return self._finish(Reject(Reason.TOO_MUCH_HELD))
        self._held_bytes += size
        self._chunks.append(event.chunk)
        return self._decide() if event.end_of_stream else None

    def _decide(self) -> Decide:
        assert self._head is not None  # noqa: S101 - state BODY is reached through _take_headers only
        self.state = State.DECIDING
        self._body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return Decide(self._head, self._body)

    def _finish(self, outcome: Reject | Reply) -> Finish:
        self.state = State.DONE
        return Finish(Immediate(outcome))

    def _abort(self, details: str, *, is_callers_end: bool = False) -> Abort:
        self.state = State.DONE
        return Abort(details, is_callers_end)
