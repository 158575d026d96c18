"""What a router is to the simulation, and the simple policies that others are compared with."""

from random import Random
from typing import Protocol

from bench.policies.jobs import Job
from extproc.values.load import EngineLoad
from extproc.values.refusal import Reject


class Policy(Protocol):
    """Chooses the engine of each request. Engines are numbers from 0. Times are in seconds and never go back."""

    reads_loads: bool
    """It asks the engines for their load."""

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """The engine that gets `job`, which is then sent there."""

    def read(self, engine: int, load: EngineLoad, *, now: float) -> None:
        """An engine's metrics page came."""

    def end(self, engine: int, job: Job, *, now: float) -> None:
        """The last byte of an answer went by; only those policies make use of it that stay until then."""

    def join(self, engine: int, *, now: float) -> None:
        """An engine can be chosen from now on."""

    def leave(self, engine: int, *, now: float) -> None:
        """An engine is gone."""


class Simple:
    """What needs to know no more than which engines there are: all of a `Policy` but its choice."""

    reads_loads = False

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._engines: list[int] = []

    def read(self, engine: int, load: EngineLoad, *, now: float) -> None:
        """See `Policy.read`."""

    def end(self, engine: int, job: Job, *, now: float) -> None:
        """See `Policy.end`."""

    def join(self, engine: int, *, now: float) -> None:
        """See `Policy.join`."""
        self._engines.append(engine)

    def leave(self, engine: int, *, now: float) -> None:
        """See `Policy.leave`."""
        self._engines.remove(engine)


class RandomPick(Simple):
    """Any engine."""

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """See `Policy.choose`."""
        return self._rng.choice(self._engines)


class RoundRobin(Simple):
    """One after another."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._turn = -1

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """See `Policy.choose`."""
        self._turn += 1
        return self._engines[self._turn % len(self._engines)]


class LeastRequest(Simple):
    """The engine with the fewest requests in flight, of all of them and exactly, any of those that have as few. That is
    the strongest form: proxies compare two at random, and each its own requests only."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._in_flight: dict[int, int] = {}

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """See `Policy.choose`."""
        least = min(self._in_flight.values())
        engine = self._rng.choice([engine for engine, count in self._in_flight.items() if count == least])
        self._in_flight[engine] += 1
        return engine

    def end(self, engine: int, job: Job, *, now: float) -> None:
        """See `Policy.end`."""
        if engine in self._in_flight:
            self._in_flight[engine] -= 1

    def join(self, engine: int, *, now: float) -> None:
        """See `Policy.join`."""
        super().join(engine, now=now)
        self._in_flight[engine] = 0

    def leave(self, engine: int, *, now: float) -> None:
        """See `Policy.leave`."""
        super().leave(engine, now=now)
        del self._in_flight[engine]
