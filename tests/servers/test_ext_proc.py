"""The ext_proc service through a real channel, spoken to by a codec that shares nothing with ours."""

import asyncio
import gc
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue, Metadata
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as Mode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    CommonResponseResponseStatus,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy_data_plane.google.protobuf import ListValue, Struct, Value

from extproc.admission.held import HeldBytes
from extproc.cli.probe import DIRECT_ENVOY, METHOD, ask, build_requests, read_verdict
from extproc.director.decider import Decider
from extproc.protocol.plan import Policy
from extproc.registry.changes import ModelsListed, NamesListed, PoolListed, RoundCompleted
from extproc.registry.store import Store
from extproc.servers.decisions import Decisions
from extproc.servers.ext_proc import ExtProcService
from extproc.servers.listen import build_grpc_server, open_port
from extproc.servers.terms import Terms
from extproc.settings.schema import Settings
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.callers import Callers
from extproc.telemetry.logs import configure_logs, log_decision
from extproc.telemetry.metrics import Metrics
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.names import Alias, Target
from extproc.values.pool import Pool

PHI = Endpoint("phi-0", "phi-0", "10.0.0.1:8000")
BODY = json.dumps({"model": "phi", "prompt": "x" * 100}).encode()
PATH = "/v1/completions"
SESSION_HEADER = "x-session-id"


