"""A soak: minutes at half load through a real Envoy, while endpoints, adapters and the configuration keep changing.

The endpoints file is written anew every few seconds, with endpoints that come and go; adapters move from one engine to
the next, which takes their name off its list; the config file is edited. Every answer is checked: it is a 200, and its
engine serves the model. Load is half of what the picker can do, in an open loop; of each minute the picker has three
parts and the empty servicer one, in turn, so that both latencies are of the same minute.

What is judged: that memory, file descriptors, threads and asyncio tasks do not grow, by the Theil–Sen slope over the
second half (`bench.trends`), whose interval has to reach down to the bound; and the picker's p99 as a ratio to the
empty servicer's, the last third of the minutes against the first. Prompts are all different and the prefix index is
small, so that it is full, and forgets, from the first minute on: how large a full one is says P7.
"""

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.chat import MODELS, Request, varied_request
from bench.counted_picker import CountedPicker
from bench.engines import Engines
from bench.modes import FULL_DUPLEX
from bench.paced import Latencies, run_paced
from bench.pods import address_of
from bench.processes import Reference, endpoints_file
from bench.results import BenchError, Result
from bench.trends import theil_sen
from bench.wrk import ensure_wrk, run_wrk
from extproc.cli.demo.envoy import Envoy, GatewaySettings

MINUTES = 30
LEAST_MINUTES = 3
PARTS = 4
"""Of a minute; one of them is the reference's, each time another one."""
PART_S = 14.0
STAY, COME_AND_GO = 2, 2
"""Endpoints of each model. Those that stay have the adapter in turn."""
ADAPTER = "adapter1"
CHANGE_S = 5.0
"""Between two changes. A picker knows of an adapter that is gone after one interval of its probes, and of one that is
there; an engine serves one that it does not list up to the next change but one."""
PROMPTS = 1_000
CONNECTIONS = 32
SATURATED_S, SATURATED_TRIES = 3, 4
GROWTH_GOALS = {"MB": 6.0, "file descriptors": 12.0, "threads": 6.0, "tasks": 12.0}
"""An hour."""
P99_GOAL = 1.2
PREFIX_BLOCKS = 400


@dataclass(frozen=True)
class Sample:
    """What the picker's process had at one time."""

    at_h: float
    resident_mb: float
    open_files: int
    threads: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.resident_mb:.1f} MB, {self.open_files} fd, {self.threads} threads, {self.tasks} tasks"


@dataclass(frozen=True)
class Minute:
    """What both sides did in one minute."""

    ours: Sequence[Latencies]
    theirs: Latencies

    @property
    def p99_us(self) -> float:
        """The picker's."""
        return median(part.p99_us for part in self.ours)

    @property
    def p99_ratio(self) -> float:
        """The picker's to the reference's."""
        return self.p99_us / self.theirs.p99_us


async def run(minutes: int = MINUTES) -> AsyncIterator[Result]:
    """A line for each minute, then the verdicts. Errors: BenchError for a wrong answer, or fewer than three minutes."""
    if minutes < LEAST_MINUTES:
        raise BenchError(f"a soak takes {LEAST_MINUTES} minutes at least")
    ensure_wrk()
    requests = [varied_request((*MODELS, ADAPTER)[number % 4], number) for number in range(PROMPTS)]
    async with _serve(requests) as rig:
        picker = rig.picker
        rate = await _saturated_per_s(rig.urls[0], requests) / 2
        yield Result(
            name=f"Soak, {minutes} minutes at {rate:,.0f}/s", figure="p99 of picks", reference="empty servicer"
        )
        begun_s = time.monotonic()
        measured, samples = [], []
        for number in range(1, minutes + 1):
            minute, taken = await _minute(number, rig, requests, rate, begun_s)
            await rig.check()
            measured.append(minute)
            samples += taken
            yield _minute_line(number, minute, taken[-1])
        reloads = (await picker.counters("extproc_config_reloads_total"))['outcome="good"']
    for result in judge(measured, samples):
        yield result
    yield Result(name="   edits of the configuration", figure=f"{reloads:.0f}", is_ok=reloads > 0)


async def _saturated_per_s(url: str, requests: Sequence[Request]) -> float:
    """What the picker can do, of a few tries the best: a neighbour's moment is not to decide for half an hour."""
    loads = [
        await run_wrk(url, requests[:3], connections=CONNECTIONS, duration_s=SATURATED_S)
        for _ in range(SATURATED_TRIES)
    ]
    return max(load.requests_per_s for load in loads)


async def _minute(
    number: int, rig: "_Rig", requests: Sequence[Request], rate: float, begun_s: float
) -> tuple[Minute, list[Sample]]:
    """Errors: BenchError for an answer that is no 200."""
    picker = rig.picker
    ours: list[Latencies] = []
    theirs: list[Latencies] = []
    samples = []
    for part in range(PARTS):
        is_theirs = part == number % PARTS
        try:
            done = await run_paced(rig.urls[is_theirs], requests, requests_per_s=rate, duration_s=PART_S)
        except BenchError as exc:
            raise BenchError(f"in minute {number}, {'the reference' if is_theirs else 'the picker'}: {exc}") from exc
        (theirs if is_theirs else ours).append(done)
        samples.append(
            Sample(
                (time.monotonic() - begun_s) / 3600,
                picker.resident_bytes / 1e6,
                picker.open_files,
                picker.threads,
                await picker.tasks(),
            )
        )
    return Minute(ours, theirs[0]), samples


