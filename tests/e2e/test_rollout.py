"""A rollout of a whole pool: 200 pods of 6 models are replaced one by one, and the watch breaks meanwhile.

How it is measured: the gate before the API server double notes when it passed on that a pod is not to be used any more,
and the picker's own log says when it chose which pod. A choice is late that comes more than 50 ms after the former. The
clock is one, the processes share a busy machine: what a process slept meanwhile, by the beats of its own, is no delay
of the picker's. What the picker chose after it knew better is counted by the order of its log, without any clock.
"""

import asyncio
import gzip
import itertools
import json
import random
import re
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web
from tests.api_faults import kind_of
from tests.api_gate import Gate, How
from tests.api_objects import Manifest
from tests.apiserver import ApiServer
from tests.cluster import Cluster
from tests.e2e.load import Outcome, run_load
from tests.e2e.picker import Picker
from tests.e2e.pods import PodServer, Site, addresses, ask_for
from tests.e2e.test_churn import HELD_S, Held
from tests.real_apiserver import ADMIN_TOKEN, PICKER_TOKEN, PICKER_USER

from extproc.cli.demo.envoy import DETACHED, Envoy, GatewaySettings

MODELS = {"llama": 70, "phi": 50, "gemma": 40, "qwen": 30, "mistral": 9, "solo": 1}
"""How many pods each has. The one of `solo` is replaced as all are: the moment that the next is ready."""
GHOST = "mistral-3"
"""Deleted by force, and the DELETE is lost."""
STEP_S = 0.05
"""Between the starts of two replacements."""
GRACE_S = 2.0
"""A pod that is being deleted answers for so long, new requests too, as one does that was sent SIGTERM."""
LATE_S = 0.05
CONCURRENCY = 8
ANSWER_DELAY_S = 0.03
SPARE_ADDRESSES = 70
"""Beyond one for each pod: addresses are given again, the one that has rested longest first."""

DECISION = re.compile(r"^(\S+Z) .* decided .*\bendpoint=(\S+)")
CHANGE = re.compile(r"^(\S+Z) .* endpoint changed endpoint=(\S+) ready=(\S+) confirmed=(\S+)")
GONE = re.compile(r"^(\S+Z) .* endpoint gone endpoint=(\S+)")


