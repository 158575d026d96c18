"""One question to one endpoint: every way in which it can be answered, by real servers on real sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.probes.silence import silent_host
from tests.raw_server import Handler, raw_server
from tests.secret import mount, self_signed

from extproc.errors import ConfigError
from extproc.probes.client import (
    KEEP_URLS_S,
    LARGEST_ANSWER_BYTES,
    LONGEST_NAME,
    MOST_MODELS,
    Client,
    ProbeError,
    build_ssl_context,
    parse_models,
    prepare,
)
from extproc.registry.changes import Failure
from extproc.settings.schema import ProbeSettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard

TLS = b"\x16"
"""What a handshake begins with."""


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
    async with Client(settings(**values)) as client:
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
        Client(settings(bearerTokenFile=str(key))) as client,
    ):
        with pytest.raises(ProbeError) as error:
            await client.list_models(at(sim.address), timeout_s=5)
        assert error.value.failure is Failure.UNAUTHORIZED
        key.write_text("new\n")
        assert len(await client.list_models(at(sim.address), timeout_s=5)) == 1
        key.unlink()
        with pytest.raises(ProbeError):
            await client.list_models(at(sim.address), timeout_s=5)


async def test_how_a_metrics_page_is_asked_for(tmp_path: Path) -> None:
    """Not compressed, at its own path, and with the key, which is not read at each of many."""
    key = tmp_path / "key"
    key.write_text("secret\n")
    heads: list[list[str]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head.decode().lower().split("\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + b"x\n")

    async with raw_server(handle) as port:
        probes = settings(metrics={"path": "/load", "port": port}, bearerTokenFile=str(key))
        async with Client(probes) as client:
            for address in ("127.0.0.1:1", f"127.0.0.1:{port}"):
                assert await client.read_metrics(at(address), timeout_s=5) == b"x\n"
            key.unlink()
            assert await client.read_metrics(at(address), timeout_s=5) == b"x\n"
    assert [head[0] for head in heads] == ["get /load http/1.1"] * 3
    for head in heads:
        assert {"accept-encoding: identity", "authorization: bearer secret"} <= {*head}


@pytest.mark.parametrize("address", ["[::1:80", ":80", "127.0.0.1:99999"])
async def test_an_address_that_cannot_be_asked(address: str) -> None:
    async with Client(settings()) as client:
        for ask_for in (client.list_models, client.read_metrics):
            with pytest.raises(ProbeError) as error:
                await ask_for(at(address), timeout_s=0.5)
            assert error.value.failure is Failure.DROPPED


async def test_the_urls_of_those_that_are_not_asked_any_more_are_not_kept_for_ever() -> None:
    now_s = 0.0
    async with engine(answers(b"x")) as address, Client(settings(), clock=lambda: now_s) as client:
        for other in range(1, 9):
            with pytest.raises(ProbeError):
                await client.read_metrics(at(f"127.0.0.1:{other}"), timeout_s=5)
        for now_s in (0.0, KEEP_URLS_S, 1.5 * KEEP_URLS_S):  # noqa: B007 - the clock looks at it
            await client.read_metrics(at(address), timeout_s=5)
        assert list(client._urls) == [("http", address, "/metrics")]


@pytest.mark.parametrize(
    ("handler", "failure", "status"),
    [
        pytest.param(answers(b"", "404 Not Found"), Failure.STATUS, 404, id="404"),
        pytest.param(answers(b"", "403 Forbidden"), Failure.UNAUTHORIZED, 403, id="403"),
        pytest.param(answers(b" " * (LARGEST_ANSWER_BYTES + 1)), Failure.INVALID, 0, id="too large"),
        pytest.param(answers(b"vllm:", length=10), Failure.DROPPED, 0, id="cut"),
        pytest.param(stays_silent, Failure.TIMEOUT, 0, id="silent"),
    ],
)
async def test_a_metrics_page_that_cannot_be_had(handler: Handler, failure: Failure, status: int) -> None:
    async with engine(handler) as address, Client(settings()) as client:
        with pytest.raises(ProbeError) as error:
            await client.read_metrics(at(address), timeout_s=0.5)
    assert (error.value.failure, error.value.status) == (failure, status)


async def test_the_largest_page_that_is_read() -> None:
    async with engine(answers(b" " * LARGEST_ANSWER_BYTES)) as address, Client(settings()) as client:
        assert len(await client.read_metrics(at(address), timeout_s=5)) == LARGEST_ANSWER_BYTES


@pytest.mark.parametrize(
    ("values", "models", "metrics"),
    [
        pytest.param({}, b"G", b"G", id="plaintext"),
        pytest.param({"scheme": "https"}, TLS, TLS, id="TLS"),
        pytest.param({"metrics": {"scheme": "https"}}, b"G", TLS, id="TLS for the metrics alone"),
        pytest.param({"scheme": "https", "metrics": {"scheme": "http"}}, TLS, b"G", id="TLS for the models alone"),
    ],
)
async def test_which_questions_go_by_tls(values: dict[str, object], models: bytes, metrics: bytes) -> None:
    begins: set[bytes] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begins.add(await reader.read(1))
        writer.transport.abort()

    async with raw_server(handle) as port, Client(settings(**values)) as client:
        for ask_for, begin in ((client.list_models, models), (client.read_metrics, metrics)):
            begins.clear()
            with pytest.raises(ProbeError):
                await ask_for(at(f"127.0.0.1:{port}"), timeout_s=5)
            assert begins == {begin}


@pytest.mark.parametrize(
    ("values", "verifies"),
    [
        pytest.param({}, None, id="plaintext"),
        pytest.param({"scheme": "https"}, True, id="TLS"),
        pytest.param({"scheme": "https", "insecureSkipVerify": True}, False, id="unverified"),
        pytest.param({"metrics": {"scheme": "https"}, "insecureSkipVerify": True}, False, id="the metrics unverified"),
    ],
)
def test_whether_certificates_are_verified(values: dict[str, object], verifies: bool | None) -> None:
    context = build_ssl_context(settings(**values))
    assert (None if context is None else context.verify_mode is ssl.CERT_REQUIRED) == verifies


async def test_plain_text_where_tls_was_expected_is_no_answer() -> None:
    async with SimServer(EngineSettings(models=("phi",))) as sim:
        with pytest.raises(ProbeError) as error:
            await ask(sim.address, scheme="https", insecureSkipVerify=True)
    assert not isinstance(error.value.__cause__, ssl.SSLCertVerificationError)


def test_a_ca_file_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("no certificate")
    for name in ("ca", "nothing"):
        with pytest.raises(ConfigError, match=r"probes\.caFile"):
            Client(settings(scheme="https", caFile=str(tmp_path / name)))


class Listener:
    """An engine that keeps the heads of requests, on connections that stay open."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                body = b'{"data": [{"id": "phi"}]}'
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()


