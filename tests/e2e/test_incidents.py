"""The incident that this project exists for, replayed: two models in one pool, behind a real Envoy.

Pickers that never ask which pod serves which model failed 40 to 60 % of first attempts, and `GET /v1/models` showed
another list at each call. The other incident, a picker that crashed because its config was empty, is in test_reload.py.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from tests.e2e.picker import Picker

from extproc.cli.demo.envoy import DETACHED, Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

PHI, GEMMA = "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"
POOL = {"phi-0": PHI, "phi-1": PHI, "gemma-0": GEMMA}
CALLS = 30


class Site(NamedTuple):
    """The mixed pool, its picker and its gateway."""

    sims: dict[str, SimServer]
    picker: Picker
    envoy: Envoy
    http: aiohttp.ClientSession


@asynccontextmanager
async def mixed_pool() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sims = {}
        for name, model in POOL.items():
            settings = EngineSettings(name=name, models=(model,), time_to_first_token_s=0.0, token_delay_s=0.0)
            sims[name] = await stack.enter_async_context(SimServer(settings))
        addresses = {name: sim.address for name, sim in sims.items()}
        picker = await stack.enter_async_context(Picker(addresses))
        gateway = GatewaySettings(endpoints=tuple(addresses.values()), picker=picker.address, processing_mode=DETACHED)
        envoy = await stack.enter_async_context(Envoy(gateway))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        yield Site(sims, picker, envoy, http)


async def extproc(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extproc", *arguments, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def ask(http: aiohttp.ClientSession, model: str) -> tuple[int, str]:
    async with http.post("/v1/completions", json={"model": model, "prompt": "Hello", "max_tokens": 1}) as response:
        return response.status, response.headers.get("x-served-by", "")


async def test_a_mixed_pool_shows_one_list_explains_itself_and_has_nothing_wrong() -> None:
    async with mixed_pool() as (_, picker, envoy, http):
        answers = [await ask(http, (PHI, GEMMA)[number % 2]) for number in range(CALLS)]
        lists = []
        for _ in range(CALLS):
            async with http.get("/v1/models") as response:
                lists.append(await response.text())
        target = f"--target={picker.admin_address}"
        (phi_code, phi), (gemma_code, gemma), (code, verdicts) = await asyncio.gather(
            extproc("explain", target, f"--model={PHI}", "--prompt=Hello", "--json"),
            extproc("explain", target, f"--model={GEMMA}", "--json"),
            extproc("doctor", target, "--envoy-admin", f"http://127.0.0.1:{envoy.admin_port}", "--json"),
        )
    assert [status for status, _ in answers] == [200] * CALLS
    assert all(served.startswith(("phi", "gemma")[number % 2]) for number, (_, served) in enumerate(answers))
    assert len(set(lists)) == 1
    assert [entry["id"] for entry in json.loads(lists[0])["data"]] == [GEMMA, PHI]

    assert (phi_code, gemma_code) == (0, 0)
    assert json.loads(phi)["endpoint"] in ("phi-0", "phi-1")
    assert json.loads(gemma)["endpoint"] == "gemma-0"
    refused = {each["name"]: each["verdicts"][-1]["filter"] for each in json.loads(gemma)["candidates"][1:]}
    assert refused == {"phi-0": "model", "phi-1": "model"}

    found: list[dict[str, Any]] = json.loads(verdicts)["verdicts"]
    wrong = [verdict for verdict in found if verdict["state"] in ("fault", "warning")]
    assert (code, wrong) == (0, [])
    assert sum(verdict["state"] == "ok" for verdict in found) >= 10
