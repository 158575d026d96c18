"""`extproc doctor` on engines that are asked in the wrong way: real servers, asked as the picker asks and otherwise."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.doctor.sidecar import sidecar
from tests.raw_server import raw_server
from tests.unit.cli.doctor.given import endpoint, evidence, snapshot

from extproc.cli.doctor.asking import Answer, EngineLook, ask_engines
from extproc.cli.doctor.engines import check
from extproc.cli.doctor.verdict import Verdict
from extproc.probes.client import Client, ProbeError
from extproc.probes.scan import scan
from extproc.settings.load import load_settings
from extproc.settings.schema import Settings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad

FILE = "source: {endpointsFile: /e}"
MODELS = '{"data": [{"id": "phi"}]}'


def mesh_identity(folder: Path) -> ssl.SSLContext:
    """Server side of a sidecar: a mesh's certificate, and clients must show one."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mesh")])
    names = x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier("spiffe://cluster.local/ns/llm/sa/vllm"),
            x509.IPAddress(ipaddress.ip_address(1)),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "c.pem").write_bytes(
        certificate.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "c.pem"))
    context.load_cert_chain(folder / "c.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def engine(
    *paths: str, tls: ssl.SSLContext | None = None, page: str | None = None, status: int = 200
) -> AsyncIterator[str]:
    """The address of a server that lists models at each of these paths; `page` is where its metrics are."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path in paths:
            return web.Response(status=status, text=MODELS, content_type="application/json")
        if request.path == page:
            return web.Response(text="vllm:num_requests_waiting 1\n")
        return web.Response(status=404)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a STRICT sidecar does to plaintext."""
    await reader.read(10)
    writer.transport.abort()


async def ask(address: str, config: str = "") -> tuple[EngineLook, dict[str, Verdict]]:
    """What the endpoint says, and what follows where the picker's own probes fail as the doctor's do."""
    settings = load_settings(text=f"{{{FILE}, {config}}}", flag_values={})
    [look] = await ask_engines([Endpoint(id="phi-0", name="phi-0", address=address)], settings.probes)
    problem, load_problem = await probe(address, settings)
    known: dict[str, Any] = {"models": (), "is_confirmed": False} if problem else {}
    told = endpoint("phi-0", address=address, problem=problem, load_problem=load_problem, **known)
    found = evidence(config=f"{{{FILE}, {config}}}", snapshot=snapshot(told), engines={address: look})
    return look, {verdict.check: verdict for verdict in check(found)}


async def probe(address: str, settings: Settings) -> tuple[str, str]:
    """The problems that the picker would have."""
    asked = Endpoint(id="phi-0", name="phi-0", address=address)
    problem = load_problem = ""
    async with Client(settings.probes) as client:
        try:
            await client.list_models(asked, timeout_s=2)
        except ProbeError as exc:
            problem = str(exc)
        try:
            page = await client.read_metrics(asked, timeout_s=2)
            if scan(page, engine="", asked_at_s=0.0) == EngineLoad(0.0):
                load_problem = "invalid: a page that says nothing of the load"
        except ProbeError as exc:
            load_problem = str(exc)
    return problem, load_problem


async def test_an_engine_that_wants_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-1\n")
    async with SimServer(EngineSettings(models=("phi",), api_key="secret-1")) as sim:
        _, verdicts = await ask(sim.address)
        assert verdicts["engines"].state == "fault"
        assert "they want a key" in verdicts["engines"].evidence
        assert "probes.bearerTokenFile" in verdicts["engines"].fix
        _, mended = await ask(sim.address, f"probes: {{bearerTokenFile: {tmp_path / 'key'}}}")
        assert mended["engines"].state == "ok"
        (tmp_path / "key").write_text("secret-2")
        _, wrong = await ask(sim.address, f"probes: {{bearerTokenFile: {tmp_path / 'key'}}}")
    assert "do not take the key" in wrong["engines"].evidence
    assert not any("secret" in str(verdict) for verdict in wrong.values())


@pytest.mark.parametrize("is_tls", [True, False], ids=["engine speaks TLS", "engine speaks plaintext"])
async def test_an_engine_on_another_scheme(tmp_path: Path, is_tls: bool) -> None:
    context = mesh_identity(tmp_path) if is_tls else None
    if context is not None:
        context.verify_mode = ssl.CERT_NONE
    right, wrong = ("https", "http") if is_tls else ("http", "https")
    async with engine("/v1/models", tls=context, page="/metrics") as address:
        look, verdicts = await ask(address, f"probes: {{scheme: {wrong}}}")
        assert look.other_models == [Answer(f"{right}://{address}/v1/models", models=1)]
        assert verdicts["engines"].state == "fault"
        assert f"probes.scheme: {right}" in verdicts["engines"].fix
        _, mended = await ask(address, f"probes: {{scheme: {right}, insecureSkipVerify: true}}")
    assert {name: verdict.state for name, verdict in mended.items()} == {"engines": "ok", "metrics pages": "ok"}


