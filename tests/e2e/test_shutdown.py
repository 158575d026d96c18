"""Stopping the picker: signals at any moment, and a rolling restart of two under load in which no answer is lost."""

import asyncio
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import grpc
import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse
from tests.e2e.load import Outcome, post, run_load
from tests.e2e.modes import streams_end
from tests.e2e.picker import FLAGS, Picker
from tests.e2e.upstreams import InstantUpstream, StreamingUpstream

from extproc.cli.demo.envoy import DETACHED, ISTIO, TRACKING, Envoy, GatewaySettings, ProcessingMode
from extproc.cli.probe import DIRECT_ENVOY, METHOD, build_requests

POOL = "pools: [{name: test, endpoints: [{name: a, address: '127.0.0.1:1'}]}]"
Process = asyncio.subprocess.Process


async def _handler_is_there(process: Process) -> None:
    """Its first line of Python that sees to signals has run; before that no program can do anything about them."""
    status = Path(f"/proc/{process.pid}/status")
    bit = 1 << (signal.SIGTERM - 1)
    async with asyncio.timeout(20):
        while not int(status.read_text().partition("SigCgt:")[2].split(None, 1)[0], 16) & bit:
            await asyncio.sleep(0)


async def _grpc_is_imported(process: Process) -> None:
    """Amid its imports."""
    maps = Path(f"/proc/{process.pid}/maps")
    async with asyncio.timeout(20):
        while "cygrpc" not in maps.read_text():
            await asyncio.sleep(0)


async def _has_logged(process: Process) -> None:
    """The first byte of its log, and so its ports are open."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        assert await process.stderr.read(1)


MOMENTS: dict[str, Callable[[Process], Awaitable[None]]] = {
    "as early as can be": _handler_is_there,
    "amid the imports": _grpc_is_imported,
    "at the first byte of its log": _has_logged,
}


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM] * 2], ids=str)
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
async def test_signals_while_it_starts(
    moment: Callable[[Process], Awaitable[None]], numbers: list[signal.Signals], tmp_path: Path
) -> None:
    pool_file = tmp_path / "pool.yaml"
    pool_file.write_text(POOL)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extproc", "serve", f"--endpoints-file={pool_file}", *FLAGS,
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await moment(process)
        for number in numbers:
            process.send_signal(number)
        async with asyncio.timeout(20):
            _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, "Traceback" in log.decode()) == (0, False), log.decode()


SIGNAL_IN_FINALIZER = """
import signal, sys

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "grpc":
            Finalized()

sys.meta_path.insert(0, Finder())
from extproc.cli import main
main(["serve"])
"""


async def test_a_signal_where_python_swallows_exceptions() -> None:
    """Amid the imports, in a finalizer: were the signal lost, it would go on and miss its endpoints file."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SIGNAL_IN_FINALIZER)
    async with asyncio.timeout(20):
        assert await process.wait() == 0


@pytest.mark.parametrize("numbers", [[signal.SIGTERM] * 2, [signal.SIGINT] * 2, [signal.SIGTERM, signal.SIGINT] * 3])
async def test_signals_upon_signals(numbers: list[signal.Signals]) -> None:
    flags = ("--drain-delay=1h", "--drain-timeout=1h")
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, flags=flags) as picker:
        # Not all at once: of two equal signals that come together the kernel delivers one.
        await picker.send_signal(numbers[0])
        for number in numbers[1:]:
            picker.process.send_signal(number)
        async with asyncio.timeout(20):
            assert await picker.stop_code() == 0
        assert "Traceback" not in picker.log_text()


