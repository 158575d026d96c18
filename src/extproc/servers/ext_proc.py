"""The ext_proc service on grpc.aio: a thin shell around `protocol.stream`, which decides nothing itself."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

from extproc.admission.inflight import InFlight
from extproc.protocol.caller import Origin, find_origin
from extproc.protocol.codec import METHOD_NAME, SERVICE_NAME, decode, encode
from extproc.protocol.commands import Abort, Answer, Decide, Finish, Immediate, Send
from extproc.protocol.events import DeadlineExpired, EndOfInput
from extproc.protocol.plan import wants_to_stay
from extproc.protocol.stream import ANSWERED, Budget, State, Stream
from extproc.servers.decisions import Account, Decisions
from extproc.servers.response_record import ResponseRecord
from extproc.servers.terms import Terms
from extproc.telemetry.callers import Callers
from extproc.telemetry.changes import LONGEST_NAME
from extproc.telemetry.logs import Log
from extproc.telemetry.metrics import Metrics
from extproc.values.decision import Reply, Route
from extproc.values.duration import format_duration
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import REFUSALS, Reason
from extproc.values.request import RequestHead

EOF = grpc.aio.EOF
END_OF_INPUT = EndOfInput()
UNSEEN_RESPONSES = 20
"""So many requests without a response are no clients that went away early."""
METHOD_PATH = f"/{SERVICE_NAME}/{METHOD_NAME}"
UNSUPPORTED_MODE = REFUSALS[Reason.MODE_UNSUPPORTED].code
NO_HEAD = RequestHead("", "", {})
NOTHING = b""
"""No answer. As stream-unary it is sent all the same, as an empty ProcessingResponse: Envoy does not mind one that
comes after it has ended its side."""

_log = Log("servers.ext_proc")


class ExtProcService:
    """`envoy.service.ext_proc.v3.ExternalProcessor`.

    Streams that leave with their answer are served as stream-unary, though the descriptor says stream-stream, because
    grpc.aio then sends the last answer and the stream's status in one batch; the wire cannot tell. Those that stay are
    served as what they are: a stream that owes nothing more can then end without a message, of which Envoy would make
    an error. Source: docs/decisions/002, 010.
    """

    def __init__(
        self,
        *,
        decisions: Decisions,
        find_endpoint: Callable[[str], Endpoint | None],
        budget: Budget,
        in_flight: InFlight,
        metrics: Metrics,
        callers: Callers,
        terms: Terms,
        learn_tokens: Callable[[str, int, int], None],
        clock: Callable[[], float],
    ) -> None:
        """`find_endpoint` knows the endpoints by address. `learn_tokens` is told the tokens of prompts where streamed
        answers are read for them: model, bytes, tokens.
        """
        self._decisions = decisions
        self._find_endpoint = find_endpoint
        self._budget = budget
        self._in_flight = in_flight
        self._metrics = metrics
        self._received, self._sent = metrics.received, metrics.sent
        self._callers = callers
        self._learn_tokens = learn_tokens
        self._clock = clock
        self._resting: set[asyncio.Task[Any]] = set()
        """Tasks that wait for a response and may end at any time without harm."""
        self._dismissed: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._has_warned_of_hop = False
        self._unseen_responses = 0
        self._idle: asyncio.Event | None = None
        self.open_streams = 0
        self.last_stream_at_s = float("-inf")
        """Monotonic seconds at which the last stream began."""
        metrics.open_streams = lambda: self.open_streams
        self.configure(terms)

    def __repr__(self) -> str:
        return f"<ExtProcService {self.open_streams} streams>"

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the method on `server`, bytes in and bytes out."""
        server.add_generic_rpc_handlers((_ByCaller(lambda origin: self._handlers[origin]),))

    def configure(self, terms: Terms) -> None:
        """Serves the streams that begin from now on by `terms`."""
        self._handlers = {origin: self._build_handler(terms, origin) for origin in Origin}

    def _build_handler(self, terms: Terms, origin: Origin) -> Any:
        leave = partial(self._process, terms, origin.is_direct, origin is Origin.PROBE)

        async def stay(requests: object, context: Any) -> None:
            if last := await leave(requests, context):
                await context.write(last)

        if wants_to_stay(terms.policy, is_direct=origin.is_direct):
            return grpc.stream_stream_rpc_method_handler(stay)
        return grpc.stream_unary_rpc_method_handler(leave)

    async def wait_idle(self) -> None:
        """Returns when no stream is open."""
        self._idle = asyncio.Event()
        if self.open_streams:
            await self._idle.wait()

    def dismiss_resting(self) -> None:
        """Ends, with OK, the streams that only wait for a response, where that harms none; and from now on each that
        would come to wait so.
        """
        self._is_closing = True
        for task in self._resting:
            self._dismissed.add(task)
            task.cancel()

    async def _process(self, terms: Terms, is_direct: bool, is_probe: bool, _requests: object, context: Any) -> bytes:
        """Serves one stream: writes what is due, and returns the last serialized answer or aborts the call.

        Whatever happens, what the stream held is given back.
        """
        stream = Stream(policy=terms.policy, budget=self._budget, is_direct=is_direct)
        self.last_stream_at_s = self._clock()
        request = Account(self.last_stream_at_s, terms)
        request.metadata = context.invocation_metadata
        self.open_streams += 1
        # Not when this returns: the last answer, with all of a body in it, may still have to be sent.
        context.add_done_callback(partial(self._let_go, stream))
        task = terms.deadlines.begin()
        owes_answer = True
        try:
            command = await self._read_until_answer(stream, request, context)
            terms.deadlines.end(task)  # before anything is awaited: a limit that expires now finds nothing to cancel
            owes_answer = False
            if isinstance(command, Send):
                answers = deque(command.answers)
                del command  # it would hold the body for as long as its response takes
                command = await self._stay(answers, stream, request, context, task)
            if isinstance(command, Finish):
                return await self._finish(command, stream, request, context)
            request.outcome = "cancelled" if command.is_callers_end else "aborted"
        except asyncio.CancelledError:
            if not (owes_answer and terms.deadlines.end(task)) or task.uncancel() > 0:
                request.outcome = "cancelled"
                raise
            refusal = stream.receive(DeadlineExpired(format_duration(terms.deadlines.limit_s)))
            assert isinstance(refusal, Finish)  # noqa: S101 - a stream that owes an answer gives one at its deadline
            return await self._finish(refusal, stream, request, context)
        except Exception:  # noqa: BLE001 - an exception's text would land in Envoy's log, with client data in it
            _log.exception("a stream failed", request_id=_request_id(stream))
            command = Abort("internal error")
        finally:
            if owes_answer:
                terms.deadlines.end(task)
            if not request.is_counted:
                self._metrics.count_request(request.model, request.outcome or "failed")
                if _log.has_debug:
                    _log.debug("no answer", request_id=_request_id(stream), outcome=request.outcome or "failed")
            if not is_probe:
                self._callers.note(
                    stream.plan,
                    is_direct=is_direct,
                    began_at_s=request.began_at_s,
                    has_left_early=request.outcome == "cancelled" and not request.is_counted,
                    is_refused=request.outcome == UNSUPPORTED_MODE,
                )
        await context.abort(grpc.StatusCode.INTERNAL, command.details)
        raise AssertionError("abort raises")

    def _let_go(self, stream: Stream, _context: object) -> None:
        """The call is over, and all that was to be sent is sent or dropped."""
        stream.close()
        self.open_streams -= 1
        if self._idle is not None and not self.open_streams:
            self._idle.set()

    async def _read_until_answer(self, stream: Stream, request: Account, context: Any) -> Send | Finish | Abort:
        """Reads to the answer after which no decision is owed. What is due before it, is sent."""
        headers_read = request.terms.headers_read
        while True:
            data = await context.read()
            event = END_OF_INPUT if data is EOF else decode(data, headers_read)
            del data  # all of a body perhaps, of which the event has a copy: not for as long as a decision takes
            self._received[event.kind] += 1
            command = stream.receive(event)
            if command is None:
                continue
            if isinstance(command, Decide):
                return stream.decided(await self._decisions.decide(command, request))
            if isinstance(command, Send) and stream.state not in ANSWERED:
                for answer in command.answers:
                    await self._send(answer, context)
            else:
                return command

    async def _stay(
        self, answers: deque[Answer], stream: Stream, request: Account, context: Any, task: asyncio.Task[Any]
    ) -> Finish | Abort:
        """Sends the answers and goes on reading to the end of the response.

        `answers` is emptied as they are sent: a body must not be held for as long as its response takes.
        """
        record = None
        if request.route is not None:
            self._count_answer("routed", request)
            record = self._begin_record(request.route, request, stream)
        else:
            self._count_answer("watched" if stream.state is State.WATCHING else "answered_by_gateway", request)
        try:
            while answers:
                await self._send(answers.popleft(), context)
            stream.drop_body()
            return await self._follow(stream, record, context, task)
        finally:
            if record is not None:
                record.end()
                self._note_response(record, request.terms)

    def _begin_record(self, route: Route, request: Account, stream: Stream) -> ResponseRecord:
        if request.terms.policy.response_phase == "auto" and not stream.is_direct:
            self._warn_of_hop()
        return ResponseRecord(
            route,
            request.model,
            in_flight=self._in_flight,
            find_endpoint=self._find_endpoint,
            metrics=self._metrics,
            clock=self._clock,
            learn_tokens=self._learn_tokens,
            reads_usage=request.terms.reads_usage,
        )

    def _note_response(self, record: ResponseRecord, terms: Terms) -> None:
        """Says once that a filter shows no responses to a picker that was told to follow them."""
        if record.has_headers or self._in_flight.is_exact or terms.policy.response_phase in ("auto", "detach"):
            return
        self._unseen_responses += 1
        if self._unseen_responses == UNSEEN_RESPONSES:
            _log.warning(
                "no response was shown yet: set response_header_mode and response_trailer_mode to SEND in the filter, "
                "or there are no requests in flight to be counted. Said once.",
                setting="envoy.responsePhase",
                streams=self._unseen_responses,
            )

    async def _follow(
        self, stream: Stream, record: ResponseRecord | None, context: Any, task: asyncio.Task[Any]
    ) -> Finish | Abort:
        may_rest = stream.plan is None or stream.plan.may_end_early
        end = None
        while end is None:
            if may_rest and self._is_closing:
                return Finish()
            if may_rest:
                self._resting.add(task)
            try:
                data = await context.read()
            except asyncio.CancelledError:
                if task not in self._dismissed or task.uncancel() > 0:
                    raise
                return Finish()
            finally:
                self._resting.discard(task)
                self._dismissed.discard(task)
            end = await self._pass_on(data, stream, record, context)
            del data  # nothing of a response is kept while the next piece is waited for
        return end

    async def _pass_on(
        self, data: Any, stream: Stream, record: ResponseRecord | None, context: Any
    ) -> Finish | Abort | None:
        """Answers the next message of a response. What it tells is recorded after that: a piece is not delayed."""
        event = END_OF_INPUT if data is EOF else decode(data)
        self._received[event.kind] += 1
        command = stream.receive(event)
        if isinstance(command, Send):
            for answer in command.answers:
                await self._send(answer, context)
            if record is not None:
                record.take(event)
            return None
        assert not isinstance(command, Decide)  # noqa: S101 - decided long ago
        return command

    async def _send(self, answer: Answer, context: Any) -> None:
        self._sent[answer.kind] += 1
        await context.write(encode(answer))

    async def _finish(self, command: Finish, stream: Stream, request: Account, context: Any) -> bytes:
        """Returns the last answer, which gRPC sends in one batch with the status. The others are written before it."""
        if not command.answers:
            return NOTHING
        last = command.answers[-1]
        if type(last) is Immediate:  # `isinstance` takes three times as long to say no, as it mostly has to here
            outcome = last.outcome
            self._count_answer("replied" if isinstance(outcome, Reply) else outcome.refusal.code, request)
            if not request.is_told:  # refused for what its stream is: nothing was decided
                head, began_at_s = stream.head or NO_HEAD, request.began_at_s
                self._decisions.tell(head, request, outcome, began_at_s=began_at_s, now=self._clock())
        else:
            self._count_answer("routed", request)
            self._in_flight.miss()
        for answer in command.answers[:-1]:
            await self._send(answer, context)
        self._sent[last.kind] += 1
        return encode(last)

    def _count_answer(self, outcome: str, request: Account) -> None:
        """Counts the request when its answer is given, which can be long before its stream ends."""
        request.outcome = outcome
        request.is_counted = True
        self._metrics.count_request(request.model, outcome)

    def _warn_of_hop(self) -> None:
        if not self._has_warned_of_hop:
            self._has_warned_of_hop = True
            _log.warning(
                "HTTP hop between Envoy and picker, or not Envoy: its streams stay open and every piece of every "
                "response passes here, as leaving could cut responses. Said once.",
                setting="envoy.responsePhase",
            )


def _request_id(stream: Stream) -> str:
    return (stream.head or NO_HEAD).headers.get("x-request-id", "")[:LONGEST_NAME]


class _ByCaller(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """One method, handled by who calls it."""

    def __init__(self, handler_of: Callable[[Origin], Any]) -> None:
        """`handler_of` gives the handler by who calls."""
        self._handler_of = handler_of

    def service(self, handler_call_details: Any) -> Any:
        """The handler for a call, None where it is for another method."""
        if handler_call_details.method != METHOD_PATH:
            return None
        return self._handler_of(find_origin(handler_call_details.invocation_metadata))
