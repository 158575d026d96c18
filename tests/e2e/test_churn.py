"""Nothing goes wrong while everything moves: endpoints come, go and move, adapters load and unload, requests go on."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from tests.e2e.load import Outcome, post, run_load
from tests.e2e.picker import Picker

from extproc.cli.demo.envoy import DETACHED, Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

BASES = ("llama", "phi", "gemma")
ADAPTERS = ("llama-sql", "phi-fr")
MODELS = BASES + ADAPTERS
PROBE_INTERVAL_S = 0.5
GRACE_S = 3.0
"""An unloaded adapter is served for so long after it is no longer listed: more than a probe interval takes."""
HELD_S = 0.3
REQUESTS = 10_000


class Held:
    """When each endpoint held each model: it stood in the file, and its server listed the model."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self._spans: list[tuple[str, float, float]] = []

    def begin(self, name: str, model: str) -> None:
        self._since.setdefault((name, model), time.monotonic())

    def end(self, name: str, model: str | None = None) -> None:
        for key in [key for key in self._since if key[0] == name and model in (None, key[1])]:
            self._spans.append((key[1], self._since.pop(key), time.monotonic()))

    def throughout(self, model: str, start_s: float, end_s: float) -> bool:
        """True when one endpoint held `model` from `start_s` to `end_s`."""
        spans = [*self._spans, *((key[1], since, float("inf")) for key, since in self._since.items())]
        return any(held == model and since <= start_s and until >= end_s for held, since, until in spans)


class Fleet:
    """Fourteen servers, of which twelve are in the pool at a time, and the moves that they make."""

    def __init__(self, sims: list[SimServer], picker: Picker, http: aiohttp.ClientSession, held: Held) -> None:
        self.picker = picker
        self._http = http
        self._held = held
        self._spare = sims[12:]
        self._pool = {f"pod-{index}": sim for index, sim in enumerate(sims[:12])}
        for name in self._pool:
            self._begin(name)

    def _begin(self, name: str) -> None:
        engine = self._pool[name].engine
        for model in (*engine.settings.models, *engine.adapters):
            self._held.begin(name, model)

    def _write(self) -> None:
        self.picker.set_endpoints({name: sim.address for name, sim in self._pool.items()})

    async def replace(self, rng: random.Random) -> None:
        """An endpoint leaves the file and another comes under a new name."""
        name = rng.choice(sorted(self._pool))
        self._held.end(name)
        self._spare.append(self._pool.pop(name))
        fresh = f"pod-{time.monotonic_ns()}"
        self._pool[fresh] = self._spare.pop(0)
        self._write()
        self._begin(fresh)

    async def swap(self, rng: random.Random) -> None:
        """Two endpoints of the file move to one another's addresses, keeping their names."""
        first, second = rng.sample(sorted(self._pool), 2)
        for name in (first, second):
            self._held.end(name)
        self._pool[first], self._pool[second] = self._pool[second], self._pool[first]
        self._write()
        for name in (first, second):
            self._begin(name)

    async def toggle(self, rng: random.Random) -> None:
        """An adapter is loaded on an endpoint that lacks it, or unloaded from one that has it."""
        adapter = rng.choice(ADAPTERS)
        base = adapter.partition("-")[0]
        name = rng.choice([name for name, sim in sorted(self._pool.items()) if sim.engine.settings.models == (base,)])
        sim = self._pool[name]
        if adapter in sim.engine.adapters:
            self._held.end(name, adapter)
            await self._call(sim, "unload_lora_adapter", {"lora_name": adapter})
        else:
            await self._call(sim, "load_lora_adapter", {"lora_name": adapter, "lora_path": f"/adapters/{adapter}"})
            self._held.begin(name, adapter)

    async def _call(self, sim: SimServer, path: str, body: dict[str, str]) -> None:
        async with self._http.post(f"http://{sim.address}/v1/{path}", json=body) as response:
            assert response.status == 200, await response.text()

    async def churn(self, rng: random.Random) -> None:
        moves = [self.replace, self.swap, self.toggle, self.toggle]
        while True:
            await asyncio.sleep(rng.uniform(0.1, 0.3))
            await rng.choice(moves)(rng)