class Site:
    """A service on a real port, with a store that the test feeds."""

    def __init__(
        self,
        *,
        hold_s: float = 5.0,
        timeout_s: float = 5.0,
        message_timeout_s: float = 10.0,
        max_body_bytes: int = 1 << 20,
        max_held_bytes: int = 1 << 22,
        reads_usage: bool = False,
        scorers: Sequence[str] = (),
        unknown_model: str = "reject",
        clock: Callable[[], float] = time.monotonic,
        **policy: Any,
    ) -> None:
        self.clock = clock
        self.callers = Callers(clock=clock)
        self.store = Store(Pool("test"))
        self.budget = HeldBytes(max_held_bytes)
        scheduling = {"scorers": [{"name": name} for name in scorers], "sessionHeader": SESSION_HEADER}
        settings: dict[str, Any] = {
            "requests": {"hold": f"{hold_s:g}s", "unknownModel": unknown_model},
            "scheduling": scheduling if scorers else {},
        }
        self.decider = Decider(Settings.model_validate(settings))
        self.rounds = 0
        self.in_flight = self.decider.in_flight
        self.metrics = Metrics(knowledge=self.store, in_flight=self.in_flight, clock=time.monotonic, version="test")
        self.terms = Terms(
            director=self.decider.director,
            policy=Policy(max_body_bytes=max_body_bytes, **policy),
            decision_timeout_s=timeout_s,
            message_timeout_s=message_timeout_s,
            session_header=SESSION_HEADER,
            reads_usage=reads_usage,
        )
        decisions = Decisions(
            store=self.store,
            routes=self.decider,
            request_round=self._count_round,
            metrics=self.metrics,
            clock=clock,
            rng=Random(1),
            observers=(log_decision,),
        )
        self.decisions = decisions
        self.service = ExtProcService(
            decisions=decisions,
            find_endpoint=self.store.endpoint_at,
            budget=self.budget,
            in_flight=self.in_flight,
            metrics=self.metrics,
            callers=self.callers,
            terms=self.terms,
            learn_tokens=self.decider.loads.tokens.learn,
            clock=clock,
        )
        self.port = 0
        self._channel: grpc.aio.Channel | None = None
        self._server: grpc.aio.Server | None = None

    def _count_round(self) -> None:
        self.rounds += 1

    def list_models(self, *models: str, endpoints: tuple[Endpoint, ...] = (PHI,)) -> None:
        now = self.clock()
        self.store.apply(PoolListed.of(endpoints), now=now)
        for endpoint in endpoints:
            self.store.apply(ModelsListed(endpoint.id, now, tuple(ModelCard(model) for model in models)), now=now)

    def call(self, metadata: tuple[tuple[str, str], ...] = DIRECT_ENVOY) -> Any:
        assert self._channel is not None
        return self._channel.stream_stream(METHOD)(metadata=metadata)

    async def send(self, *messages: bytes) -> Any:
        """A call on which `messages` were sent and that stays open on this side."""
        call = self.call()
        for message in messages:
            await call.write(message)
        return call

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def outcomes(self, outcome: str, model: str = "none") -> float:
        return self.count("extproc_requests_total", pool="default/test", model=model, outcome=outcome)

    async def idle(self) -> None:
        """Returns when no stream is open."""
        async with asyncio.timeout(20):
            while self.service.open_streams:
                await asyncio.sleep(0)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Site"]:
        self._server = build_grpc_server(max_receive_bytes=1 << 26)
        self.service.add_to(self._server)
        port = self.port = open_port(self._server, "127.0.0.1", 0, purpose="test", setting="grpc-port")
        await self._server.start()
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as self._channel:
                yield self
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Ends the server, and what is open on it, at once."""
        assert self._server is not None
        await self._server.stop(0)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site().serve() as site:
        site.list_models("phi")
        yield site


def post(body: bytes) -> list[bytes]:
    return build_requests("POST", PATH, {}, body)


async def answer(call: Any) -> ProcessingResponse:
    """The one answer, after which the stream ends with OK."""
    data = await call.read()
    assert data is not grpc.aio.EOF, await call.details()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    return ProcessingResponse.parse(data)


async def test_a_request_with_a_body_is_answered_in_one_message_that_carries_it(site: Site) -> None:
    response = await answer(await site.send(*post(BODY)))
    verdict = read_verdict(bytes(response))
    assert verdict.destination == verdict.metadata_destination == PHI.address
    assert response.request_headers is not None
    common = response.request_headers.response
    assert common is not None
    assert common.status is CommonResponseResponseStatus.CONTINUE_AND_REPLACE
    assert common.clear_route_cache
    assert common.body_mutation is not None
    assert common.body_mutation.body == BODY
    assert site.decider.loads.of(PHI.id).requests(time.monotonic()) > 0.5
    assert site.outcomes("routed", "phi") == 1
    assert site.count("extproc_stream_messages_total", kind="request_headers", direction="out") == 1


async def test_a_request_without_a_body_is_answered_by_plain_headers(site: Site) -> None:
    response = await answer(await site.send(*build_requests("GET", "/health", {}, b"")))
    assert response.request_headers is not None
    common = response.request_headers.response
    assert common is not None
    assert common.status is CommonResponseResponseStatus.CONTINUE
    assert common.body_mutation is None
    assert read_verdict(bytes(response)).is_routed


FAST = NamesListed((Alias("fast", (Target("phi"),)), Alias("slow", (Target("sql"),))))
FAST_BODY = BODY.replace(b'"phi"', b'"fast"')


@pytest.mark.parametrize(
    ("body", "request_headers"),
    [
        pytest.param(FAST_BODY, {}, id="an alias"),
        pytest.param(FAST_BODY.replace(b"fast", b"sql"), {"x-gateway-model-name-rewrite": "phi"}, id="a header"),
    ],
)
async def test_another_name_is_written_into_the_body(site: Site, body: bytes, request_headers: dict[str, str]) -> None:
    site.store.apply(FAST, now=time.monotonic())
    response = await answer(await site.send(*build_requests("POST", PATH, request_headers, body)))
    assert response.request_headers is not None
    assert response.request_headers.response is not None
    assert response.request_headers.response.body_mutation is not None
    assert response.request_headers.response.body_mutation.body == BODY
    assert site.outcomes("routed", "phi") == 1, "it is counted by the model that serves it"


@pytest.mark.parametrize(
    ("request_headers", "body", "status", "words"),
    [
        pytest.param({"content-encoding": "gzip"}, gzip.compress(FAST_BODY), 415, "content-encoding `gzip`", id="gzip"),
        pytest.param({}, b'{"model":"fast","model":"fast"}', 400, "`model` must stand there once", id="named twice"),
        pytest.param({"x-gateway-model-name-rewrite": "none"}, BODY, 404, "`none`", id="a header for nothing"),
    ],
)
async def test_a_name_that_cannot_be_written_is_refused_and_nothing_is_counted(
    request_headers: dict[str, str], body: bytes, status: int, words: str
) -> None:
    async with Site(hold_s=0.0).serve() as site:
        site.list_models("phi")
        site.store.apply(FAST, now=time.monotonic())
        verdict = read_verdict(
            bytes(await answer(await site.send(*build_requests("POST", PATH, request_headers, body))))
        )
        assert (verdict.status, words in verdict.body) == (status, True), verdict.body
        assert site.decider.loads.of(PHI.id).requests(time.monotonic()) == 0
        assert site.outcomes("routed", "phi") == 0


async def test_a_name_for_nothing_is_written_too_where_unknown_models_pass() -> None:
    async with Site(hold_s=0.0, unknown_model="passthrough").serve() as site:
        site.list_models("phi")
        site.store.apply(FAST, now=time.monotonic())
        response = await answer(await site.send(*post(BODY.replace(b'"phi"', b'"slow"'))))
        assert read_verdict(bytes(response)).destination == PHI.address
        assert response.request_headers is not None
        assert response.request_headers.response is not None
        assert response.request_headers.response.body_mutation is not None
        assert response.request_headers.response.body_mutation.body == BODY.replace(b'"phi"', b'"sql"')


async def test_a_refused_alias_is_counted_by_its_name() -> None:
    async with Site(hold_s=0.0).serve() as site:
        site.list_models("phi")
        site.store.apply(FAST, now=time.monotonic())
        for named in ("slow", "nobody's"):
            body = BODY.replace(b'"phi"', f'"{named}"'.encode())
            assert read_verdict(bytes(await answer(await site.send(*post(body))))).status == 404
        assert site.outcomes("model_not_found", "slow") == 1
        assert site.outcomes("model_not_found", "unknown") == 1


async def test_requests_of_a_session_stay_together() -> None:
    endpoints = tuple(Endpoint(f"e{number}", f"e{number}", f"10.0.0.{number + 1}:8000") for number in range(8))
    async with Site(scorers=["session"]).serve() as site:
        site.list_models("phi", endpoints=endpoints)
        reached: dict[str, set[str | None]] = {}
        for session in ("a", "b", "c", "d") * 4:
            messages = build_requests("POST", PATH, {SESSION_HEADER: session}, BODY)
            verdict = read_verdict(bytes(await answer(await site.send(*messages))))
            reached.setdefault(session, set()).add(verdict.destination)
        assert [len(each) for each in reached.values()] == [1, 1, 1, 1]
        assert len(set.union(*reached.values())) > 1


async def test_a_held_request_hears_of_new_names() -> None:
    async with Site().serve() as site:
        site.list_models("phi")
        call = await site.send(*post(FAST_BODY))
        await until(lambda: site.rounds > 0)
        site.store.apply(FAST, now=time.monotonic())
        assert read_verdict(bytes(await answer(call))).is_routed


async def test_trailers_end_a_body_that_came_in_pieces(site: Site) -> None:
    pieces = [
        bytes(ProcessingRequest(request_body=HttpBody(body=BODY[:50]))),
        bytes(ProcessingRequest(request_body=HttpBody(body=BODY[50:]))),
        bytes(ProcessingRequest(request_trailers=HttpTrailers())),
    ]
    response = await answer(await site.send(post(BODY)[0], *pieces))
    assert response.request_headers is not None
    assert response.request_headers.response is not None
    assert response.request_headers.response.body_mutation is not None
    assert response.request_headers.response.body_mutation.body == BODY


async def test_an_end_of_input_before_the_answer_is_an_error_never_ok(site: Site) -> None:
    for messages in ([], post(BODY)[:1]):
        call = await site.send(*messages)
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert await call.code() is grpc.StatusCode.INTERNAL
    assert site.outcomes("cancelled") == 2


async def test_the_answer_does_not_wait_for_the_end_of_input(site: Site) -> None:
    """And an input that has ended by the time of the answer does no harm."""
    call = await site.send(*post(BODY))
    await call.done_writing()
    assert read_verdict(bytes(await answer(call))).is_routed


async def test_an_unknown_message_is_passed_over(site: Site) -> None:
    first, second = post(BODY)
    assert read_verdict(bytes(await answer(await site.send(b"\xff\xff", first, b"", second)))).is_routed


async def test_a_mode_that_cannot_work_is_refused_by_name(site: Site) -> None:
    verdict = read_verdict(bytes(await answer(await site.send(headers(Mode.STREAMED)))))
    assert verdict.status == 500
    assert "send_body_without_waiting_for_header_response" in verdict.body
    assert "allow_mode_override" in verdict.body


def headers(request: Mode, response: Mode = Mode.NONE) -> bytes:
    """The first message of a POST, in other modes."""
    first = ProcessingRequest.parse(post(BODY)[0])
    assert first.protocol_config is not None
    first.protocol_config.request_body_mode = request
    first.protocol_config.response_body_mode = response
    return bytes(first)


RESPONSE_HEADERS = ProcessingRequest(
    response_headers=HttpHeaders(headers=HeaderMap(headers=[HeaderValue(key=":status", raw_value=b"200")]))
)


async def read(call: Any) -> ProcessingResponse:
    """The next answer on a stream that stays open."""
    data = await call.read()
    assert data is not grpc.aio.EOF, await call.details()
    return ProcessingResponse.parse(data)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def ended(call: Any) -> None:
    """The stream ends with OK; what it still says, routes and changes nothing."""
    async with asyncio.timeout(20):
        while (data := await call.read()) is not grpc.aio.EOF:
            assert data == b""
        assert await call.code() is grpc.StatusCode.OK


async def test_a_buffered_body_is_asked_for_and_its_answer_is_the_last(site: Site) -> None:
    call = await site.send(headers(Mode.BUFFERED))
    first = await read(call)
    assert first.request_headers is not None
    assert first.dynamic_metadata is None
    await call.write(bytes(ProcessingRequest(request_body=HttpBody(body=BODY))))
    response = await answer(call)
    assert response.request_body is not None
    assert response.request_body.response is not None
    assert response.request_body.response.header_mutation is not None
    [option] = response.request_body.response.header_mutation.set_headers
    assert option.header is not None
    assert option.header.raw_value == PHI.address.encode()
    assert site.outcomes("routed", "phi") == 1


async def test_a_tracked_request_is_in_flight_to_the_end_of_its_stream() -> None:
    async with Site(response_phase="track").serve() as site:
        site.list_models("phi")
        call = await site.send(*post(BODY))
        assert read_verdict(bytes(await read(call))).destination == PHI.address
        await until(lambda: site.in_flight.count(PHI.id) == 1)
        assert site.outcomes("routed", "phi") == 1, "counted when answered, not when its response ends"
        await until(lambda: site.budget.held_bytes == 0)
        await call.write(bytes(RESPONSE_HEADERS))
        assert (await read(call)).response_headers is not None
        assert site.in_flight.count(PHI.id) == 1
        await until(lambda: site.count("extproc_responses_total", pool="default/test", model="phi", status="200") == 1)
        await call.done_writing()
        await ended(call)
        await site.idle()
        assert site.in_flight.total == 0
        assert site.outcomes("routed", "phi") == 1


async def test_once_a_request_has_left_counts_in_flight_are_no_longer_exact() -> None:
    """A direct Envoy's stream leaves with its answer, while one through a proxy is followed to its end."""
    async with Site().serve() as site:
        site.list_models("phi")
        site.in_flight.see()
        assert site.in_flight.is_exact
        assert read_verdict(bytes(await answer(await site.send(*post(BODY))))).destination == PHI.address
        await site.idle()
        assert not site.in_flight.is_exact


