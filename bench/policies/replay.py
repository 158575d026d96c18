"""Plays jobs to engines by a policy, event by event."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

import msgspec

from bench.policies.costs import A100, Card
from bench.policies.engine import Engine, Visit
from bench.policies.jobs import Job
from bench.policies.policies import Policy
from extproc.values.refusal import Reject

SCRAPE_S = 0.5
SCRAPE_JITTER = 0.1
SCRAPE_TOOK_S = 0.01
"""From the moment that a metrics page shows to the moment that the policy knows."""
SEED = 1

MakePolicy = Callable[[Random, Sequence[Engine]], Policy]
"""A policy that has seen nothing yet. The engines are there for those that know more than a router can."""


class Fleet(msgspec.Struct, frozen=True):
    """The engines of a pool, and what becomes of them."""

    card: Card = A100
    speeds: tuple[float, ...] = (1.0,) * 8
    """Of each engine, as a multiple of the card's."""
    deaths: tuple[tuple[float, int], ...] = ()
    """(seconds, engine): what it had not done is lost to it and comes again at once, as a client or gateway retries."""
    births: tuple[tuple[float, int], ...] = ()
    """(seconds, engine): the engine is not there before."""
    notice_s: float = 0.1
    """From a death to the moment that policies know of it. What is sent there meanwhile is refused by the engine's host
    and comes again after that."""


class Outcome(msgspec.Struct):
    """What became of each job."""

    visits: dict[int, Visit]
    """By job: the visit that ended, or will."""
    engines: dict[int, int]
    """By job: where."""
    refused: dict[int, tuple[float, Reject]]
    """By job: when, and why."""
    retried: list[int]
    """Jobs that lost an engine on the way, as often as they did."""
    busy_s: tuple[float, ...]
    """Seconds that each engine was at work."""
    preemptions: int


class Replay:
    """One run."""

    def __init__(
        self, jobs: Sequence[Job], fleet: Fleet, make: MakePolicy, *, replicas: int = 1, seed: int = SEED
    ) -> None:
        """`replicas` policies are made: requests are spread over them at random."""
        self._jobs = jobs
        self._fleet = fleet
        self._rng = Random(seed)
        self.engines = [Engine(fleet.card, speed=speed) for speed in fleet.speeds]
        self._policies = [make(Random(seed + 1 + replica), self.engines) for replica in range(replicas)]
        self._alive = set(range(len(self.engines))) - {engine for _, engine in fleet.births}
        self._dead: dict[int, float] = {}
        """When policies know of it."""
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._done: list[tuple[float, int, int, Visit]] = []
        self._routers: dict[int, Policy] = {}
        self._outcome = Outcome({}, {}, {}, [], (), 0)

    def run(self) -> Outcome:
        """Plays every job to its end."""
        for engine in sorted(self._alive):
            self._join(engine, 0.0)
        for at_s, engine in self._fleet.births:
            self._at(at_s, partial(self._join, engine))
        for at_s, engine in self._fleet.deaths:
            self._at(at_s, partial(self._die, engine))
        for job in self._jobs:
            self._catch_up(job.arrived_s)
            self._settle(job.arrived_s)
            self._route(job, job.arrived_s)
        self._catch_up(math.inf)
        self._settle(math.inf)
        self._outcome.busy_s = tuple([engine.busy_s for engine in self.engines])
        self._outcome.preemptions = sum([engine.preemptions for engine in self.engines])
        return self._outcome

    def _at(self, at_s: float, event: Callable[[float], None]) -> None:
        heappush(self._events, (at_s, next(self._order), event))

    def _catch_up(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            at_s, _, event = heappop(self._events)
            self._settle(at_s)
            event(at_s)

    def _settle(self, now: float) -> None:
        """Brings the engines to `now`, and tells the policies what has ended until then."""
        for number in self._alive:
            engine = self.engines[number]
            engine.advance(now)
            for visit in engine.done:
                assert visit.done_s is not None
                heappush(self._done, (visit.done_s, next(self._order), number, visit))
            engine.done.clear()
        while self._done and self._done[0][0] <= now:
            at_s, _, number, visit = heappop(self._done)
            self._routers[visit.job.index].end(number, visit.job, now=at_s)

    def _route(self, job: Job, now: float) -> None:
        policy = self._policies[int(self._rng.random() * len(self._policies))]
        choice = policy.choose(job, now=now)
        outcome = self._outcome
        if isinstance(choice, Reject):
            outcome.refused[job.index] = now, choice
            return
        self._routers[job.index] = policy
        outcome.engines[job.index] = choice
        if choice in self._dead:
            self._again(job, choice, now)
        else:
            outcome.visits[job.index] = self.engines[choice].send(job, now=now)

    def _again(self, job: Job, engine: int, now: float) -> None:
        """A job that lost its engine comes again, once policies know of that."""
        self._routers[job.index].end(engine, job, now=now)
        self._outcome.retried.append(job.index)
        self._at(max(now, self._dead[engine]), partial(self._route, job))

    def _join(self, engine: int, now: float) -> None:
        self._alive.add(engine)
        self.engines[engine].clock_s = now
        for policy in self._policies:
            policy.join(engine, now=now)
            if policy.reads_loads:
                self._at(now + self._rng.random() * SCRAPE_S, partial(self._scrape, engine, policy))

    def _scrape(self, engine: int, policy: Policy, now: float) -> None:
        if engine in self._dead or now > self._jobs[-1].arrived_s:
            return
        load = self.engines[engine].read_load(now=now)
        self._at(now + SCRAPE_TOOK_S, lambda at_s: policy.read(engine, load, now=at_s))
        pause_s = SCRAPE_S * self._rng.uniform(1 - SCRAPE_JITTER, 1 + SCRAPE_JITTER)
        self._at(now + pause_s, partial(self._scrape, engine, policy))

    def _die(self, engine: int, now: float) -> None:
        self._alive.remove(engine)
        self._dead[engine] = now + self._fleet.notice_s
        self._at(self._dead[engine], partial(self._tell_death, engine))
        for visit in self.engines[engine].stop(now=now):
            self._again(visit.job, engine, now)

    def _tell_death(self, engine: int, now: float) -> None:
        for policy in self._policies:
            policy.leave(engine, now=now)
