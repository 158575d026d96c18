"""The ext_proc service through a real channel, spoken to by a codec that shares nothing with ours."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    CommonResponseResponseStatus,
    HttpBody,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
)

from extproc.admission.held import HeldBytes
from extproc.admission.recent import RecentRoutes
from extproc.cli.probe import METHOD, build_requests, read_verdict
from extproc.director.decide import Director, DirectorPolicy
from extproc.registry.changes import ModelsListed, PoolListed, RoundCompleted
from extproc.registry.store import Store
from extproc.scheduling.catalogue import build_profile
from extproc.servers.ext_proc import ExtProcService, StreamLimits
from extproc.servers.listen import build_grpc_server, open_port
from extproc.telemetry.metrics import Metrics
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.pool import Pool

PHI = Endpoint("phi-0", "phi-0", "10.0.0.1:8000")
BODY = json.dumps({"model": "phi", "prompt": "x" * 100}).encode()
PATH = "/v1/completions"


class Site:
    """A service on a real port, with a store that the test feeds."""

    def __init__(self, *, hold_s: float = 5.0, timeout_s: float = 5.0, max_body_bytes: int = 1 << 20) -> None:
        self.store = Store(Pool("test"))
        self.budget = HeldBytes(1 << 22)
        self.recent = RecentRoutes()
        self.rounds = 0
        self.metrics = Metrics(knowledge=self.store, clock=time.monotonic, version="test")
        profile = build_profile({"recent-routes": 1.0}, "max-score", recent=self.recent)
        self.service = ExtProcService(
            director=Director(profile=profile, policy=DirectorPolicy(hold_s=hold_s)),
            store=self.store,
            budget=self.budget,
            routes=self.recent,
            request_round=self._count_round,
            metrics=self.metrics,
            limits=StreamLimits(max_body_bytes, timeout_s),
            clock=time.monotonic,
            rng=Random(1),
        )
        self._channel: grpc.aio.Channel | None = None

    def _count_round(self) -> None:
        self.rounds += 1

    def list_models(self, *models: str) -> None:
        now = time.monotonic()
        self.store.apply(PoolListed((PHI,)), now=now)
        self.store.apply(ModelsListed(PHI.id, now, tuple(ModelCard(model) for model in models)), now=now)

    def call(self) -> Any:
        assert self._channel is not None
        return self._channel.stream_stream(METHOD)()

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
        async with asyncio.timeout(5):
            while self.service.open_streams:
                await asyncio.sleep(0)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Site"]:
        server = build_grpc_server()
        self.service.add_to(server)
        port = open_port(server, "127.0.0.1", 0, purpose="test", setting="grpc-port")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self._channel:
            yield self
        await server.stop(0)


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
    assert site.recent.count(PHI.id, now=time.monotonic()) > 0.5
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
    first = ProcessingRequest.parse(post(BODY)[0])
    assert first.protocol_config is not None
    first.protocol_config.request_body_mode = type(first.protocol_config.request_body_mode)(2)
    verdict = read_verdict(bytes(await answer(await site.send(bytes(first)))))
    assert verdict.status == 500
    assert "BUFFERED" in verdict.body
    assert "FULL_DUPLEX_STREAMED" in verdict.body


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
    assert repr(site.service) == "<ExtProcService 0 streams, 0 waiting>"


async def test_a_defect_is_an_error_that_tells_nothing_of_the_client(capfd: pytest.CaptureFixture[str]) -> None:
    """The director is out of order here: it has no profile."""
    site = Site()
    site.service._director = None  # type: ignore[assignment]  # the defect
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
    from envoy_data_plane.envoy.config.core.v3 import Metadata
    from envoy_data_plane.google.protobuf import ListValue, Struct, Value

    values = [Value(string_value=address) for address in addresses]
    hint = Struct(fields={"x-gateway-destination-endpoint-subset": Value(list_value=ListValue(values=values))})
    return Metadata(filter_metadata={"envoy.lb.subset_hint": hint})