class Witness(Gate):
    """A gate that notes when it passed on that a pod is not to be used any more: not ready, ending, deleted, or no
    longer in the list.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.ended_s: dict[str, float] = {}
        """By pod, in `time.time()`."""
        self._told: set[str] = set()

    async def _next_line(self, stream: Any) -> bytes | None:
        line = await super()._next_line(stream)
        if line is not None and stream.path.endswith("/pods"):
            event = json.loads(line)
            if event["type"] != "BOOKMARK":
                self._note(event["object"], is_deleted=event["type"] == "DELETED")
        return line

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await super()._handle(request)
        if kind_of(request) == "list" and request.path.endswith("/pods") and isinstance(answer, web.Response):
            body = answer.body
            assert isinstance(body, bytes)
            items = json.loads(gzip.decompress(body) if "Content-Encoding" in answer.headers else body)["items"]
            now = time.time()
            for name in self._told - {item["metadata"]["name"] for item in items}:
                self.ended_s.setdefault(name, now)
            for item in items:
                self._note(item)
        return answer

    def _note(self, told: Manifest, *, is_deleted: bool = False) -> None:
        name = told["metadata"]["name"]
        conditions = told["status"].get("conditions", ())
        is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        if is_ready and not is_deleted and "deletionTimestamp" not in told["metadata"]:
            self._told.add(name)
        elif name in self._told:
            self.ended_s.setdefault(name, time.time())


class Beats:
    """When a process was seen to run, and with that how long it slept."""

    def __init__(self, beats_s: Iterable[float] = ()) -> None:
        self._beats_s = list(beats_s)

    async def run(self) -> None:
        """Beats for ever."""
        while True:
            self._beats_s.append(time.time())
            await asyncio.sleep(0.005)

    def longest_sleep_s(self, start_s: float, end_s: float) -> float:
        """The longest time between two beats of which a part lies between the two moments."""
        return max((b - a for a, b in itertools.pairwise(self._beats_s) if b > start_s and a < end_s), default=0.0)


class Rollout:
    """The pods, and their replacement."""

    def __init__(self, site: Site, held: Held, rng: random.Random) -> None:
        self.site = site
        self.held = held
        self.replaced = 0
        self._rng = rng
        self._numbers = itertools.count()
        ips, self.port = addresses(sum(MODELS.values()) + SPARE_ADDRESSES)
        self.all_addresses = tuple(f"{ip}:{self.port}" for ip in ips)
        self._free = deque(ips)
        self._old = [
            self._make(f"{model}-{number}", model) for model, count in MODELS.items() for number in range(count)
        ]
        rng.shuffle(self._old)

    def _make(self, name: str, model: str) -> PodServer:
        return PodServer(name, self._free.popleft(), self.port, model, answer_delay_s=ANSWER_DELAY_S)

    async def begin(self) -> None:
        """All pods are there and ready."""
        for server in self._old:
            await server.start()
            self.site.create(server, ready=True)
            self.held.begin(server.name, server.model)

    async def stop(self) -> None:
        """Stops all servers."""
        for server in self.site.pods.values():
            await server.stop()

    async def run(self) -> None:
        """Replaces all, breaks the watch three times, loses a DELETE."""
        cuts: dict[int, How] = {50: "eof", 100: "reset", 150: "torn"}
        gate = self.site.cluster.gate
        async with asyncio.TaskGroup() as tasks:
            for number, old in enumerate(self._old):
                if old.name != GHOST:
                    tasks.create_task(self._replace(old))
                if number in cuts:
                    await gate.wait_for_watch("/pods")
                    if number == 100:
                        await self._lose_ghost()
                    assert gate.cut_streams(cuts[number], path_part="/pods") == 1
                await asyncio.sleep(STEP_S)

    async def _replace(self, old: PodServer) -> None:
        """As a Deployment and a kubelet do it."""
        await self._add(old.model)
        self.held.end(old.name)
        if self._rng.random() < 0.5:  # its readiness probe fails before anybody deletes it
            self.site.set_ready(old, ready=False)
            await asyncio.sleep(0.2)
        self.site.delete(old)
        await asyncio.sleep(GRACE_S)
        await old.stop()
        self.site.finish_deletion(old)
        self._free.append(old.ip)
        self.replaced += 1

    async def _add(self, model: str) -> PodServer:
        new = self._make(f"{model}-new-{next(self._numbers)}", model)
        self.site.create(new, ready=False)
        await asyncio.sleep(self._rng.uniform(0.1, 0.5))  # it loads its model, and nothing listens
        await new.start()
        await asyncio.sleep(self._rng.uniform(0.0, 0.1))  # until the kubelet's next readiness probe
        self.site.set_ready(new)
        self.held.begin(new.name, model)
        return new

    async def _lose_ghost(self) -> None:
        """A pod is deleted by force, which no watch tells; its server goes on answering, and gets requests."""
        old = self.site.pods[GHOST]
        await self._add(old.model)
        gate = self.site.cluster.gate
        assert isinstance(gate, Witness)
        lost: list[str] = []

        def is_of_ghost(event: Manifest) -> bool:
            if event["object"]["metadata"].get("name") != GHOST:
                return False
            lost.append(event["type"])
            return True

        gate.drop_events(is_of_ghost, times=None)
        self.held.end(GHOST)
        self.site.delete(old, grace_s=0)
        await gate.wait_until(lambda: "DELETED" in lost)
        before = len(old.asked)
        await old.changes.until(lambda: len(old.asked) > before)
        assert GHOST not in gate.ended_s
        self.replaced += 1


class Choices(NamedTuple):
    """What a picker's log says."""

    made: list[tuple[float, str]]
    """When each choice was made, and of which pod."""
    known_s: dict[str, float]
    """When it first knew that a pod is not to be used any more."""
    against_better_knowledge: list[str]
    """Choices of pods that it did not know to be ready and confirmed at that time."""
    beats: Beats


def read_log(lines: Iterable[str]) -> Choices:
    """What a log with a line for every decision says."""
    made: list[tuple[float, str]] = []
    known_s: dict[str, float] = {}
    against: list[str] = []
    usable: set[str] = set()
    beats_s: list[float] = []
    for line in lines:
        if match := DECISION.match(line):
            made.append((_seconds(match[1]), match[2]))
            beats_s.append(made[-1][0])
            if match[2] not in usable:
                against.append(line)
        elif match := CHANGE.match(line):
            is_usable = match[3] == match[4] == "True"
            if match[2] in usable and not is_usable:
                known_s.setdefault(match[2], _seconds(match[1]))
            (usable.add if is_usable else usable.discard)(match[2])
        elif match := GONE.match(line):
            known_s.setdefault(match[2], _seconds(match[1]))
            usable.discard(match[2])
    return Choices(made, known_s, against, Beats(beats_s))


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