async def test_a_body_is_held_until_its_answer_is_sent() -> None:
    """The caller takes its time to read: so long the stream is open, and its bytes count against `maxHeldBytes`."""
    body = json.dumps({"model": "phi", "prompt": "x" * 20_000_000}).encode()
    async with Site(max_body_bytes=1 << 25, max_held_bytes=1 << 25).serve() as site:
        site.list_models("phi")
        call = await site.send(*post(body))
        await until(lambda: site.outcomes("routed", "phi") == 1)
        other = await site.send(*post(body))
        assert read_verdict(bytes(await answer(other))).status == 429
        assert site.service.open_streams == 1
        assert site.budget.held_bytes == len(body)
        assert _body_of(await read(call)) == body
        await ended(call)
        await site.idle()
        assert site.budget.held_bytes == 0


async def test_what_the_gateway_answers_itself_is_let_pass() -> None:
    """With the response's headers shown, Envoy's own 413 or 408 comes here amid the upload."""
    async with Site(timeout_s=0.2).serve() as site:
        site.list_models("phi")
        part = bytes(ProcessingRequest(request_body=HttpBody(body=b"x" * 1000)))
        call = await site.send(headers(Mode.FULL_DUPLEX_STREAMED, Mode.FULL_DUPLEX_STREAMED), part)
        await call.write(bytes(RESPONSE_HEADERS))
        assert (await read(call)).response_headers is not None
        assert site.outcomes("answered_by_gateway") == 1
        assert site.budget.held_bytes == 0
        await ended_with_timeout(await site.send())
        await call.write(bytes(ProcessingRequest(response_body=HttpBody(body=b"too large", end_of_stream=True))))
        assert _streamed((await read(call)).response_body) == (b"too large", True)
        await call.done_writing()
        await ended(call)