def _minute_line(number: int, minute: Minute, sample: Sample) -> Result:
    return Result(
        name=f"   {number}: {sample}",
        figure=f"{minute.p99_us / 1e3:.1f} ms",
        reference=f"{minute.theirs.p99_us / 1e3:.1f} ms",
        ratio=f"{minute.p99_ratio:.2f}",
        goal=f"p50 {median(part.p50_us for part in minute.ours) / minute.theirs.p50_us:.2f} ×",
    )


def judge(minutes: Sequence[Minute], samples: Sequence[Sample]) -> list[Result]:
    """A line for each thing that must not grow, and one for the latency."""
    late = samples[len(samples) // 2 :]
    times_h = [sample.at_h for sample in late]
    series = {
        "MB": [sample.resident_mb for sample in late],
        "file descriptors": [float(sample.open_files) for sample in late],
        "threads": [float(sample.threads) for sample in late],
        "tasks": [float(sample.tasks) for sample in late],
    }
    results = []
    for unit, values in series.items():
        slope, goal = theil_sen(times_h, values), GROWTH_GOALS[unit]
        results.append(
            Result(
                name=f"Soak: {unit} an hour, the second half",
                figure=f"{slope.middle:+.1f}",
                reference=f"at {median(values):.1f}",
                ratio=f"{slope.low:+.1f}–{slope.high:+.1f}",
                goal=f"≤ {goal:g}",
                is_ok=slope.low <= goal,
            )
        )
    third = len(minutes) // 3
    first, last = (median(each.p99_ratio for each in part) for part in (minutes[:third], minutes[-third:]))
    results.append(
        Result(
            name="Soak: p99 to the reference's, last third",
            figure=f"{last:.2f} ×",
            reference=f"{first:.2f} ×",
            ratio=f"{last / first:.2f}",
            goal=f"≤ {P99_GOAL:g} ×",
            is_ok=last / first <= P99_GOAL,
        )
    )
    return results


@asynccontextmanager
async def _serve(requests: Sequence[Request]) -> AsyncIterator["_Rig"]:
    """Everything, changing from now on."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        engines = await stack.enter_async_context(Engines(MODELS))
        pool = _Pool(engines, directory)
        await pool.change(0)
        picker = await stack.enter_async_context(CountedPicker(pool.flag, f"--config-file={pool.config}"))
        # The reference knows of no models, and asks endpoints of its own in turn, which serve all of them.
        apart = [address_of(number, 50) for number in range(len(MODELS))]
        await engines.serve(dict.fromkeys(apart, (*MODELS, ADAPTER)))
        asked = [f"{address}:{engines.port}" for address in apart]
        reference = await stack.enter_async_context(
            Reference(asked, directory, mode=FULL_DUPLEX, body=requests[0].body)
        )
        urls = []
        for endpoints, server in ((pool.all, picker.address), (asked, reference.address)):
            settings = GatewaySettings(endpoints=endpoints, picker=server, processing_mode=FULL_DUPLEX.filter)
            urls.append((await stack.enter_async_context(Envoy(settings))).url)
        changing = asyncio.create_task(pool.keep_changing(), name="changes")
        stack.callback(changing.cancel)
        yield _Rig(picker, urls, engines, changing)


@dataclass(frozen=True)
class _Rig:
    """The picker, the gateways of both sides, and what stands behind them."""

    picker: CountedPicker
    urls: Sequence[str]
    """The picker's gateway, and the reference's."""
    engines: Engines
    changing: asyncio.Task[None]

    async def check(self) -> None:
        """Errors: BenchError where a request came to a wrong engine; what ended the changes."""
        if wrong := (await self.engines.seen()).wrong:
            raise BenchError(f"{wrong} requests came to an engine that does not serve their model")
        if self.changing.done():
            await self.changing


class _Pool:
    """The endpoints file, the config file and the engines' models, and how they change."""

    def __init__(self, engines: Engines, directory: Path) -> None:
        self._engines = engines
        self._directory = directory
        self._nets = range(len(MODELS))
        self.config = directory / "config.yaml"
        self.flag = ""
        self.all = [self._endpoint(number, net) for net in self._nets for number in range(STAY + COME_AND_GO)]

    def _endpoint(self, number: int, net: int) -> str:
        return f"{address_of(number, net)}:{self._engines.port}"

    async def keep_changing(self) -> None:
        """Changes all of it again and again."""
        for turn in itertools.count(1):
            await asyncio.sleep(CHANGE_S)
            await self.change(turn)

    async def change(self, turn: int) -> None:
        """The endpoints at each turn, the adapters at every third, the configuration at every fourth."""
        missing = turn % (1 + COME_AND_GO)  # none, or one of those of each model that come and go
        endpoints = [
            self._endpoint(number, net)
            for net in self._nets
            for number in range(STAY + COME_AND_GO)
            if number != STAY + missing - 1
        ]
        self.flag = endpoints_file(endpoints, self._directory)
        phase, held = turn % 3, turn // 3 % STAY
        first, second = address_of(held, 0), address_of((held + 1) % STAY, 0)
        if phase == 0:  # both list it: the picker has two turns to learn of the second
            await self._engines.serve({first: (MODELS[0], ADAPTER), second: (MODELS[0], ADAPTER)})
        elif phase == 2:  # the first unloads it
            await self._engines.serve({first: (MODELS[0],)}, lingering=(ADAPTER,))
        if turn % 4 == 0:
            self._write_config(turn)

    def _write_config(self, turn: int) -> None:
        config = {
            "scheduling": {"prefixBlocks": PREFIX_BLOCKS + turn % 8},
            "probes": {"models": {"interval": "2s" if turn % 8 else "3s"}},
        }
        written = self._directory / "config.new"
        written.write_text(json.dumps(config))
        written.replace(self.config)
