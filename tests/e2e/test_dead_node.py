"""A node dies and its pods stay Ready, as Kubernetes says for 40 s: connections hang, and the suspect rule is all there
is.

How it is measured: two pickers with a gateway each follow the same pods, and each gets the same load at a steady rate.
One is as it comes, the other never probes again after the first answers: what a picker does that believes the API
server alone. Which pod got the first attempt of a request stands in the pickers' logs.
"""

import asyncio
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from tests.cluster import double_cluster
from tests.e2e.load import Outcome, run_load
from tests.e2e.picker import Picker
from tests.e2e.pods import PodServer, Site, addresses, ask_for

from extproc.cli.demo.envoy import DETACHED, Envoy, GatewaySettings

NODES = 4
PODS_PER_NODE = 2
"""No more than the fallbacks: among three addresses is one of another node."""
FALLBACKS = 2
CONTROL = {"envoy": {"fallbackEndpoints": FALLBACKS}, "probes": {"models": {"interval": "1h"}}}
PERIOD_S = 0.025
READY_FOR_S = 40.0
"""So long a dead node's pods stay Ready. Source: kube-controller-manager, --node-monitor-grace-period; newer releases
wait for 50 s."""

LINE = re.compile(r" (decided|endpoint changed) .*?\bendpoint=(\S+)(?:.* suspect=(\S+))?")


class Load:
    """Requests at a steady rate, however long each takes, and what became of them."""

    def __init__(self, port: int) -> None:
        self.outcomes: list[Outcome] = []
        self.waits_s: list[float] = []
        self._port = port
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Sends until stopped, and returns when all is answered."""
        async with asyncio.TaskGroup() as requests:
            while not self._stop.is_set():
                requests.create_task(self._ask())
                await asyncio.sleep(PERIOD_S)

    def stop(self) -> None:
        """Sends no more."""
        self._stop.set()

    async def _ask(self) -> None:
        began_s = time.monotonic()
        self.outcomes += await run_load(self._port, 1, 1, lambda _: ask_for("phi"), body_bytes=2)
        self.waits_s.append(time.monotonic() - began_s)


class Tally(NamedTuple):
    """First attempts by a picker's log."""

    to_dead: int
    all: int
    to_suspects: int
    """Of a pod that the picker held to be suspect at that time."""

    def __str__(self) -> str:
        return f"{self.to_dead} of {self.all} ({self.to_dead / max(self.all, 1):.1%})"


def count(picker: Picker, dead: set[str], *, from_line: int, to_line: int) -> Tally:
    """The first attempts between two lines of a picker's log."""
    suspects: set[str] = set()
    chosen: list[str] = []
    to_suspects = 0
    for number, line in enumerate(picker.log_text().splitlines()[:to_line]):
        if match := LINE.search(line):
            if match[1] == "decided" and number >= from_line:
                chosen.append(match[2])
                to_suspects += match[2] in suspects
            elif match[1] == "endpoint changed":
                (suspects.add if match[3] == "True" else suspects.discard)(match[2])
    return Tally(sum(name in dead for name in chosen), len(chosen), to_suspects)


def log_length(picker: Picker) -> int:
    return len(picker.log_text().splitlines())


async def bring_up(site: Site, tmp_path: Path, stack: AsyncExitStack, config: object) -> tuple[Picker, Envoy]:
    """A picker that knows every pod of the site, and a gateway before it."""
    picker = await stack.enter_async_context(
        Picker(source=site.flags(tmp_path), config=config, flags=("-v=4",))  # type: ignore[arg-type]
    )
    await picker.wait_for_metric("extproc_endpoint_ready", len(site.pods))
    settings = GatewaySettings(
        endpoints=tuple(server.address for server in site.pods.values()),
        picker=picker.address,
        processing_mode=DETACHED,
        retries=FALLBACKS,
    )
    return picker, await stack.enter_async_context(Envoy(settings))


async def start_pods(site: Site, stack: AsyncExitStack, nodes: int) -> None:
    ips, port = addresses(nodes * PODS_PER_NODE)
    await site.install_pool(port)
    for number, ip in enumerate(ips):
        server = PodServer(f"phi-{number}", ip, port, "phi", closes=True)
        await server.start()
        stack.push_async_callback(server.stop)
        site.create(server, ready=True, node=f"node-{number % nodes}")