async def test_a_compressed_body_does_not_hold_up_the_others() -> None:
    """It is read elsewhere: another request is answered while a bomb is being inflated."""
    bomb = gzip.compress(b" " * (60 << 20), compresslevel=1)
    async with Site(max_body_bytes=64 << 20, timeout_s=60.0).serve() as site:
        site.list_models("phi")
        encoded = build_requests("POST", PATH, {"content-encoding": "gzip"}, bomb)
        bombs = [await site.send(*encoded) for _ in range(4)]
        assert read_verdict(bytes(await answer(await site.send(*post(BODY))))).is_routed
        assert site.outcomes("invalid_request") < 4
        for call in bombs:
            assert read_verdict(bytes(await answer(call))).status == 400


@contextmanager
def traced() -> Iterator[None]:
    """What is allocated here is counted: as a reference anywhere would hold it, on either side of the channel."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def until_traced_below(limit_bytes: float) -> None:
    """Waits for what is only on its way, and fails for what is held.

    An answer can be here before gRPC tells the service that it was written, and until then the service has it too:
    a message as it came, its piece and the answer that was made of it.
    """

    def trace() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    try:
        await until(lambda: trace() < limit_bytes)
    except TimeoutError:
        largest = tracemalloc.take_snapshot().statistics("lineno")[:5]
        pytest.fail("\n".join(["held, and should not be, some of:", *map(str, largest)]))


@pytest.mark.parametrize("is_direct", [True, False], ids=["whole", "chunks"])
async def test_a_body_is_not_held_while_its_response_is_waited_for(is_direct: bool) -> None:
    """Neither it nor the piece of the response that went by: none of 8, of 1 MB each."""
    body = json.dumps({"model": "phi", "prompt": "x" * 1_000_000}).encode()
    async with Site(response_phase="track", max_body_bytes=1 << 21).serve() as site:
        site.list_models("phi")
        calls = []
        with traced():
            for _ in range(8):
                call = site.call(metadata=DIRECT_ENVOY if is_direct else ())
                await call.write(headers(Mode.FULL_DUPLEX_STREAMED, Mode.FULL_DUPLEX_STREAMED))
                await call.write(post(body)[1])
                received = 0
                while received < len(body):
                    received += len(_body_of(await read(call)))
                await call.write(bytes(ProcessingRequest(response_body=HttpBody(body=body))))
                await read(call)
                calls.append(call)
            await until(lambda: site.in_flight.total == 8 and site.budget.held_bytes == 0)
            await until_traced_below(1.5 * len(body))  # of which 0.6 to 0.8 are the index of prompts' beginnings
        for call in calls:
            call.cancel()
        await site.idle()


async def test_a_body_that_waits_for_its_decision_is_there_once() -> None:
    """What counts once against `maxHeldBytes` must not be there twice, as message and as body."""
    size_bytes, count = 2 << 20, 6
    async with Site(max_body_bytes=1 << 22, max_held_bytes=1 << 24, hold_s=60.0, timeout_s=60.0).serve() as site:
        calls = [await site.send(headers(Mode.BUFFERED)) for _ in range(count)]
        with traced():
            for call in calls:
                await read(call)
                body = json.dumps({"model": "phi", "prompt": "x" * size_bytes}).encode()
                await call.write(bytes(ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True))))
            await until(lambda: site.rounds == count)
            del body
            assert site.budget.held_bytes > count * size_bytes
            await until_traced_below(1.25 * site.budget.held_bytes)
        for call in calls:
            call.cancel()
        await site.idle()


async def test_a_tracked_request_whose_client_goes_away_is_no_longer_in_flight() -> None:
    async with Site(response_phase="track").serve() as site:
        site.list_models("phi")
        for messages in ([], [bytes(RESPONSE_HEADERS)]):
            call = await site.send(*post(BODY), *messages)
            for _ in range(1 + len(messages)):
                await read(call)
            call.cancel()
            await site.idle()
            assert site.in_flight.total == 0


async def test_a_retry_moves_the_request_to_who_really_serves() -> None:
    other = Endpoint("phi-1", "phi-1", "10.0.0.2:8000")
    async with Site(response_phase="track").serve() as site:
        site.list_models("phi", endpoints=(PHI, other))
        call = await site.send(*post(BODY))
        picked = read_verdict(bytes(await read(call))).destination
        picked_id, served = (PHI.id, other) if picked == PHI.address else (other.id, PHI)
        message = ProcessingRequest.parse(bytes(RESPONSE_HEADERS))
        message.attributes = {
            "envoy.filters.http.ext_proc": Struct(fields={"upstream.address": Value(string_value=served.address)})
        }
        await call.write(bytes(message))
        await read(call)
        await until(lambda: site.in_flight.count(served.id) == 1)
        assert site.in_flight.count(picked_id) == 0
        call.cancel()
        await site.idle()
        assert site.in_flight.total == 0


async def test_a_probe_is_answered_and_not_told_of_as_a_gateway() -> None:
    async with Site().serve() as site:
        site.list_models("phi")
        verdict = await asyncio.to_thread(ask, f"127.0.0.1:{site.port}", post(BODY), 10.0)
        assert verdict.destination == PHI.address
        await site.service.wait_idle()
        assert list(site.callers.seen()) == []


async def test_a_caller_that_is_not_envoy_itself_is_observed_and_warned_of_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    async with Site().serve() as site:
        site.list_models("phi")
        for _ in range(2):
            call = site.call(metadata=(("x-request-id", "1"),))
            for message in (headers(Mode.FULL_DUPLEX_STREAMED, Mode.FULL_DUPLEX_STREAMED), post(BODY)[1]):
                await call.write(message)
            assert read_verdict(bytes(await read(call))).destination == PHI.address
            chunk = await read(call)
            assert chunk.request_body is not None
            assert _streamed(chunk.request_body) == (BODY, True)
            await call.write(bytes(RESPONSE_HEADERS))
            assert (await read(call)).response_headers is not None
            for piece, end in ((b"a" * 100_000, False), (b"", True)):
                await call.write(bytes(ProcessingRequest(response_body=HttpBody(body=piece, end_of_stream=end))))
                echo = (await read(call)).response_body
                assert echo is not None
                assert _streamed(echo) == (piece, end)
            await call.done_writing()
            await ended(call)
    assert capfd.readouterr().err.count("HTTP hop between Envoy and picker") == 1


def _body_of(response: ProcessingResponse) -> bytes:
    """What an answer of the request phase sends on."""
    if (headers := response.request_headers) is not None:
        mutation = headers.response.body_mutation if headers.response is not None else None
        return mutation.body or b"" if mutation is not None else b""
    return _streamed(response.request_body)[0]


def _streamed(body: Any) -> tuple[bytes, bool]:
    streamed = body.response.body_mutation.streamed_response
    return streamed.body, streamed.end_of_stream


async def test_usage_is_read_from_a_streamed_answer_that_passes_by() -> None:
    async with Site(response_phase="observe", reads_usage=True).serve() as site:
        site.list_models("phi")
        call = await site.send(headers(Mode.FULL_DUPLEX_STREAMED, Mode.FULL_DUPLEX_STREAMED), post(BODY)[1])
        await read(call)
        message = ProcessingRequest.parse(bytes(RESPONSE_HEADERS))
        assert message.response_headers is not None
        assert message.response_headers.headers is not None
        content_type = HeaderValue(key="content-type", raw_value=b"text/event-stream; charset=utf-8")
        message.response_headers.headers.headers.append(content_type)
        await call.write(bytes(message))
        await read(call)
        for piece in (b'data: {"x": 1}\n', b'\ndata: {"usage": {"prompt_tokens": 7, "comp', b'letion_tokens": 2}}\n\n'):
            await call.write(bytes(ProcessingRequest(response_body=HttpBody(body=piece))))
            await read(call)
        await call.done_writing()
        await ended(call)
        await site.idle()
        tokens = {
            kind: site.count("extproc_tokens_total", pool="default/test", model="phi", kind=kind) for kind in KINDS
        }
        assert tokens == {"prompt": 7.0, "cached_prompt": 0.0, "completion": 2.0}
        assert site.count("extproc_time_to_first_token_seconds_count") == 1


KINDS = ("prompt", "cached_prompt", "completion")


async def test_in_observability_mode_nothing_is_said_and_nothing_raised() -> None:
    async with Site(timeout_s=0.1).serve() as site:
        first = ProcessingRequest.parse(headers(Mode.STREAMED, Mode.STREAMED))
        first.observability_mode = True
        call = await site.send(bytes(first), post(b"no JSON")[1], b"\xff\xff", bytes(RESPONSE_HEADERS))
        await until(lambda: site.count("extproc_stream_messages_total", kind="response_headers", direction="in") == 1)
        assert site.service.open_streams == 1
        later = await site.send()
        await ended_with_timeout(later)
        assert site.service.open_streams == 1, "its own time was up before; it waits for Envoy to end it"
        await call.done_writing()
        await ended(call)
        assert site.outcomes("watched") == 1


async def ended_with_timeout(call: Any) -> None:
    assert read_verdict(bytes(await answer(call))).status == 503


@pytest.mark.parametrize("mode", [Mode.FULL_DUPLEX_STREAMED, Mode.BUFFERED, Mode.BUFFERED_PARTIAL, Mode.NONE])
async def test_the_deadline_is_a_503_in_every_mode(mode: Mode) -> None:
    """Nothing is known, and nothing will be: the decision hangs."""
    async with Site(timeout_s=0.2, hold_s=60.0, message_timeout_s=120.0).serve() as site:
        first = ProcessingRequest.parse(headers(mode))
        assert first.request_headers is not None
        assert first.request_headers.headers is not None
        first.request_headers.headers.headers.append(HeaderValue(key="x-gateway-model-name", raw_value=b"phi"))
        call = await site.send(bytes(first), *([] if mode is Mode.NONE else [post(BODY)[1]]))
        if mode in (Mode.BUFFERED, Mode.BUFFERED_PARTIAL):
            await read(call)
        verdict = read_verdict(bytes(await answer(call)))
        assert verdict.status == 503
        assert "200ms" in verdict.body


@pytest.mark.parametrize(("mode", "is_held"), [(Mode.BUFFERED, False), (Mode.FULL_DUPLEX_STREAMED, True)])
async def test_no_decision_waits_longer_than_the_data_plane(mode: Mode, is_held: bool) -> None:
    """Its message timeout is nearly nothing here, and the hold would be a minute: only in full duplex there is time."""
    async with Site(timeout_s=0.2, hold_s=60.0, message_timeout_s=0.000_001).serve() as site:
        call = await site.send(headers(mode), post(BODY)[1])
        if mode is Mode.BUFFERED:
            await read(call)
        verdict = read_verdict(bytes(await answer(call)))
        assert (json.loads(verdict.body)["error"]["code"] == "decision_timeout") == is_held


async def test_an_upload_spends_the_data_planes_patience_where_it_waits_since_the_headers() -> None:
    """Its timer of 100 ms began with the headers, and is over when the body is whole: the request is not held."""
    async with Site(hold_s=60.0, message_timeout_s=0.1).serve() as site:
        site.list_models("phi")
        first = ProcessingRequest.parse(headers(Mode.STREAMED))
        assert first.protocol_config is not None
        first.protocol_config.send_body_without_waiting_for_header_response = True
        call = await site.send(bytes(first))
        await until(lambda: site.service.open_streams == 1)
        began_at_s = site.service.last_stream_at_s
        await until(lambda: time.monotonic() > began_at_s + 0.1)
        await call.write(build_requests("POST", PATH, {}, b'{"model": "sql"}')[1])
        assert read_verdict(bytes(await answer(call))).status == 404
        assert site.rounds == 0


async def test_a_stream_that_stayed_and_is_cancelled_leaves_nothing_and_is_no_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By whomever: gRPC does it when a server ends at once. The deadline of its answer is long over then."""
    async with Site(response_phase="track").serve() as site:
        site.list_models("phi")
        call = await site.send(*post(BODY))
        await read(call)
        await until(lambda: len(site.service._resting) == 1)
        [task] = site.service._resting
        task.cancel()
        await site.idle()
        assert site.in_flight.total == 0
        assert task.cancelled() or not task.exception()
        assert "AssertionError" not in caplog.text
        assert site.outcomes("routed", "phi") == 1


