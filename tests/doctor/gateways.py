"""Real Envoys whose bootstrap was changed on purpose, and what the doctor says of them beside a real picker."""

import asyncio
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
from tests.e2e.picker import Picker

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import open_admin
from extproc.cli.demo.envoy import Envoy, GatewaySettings, envoy_config
from extproc.cli.doctor import envoy_clusters, envoy_filter, envoy_pool, envoy_routes, streams
from extproc.cli.doctor.envoy_admin import read_envoy
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.verdict import Verdict
from extproc.settings.load import load_settings

CHECKS = (streams.check, envoy_routes.check, envoy_filter.check, envoy_clusters.check, envoy_pool.check)
CHAT = b'{"model": "llama", "messages": []}'


async def examine(picker: Picker, envoy: Envoy | None = None, *, seen: int = 0) -> Mapping[str, Sequence[Verdict]]:
    """The verdicts of these checks, by check, once the picker has seen so many streams to their end."""
    async with asyncio.timeout(20):
        while True:
            config, snapshot = await asyncio.to_thread(_ask, picker.admin_address)
            if sum(caller.streams for caller in snapshot.callers) >= seen:
                break
            await asyncio.sleep(0.02)  # it is to end streams, not to answer this
    evidence = Evidence(settings=load_settings(text=config.yaml, flag_values={}), snapshot=snapshot)
    if envoy is not None:
        evidence = replace(evidence, envoy=await read_envoy(f"http://127.0.0.1:{envoy.admin_port}", timeout_s=20))
    return judged(evidence)


async def until_configured(picker: Picker, text: str) -> None:
    """Returns once this stands in the settings that are in effect."""
    async with asyncio.timeout(20):
        while text not in (await asyncio.to_thread(_ask, picker.admin_address))[0].yaml:
            await asyncio.sleep(0.05)


def _ask(target: str) -> tuple[admin_pb2.Config, admin_pb2.Snapshot]:
    with open_admin(target, None) as client:
        return client.config(), client.snapshot()


def judged(evidence: Evidence) -> Mapping[str, Sequence[Verdict]]:
    """The same of evidence that is there."""
    found: dict[str, list[Verdict]] = {}
    for check in CHECKS:
        for verdict in check(evidence):
            assert bool(verdict.fix) == (verdict.state in ("fault", "warning")), verdict
            found.setdefault(verdict.check, []).append(verdict)
    return found


def of_state(verdicts: Mapping[str, Sequence[Verdict]], *states: str) -> dict[str, str]:
    """The evidence of those in one of `states`, by check."""
    return {
        check: " | ".join(each.evidence for each in found if each.state in states)
        for check, found in verdicts.items()
        if any(each.state in states for each in found)
    }


def bootstrap(settings: GatewaySettings) -> Any:
    """The demo's, free to be changed."""
    return copy.deepcopy(envoy_config(settings))


def manager_of(config: Any) -> Any:
    """Its HTTP connection manager."""
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    return chain["filters"][0]["typed_config"]


def ext_proc_of(config: Any) -> Any:
    """Its ext_proc filter."""
    return manager_of(config)["http_filters"][0]["typed_config"]


def route_of(config: Any) -> Any:
    """Its only route."""
    return manager_of(config)["route_config"]["virtual_hosts"][0]["routes"][0]


def cluster_of(config: Any, name: str) -> Any:
    """One of its clusters."""
    [found] = [each for each in config["static_resources"]["clusters"] if each["name"] == name]
    return found


def add_listener(config: Any, name: str) -> Any:
    """A second listener as the first is now, at a port of its own; its only connection manager, to be changed."""
    listener = copy.deepcopy(config["static_resources"]["listeners"][0])
    listener["name"] = name
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["stat_prefix"] = name
    config["static_resources"]["listeners"].append(listener)
    return manager


async def ports_of(envoy: Envoy) -> dict[str, int]:
    """Of its listeners, by name."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{envoy.admin_port}/listeners?format=json") as response:
            found = (await response.json(content_type=None))["listener_statuses"]
    return {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in found}


async def ask(
    port: int, *, times: int = 1, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None
) -> list[int]:
    """Statuses of chat completions, one after the other; 0 where nothing came in time."""
    statuses = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout_s)) as session:
        for _ in range(times):
            try:
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                async with session.post(url, data=CHAT, headers=headers) as response:
                    await response.read()
                    statuses.append(response.status)
            except TimeoutError:
                statuses.append(0)
    return statuses
