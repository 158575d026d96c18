"""A real Envoy and a picker over TLS: certificates and connections are replaced under load, and nobody notices."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.load import Outcome, post, run_load
from tests.e2e.picker import Picker
from tests.e2e.test_process import run
from tests.e2e.upstreams import InstantUpstream, StreamingUpstream
from tests.secret import issued, mount, self_signed, shake_hands

from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings, ProcessingMode, envoy_config

CHAT = post(b'{"model": "llama", "stream": true}')
TLS = "--secure-serving=true"
TIMEOUT_S = 60.0


class Site:
    """Endpoints whose answers stream for half a second, a picker, an Envoy, and a load that goes on until told.

    Envoy replaces its connections to the picker each second, or (`picker_age`) the picker does. The latter can fail a
    request where answers come at once (docs/decisions/009): then the load is one request at a time.
    """

    def __init__(self, *flags: str, mode: ProcessingMode, tls: bool = True, picker_age: bool = False) -> None:
        self._flags = flags
        self._mode = mode
        self._tls = tls
        self._picker_age = picker_age
        self._stack = AsyncExitStack()
        self._is_over = asyncio.Event()

    async def __aenter__(self) -> "Site":
        self.upstream = await self._stack.enter_async_context(StreamingUpstream(chunks=25, delay_s=0.02))
        config = {"server": {"maxConnectionAge": "1s" if self._picker_age else "0s"}}
        picker = Picker({"only": self.upstream.address}, config=config, flags=self._flags)
        self.picker = await self._stack.enter_async_context(picker)
        settings = GatewaySettings(
            endpoints=(self.upstream.address,),
            picker=self.picker.address,
            picker_tls=self._tls,
            pick_from="metadata",
            processing_mode=self._mode,
        )
        gateway: Any = envoy_config(settings)
        if not self._picker_age:
            [cluster] = [each for each in gateway["static_resources"]["clusters"] if each["name"] == "picker"]
            [options] = cluster["typed_extension_protocol_options"].values()
            options["common_http_protocol_options"] = {"max_connection_duration": "1s"}
        self.envoy = await self._stack.enter_async_context(Envoy(gateway))
        self._load = asyncio.create_task(self._run_load())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._is_over.set()
        await self._load
        await self._stack.aclose()

    async def _run_load(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        requests, concurrency = (1, 1) if self._picker_age else (100, 50)
        while not self._is_over.is_set():
            outcomes += await run_load(
                self.envoy.port, requests, concurrency, lambda _: CHAT, body_bytes=len(self.upstream.body)
            )
        return outcomes

    async def wait_for_more(self, stat: str, more: int = 1) -> None:
        """Returns when a counter of Envoy's cluster of the picker has grown by so much."""
        before = (await self.envoy.stats(stat))[stat]
        async with asyncio.timeout(TIMEOUT_S):
            while (await self.envoy.stats(stat))[stat] < before + more:
                await asyncio.sleep(0.02)

    async def end_load(self) -> list[Outcome]:
        """Every outcome, once the answers that are open have ended."""
        self._is_over.set()
        return await self._load


both_modes = pytest.mark.parametrize("mode", [ISTIO, DETACHED], ids=["Istio's settings", "no response phase"])


def assert_nobody_noticed(outcomes: list[Outcome]) -> None:
    bad = [outcome for outcome in outcomes if outcome.status != 200 or not outcome.whole]
    assert bad == [], f"{len(bad)} of {len(outcomes)}"