class Load:
    """Requests of two kinds that go on until told: short answers, about 200 a second, and some that take seconds."""

    def __init__(self, port: int, *, body_bytes: int, slow_body_bytes: int) -> None:
        self._port = port
        self._is_over = False
        self.outcomes: list[Outcome] = []
        self._loads = [
            asyncio.create_task(self._go_on("llama", 20, 200, body_bytes)),
            asyncio.create_task(self._go_on("slow", 10, 10, slow_body_bytes)),
        ]

    async def end(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._loads)

    async def _go_on(self, model: str, concurrency: int, batch: int, body_bytes: int) -> None:
        request = post(b'{"model": "%b", "stream": true}' % model.encode())
        while not self._is_over:
            self.outcomes += await run_load(self._port, batch, concurrency, lambda _: request, body_bytes=body_bytes)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.mark.parametrize(
    ("mode", "phase"),
    [(DETACHED, "auto"), (TRACKING, "track"), (ISTIO, "auto")],
    ids=["no response phase", "tracking", "Istio's settings"],
)
async def test_a_rolling_restart_loses_nothing(mode: ProcessingMode, phase: str) -> None:
    """Each of two pickers behind one Envoy cluster is stopped and comes back at its address, the other serving on."""
    async with AsyncExitStack() as stack:
        # Answers that come at once, half of them; the others in pieces over a tenth of a second; and long ones.
        short = await stack.enter_async_context(StreamingUpstream(chunks=10, delay_s=0.01))
        instant = await stack.enter_async_context(InstantUpstream(body_bytes=len(short.body), early=False))
        slow = await stack.enter_async_context(StreamingUpstream(chunks=100, delay_s=0.02))
        slow.model = "slow"
        upstreams = {"short": short, "instant": instant, "slow": slow}
        endpoints = {name: upstream.address for name, upstream in upstreams.items()}
        pickers = []
        for port in _free_ports(2):
            flags = (f"--grpc-port={port}", "--drain-delay=2s", "--drain-timeout=30s")
            config = {"envoy": {"responsePhase": phase}}
            pickers.append(await stack.enter_async_context(Picker(endpoints, config=config, flags=flags)))
        settings = GatewaySettings(
            endpoints=tuple(endpoints.values()),
            picker=[picker.address for picker in pickers],
            picker_health_checks=True,
            pick_from="metadata",
            processing_mode=mode,
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        load = Load(envoy.port, body_bytes=len(short.body), slow_body_bytes=len(slow.body))
        for picker in pickers:
            await picker.wait_for_routed(at_least=100)
            assert await picker.stop() == 0
            await picker.start()
        for picker in pickers:
            await picker.wait_for_routed(at_least=100)
        await load.end()
        for picker in pickers:
            await streams_end(picker)
        logs = "".join(picker.log_text() for picker in pickers)
    assert Counter((each.status, each.whole, each.error) for each in load.outcomes) == {
        (200, True, ""): len(load.outcomes)
    }
    assert min(short.served, instant.served, slow.served) > 10
    assert "Traceback" not in logs


async def test_a_stop_waits_for_an_answer_that_is_being_sent() -> None:
    """The peer reads nothing for a second after the stop: an answer of 20 MB waits for it, and is whole."""
    body = b'{"model": "llama", "prompt": "' + b"p" * 20_000_000 + b'"}'
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    upstream = InstantUpstream()
    async with upstream, Picker({"only": upstream.address}, flags=["--drain-timeout=1h"]) as picker:
        async with grpc.aio.insecure_channel(picker.address, options=options) as channel:
            call = channel.stream_stream(METHOD)(metadata=DIRECT_ENVOY)
            for message in build_requests("POST", "/v1/completions", {}, body):
                await call.write(message)
            await picker.wait_for_metric("extproc_requests_total", 1, outcome="routed")
            await picker.send_signal(signal.SIGTERM)
            await asyncio.sleep(1)
            answer = ProcessingResponse.parse(await call.read())
            assert answer.request_headers is not None
            assert answer.request_headers.response is not None
            assert answer.request_headers.response.body_mutation is not None
            assert answer.request_headers.response.body_mutation.body == body
            assert await call.code() is grpc.StatusCode.OK
            assert await picker.stop_code() == 0
