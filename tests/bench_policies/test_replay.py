"""A run by events: nobody is lost, and policies learn what they may, when they may."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from bench.policies.catalogue import POLICIES
from bench.policies.engine import Engine
from bench.policies.jobs import Job
from bench.policies.policies import Policy, Simple
from bench.policies.replay import SCRAPE_S, Fleet, Outcome, Replay
from tests.bench_policies.jobs import SMALL, make_traffic

from extproc.values.load import EngineLoad
from extproc.values.refusal import Reason, Reject

JOBS = make_traffic(400, seed=3, per_s=30.0)
LENGTH_S = JOBS[-1].arrived_s
CALM = Fleet(SMALL, (1.0,) * 4)
MORTAL = Fleet(SMALL, (1.0,) * 4, deaths=((LENGTH_S / 3, 0),), births=((LENGTH_S / 2, 3),))


def play(name: str, fleet: Fleet, *, replicas: int = 1) -> Outcome:
    return Replay(JOBS, fleet, POLICIES[name], replicas=replicas).run()


class Listener(Simple):
    """Round robin that writes down what it is told."""

    reads_loads = True

    def __init__(self) -> None:
        super().__init__(Random(0))
        self.told: list[tuple[str, int, float]] = []
        self.loads: list[tuple[float, EngineLoad]] = []
        self._turn = 0

    def choose(self, job: Job, *, now: float) -> int | Reject:
        self._turn += 1
        engine = self._engines[self._turn % len(self._engines)]
        self.told.append(("choose", engine, now))
        return engine

    def read(self, engine: int, load: EngineLoad, *, now: float) -> None:
        self.told.append(("read", engine, now))
        self.loads.append((now, load))

    def end(self, engine: int, job: Job, *, now: float) -> None:
        self.told.append(("end", engine, now))

    def join(self, engine: int, *, now: float) -> None:
        super().join(engine, now=now)
        self.told.append(("join", engine, now))

    def leave(self, engine: int, *, now: float) -> None:
        super().leave(engine, now=now)
        self.told.append(("leave", engine, now))


def listen(fleet: Fleet) -> tuple[Listener, Outcome]:
    listener = Listener()

    def make(rng: Random, engines: Sequence[Engine]) -> Policy:
        return listener

    return listener, Replay(JOBS, fleet, make).run()


@pytest.mark.parametrize("fleet", [pytest.param(CALM, id="calm"), pytest.param(MORTAL, id="a death and a birth")])
@pytest.mark.parametrize("name", list(POLICIES))
def test_every_job_ends_once(name: str, fleet: Fleet) -> None:
    outcome = play(name, fleet)
    assert sorted(outcome.visits) == [job.index for job in JOBS]
    assert all(visit.done_s is not None for visit in outcome.visits.values())
    assert not outcome.refused
    assert bool(outcome.retried) == (fleet is MORTAL)


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    first, second = play(name, MORTAL, replicas=2), play(name, MORTAL, replicas=2)
    assert first.engines == second.engines
    assert [visit.done_s for visit in first.visits.values()] == [visit.done_s for visit in second.visits.values()]


def test_nothing_is_told_before_it_is_so() -> None:
    listener, outcome = listen(CALM)
    times = [at_s for _, _, at_s in listener.told]
    assert times == sorted(times)
    ends = sorted(at_s for what, _, at_s in listener.told if what == "end")
    assert ends == sorted(visit.done_s or 0.0 for visit in outcome.visits.values())
    assert all(now > load.asked_at_s for now, load in listener.loads)


def test_a_load_is_read_at_about_every_interval() -> None:
    listener, _ = listen(CALM)
    times = [at_s for what, engine, at_s in listener.told if (what, engine) == ("read", 0)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert sum(pauses) / len(pauses) == pytest.approx(SCRAPE_S, rel=0.05)
    assert max(pauses) - min(pauses) > 0.01


def test_the_dead_get_nothing_once_that_is_known_and_the_unborn_nothing_before() -> None:
    listener, outcome = listen(MORTAL)
    known_s = MORTAL.deaths[0][0] + MORTAL.notice_s
    assert ("leave", 0, known_s) in listener.told
    chosen = [(engine, at_s) for what, engine, at_s in listener.told if what == "choose"]
    assert all(at_s <= known_s for engine, at_s in chosen if engine == 0)
    assert min(at_s for engine, at_s in chosen if engine == 3) >= MORTAL.births[0][0]
    late = [visit for visit in outcome.visits.values() if visit.job.index in outcome.retried]
    assert late
    assert all((visit.first_token_s or 0.0) > known_s for visit in late)


def test_the_end_of_every_choice_is_told_once() -> None:
    listener, _ = listen(MORTAL)
    assert sum(what == "end" for what, _, _ in listener.told) == sum(what == "choose" for what, _, _ in listener.told)


def test_a_refused_job_goes_nowhere() -> None:
    class Never(Simple):
        def choose(self, job: Job, *, now: float) -> int | Reject:
            return Reject(Reason.POOL_SATURATED)

    outcome = Replay(JOBS[:5], CALM, lambda rng, engines: Never(rng)).run()
    assert list(outcome.refused) == [0, 1, 2, 3, 4]
    assert not outcome.visits


def test_replicas_share_the_requests() -> None:
    made: list[Listener] = []

    def make(rng: Random, engines: Sequence[Engine]) -> Policy:
        made.append(Listener())
        return made[-1]

    Replay(JOBS, CALM, make, replicas=3).run()
    counts = [sum(what == "choose" for what, _, _ in listener.told) for listener in made]
    assert sum(counts) == len(JOBS)
    assert min(counts) > len(JOBS) / 5