async def test_what_only_waits_for_a_response_can_be_dismissed_where_that_is_harmless() -> None:
    async with Site(response_phase="track").serve() as site:
        site.list_models("phi")
        tracked = await site.send(*post(BODY))
        await read(tracked)
        observed = await site.send(headers(Mode.FULL_DUPLEX_STREAMED, Mode.FULL_DUPLEX_STREAMED), post(BODY)[1])
        await read(observed)
        uploading = await site.send(post(BODY)[0])
        await until(lambda: site.in_flight.total == 2 and site.service.open_streams == 3)
        site.service.dismiss_resting()
        await ended(tracked)
        await until(lambda: site.in_flight.total == 1)
        await observed.write(bytes(RESPONSE_HEADERS))
        assert (await read(observed)).response_headers is not None, "what it sent here would be lost"
        await uploading.write(post(BODY)[1])
        assert read_verdict(bytes(await read(uploading))).is_routed
        await ended(uploading)
        await observed.done_writing()
        await ended(observed)
        await site.idle()
        assert site.in_flight.total == 0


async def test_a_client_that_goes_away_leaves_nothing_behind(site: Site) -> None:
    part = bytes(ProcessingRequest(request_body=HttpBody(body=b"x" * 1000)))
    call = await site.send(post(BODY)[0], part)
    async with asyncio.timeout(5):
        while site.budget.held_bytes != 1000:
            await asyncio.sleep(0)
    assert site.service.open_streams == 1
    call.cancel()
    await site.idle()
    assert site.budget.held_bytes == 0
    assert site.outcomes("cancelled") == 1