@both_modes
async def test_certificates_are_replaced_under_load(tmp_path: Path, mode: ProcessingMode) -> None:
    """Four times; each time Envoy has shaken hands anew before the next, and is shown the new one."""
    mount(tmp_path, self_signed())
    async with Site(TLS, f"--cert-path={tmp_path}", mode=mode) as site:
        assert "tls=cert-path" in site.picker.log_text()
        for number in range(1, 5):
            mount(tmp_path, pair := issued() if number % 2 else self_signed())
            await site.picker.wait_for_log("certificate replaced", count=number)
            await site.wait_for_more("cluster.picker.ssl.handshake")
            shown, protocol = await shake_hands(int(site.picker.address.rpartition(":")[2]))
            assert (shown.encode(), protocol) == (pair.chain_pem, "h2")
        assert_nobody_noticed(await site.end_load())
        stats = await site.envoy.stats("cluster.picker.")
    assert stats["cluster.picker.ssl.connection_error"] == 0


@both_modes
@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "TLS"])
async def test_the_picker_has_old_connections_replaced(mode: ProcessingMode, tls: bool) -> None:
    async with Site(*([TLS] if tls else []), mode=mode, tls=tls, picker_age=True) as site:
        await site.wait_for_more("cluster.picker.upstream_cx_total", 4)
        assert_nobody_noticed(await site.end_load())


@pytest.mark.parametrize("picker_age", [False, True], ids=["replaced by Envoy", "replaced by the picker"])
async def test_an_upload_outlives_its_connection(picker_age: bool) -> None:
    """Half of the body is sent before the connection that carries it was replaced twice, half after."""
    body = b'{"model": "llama"' + b" " * 1000 + b"}"
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with Site(TLS, mode=DETACHED, picker_age=picker_age) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.envoy.port)
        writer.write(head + body[:500])
        await site.wait_for_more("cluster.picker.upstream_cx_total", 2)
        writer.write(body[500:])
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        writer.transport.abort()
        assert_nobody_noticed(await site.end_load())


async def test_without_reload_the_first_certificate_stays(tmp_path: Path) -> None:
    """A pair that is there long before the picker could have looked twice is not taken."""
    folders = tmp_path / "kept", tmp_path / "followed"
    first = self_signed()
    for folder in folders:
        mount(folder, first)
    async with InstantUpstream() as upstream, AsyncExitStack() as stack:
        kept, followed = [
            await stack.enter_async_context(
                Picker({"a": upstream.address}, flags=(TLS, f"--cert-path={folder}", f"--enable-cert-reload={reload}"))
            )
            for folder, reload in zip(folders, ("false", "true"), strict=True)
        ]
        for number in (1, 2):
            for folder in folders:
                mount(folder, self_signed())
            await followed.wait_for_log("certificate replaced", count=number)
        shown, _ = await shake_hands(int(kept.address.rpartition(":")[2]))
        assert shown.encode() == first.chain_pem


@pytest.mark.parametrize("make", [None, self_signed, issued], ids=["self-signed", "mounted", "issued"])
async def test_probe_takes_any_certificate(tmp_path: Path, make: object) -> None:
    flags = [TLS]
    if callable(make):
        mount(tmp_path, make())
        flags.append(f"--cert-path={tmp_path}")
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, flags=flags) as picker:
        assert f"tls={'cert-path' if make else 'self-signed'}" in picker.log_text()
        target = f"--target={picker.address}"
        code, output = await run("probe", target, "--model=llama", "--tls", "--json")
        assert (code, json.loads(output)["destination"]) == (0, upstream.address)


async def test_probe_tells_what_is_wrong_about_tls() -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, flags=[TLS]) as picker:
        code, output = await run("probe", f"--target={picker.address}", "--model=llama")
        assert code == 1
        assert output.splitlines()[-1] == "it speaks TLS there: add --tls"
        code, output = await run("probe", f"--target={picker.health_address}", "--model=llama", "--tls")
        assert code == 1
        assert output.splitlines()[-1] == "is it a plaintext port? then leave out --tls"
        health = f"--target={picker.health_address}"
    code, output = await run("probe", health, "--model=llama", "--tls")
    assert code == 1
    assert "UNAVAILABLE" in output


async def test_plaintext_is_told_too() -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}) as picker:
        assert "tls=off" in picker.log_text()
