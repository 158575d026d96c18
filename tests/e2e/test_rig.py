"""The rig tells the truth: Envoy routes by the pick, the proxy parts message and trailers, cuts are seen as cuts."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    BodyMutation,
    CommonResponse,
    CommonResponseResponseStatus,
    HeaderMutation,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy_data_plane.google.protobuf import Struct, Value
from tests.e2e.load import Outcome, cpu_hogs, post, run_load
from tests.e2e.trailers_proxy import TrailersProxy
from tests.e2e.upstreams import EarlyRefusal, InstantUpstream, StreamingUpstream
from tests.raw_server import raw_server

from extproc.cli.demo.envoy import (
    DETACHED,
    ISTIO,
    Envoy,
    EnvoyStartError,
    GatewaySettings,
    ProcessingMode,
    envoy_config,
)

BODY = b'{"model": "llama", "prompt": "' + b"p" * 400 + b'"}'
DESTINATION = "x-gateway-destination-endpoint"


class ToyPicker:
    """The least that is an endpoint picker: waits for the whole body, sends it to a pod, in one message and one batch.

    It can send the header to one pod and the metadata to another, to show which of them Envoy read.
    """

    def __init__(self, *, by_header: str, by_metadata: str) -> None:
        self.address = ""
        self._by_header = by_header
        self._by_metadata = by_metadata
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])

    async def __aenter__(self) -> Self:
        # Registered as stream-unary, so that message and status leave in one core batch.
        method = grpc.stream_unary_rpc_method_handler(self._process)
        service = grpc.method_handlers_generic_handler(
            "envoy.service.ext_proc.v3.ExternalProcessor", {"Process": method}
        )
        self._server.add_generic_rpc_handlers((service,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(grace=None)

    async def _process(self, messages: AsyncIterator[bytes], context: object) -> bytes:
        body = bytearray()
        async for data in messages:
            message = ProcessingRequest.parse(data)
            if message.request_body is not None:
                body += message.request_body.body
            if message.request_trailers is not None or (message.request_body and message.request_body.end_of_stream):
                break
        destination = HeaderValueOption(header=HeaderValue(key=DESTINATION, raw_value=self._by_header.encode()))
        metadata = Struct(fields={DESTINATION: Value(string_value=self._by_metadata)})
        answer = CommonResponse(
            status=CommonResponseResponseStatus.CONTINUE_AND_REPLACE,
            header_mutation=HeaderMutation(set_headers=[destination]),
            body_mutation=BodyMutation(body=bytes(body)),
            clear_route_cache=True,
        )
        return bytes(
            ProcessingResponse(
                request_headers=HeadersResponse(response=answer),
                dynamic_metadata=Struct(fields={"envoy.lb": Value(struct_value=metadata)}),
            )
        )


@pytest.mark.parametrize("mode", [pytest.param(DETACHED, id="detached"), pytest.param(ISTIO, id="istio")])
@pytest.mark.parametrize("pick_from", ["header", "metadata"])
async def test_a_request_goes_to_the_picked_endpoint(
    pick_from: Literal["header", "metadata"], mode: ProcessingMode
) -> None:
    async with InstantUpstream(early=False) as one, InstantUpstream(early=False) as two:
        async with ToyPicker(by_header=one.address, by_metadata=two.address) as picker:
            settings = GatewaySettings(
                endpoints=[one.address, two.address], picker=picker.address, pick_from=pick_from, processing_mode=mode
            )
            async with Envoy(settings) as envoy:
                outcomes = await run_load(envoy.port, 20, 4, lambda _: post(BODY), body_bytes=len(one.body))

    picked, other = (one, two) if pick_from == "header" else (two, one)
    assert {(outcome.status, outcome.whole, outcome.served_by) for outcome in outcomes} == {(200, True, picked.address)}
    assert (picked.served, picked.received_bytes) == (20, 20 * len(BODY))
    assert other.served == 0


@dataclass(frozen=True)
class CutCase:
    mode: ProcessingMode
    hold_s: float | None
    is_right: Callable[[float], bool]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(CutCase(ISTIO, 0.02, lambda cut_share: cut_share > 0.8), id="istio-trailers-late"),
        pytest.param(CutCase(ISTIO, None, lambda cut_share: cut_share == 0), id="istio-trailers-at-once"),
        pytest.param(CutCase(DETACHED, 0.02, lambda cut_share: cut_share == 0), id="detached-trailers-late"),
    ],
)
async def test_late_trailers_cut_answers_where_there_is_a_response_phase(case: CutCase) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream())
        picker = await stack.enter_async_context(ToyPicker(by_header=upstream.address, by_metadata=""))
        address = picker.address
        if case.hold_s is not None:
            proxy = await stack.enter_async_context(TrailersProxy(picker.address, case.hold_s))
            address = proxy.address
        settings = GatewaySettings(endpoints=[upstream.address], picker=address, processing_mode=case.mode)
        envoy = await stack.enter_async_context(Envoy(settings))
        outcomes = await run_load(envoy.port, 100, 8, lambda _: post(BODY), body_bytes=len(upstream.body))
        assert case.hold_s is None or proxy.held == 100

    # The status tells nothing: it is 200 for whole and cut alike, and even the framing of a cut answer is regular.
    assert {(outcome.status, outcome.error, outcome.served_by) for outcome in outcomes} == {(200, "", upstream.address)}
    cut_share = sum(outcome.is_cut for outcome in outcomes) / len(outcomes)
    assert case.is_right(cut_share), f"{cut_share:.0%} cut"


@pytest.mark.parametrize(
    ("upstream", "status", "request_body"),
    [
        pytest.param(InstantUpstream(), 200, BODY, id="instant"),
        pytest.param(InstantUpstream(body_bytes=300_000), 200, BODY * 2_000, id="instant-large"),
        pytest.param(InstantUpstream(early=False), 200, BODY * 2_000, id="patient-large"),
        pytest.param(InstantUpstream(early=False, body_bytes=0), 200, b"", id="empty"),
        pytest.param(EarlyRefusal(), 401, BODY * 2_000, id="refusal-large"),
        pytest.param(EarlyRefusal(closes=True), 401, BODY * 2_000, id="closing-refusal-large"),
        pytest.param(StreamingUpstream(chunks=3, delay_s=0.01), 200, BODY, id="streaming"),
        pytest.param(StreamingUpstream(chunks=3_000, delay_s=0), 200, BODY, id="streaming-at-once"),
    ],
)
async def test_without_a_picker_every_answer_is_whole(
    upstream: InstantUpstream | EarlyRefusal | StreamingUpstream, status: int, request_body: bytes
) -> None:
    async with upstream, Envoy(GatewaySettings(endpoints=[upstream.address])) as envoy:
        outcomes = await run_load(envoy.port, 24, 8, lambda _: post(request_body), body_bytes=len(upstream.body))
        stats = await envoy.stats("http.gateway.downstream_rq_total")

    assert {(o.status, o.whole, o.error, o.served_by) for o in outcomes} == {(status, True, "", upstream.address)}
    assert upstream.served == 24
    assert stats == {"http.gateway.downstream_rq_total": 24}


async def test_an_upstream_reads_chunked_bodies_wherever_they_are_split() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n"
    async with InstantUpstream(body_bytes=3, early=False) as upstream:
        reader, writer = await _connect(upstream.address)
        for split in range(1, len(request)):  # all on one connection: each must end exactly where the next begins
            writer.write(request[:split])
            await asyncio.sleep(0)
            writer.write(request[split:])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(3) == upstream.body
        assert (upstream.served, upstream.received_bytes) == (len(request) - 1, 15 * (len(request) - 1))
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Served-By: a:1\r\n\r\nhello",
            Outcome(200, 5, 5, "a:1", "", whole=True),
            id="content-length",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            Outcome(200, 5, None, "", "", whole=True),
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhello", Outcome(200, 5, None, "", "", whole=True), id="until-close"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Outcome(204), id="no-content-after-100"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Outcome(200), id="cut-to-nothing-chunked"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Outcome(200, 0, 0), id="cut-to-nothing-content-length"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
            Outcome(200, 3, 5, "", "closed inside the response body"),
            id="cut-by-close",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Outcome(200, 5, None, "", "closed inside the response body"),
            id="chunked-without-end",
        ),
        pytest.param(
            b"HTTP/1.1 401 Unauthorized\r\nx-served-by: a:1\r\ncontent-length: 0\r\n\r\n",
            Outcome(401, 0, 0, "a:1"),
            id="cut-refusal-of-an-upstream",
        ),
        pytest.param(b"HTTP/1.1 503 S\r\ncontent-length: 0\r\n\r\n", Outcome(503, 0, 0), id="refusal-by-envoy"),
        pytest.param(b"HTTP/1.1 200 O", Outcome(error="closed inside the response head"), id="half-a-head"),
        pytest.param(b"", Outcome(error="closed before a response"), id="nothing"),
    ],
)
async def test_the_load_client_tells_whole_from_cut(answer: bytes, outcome: Outcome) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with raw_server(serve) as port:
        outcomes = await run_load(port, 3, 2, lambda _: post(b""), body_bytes=5)
    assert outcomes == [outcome] * 3
    assert outcome.is_cut == (outcome.status in (200, 401) and not outcome.whole)


async def test_the_load_client_reads_an_answer_while_it_still_writes() -> None:
    async def refuse_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await reader.readuntil(b"\r\n\r\n")

    connections: list[asyncio.StreamWriter] = []
    async with raw_server(refuse_unread) as port:
        request = post(b"p" * 20_000_000)
        outcomes = await run_load(port, 2, 1, lambda _: request, timeout_s=5)
    assert outcomes == [Outcome(413, 3, 3, whole=True)] * 2
    assert len(connections) == 2, "a connection with half a request on it was used again"


async def test_the_load_client_gives_up_in_time_and_when_nobody_listens() -> None:
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with raw_server(stay_silent) as port:
        silent = await run_load(port, 1, 1, lambda _: post(BODY), timeout_s=0.05)
    refused = await run_load(1, 1, 1, lambda _: post(BODY))
    assert silent == [Outcome(error="no end within 0.05 s")]
    assert refused[0].error.startswith("cannot connect")


async def test_a_connection_closed_as_idle_is_not_counted_as_a_lost_answer() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")  # closes when the next request is there
        writer.close()

    async with raw_server(answer_once) as port:
        outcomes = await run_load(port, 3, 1, lambda _: post(b""))
    assert outcomes == [Outcome(200, 2, 2, whole=True)] * 3


async def test_the_proxy_holds_trailers_and_nothing_before_them() -> None:
    hold_s = 0.2
    message = _frame(0x1, 0x4, 1, b"h") + _frame(0x0, 0, 1, b"message")
    refusal = _frame(0x1, 0x5, 3, b"trailers only: the first HEADERS of its stream")
    trailers = _frame(0x1, 0x5, 1, b"t")
    behind = _frame(0x1, 0x4, 5, b"h")
    ping = _frame(0x6, 0x1, 0, b"8 bytes.")

    async def send_all_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(7) == b"preface"
        writer.write(message + refusal + trailers + behind + ping)
        writer.close()

    async with raw_server(send_all_at_once) as port:
        async with TrailersProxy(f"127.0.0.1:{port}", hold_s) as proxy:
            reader, writer = await _connect(proxy.address)
            begin_s = time.monotonic()
            writer.write(b"preface")
            at_once = await reader.readexactly(len(message + refusal + ping))
            at_once_s = time.monotonic() - begin_s
            late = await reader.read()
            late_s = time.monotonic() - begin_s
            writer.close()
            await writer.wait_closed()

    assert at_once == message + refusal + ping
    assert late == trailers + behind
    assert at_once_s < hold_s <= late_s
    assert proxy.held == 1


async def test_cpu_hogs_end_with_their_block() -> None:
    async with cpu_hogs(2) as pids:
        assert [Path(f"/proc/{pid}").exists() for pid in pids] == [True, True]
    assert [Path(f"/proc/{pid}").exists() for pid in pids] == [False, False]


@pytest.fixture
def temp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go while the test runs, so that what is left behind can be seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_envoys_run_beside_each_other_and_leave_nothing(temp_dir: Path) -> None:
    async with InstantUpstream() as upstream:
        settings = GatewaySettings(endpoints=[upstream.address, "[::1]:1"], retries=1)
        async with Envoy(settings) as one, Envoy(settings, concurrency=2) as two:
            assert len({one.port, one.admin_port, two.port, two.admin_port}) == 4
            assert len(_processes_in(temp_dir)) == 2
            for envoy in (one, two):
                assert [o.status for o in await run_load(envoy.port, 2, 1, lambda _: post(BODY))] == [200, 200]
    await one.stop()  # a second time: nothing to do
    assert "SIGTERM" in one.log_text()
    assert (_processes_in(temp_dir), list(temp_dir.iterdir())) == ([], [])


async def test_an_envoy_that_cannot_start_says_why_and_leaves_nothing(temp_dir: Path) -> None:
    async with Envoy(GatewaySettings(endpoints=["127.0.0.1:1"])) as running:
        twice = GatewaySettings(endpoints=["127.0.0.1:1"], listener_port=running.port)
        wrong = GatewaySettings(endpoints=["127.0.0.1:1"], picker="127.0.0.1:1", ext_proc={"no_such_field": 1})
        for settings, reason in ((twice, "Address already in use"), (wrong, "no_such_field")):
            envoy = Envoy(settings)
            with pytest.raises(EnvoyStartError, match=reason) as raised:
                await envoy.start()
            assert raised.value.log_tail in envoy.log_text()
        assert len(_processes_in(temp_dir)) == 1
    assert (_processes_in(temp_dir), list(temp_dir.iterdir())) == ([], [])


@pytest.mark.parametrize("after_s", [0, 0.001, 0.005, 0.015])  # live after 0.05 s, never before 0.02 s
async def test_an_envoy_cancelled_at_its_start_leaves_nothing(after_s: float, temp_dir: Path) -> None:
    start = asyncio.create_task(Envoy(GatewaySettings(endpoints=["127.0.0.1:1"])).start())
    await asyncio.sleep(after_s)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert (_processes_in(temp_dir), list(temp_dir.iterdir())) == ([], [])


@pytest.mark.parametrize("address", ["127.0.0.1", ":8000", "127.0.0.1:http", ""])
def test_an_address_without_ip_or_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not ip:port"):
        envoy_config(GatewaySettings(endpoints=[address]))


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + payload


def _processes_in(directory: Path) -> list[str]:
    """Command lines of the living processes that name a file in this directory."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in line:
            lines.append(line)
    return lines
