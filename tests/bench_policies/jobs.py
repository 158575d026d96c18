"""Jobs and engines for the tests of the simulator."""

from collections.abc import Sequence
from random import Random

from bench.policies.costs import Card
from bench.policies.engine import Engine, Visit
from bench.policies.jobs import Chains, Job, Piece

SMALL = Card("small", 1.0, blocks=400, most_batched_tokens=256, most_sequences=24)
"""So little of everything that queues, chunks and preemptions come soon."""


def make_job(index: int, prompt: int, output: int, *, arrived_s: float = 0.0) -> Job:
    """A job that has nothing in common with one of another index."""
    pieces = (Piece(2 * index, 1 + 2 * index, prompt), Piece(2 * index + 1, 2 + 2 * index, prompt + output))
    return Job(index, arrived_s, pieces, prompt, output)


def make_traffic(size: int, *, seed: int, per_s: float = 40.0) -> list[Job]:
    """Jobs of all lengths up to a quarter of the small card's cache; many begin alike."""
    rng, chains, now = Random(seed), Chains(), 0.0
    jobs = []
    for index in range(size):
        now += rng.expovariate(per_s)
        shared, own, output = rng.choice((0, 100, 480)), rng.randint(1, 900), rng.choice((1, 2, 16, 200))
        parts = [(1 + rng.randrange(5), shared), (1000 + 2 * index, own), (1001 + 2 * index, output)]
        jobs.append(Job(index, now, chains.pieces([part for part in parts if part[1]]), shared + own, output))
    return jobs


def play(engine: Engine, jobs: Sequence[Job]) -> list[Visit]:
    """The visits of all jobs, done."""
    visits = []
    for job in jobs:
        engine.advance(job.arrived_s)
        visits.append(engine.send(job, now=job.arrived_s))
    engine.advance(float("inf"))
    return visits
