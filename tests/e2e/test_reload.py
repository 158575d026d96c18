"""The config file of a running picker: what edits do to it, and to what is open on it; and files that keep it from
starting.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.picker import Picker
from tests.e2e.test_process import run
from tests.e2e.upstreams import InstantUpstream

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.cli.probe import DIRECT_ENVOY, METHOD, build_requests, read_verdict

SERVING = health_pb2.HealthCheckResponse.SERVING
BODY = b'{"model": "llama", "prompt": "x"}'


class ConfigMap:
    """A file in a mounted ConfigMap."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        self.path = folder / "config.yaml"
        self.edit("")
        self.path.symlink_to("..data/config.yaml")

    def edit(self, text: str) -> None:
        """Swaps the folder behind it, as the kubelet does."""
        self._version += 1
        fresh = self._folder / f"..{self._version}"
        fresh.mkdir()
        (fresh / "config.yaml").write_text(text)
        (self._folder / "..data_tmp").symlink_to(fresh.name)
        (self._folder / "..data_tmp").replace(self._folder / "..data")


class Asker:
    """Asks a picker where requests go."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.destinations: list[str | None] = []

    def call(self) -> Any:
        return self._channel.stream_stream(METHOD)(metadata=DIRECT_ENVOY)

    async def ask(self) -> str | None:
        call = self.call()
        for message in build_requests("POST", "/v1/completions", {}, BODY):
            await call.write(message)
        return read_verdict(await call.read()).destination

    async def go_on(self) -> None:
        """Asks for ever."""
        while True:
            self.destinations.append(await self.ask())


async def watch_health(address: str, statuses: list[int]) -> None:
    """Notes down every change of readiness."""
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readiness"))
        while True:
            statuses.append((await watch.read()).status)


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    """Beside what is done within it. None may end."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def test_edits_of_a_running_pickers_config(tmp_path: Path) -> None:
    """It starts with an empty file, which once crashed another picker."""
    config = ConfigMap(tmp_path)
    statuses: list[int] = []
    async with (
        InstantUpstream() as upstream,
        Picker({"a": upstream.address}, flags=[f"--config-file={config.path}", "--drain-delay=10ms"]) as picker,
        grpc.aio.insecure_channel(picker.address) as channel,
        grpc.aio.insecure_channel(picker.admin_address) as admin_channel,
        running(watch_health(picker.health_address, statuses)),
    ):
        asker = Asker(channel)
        admin: Any = admin_pb2_grpc.AdminStub(admin_channel)  # type: ignore[no-untyped-call]  # protoc writes no types
        once, thrice = upstream.address, ",".join([upstream.address] * 3)
        assert await asker.ask() == once
        open_call = asker.call()
        head, body = build_requests("POST", "/v1/completions", {}, BODY)
        await open_call.write(head)
        await picker.wait_for_metric("extproc_streams", 1)

        async with running(asker.go_on(), asker.go_on()):
            config.edit("envoy: {fallbackEndpoints: 2}\nserver: {drainDelay: 5s, maxConnectionAge: 1h}")
            await picker.wait_for_log("config taken over")
            await picker.wait_for_log("settings=server.maxConnectionAge")
            config.edit("envoy: {fallbackEndpoints: 20}\nservr: {}")
            await picker.wait_for_log("config is bad", count=2)
            config.edit("envoy: {fallbackEndpoints: 2, decisionTimeout: 9s}\ntelemetry: {verbosity: 4}")
            await picker.wait_for_log("config taken over", count=2)
        assert set(asker.destinations) == {once, thrice}
        assert asker.destinations == sorted(asker.destinations, key=lambda each: each == thrice), "it never went back"

        await open_call.write(body)
        assert read_verdict(await open_call.read()).destination == once, "it began before"
        assert await asker.ask() == thrice
        await picker.wait_for_log("decided")
        assert await picker.metric("extproc_config_good") == 1
        assert await picker.metric("extproc_config_reloads_total", outcome="bad") == 1
        assert await picker.metric("extproc_config_reloads_total", outcome="good") == 2

        settings = {each.key: each for each in (await admin.GetConfig(admin_pb2.GetConfigRequest())).settings}
        told = [(settings[key].value, settings[key].origin) for key in (
            "envoy.fallbackEndpoints", "server.drainDelay", "requests.hold", "server.maxConnectionAge",
        )]  # fmt: skip
        assert told == [("2", "file"), ('"10ms"', "flag"), ('"1s"', "default"), ('"0s"', "default")]
        config.edit("requests: {hold: 1}")
        await picker.wait_for_metric("extproc_config_good", 0)
        file = (await admin.GetSnapshot(admin_pb2.GetSnapshotRequest())).config_file
        assert (file.path, list(file.problems)) == (
            str(config.path),
            ["requests.hold: a duration needs a unit, such as 500ms or 2s; got 1"],
        )
        assert await asker.ask() == thrice
        assert statuses == [SERVING]
    assert picker.process.returncode == 0


async def test_files_that_keep_it_from_starting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "wrong").write_text("server: {grpcPort: 70000, grpcHealthPort: x}\nnonsense: 1")
    names = {"pipe": 1, "wrong": 3}
    outputs = await asyncio.gather(
        *[run("serve", "--dns-name=engines:80", f"--config-file={tmp_path / name}") for name in names]
    )
    for (name, count), (code, output) in zip(names.items(), outputs, strict=True):
        assert (code, len(output.splitlines())) == (2, 1 + count), output
        assert output.startswith(f"{tmp_path / name}: {count} problem")
