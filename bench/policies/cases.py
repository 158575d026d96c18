"""One run by its parameters alone, so that it can be done in another process, and its figures."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import msgspec

from bench.policies.capacity import measure_capacity
from bench.policies.catalogue import POLICIES
from bench.policies.costs import CARDS
from bench.policies.figures import Figures, measure
from bench.policies.replay import Fleet, Replay
from bench.policies.trace import read_trace
from bench.policies.workloads import WORKLOADS, Workload

PROCESSES = 2
WARM_UP = 0.2
"""The first part of made traffic is not measured: caches and queues are empty then. A trace is measured whole."""
MIXED_SPEEDS = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5)
EVEN_SPEEDS = (1.0,) * 8


class Case(msgspec.Struct, frozen=True):
    """Parameters of a run."""

    workload: str
    """A name of `WORKLOADS`, or the path of a trace file."""
    policy: str
    """A name of `POLICIES`."""
    load: float
    """Share of the capacity."""
    size: int
    """Requests."""
    card: str = "A100"
    replicas: int = 1
    speeds: tuple[float, ...] = EVEN_SPEEDS


def run_case(case: Case) -> Figures:
    """Plays it."""
    workload = load_workload(case.workload, case.size)
    jobs = workload.at_rate(case.load * capacity(case))
    fleet = Fleet(CARDS[case.card], case.speeds)
    outcome = Replay(jobs, fleet, POLICIES[case.policy], replicas=case.replicas).run()
    return measure(jobs, outcome, from_s=0.0 if is_trace(case.workload) else WARM_UP * jobs[-1].arrived_s)


class Runs:
    """Plays cases, in several processes at a time, and none of them twice."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._processes = processes
        self._known: dict[Case, Figures] = {}

    def play(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Figures]]:
        """The figures of each, in their order, as soon as they are known."""
        new = tuple([case for case in dict.fromkeys(cases) if case not in self._known])
        with ExitStack() as stack:
            if self._processes > 1 and len(new) > 1:
                pool = stack.enter_context(ProcessPoolExecutor(self._processes))
                played = zip(new, pool.map(run_case, new), strict=True)
            else:
                played = zip(new, map(run_case, new), strict=True)
            for case in cases:
                while case not in self._known:
                    done, figures = next(played)
                    self._known[done] = figures
                yield case, self._known[case]


def is_trace(workload: str) -> bool:
    """True for the path of a trace file."""
    return workload not in WORKLOADS


def capacity(case: Case) -> float:
    """Requests a second: what `Case.load` is a share of."""
    return _capacity(case.workload, case.size, case.card, case.speeds)


@lru_cache(maxsize=16)
def _capacity(workload: str, size: int, card: str, speeds: tuple[float, ...]) -> float:
    return measure_capacity(load_workload(workload, size).jobs, CARDS[card], speeds)


@lru_cache(maxsize=2)
def load_workload(name: str, size: int) -> Workload:
    """The traffic by its name, or from its file; at most `size` requests."""
    return read_trace(Path(name), most=size) if is_trace(name) else WORKLOADS[name](size)