@asynccontextmanager
async def witnessed_cluster() -> AsyncIterator[Cluster]:
    """A double behind a `Witness`."""
    async with ApiServer(tokens=(PICKER_TOKEN,), admin_token=ADMIN_TOKEN, user=PICKER_USER) as server:
        cluster = Cluster(server)
        cluster.gate = Witness(cluster.url)
        async with cluster:
            yield cluster


async def test_a_rollout_with_a_watch_that_breaks(tmp_path: Path) -> None:
    rng = random.Random(11)
    held = Held()
    refusals: list[Outcome] = []
    needless: list[tuple[str, Outcome]] = []
    outcomes: list[Outcome] = []
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(witnessed_cluster())
        witness = cluster.gate
        assert isinstance(witness, Witness)
        site = Site(cluster)
        rollout = Rollout(site, held, rng)
        stack.push_async_callback(rollout.stop)
        await site.install_pool(rollout.port)
        await rollout.begin()
        picker = await stack.enter_async_context(Picker(source=site.flags(tmp_path), flags=("-v=4",)))
        settings = GatewaySettings(
            endpoints=rollout.all_addresses, picker=picker.address, processing_mode=DETACHED, retries=0
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        beats = Beats()
        beating = asyncio.create_task(beats.run())
        rolling = asyncio.create_task(rollout.run())
        while not rolling.done():
            models = rng.choices(list(MODELS), k=200)
            began_s: dict[int, float] = {}

            def make_request(index: int) -> bytes:
                began_s[index] = time.monotonic()  # noqa: B023 - the load ends within the turn
                return ask_for(models[index])  # noqa: B023

            def judge(index: int, outcome: Outcome) -> None:
                if outcome.status != 200:
                    refusals.append(outcome)
                    if held.throughout(models[index], began_s[index] - HELD_S, time.monotonic()):  # noqa: B023
                        needless.append((models[index], outcome))  # noqa: B023

            outcomes += await run_load(
                envoy.port, len(models), CONCURRENCY, make_request, body_bytes=2, on_outcome=judge
            )
        await rolling
        beating.cancel()
        await picker.wait_for_metric("extproc_endpoint_ready", sum(MODELS.values()))
        await picker.stop()
        servers = site.pods.values()
    choices = read_log(picker.log_text().splitlines())
    asked = sum(len(server.asked) for server in servers)
    late = [
        (name, at_s - witness.ended_s[name])
        for at_s, name in choices.made
        if at_s - witness.ended_s.get(name, at_s) > LATE_S
    ]
    inexcusable = [
        (name, delay_s)
        for name, delay_s in late
        if delay_s - LATE_S
        > max(
            each.longest_sleep_s(witness.ended_s[name], witness.ended_s[name] + delay_s)
            for each in (beats, choices.beats)
        )
    ]
    delays_ms = sorted(1000 * (at_s - witness.ended_s[name]) for name, at_s in choices.known_s.items())
    print(
        f"rollout: {rollout.replaced} pods replaced, {len(outcomes)} requests, "
        f"statuses {dict(Counter(outcome.status for outcome in outcomes))}, "
        f"{len(late)} chosen later than 50 ms after the event ({[f'{name} {s:.3f}' for name, s in late]}), "
        f"{sum(server.wrong for server in servers)} of another model, {len(refusals)} refused, {len(needless)} of them "
        f"needlessly; {witness.counts['get']} suspects read again; "
        f"events known after {delays_ms[len(delays_ms) // 2]:.1f} ms (median), {delays_ms[-1]:.1f} ms "
        f"(longest); longest sleeps: this process {beats.longest_sleep_s(0, 1e12):.3f} s, "
        f"picker {choices.beats.longest_sleep_s(0, 1e12):.3f} s"
    )
    assert rollout.replaced == sum(MODELS.values())
    assert GHOST in witness.ended_s
    assert len(witness.ended_s) == len(choices.known_s) == sum(MODELS.values())
    assert choices.against_better_knowledge == []
    assert inexcusable == []
    assert sum(server.wrong for server in servers) == 0
    assert needless == []
    assert len(choices.made) == asked == len(outcomes) - len(refusals)
    assert {outcome.status for outcome in outcomes} <= {200, 503}
    assert all(outcome.whole for outcome in outcomes if outcome.status == 200)
