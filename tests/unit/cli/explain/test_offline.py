"""cli/explain/offline: what is learned without a running picker, of engines that are asked once."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.cli.explain.test_command import run

from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer


def write_pool(folder: Path, **addresses: str) -> str:
    rows = [f"{{name: {name}, address: '{address}'}}" for name, address in addresses.items()]
    file = folder / "endpoints.yaml"
    file.write_text(f"pools: [{{name: demo, endpoints: [{', '.join(rows)}]}}]")
    return str(file)


async def test_from_an_endpoints_file_every_engine_is_asked_once(tmp_path: Path) -> None:
    async with (
        SimServer(EngineSettings(models=("phi",))) as phi,
        SimServer(EngineSettings(models=("gemma",), api_key="k")) as locked,
    ):
        file = write_pool(tmp_path, phi=phi.address, locked=locked.address, gone="127.0.0.1:1")
        routed = await asyncio.to_thread(run, "--endpoints-file", file, "--model", "phi", "--json")
        refused = await asyncio.to_thread(
            run, "--endpoints-file", file, "--model", "chat", "--config-text", "requests: {aliases: {chat: gemma}}"
        )
    told = json.loads(routed.stdout)
    assert (routed.exit_code, told["endpoint"], told["pool"], told["held_s"]) == (0, "phi", "default/demo", 0.0)
    kept = {row["name"]: row["verdicts"][-1] for row in told["candidates"]}
    assert {name: verdict["filter"] for name, verdict in kept.items()} == {
        "phi": "suspect",
        "locked": "confirmed",
        "gone": "ready",
    }
    assert "unauthorized: status 401" in kept["locked"]["why"]
    assert "refused" in kept["gone"]["why"]
    assert routed.stderr.startswith("the load of gone: refused")
    assert refused.exit_code == 1
    assert refused.stdout.startswith("chat (as gemma) → 404 model_not_found")
    assert "waits" not in refused.stdout, "they have just been asked"


@pytest.mark.parametrize(
    ("interval", "score"), [pytest.param("500ms", 1.0, id="read"), pytest.param("0s", 0.5, id="not wanted")]
)
async def test_the_loads_of_engines_are_read_where_settings_want_it(
    tmp_path: Path, interval: str, score: float
) -> None:
    """Nobody waits there; where that is not known, the score is in the middle."""
    config = f"{{scheduling: {{scorers: [{{name: queue, weight: 1}}]}}, probes: {{metrics: {{interval: {interval}}}}}}}"
    async with SimServer(EngineSettings(models=("phi",))) as phi:
        file = write_pool(tmp_path, phi=phi.address)
        options = ("--endpoints-file", file, "--model", "phi", "--json", "--config-text", config)
        told = json.loads((await asyncio.to_thread(run, *options)).stdout)
    assert told["candidates"][0]["scores"] == [score]
