"""How long picks wait behind probes in the same event loop: CPU of each turn of a loop that does nothing but probe.

A pick that comes at any moment waits for the rest of the turn that is going on. Turns are measured in CPU time, so that
others on the machine add nothing. It runs as `python -m bench.loop_turns`, a process of its own, with its own selector:
that is where one turn ends and the next begins.
"""

import asyncio
import gc
import selectors
import sys
import time
from collections.abc import Sequence
from random import Random

import msgspec

from bench.results import BenchError
from extproc.probes.client import Client
from extproc.probes.metrics import LoadProber
from extproc.probes.models import ModelProber
from extproc.registry.changes import PoolListed
from extproc.registry.store import Store
from extproc.settings.schema import ProbeSettings
from extproc.values.endpoint import Endpoint
from extproc.values.pool import Pool

SETTLE_S = 8.0
MEASURED_S = 10.0


class Plan(msgspec.Struct, frozen=True):
    """Whom to probe, at default intervals."""

    endpoints: Sequence[str]


class Turns(msgspec.Struct, frozen=True):
    """What came of it. Waits are those of a moment chosen at random."""

    probes_per_s: float
    cores: float
    mean_wait_us: float
    p99_wait_us: float


class _TurnSelector(selectors.DefaultSelector):
    """Notes the CPU time between two looks at what is ready: one turn."""

    def __init__(self) -> None:
        super().__init__()
        self.turns_s: list[float] = []
        self._begun_s = time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns_s.append(time.thread_time() - self._begun_s)
        ready = super().select(timeout)
        self._begun_s = time.thread_time()
        return ready


class _Count:
    def __init__(self) -> None:
        self.answered = 0

    def observe_probe(self, kind: str, seconds: float) -> None:
        self.answered += 1

    def count_probe_failure(self, kind: str, reason: str) -> None:
        """Failures are no probes."""


async def measure_turns(endpoints: Sequence[str]) -> Turns:
    """Probes `endpoints` for a while, in a process of its own. Errors: BenchError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.loop_turns"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate(msgspec.json.encode(Plan(endpoints)))
    try:
        return msgspec.json.decode(printed, type=Turns)
    except msgspec.DecodeError as exc:
        raise BenchError(f"the probes failed:\n{printed.decode(errors='replace')}") from exc


async def _probe(endpoints: Sequence[str], selector: _TurnSelector) -> Turns:
    settings, clock, rng, count = ProbeSettings(), time.monotonic, Random(1), _Count()
    store = Store(Pool("bench"), now=clock())
    async with Client(settings) as client:
        models = ModelProber(
            store=store, client=client, settings=settings.models, meters=count, clock=clock, rng=rng
        )  # fmt: skip
        loads = LoadProber(
            store=store,
            client=client,
            settings=settings.metrics,
            report=lambda *_: None,
            meters=count,
            clock=clock,
            rng=rng,
        )
        store.apply(PoolListed.of(Endpoint(each, each, each) for each in endpoints), now=clock())
        tasks = [asyncio.create_task(prober.run()) for prober in (models, loads)]
        await asyncio.sleep(SETTLE_S)
        gc.collect()
        gc.freeze()  # as `extproc serve` does
        await asyncio.sleep(0.01)
        selector.turns_s.clear()
        answered, begun_s = count.answered, clock()
        await asyncio.sleep(MEASURED_S)
        turns_s, took_s = sorted(selector.turns_s), clock() - begun_s
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Turns(
        (count.answered - answered) / took_s,
        sum(turns_s) / took_s,
        sum(turn_s**2 for turn_s in turns_s) / 2 / took_s * 1e6,
        _wait_s(turns_s, took_s, percent=99) * 1e6,
    )


def _wait_s(turns_s: Sequence[float], took_s: float, *, percent: float) -> float:
    """The wait that is not exceeded at so many of all moments. `turns_s` are in order.

    The longer ones of the turns have, beyond a wait of w, the moments in which more than w of them is left.
    """
    share_s, wait_s, longer_s = took_s * (1 - percent / 100), 0.0, 0.0
    for count, turn_s in enumerate(reversed(turns_s)):
        if longer_s - count * turn_s >= share_s:
            break
        longer_s += turn_s
        wait_s = (longer_s - share_s) / (count + 1)
    return max(0.0, wait_s)


def _main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    selector = _TurnSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        turns = runner.run(_probe(plan.endpoints, selector))
    sys.stdout.buffer.write(msgspec.json.encode(turns))


if __name__ == "__main__":
    _main()