async def test_another_manner_is_that_of_the_next_question(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    listener = Listener()
    first = settings(bearerTokenFile=str(tmp_path / "old"))
    async with raw_server(listener.serve) as port, Client(first) as client:
        endpoint = at(f"127.0.0.1:{port}")
        await client.read_metrics(endpoint, timeout_s=5.0)
        client.configure(
            prepare(settings(bearerTokenFile=str(tmp_path / "new"), models={"path": "/m"}, metrics={"path": "/x"}))
        )
        await client.read_metrics(endpoint, timeout_s=5.0)
        await client.list_models(endpoint, timeout_s=5.0)
        client.configure(prepare(settings()))
        await client.list_models(endpoint, timeout_s=5.0)
    lines = [head.splitlines() for head in listener.heads]
    assert [head[0].split()[1] for head in lines] == ["/metrics", "/x", "/m", "/v1/models"]
    keys = [next((line for line in head if line.startswith("Authorization")), "") for head in lines]
    assert keys == ["Authorization: Bearer old", "Authorization: Bearer new", "Authorization: Bearer new", ""]


async def test_another_ca_is_that_of_the_next_question(tmp_path: Path) -> None:
    """A connection that is kept open from before must not stand in for a handshake that would fail now."""
    pair, other = self_signed(), self_signed()
    for name, each in (("ca.pem", pair), ("other.pem", other)):
        (tmp_path / name).write_bytes(each.chain_pem)
    mount(tmp_path, pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    listener = Listener()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(settings(scheme="https", insecureSkipVerify=True)) as client:
        endpoint = at(f"127.0.0.1:{port}")
        await client.read_metrics(endpoint, timeout_s=5.0)
        client.configure(prepare(settings(scheme="https", caFile=str(tmp_path / "other.pem"))))
        with pytest.raises(ProbeError) as error:
            await client.read_metrics(endpoint, timeout_s=5.0)
        assert error.value.failure is Failure.INVALID
        client.configure(prepare(settings(scheme="https", insecureSkipVerify=True)))
        await client.read_metrics(endpoint, timeout_s=5.0)


def test_everything_that_is_wrong_with_the_files_is_told() -> None:
    with pytest.raises(ConfigError) as error:
        prepare(settings(scheme="https", caFile="/nowhere", bearerTokenFile="/nothing"))
    assert [problem.where for problem in error.value.problems] == ["probes.caFile", "probes.bearerTokenFile"]
    assert prepare(settings()).ssl_context is None