async def test_a_dead_node_gets_no_requests_once_its_pods_are_suspect(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(double_cluster())
        site = Site(cluster)
        await start_pods(site, stack, NODES)
        picker, envoy = await bring_up(site, tmp_path, stack, {"envoy": {"fallbackEndpoints": FALLBACKS}})
        control, control_envoy = await bring_up(site, tmp_path, stack, CONTROL)
        pickers = (picker, control)
        loads = [Load(envoy.port), Load(control_envoy.port)]
        loading = [asyncio.create_task(load.run()) for load in loads]
        for each in pickers:
            await each.wait_for_routed(at_least=20)

        lists = cluster.gate.count("list", "/pods")
        dead = {name: server for number, (name, server) in enumerate(site.pods.items()) if number % NODES == 0}
        for server in dead.values():
            server.go_silent()
        died_s = time.monotonic()
        died = [log_length(each) for each in pickers]
        for name in dead:
            await picker.wait_for_log(f"endpoint changed endpoint={name} ready=True confirmed=True suspect=True")
        known_s = time.monotonic() - died_s
        known = [log_length(each) for each in pickers]
        await cluster.gate.wait_until(lambda: cluster.gate.count("list", "/pods") >= lists + len(dead))
        for each in pickers:
            routed = int(await each.metric("extproc_requests_total", outcome="routed"))
            await each.wait_for_routed(at_least=routed + 60)
        after = [log_length(each) for each in pickers]

        before_return = {name: len(server.asked) for name, server in dead.items()}
        for name, server in dead.items():
            await server.come_back()
            await picker.wait_for_log(
                f"endpoint changed endpoint={name} ready=True confirmed=True suspect=False", count=2
            )
            await server.changes.until(lambda: len(server.asked) > before_return[name])  # noqa: B023 - awaited at once
        for load in loads:
            load.stop()
        await asyncio.gather(*loading)
        for each in pickers:
            await each.stop()

    names = set(dead)
    until_known = [
        count(each, names, from_line=died[number], to_line=known[number]) for number, each in enumerate(pickers)
    ]
    since_known = [
        count(each, names, from_line=known[number], to_line=after[number]) for number, each in enumerate(pickers)
    ]
    whole = count(picker, names, from_line=0, to_line=1 << 40)
    in_ready_s = until_known[0].to_dead / (until_known[0].all / known_s * READY_FOR_S)
    waited = [sum(wait_s > 0.1 for wait_s in load.waits_s) for load in loads]
    print(
        f"dead node: {len(dead)} of {len(site.pods)} pods; suspect after {known_s:.2f} s. First attempts to dead pods "
        f"until then {until_known[0]}, without the rule {until_known[1]}; afterwards {since_known[0]}, without the "
        f"rule {since_known[1]}; of the {READY_FOR_S:g} s for which they stay Ready {in_ready_s:.1%}. Requests that "
        f"took over 100 ms: {waited[0]} of {len(loads[0].waits_s)}, without the rule {waited[1]} of "
        f"{len(loads[1].waits_s)}"
    )
    assert since_known[0].to_dead == 0
    assert since_known[0].all >= 50
    assert whole.to_suspects == 0
    assert until_known[0].to_dead > 0
    assert since_known[1].to_dead > 0
    for load in loads:
        assert {outcome.status for outcome in load.outcomes} == {200}
        assert all(outcome.whole for outcome in load.outcomes)


async def test_when_every_pod_of_a_model_is_suspect_they_are_still_tried(tmp_path: Path) -> None:
    """Nothing is refused that could be tried, and one success is enough to be trusted again."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(double_cluster())
        site = Site(cluster)
        await start_pods(site, stack, nodes=1)
        config = {
            "envoy": {"fallbackEndpoints": FALLBACKS},
            "probes": {"models": {"interval": "500ms", "timeout": "500ms"}},
        }
        picker, envoy = await bring_up(site, tmp_path, stack, config)
        for server in site.pods.values():
            server.go_silent()
        for name in site.pods:
            await picker.wait_for_log(f"endpoint changed endpoint={name} ready=True confirmed=True suspect=True")
        decided = log_length(picker)
        asking = asyncio.create_task(run_load(envoy.port, 1, 1, lambda _: ask_for("phi"), body_bytes=2))
        await picker.wait_for_log(" decided ")
        tally = count(picker, set(site.pods), from_line=decided, to_line=log_length(picker))
        for name, server in site.pods.items():
            await server.come_back()
            await picker.wait_for_log(
                f"endpoint changed endpoint={name} ready=True confirmed=True suspect=False", count=2
            )
        [outcome] = await asking
        again = await run_load(envoy.port, 10, 1, lambda _: ask_for("phi"), body_bytes=2)
        await picker.stop()
    assert tally == Tally(1, 1, 1)
    assert {each.status for each in (outcome, *again)} == {200}
    assert count(picker, set(), from_line=decided, to_line=1 << 40).to_suspects == 1
