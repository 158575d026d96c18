"""The ext_proc service on grpc.aio: a thin shell around `protocol.stream`, which decides nothing itself."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import grpc
import msgspec

from extproc.director.decide import Director
from extproc.parsers.request import parse_request
from extproc.protocol.codec import METHOD_NAME, SERVICE_NAME, decode, encode
from extproc.protocol.commands import Abort, Decide, Finish, Immediate
from extproc.protocol.events import DeadlineExpired, EndOfInput
from extproc.protocol.stream import Budget, Stream
from extproc.registry.store import Store
from extproc.servers.deadlines import Deadlines
from extproc.telemetry.logs import LONGEST_NAME, Log
from extproc.telemetry.metrics import Metrics
from extproc.values.decision import Hold, Reply, Route
from extproc.values.duration import format_duration
from extproc.values.refusal import Reject

END_OF_INPUT = EndOfInput()

Outcome = Route | Reject | Reply
"""A decision that is one: no `Hold`."""

_log = Log("servers.ext_proc")


class RouteLog(Protocol):
    """Where routes are counted that were really given."""

    def add(self, endpoint_id: str, *, now: float) -> None:
        """Counts one request routed now."""


class StreamLimits(msgspec.Struct, frozen=True):
    """What one stream may cost."""

    max_body_bytes: int
    decision_timeout_s: float
    """From the start of the stream to its answer."""


class ExtProcService:
    """`envoy.service.ext_proc.v3.ExternalProcessor`.

    The method is registered as stream-unary, though its descriptor says stream-stream, because grpc.aio then sends the
    one answer and the stream's status in one batch; the wire cannot tell. Source: docs/decisions/002.
    """

    def __init__(
        self,
        *,
        director: Director,
        store: Store,
        budget: Budget,
        routes: RouteLog,
        request_round: Callable[[], None],
        metrics: Metrics,
        limits: StreamLimits,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._director = director
        self._store = store
        self._budget = budget
        self._routes = routes
        self._request_round = request_round
        self._metrics = metrics
        self._limits = limits
        self._deadlines = Deadlines(limits.decision_timeout_s)
        self._clock = clock
        self._rng = rng
        self._waiters: set[asyncio.Future[None]] = set()
        self._idle: asyncio.Event | None = None
        self.open_streams = 0
        self.last_stream_at_s = float("-inf")
        """Monotonic seconds at which the last stream began."""
        metrics.streams.set_function(lambda: self.open_streams)
        store.subscribe(lambda _before, _after: self._wake())

    def __repr__(self) -> str:
        return f"<ExtProcService {self.open_streams} streams, {len(self._waiters)} waiting>"

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the method on `server`, bytes in and bytes out."""
        method = grpc.stream_unary_rpc_method_handler(self.process)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, {METHOD_NAME: method}),))

    async def wait_idle(self) -> None:
        """Returns when no stream is open."""
        self._idle = asyncio.Event()
        if self.open_streams:
            await self._idle.wait()

    async def process(self, _requests: object, context: Any) -> bytes:
        """Serves one stream: returns the one serialized answer, or aborts the call.

        Whatever happens, what the stream held is given back.
        """
        stream = Stream(max_body_bytes=self._limits.max_body_bytes, budget=self._budget)
        request = _Request()
        self.open_streams += 1
        self.last_stream_at_s = self._clock()
        task = self._deadlines.begin()
        try:
            command = await self._read_until_answer(stream, request, context)
            if isinstance(command, Finish):
                return self._encode(command, request)
            request.outcome = "cancelled" if command.is_callers_end else "aborted"
        except asyncio.CancelledError:
            if not self._deadlines.end(task) or task.uncancel() > 0:
                request.outcome = "cancelled"
                raise
            refusal = stream.receive(DeadlineExpired(format_duration(self._deadlines.limit_s)))
            assert isinstance(refusal, Finish)  # noqa: S101 - a stream that is not done answers its deadline
            return self._encode(refusal, request)
        except Exception:  # noqa: BLE001 - an exception's text would land in Envoy's log, with client data in it
            _log.exception("a stream failed")
            command = Abort("internal error")
        finally:
            self._deadlines.end(task)
            stream.close()
            self.open_streams -= 1
            if self._idle is not None and not self.open_streams:
                self._idle.set()
            self._metrics.count_request(request.model, request.outcome)
        await context.abort(grpc.StatusCode.INTERNAL, command.details)
        raise AssertionError("abort raises")

    def _encode(self, command: Finish, request: "_Request") -> bytes:
        answer = command.answer
        if isinstance(answer, Immediate):
            outcome = answer.outcome
            request.outcome = "replied" if isinstance(outcome, Reply) else outcome.refusal.code
            self._metrics.count_message("immediate_response", "out")
        else:
            request.outcome = "routed"
            self._metrics.count_message("request_headers", "out")
        return encode(answer)

    async def _read_until_answer(self, stream: Stream, request: "_Request", context: Any) -> Finish | Abort:
        while True:
            data = await context.read()
            event = END_OF_INPUT if data is grpc.aio.EOF else decode(data)
            self._metrics.count_message(event.kind, "in")
            command = stream.receive(event)
            if isinstance(command, Decide):
                return stream.decided(await self._decide(command, request))
            if command is not None:
                return command

    async def _decide(self, command: Decide, about: "_Request") -> Outcome:
        began_at_s = self._clock()
        request = parse_request(command.head, command.body, max_body_bytes=self._limits.max_body_bytes, now=began_at_s)
        if isinstance(request, Reject):
            outcome: Outcome = request
        else:
            about.model = request.model
            decision = self._director.decide(request, self._store.snapshot, now=began_at_s, rng=self._rng)
            while isinstance(decision, Hold):
                await self._wait_for_news(decision)
                decision = self._director.decide(request, self._store.snapshot, now=self._clock(), rng=self._rng)
            outcome = decision
        now = self._clock()
        if isinstance(outcome, Route):
            self._routes.add(outcome.endpoints[0].id, now=now)
        self._metrics.observe_decision(now - began_at_s)
        if _log.has_debug:
            self._log_decision(about, outcome, command, now - began_at_s)
        return outcome

    async def _wait_for_news(self, hold: Hold) -> None:
        """Returns at the next snapshot, at the latest when the hold is over."""
        if hold.probe:
            self._request_round()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(max(0.0, hold.until_s - self._clock())):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _log_decision(self, about: "_Request", outcome: Outcome, command: Decide, seconds: float) -> None:
        fields: dict[str, object] = {
            "request_id": command.head.headers.get("x-request-id", ""),
            "path": command.head.path.partition("?")[0],
            "model": (about.model or "")[:LONGEST_NAME],
            "snapshot": self._store.snapshot.version,
            "us": round(seconds * 1e6),
        }
        match outcome:
            case Route():
                fields["endpoint"] = outcome.endpoints[0].name
                fields["destination"] = outcome.destination
            case Reject(reason):
                fields["code"] = outcome.refusal.code
                fields["refused"] = reason.value
            case Reply(status):
                fields["status"] = status
        _log.debug("decided", **fields)


class _Request:
    """What is recorded of a request when its stream ends."""

    __slots__ = ("model", "outcome")

    def __init__(self) -> None:
        self.model: str | None = None
        self.outcome = "failed"