async def test_the_deadline_of_a_stream_is_a_503() -> None:
    async with Site(timeout_s=0.2).serve() as site:
        call = await site.send(post(BODY)[0], bytes(ProcessingRequest(request_body=HttpBody(body=b"x"))))
        verdict = read_verdict(bytes(await answer(call)))
        assert verdict.status == 503
        assert "200ms" in verdict.body
        assert site.budget.held_bytes == 0
        assert site.outcomes("decision_timeout") == 1


async def test_the_deadline_also_ends_a_stream_that_says_nothing() -> None:
    async with Site(timeout_s=0.2).serve() as site:
        assert read_verdict(bytes(await answer(await site.send()))).status == 503


async def test_the_deadline_also_ends_a_request_that_is_held() -> None:
    async with Site(timeout_s=0.2, hold_s=60.0).serve() as site:
        assert read_verdict(bytes(await answer(await site.send(*post(BODY))))).status == 503
        assert site.rounds >= 1


async def test_a_request_is_held_until_news_that_spares_it_a_refusal(site: Site) -> None:
    call = await site.send(*build_requests("POST", PATH, {}, b'{"model": "sql"}'))
    async with asyncio.timeout(5):
        while site.rounds == 0:
            await asyncio.sleep(0)
    site.list_models("phi", "sql")
    assert read_verdict(bytes(await answer(call))).destination == PHI.address
    assert site.outcomes("routed", "sql") == 1


