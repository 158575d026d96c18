"""One question to one endpoint: every way in which it can be answered, by real servers on real sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.probes.silence import silent_host
from tests.raw_server import Handler, raw_server

from extproc.errors import ConfigError
from extproc.probes.client import (
    LARGEST_ANSWER_BYTES,
    LONGEST_NAME,
    MOST_MODELS,
    ModelsClient,
    ProbeError,
    parse_models,
)
from extproc.registry.changes import Failure
from extproc.settings.schema import ProbeSettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard


def settings(**values: object) -> ProbeSettings:
    return ProbeSettings.model_validate(values)


def at(address: str) -> Endpoint:
    return Endpoint(address, "it", address)


@asynccontextmanager
async def engine(handler: Handler) -> AsyncIterator[str]:
    """The address of an engine that answers each request by `handler`, and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await handler(reader, writer)
        writer.close()

    async with raw_server(serve) as port:
        yield f"127.0.0.1:{port}"


def answers(body: bytes, status: str = "200 OK", length: int | None = None) -> Handler:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\n\r\n".encode() + body)
        await writer.drain()

    return handle


async def stays_silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hangs_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def ask(address: str, *, timeout_s: float = 5.0, **values: object) -> tuple[ModelCard, ...]:
    async with ModelsClient(settings(**values)) as client:
        return await client.list_models(at(address), timeout_s=timeout_s)


async def test_the_models_and_adapters_of_an_engine() -> None:
    async with SimServer(EngineSettings(models=("phi", "phi-3"), lora=("sql",), max_model_len=99)) as sim:
        cards = await ask(sim.address)
    assert [(card.id, card.parent, card.max_model_len) for card in cards] == [
        ("phi", None, 99),
        ("phi-3", None, 99),
        ("sql", "phi", None),
    ]


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (answers(b"{}", "500 Internal Server Error"), Failure.STATUS),
        (answers(b"", "404 Not Found"), Failure.STATUS),
        (answers(b"", "302 Found"), Failure.STATUS),
        (answers(b"", "401 Unauthorized"), Failure.UNAUTHORIZED),
        (answers(b"", "403 Forbidden"), Failure.UNAUTHORIZED),
        (answers(b"<html>"), Failure.INVALID),
        (answers(b"{}"), Failure.INVALID),
        (answers(b'{"data": [{"id": 1}]}'), Failure.INVALID),
        (answers(b'{"data": {}}'), Failure.INVALID),
        (answers(b"[" * 5_000), Failure.INVALID),
        (answers(b" " * (LARGEST_ANSWER_BYTES + 1)), Failure.INVALID),
        (answers(b"{", length=10), Failure.DROPPED),
        (hangs_up, Failure.DROPPED),
        (stays_silent, Failure.TIMEOUT),
    ],
    ids=[
        "500", "404", "a redirect", "401", "403", "no JSON", "no data", "an id that is no string", "data is no list",
        "nested", "too large", "cut", "hangs up", "silent",
    ],
)  # fmt: skip
async def test_what_is_no_list_of_models(handler: Handler, failure: Failure) -> None:
    async with engine(handler) as address:
        with pytest.raises(ProbeError) as error:
            await ask(address, timeout_s=0.5)
    assert error.value.failure is failure


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(ProbeError) as error:
        await ask(f"127.0.0.1:{port}")
    assert error.value.failure is Failure.REFUSED


async def test_a_host_that_answers_nothing_at_all_is_a_connect_failure() -> None:
    with silent_host() as address, pytest.raises(ProbeError) as error:
        await ask(address)
    assert error.value.failure is Failure.CONNECT


async def test_over_tls_a_slow_handshake_is_a_slow_answer_and_no_connect_failure() -> None:
    async with engine(stays_silent) as address:
        with pytest.raises(ProbeError) as error:
            await ask(address, timeout_s=0.6, scheme="https", insecureSkipVerify=True)
    assert error.value.failure is Failure.TIMEOUT


@pytest.mark.parametrize(
    "cards",
    [[{"id": "x" * (LONGEST_NAME + 1)}], [{"id": str(number)} for number in range(MOST_MODELS + 1)]],
    ids=["a name without end", "names without end"],
)
def test_a_list_beyond_all_reason_is_no_list(cards: list[dict[str, str]]) -> None:
    with pytest.raises(ProbeError) as error:
        parse_models(json.dumps({"data": cards}).encode())
    assert error.value.failure is Failure.INVALID


def test_odd_fields_do_not_lose_a_list() -> None:
    odd = {"created": 1.5, "max_model_len": True, "root": 3, "parent": [[]], "owned_by": {}}
    content = json.dumps({"data": [{"id": "a"} | odd, {"id": ""}, {"id": "b", "created": 10**30}]}).encode()
    assert parse_models(content) == (ModelCard("a", owned_by=""), ModelCard("b", owned_by=""))


async def test_a_key_is_read_again_at_each_probe(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("old\n")
    async with (
        SimServer(EngineSettings(models=("phi",), api_key="new")) as sim,
        ModelsClient(settings(bearerTokenFile=str(key))) as client,
    ):
        with pytest.raises(ProbeError) as error:
            await client.list_models(at(sim.address), timeout_s=5)
        assert error.value.failure is Failure.UNAUTHORIZED
        key.write_text("new\n")
        assert len(await client.list_models(at(sim.address), timeout_s=5)) == 1
        key.unlink()
        with pytest.raises(ProbeError):
            await client.list_models(at(sim.address), timeout_s=5)


async def test_plain_text_where_tls_was_expected_is_no_answer() -> None:
    async with SimServer(EngineSettings(models=("phi",))) as sim:
        with pytest.raises(ProbeError) as error:
            await ask(sim.address, scheme="https", insecureSkipVerify=True)
    assert not isinstance(error.value.__cause__, ssl.SSLCertVerificationError)


def test_a_ca_file_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("no certificate")
    for name in ("ca", "nothing"):
        with pytest.raises(ConfigError, match=r"probes\.caFile"):
            ModelsClient(settings(scheme="https", caFile=str(tmp_path / name)))