def build_sims() -> Iterator[SimServer]:
    for index in range(14):
        base = BASES[index % 3]
        adapters = tuple(adapter for adapter in ADAPTERS if index < 6 and adapter.startswith(base))
        yield SimServer(
            EngineSettings(
                models=(base,),
                lora=adapters,
                unload_grace_s=GRACE_S,
                time_to_first_token_s=0.0,
                token_delay_s=0.0,
                default_tokens=1,
            )
        )


async def test_no_wrong_pod_and_no_needless_refusal_while_everything_moves() -> None:
    rng = random.Random(7)
    held = Held()
    refusals: list[tuple[str, int, float, float]] = []
    needless: list[tuple[str, int, float, float]] = []
    began_s: dict[int, float] = {}

    async with AsyncExitStack() as stack:
        sims = list(build_sims())
        for sim in sims:
            await stack.enter_async_context(sim)
        config = {"probes": {"models": {"interval": f"{PROBE_INTERVAL_S}s"}}}
        first = {f"pod-{index}": sim.address for index, sim in enumerate(sims[:12])}
        picker = await stack.enter_async_context(Picker(first, config=config))
        settings = GatewaySettings(
            endpoints=tuple(sim.address for sim in sims), picker=picker.address, processing_mode=DETACHED
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        fleet = Fleet(sims, picker, http, held)
        models = [rng.choice(MODELS) for _ in range(REQUESTS)]

        def make_request(index: int) -> bytes:
            began_s[index] = time.monotonic()
            return post(json.dumps({"prompt": "Hello", "model": models[index]}).encode(), path="/v1/completions")

        def judge(index: int, outcome: Outcome) -> None:
            if outcome.status != 200:
                refusal = (models[index], outcome.status, began_s[index], time.monotonic())
                refusals.append(refusal)
                if held.throughout(models[index], refusal[2] - HELD_S, refusal[3]):
                    needless.append(refusal)

        churn = asyncio.create_task(fleet.churn(rng))
        outcomes = await run_load(envoy.port, REQUESTS, 16, make_request, on_outcome=judge)
        assert not churn.done(), churn.exception()
        churn.cancel()
        wrong = sum(sim.engine.wrong_model for sim in sims)
        served = sum(sum(sim.engine.served.values()) for sim in sims)
    assert wrong == 0
    assert needless == []
    assert {outcome.status for outcome in outcomes} <= {200, 404, 503}
    assert served == REQUESTS - len(refusals)
    assert all(outcome.whole for outcome in outcomes)


@pytest.mark.parametrize("interval_s", [0.5, 1.0])
async def test_the_window_of_an_unannounced_unload_is_one_probe_interval(interval_s: float) -> None:
    """Without grace a pod refuses what it unloaded at once; the picker knows after its next probe, no later."""
    body = post(b'{"prompt": "Hello", "model": "llama-sql"}', path="/v1/completions")
    async with AsyncExitStack() as stack:
        sims = [
            SimServer(EngineSettings(models=("llama",), lora=("llama-sql",), default_tokens=1, token_delay_s=0.0))
            for _ in range(2)
        ]
        for sim in sims:
            await stack.enter_async_context(sim)
        config = {"probes": {"models": {"interval": f"{interval_s}s"}}}
        picker = await stack.enter_async_context(
            Picker({f"pod-{index}": sim.address for index, sim in enumerate(sims)}, config=config)
        )
        settings = GatewaySettings(endpoints=tuple(sim.address for sim in sims), picker=picker.address)
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        unload = {"lora_name": "llama-sql"}
        async with http.post(f"http://{sims[0].address}/v1/unload_lora_adapter", json=unload) as response:
            assert response.status == 200
        unloaded_s, last_wrong_s = time.monotonic(), 0.0
        while time.monotonic() - unloaded_s < 2 * interval_s + 0.5:
            [outcome] = await run_load(envoy.port, 1, 1, lambda _: body)
            if outcome.status == 404:
                last_wrong_s = time.monotonic() - unloaded_s
    print(f"wrong-pod window without grace: {last_wrong_s:.2f} s at a probe interval of {interval_s} s")
    assert last_wrong_s <= 1.1 * interval_s + 0.25
