"""What the documents tell people to copy works as it stands."""

import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import yaml
from tests.e2e.picker import Picker

from extproc.cli.demo.envoy import Envoy
from extproc.settings.load import load_settings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer
from extproc.sources.static import parse_endpoints


def yaml_blocks(path: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", Path(path).read_text(), re.DOTALL)


def put_ports(text: str, ports: Mapping[int, int]) -> str:
    """`text` with each of the documented ports replaced by one that is free here."""
    return re.sub(r"(?<=port_value: )\d+", lambda match: str(ports[int(match[0])]), text)


async def test_the_envoy_configuration_routes() -> None:
    [config] = yaml_blocks("docs/envoy.md")
    [text] = re.findall(r"--config-text '(.*)'", Path("docs/envoy.md").read_text())
    async with AsyncExitStack() as stack:
        sims = [SimServer(EngineSettings(name=model, models=(model,), default_tokens=1)) for model in ("phi", "gemma")]
        for sim in sims:
            await stack.enter_async_context(sim)
        addresses = {sim.engine.name: sim.address for sim in sims}
        picker = await stack.enter_async_context(Picker(addresses, config=yaml.safe_load(text)))
        ports = {8080: 0, 9901: 0, 9002: int(picker.address.rpartition(":")[2])}
        ports |= {8000 + index: int(sim.address.rpartition(":")[2]) for index, sim in enumerate(sims)}
        envoy = await stack.enter_async_context(Envoy(yaml.safe_load(put_ports(config, ports))))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        for model in ("phi", "gemma") * 5:
            async with http.post("/v1/completions", json={"prompt": "x", "model": model}) as response:
                assert response.status == 200, await response.text()
                assert response.headers["x-served-by"] == model


def test_the_readmes_endpoints_file_is_one() -> None:
    [text] = yaml_blocks("README.md")
    _, endpoints = parse_endpoints(text, "README.md")
    assert [endpoint.name for endpoint in endpoints] == ["phi-0", "gemma-0"]


def test_the_aliases_of_the_document_are_settings() -> None:
    [text] = yaml_blocks("docs/names.md")
    fast, chat = load_settings(text=text, flag_values={}).requests.build_aliases()
    assert [target.weight for target in (*fast.targets, *chat.targets)] == [1, 9, 1]


def test_the_readmes_grpcurl_call_is_a_request_that_names_a_model() -> None:
    from base64 import b64decode

    lines = [line for line in Path("README.md").read_text().splitlines() if line.startswith('{"request')]
    headers, body = (json.loads(line) for line in lines)
    assert headers["requestHeaders"]["headers"]["headers"][0] == {"key": ":method", "value": "POST"}
    assert json.loads(b64decode(body["requestBody"]["body"])) == {"model": "google/gemma-2b-it"}
    assert body["requestBody"]["endOfStream"]


def test_every_setting_named_in_the_documents_exists() -> None:
    reference = Path("docs/configuration.md").read_text()
    named = {
        (path, group, key)
        for path in ("README.md", "CHANGELOG.md", *(str(each) for each in Path("docs").rglob("*.md")))
        for group, key in re.findall(r"`(envoy|requests|probes|server|scheduling)\.(\w+)`", Path(path).read_text())
        if (group, key) not in {("envoy", "lb"), ("envoy", "yaml")}  # Envoy's metadata namespace, a file
    }
    assert ("docs/architecture.md", "requests", "hold") in named
    assert [
        each for each in named if f"| `{each[2]}` |" not in reference and each[2] not in ("models", "metrics")
    ] == []