async def test_a_round_without_news_ends_the_hold_with_the_refusal(site: Site) -> None:
    call = await site.send(*build_requests("POST", PATH, {}, b'{"model": "sql"}'))
    async with asyncio.timeout(5):
        while site.rounds == 0:
            await asyncio.sleep(0)
    now = time.monotonic()
    site.store.apply(RoundCompleted(now), now=now)
    verdict = read_verdict(bytes(await answer(call)))
    assert verdict.status == 404
    assert json.loads(verdict.body)["error"]["code"] == "model_not_found"
    assert site.outcomes("model_not_found", "unknown") == 1


async def test_a_client_that_goes_away_while_it_is_held_waits_no_longer(site: Site) -> None:
    call = await site.send(*build_requests("POST", PATH, {}, b'{"model": "sql"}'))
    async with asyncio.timeout(5):
        while site.rounds == 0:
            await asyncio.sleep(0)
    call.cancel()
    await site.idle()
    assert repr(site.decisions) == "<Decisions 0 held>"


async def test_a_defect_is_an_error_that_tells_nothing_of_the_client(capfd: pytest.CaptureFixture[str]) -> None:
    """The director is out of order here: it has no profile."""
    site = Site()
    site.terms.director = None  # type: ignore[assignment]  # the defect
    async with site.serve():
        call = await site.send(*build_requests("POST", PATH, {}, b'{"model": "secret"}'))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
        assert error.value.code() is grpc.StatusCode.INTERNAL
        assert error.value.details() == "internal error"
        await site.idle()
        assert site.budget.held_bytes == 0
        assert site.outcomes("failed") + site.outcomes("failed", "unknown") == 1


@pytest.mark.parametrize(
    ("hint", "status"), [([PHI.address], None), (["10.0.0.9:8000"], 503), ([], 503)], ids=["inside", "outside", "empty"]
)
async def test_a_subset_hint_is_kept_to(hint: list[str], status: int | None) -> None:
    async with Site(hold_s=0.0).serve() as site:
        site.list_models("phi")
        first, second = post(BODY)
        message = ProcessingRequest.parse(first)
        message.metadata_context = _subset(hint)
        verdict = read_verdict(bytes(await answer(await site.send(bytes(message), second))))
        assert verdict.status == status
        assert verdict.is_routed == (status is None)


def _subset(addresses: list[str]) -> Any:
    values = [Value(string_value=address) for address in addresses]
    hint = Struct(fields={"x-gateway-destination-endpoint-subset": Value(list_value=ListValue(values=values))})
    return Metadata(filter_metadata={"envoy.lb.subset_hint": hint})