async def test_an_engine_on_another_scheme_that_wants_a_key_too(tmp_path: Path) -> None:
    """That it asks for one is answer enough: the scheme is the first thing to mend."""
    context = mesh_identity(tmp_path)
    context.verify_mode = ssl.CERT_NONE
    async with engine("/v1/models", tls=context, status=401) as address:
        _, verdicts = await ask(address)
    assert "probes.scheme: https" in verdicts["engines"].fix


async def test_the_key_is_shown_in_the_configured_way_alone(tmp_path: Path) -> None:
    """In plaintext, or to another path, it would be given away."""
    (tmp_path / "key").write_text("secret-1")
    shown: list[tuple[str, str | None]] = []

    async def refuse(request: web.BaseRequest) -> web.Response:
        shown.append((request.path, request.headers.get("Authorization")))
        return web.Response(status=404)

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = load_settings(text=f"{{probes: {{bearerTokenFile: {tmp_path / 'key'}}}}}", flag_values={})
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    await ask_engines([Endpoint(id="a", name="a", address=address)], settings.probes)
    await runner.cleanup()
    paths = {path for path, header in shown if header is not None}
    assert paths == {"/v1/models", "/metrics"}
    assert "/openai/v1/models" in {path for path, _ in shown}


async def test_an_engine_on_another_path() -> None:
    async with engine("/openai/v1/models", page="/prometheus/metrics") as address:
        _, verdicts = await ask(address)
        assert verdicts["engines"].state == "fault"
        assert "set probes.models.path: /openai/v1/models" in verdicts["engines"].fix
        path = "{models: {path: /openai/v1/models}}"
        _, half = await ask(address, f"probes: {path}")
        assert half["engines"].state == "ok"
        assert half["metrics pages"].state == "warning"
        assert "probes.metrics.path: /prometheus/metrics" in half["metrics pages"].fix
        _, mended = await ask(
            address, "probes: {models: {path: /openai/v1/models}, metrics: {path: /prometheus/metrics}}"
        )
    assert mended["metrics pages"].state == "ok"


async def test_a_page_of_an_unknown_engine() -> None:
    async with engine("/v1/models", "/metrics") as address:
        _, verdicts = await ask(address)
    assert verdicts["engines"].state == "ok"
    assert verdicts["metrics pages"].state == "warning"
    assert "says nothing of the load" in verdicts["metrics pages"].evidence


async def test_only_a_page_that_tells_of_the_load_is_proposed() -> None:
    async with engine("/v1/models", "/prometheus/metrics") as address:
        look, verdicts = await ask(address)
    assert look.other_metrics == []
    assert "/prometheus" not in verdicts["metrics pages"].fix


async def test_a_mesh_that_wants_mutual_tls(tmp_path: Path) -> None:
    async with (
        engine("/v1/models", page="/metrics") as plain,
        engine("/v1/models", tls=mesh_identity(tmp_path)) as strict,
        sidecar(plain, strict) as mesh,
    ):
        look, verdicts = await ask(mesh.address)
        mesh.is_strict = False
        _, mended = await ask(mesh.address)
    assert look.port is not None
    assert look.port.name == "spiffe://cluster.local/ns/llm/sa/vllm"
    assert verdicts["engines"].state == "fault"
    assert "mutual TLS in mode STRICT" in verdicts["engines"].evidence
    assert "PeerAuthentication" in verdicts["engines"].fix
    assert mended["engines"].state == "ok"


async def test_connections_that_are_reset() -> None:
    async with (
        engine("/v1/models", page="/metrics") as plain,
        raw_server(drop) as dropping,
        sidecar(plain, f"127.0.0.1:{dropping}") as mesh,
    ):
        _, verdicts = await ask(mesh.address)
        mesh.is_strict = False
        _, mended = await ask(mesh.address)
    assert verdicts["engines"].state == "fault"
    assert "dropped without an answer" in verdicts["engines"].evidence
    assert mended["engines"].state == "ok"


async def test_only_some_are_asked() -> None:
    async with engine("/v1/models") as address:
        many = [Endpoint(id=str(number), name=str(number), address=address) for number in range(20)]
        looks = await ask_engines(many, Settings().probes)
    assert [look.name for look in looks] == [str(number) for number in range(8)]
