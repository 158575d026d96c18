"""`fallbackEndpoints`: a pod that died unnoticed costs the client nothing."""

from contextlib import AsyncExitStack
from typing import NamedTuple

import aiohttp
import pytest
from tests.e2e.picker import Picker

from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings, ProcessingMode
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

CHAT = b'{"model": "phi", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}'


def sim(name: str, model: str) -> SimServer:
    return SimServer(EngineSettings(name=name, models=(model,), time_to_first_token_s=0.0, token_delay_s=0.0))


class Case(NamedTuple):
    """How many fallbacks the picker lists, how often Envoy retries, and what 40 requests with a dead pod come to."""

    fallbacks: int
    retries: int
    is_good: bool = False
    reaches_wrong_pods: bool = False


CASES = {
    "a fallback and retries": Case(1, 1, is_good=True),
    "retries without a fallback go to any pod": Case(0, 2, reaches_wrong_pods=True),
    "neither": Case(0, 0),
}


@pytest.mark.parametrize("mode", [DETACHED, ISTIO], ids=["no response phase", "Istio's settings"])
@pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
async def test_a_dead_first_pod(mode: ProcessingMode, case: Case) -> None:
    """Probes are too far apart to notice here, so about half of the requests are sent to the dead pod first.

    A retry takes the next address of the picker's list; past its end Envoy asks its own load balancer, which knows
    nothing of models. So a route may retry as often as there are fallbacks, and no more.
    """
    async with AsyncExitStack() as stack:
        sims = {"phi-0": sim("phi-0", "phi"), "phi-1": sim("phi-1", "phi"), "gemma-0": sim("gemma-0", "gemma")}
        for each in sims.values():
            await stack.enter_async_context(each)
        addresses = {name: each.address for name, each in sims.items()}
        config = {"envoy": {"fallbackEndpoints": case.fallbacks}, "probes": {"models": {"interval": "1h"}}}
        picker = await stack.enter_async_context(Picker(addresses, config=config))
        settings = GatewaySettings(
            endpoints=tuple(addresses.values()),
            picker=picker.address,
            pick_from="metadata",
            processing_mode=mode,
            retries=case.retries,
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        statuses, lists = [], set()
        for number in range(40):
            if number == 10:
                await sims["phi-0"].stop()
            async with http.post("/v1/chat/completions", data=CHAT) as response:
                statuses.append(response.status)
                lists.add(frozenset(response.headers.get("x-received-destination", "").split(",")))
        phis = {addresses["phi-0"], addresses["phi-1"]}
        wrong = sims["gemma-0"].engine.wrong_model
    assert statuses[:10] == [200] * 10
    assert (statuses == [200] * 40) == case.is_good
    assert (wrong > 0) == case.reaches_wrong_pods
    if case.is_good:
        assert lists == {frozenset(phis)}
    if not case.retries:
        assert statuses.count(503) >= 5


async def test_a_dead_pod_that_was_the_models_only_one() -> None:
    """The retry stays on the list, which names the one pod twice, and never comes to a pod of another model."""
    async with AsyncExitStack() as stack:
        sims = {"phi-0": sim("phi-0", "phi"), "gemma-0": sim("gemma-0", "gemma")}
        for each in sims.values():
            await stack.enter_async_context(each)
        addresses = {name: each.address for name, each in sims.items()}
        config = {"envoy": {"fallbackEndpoints": 1}, "probes": {"models": {"interval": "1h"}}}
        picker = await stack.enter_async_context(Picker(addresses, config=config))
        settings = GatewaySettings(endpoints=tuple(addresses.values()), picker=picker.address, retries=1)
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        await sims["phi-0"].stop()
        statuses = set()
        for _ in range(20):
            async with http.post("/v1/chat/completions", data=CHAT) as response:
                statuses.add(response.status)
        assert sims["gemma-0"].engine.wrong_model == 0
    assert statuses == {503}


async def test_ipv6_endpoints_stand_in_brackets() -> None:
    async with AsyncExitStack() as stack:
        sims = [sim("six-0", "phi"), sim("six-1", "phi")]
        ports = [await each.start("::1", 0) for each in sims]
        for each in sims:
            stack.push_async_callback(each.stop)
        addresses = {f"six-{index}": f"[::1]:{port}" for index, port in enumerate(ports)}
        picker = await stack.enter_async_context(Picker(addresses, config={"envoy": {"fallbackEndpoints": 1}}))
        settings = GatewaySettings(endpoints=tuple(addresses.values()), picker=picker.address)
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        served = set()
        for _ in range(20):
            async with http.post("/v1/chat/completions", data=CHAT) as response:
                assert response.status == 200, await response.text()
                served.add(response.headers["x-served-by"])
                assert set(response.headers["x-received-destination"].split(",")) == set(addresses.values())
        assert served == {"six-0", "six-1"}
