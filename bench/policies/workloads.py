"""The traffic that policies are judged on. The same arguments make the same jobs, arrival times included."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from math import exp, log
from random import Random

import msgspec

from bench.policies.jobs import Chains, Job

GROUPS = 64
PREFIX_TOKENS = 4_096
SEED = 20


class Workload(msgspec.Struct, frozen=True):
    """Jobs whose times stand for nothing until `at_rate` gives them."""

    name: str
    jobs: tuple[Job, ...]
    is_poisson: bool = True
    """Else the times are the jobs' own, and are stretched."""

    def at_rate(self, per_s: float, *, seed: int = SEED) -> tuple[Job, ...]:
        """The jobs with arrival times at `per_s` requests a second."""
        if not self.is_poisson:
            first, last = self.jobs[0].arrived_s, self.jobs[-1].arrived_s
            factor = len(self.jobs) / per_s / (last - first)
            times: Iterator[float] = iter([(job.arrived_s - first) * factor for job in self.jobs])
        else:
            times = _poisson(per_s, Random(seed))
        return tuple([msgspec.structs.replace(job, arrived_s=next(times)) for job in self.jobs])


def shared_prefixes(size: int, *, seed: int = SEED) -> Workload:
    """R2: 64 groups with a prefix of 4,096 tokens each, and about 200 tokens of one's own."""
    rng, chains, contents = Random(seed), Chains(), count(GROUPS + 1)
    jobs = []
    for index in range(size):
        own, output = _lognormal(rng, 200, 0.4), _lognormal(rng, 120, 0.5)
        parts = [(1 + rng.randrange(GROUPS), PREFIX_TOKENS), (next(contents), own), (next(contents), output)]
        jobs.append(Job(index, 0.0, chains.pieces(parts), PREFIX_TOKENS + own, output))
    return Workload("shared prefixes", tuple(jobs))


def independent_prompts(size: int, *, seed: int = SEED) -> Workload:
    """R3: prompts that have nothing in common, of heavy-tailed lengths: median 600 tokens, 1 in 100 above 12,000."""
    rng, chains, contents = Random(seed), Chains(), count(1)
    jobs = []
    for index in range(size):
        prompt, output = _lognormal(rng, 600, 1.3, most=64_000), _lognormal(rng, 150, 1.0, most=4_000)
        parts = [(next(contents), prompt), (next(contents), output)]
        jobs.append(Job(index, 0.0, chains.pieces(parts), prompt, output))
    return Workload("independent prompts", tuple(jobs))


def conversations(size: int, *, seed: int = SEED) -> Workload:
    """Chats of 1 to many turns: each turn's prompt is all that was said before, under one of 8 system prompts. A turn
    follows the one before after the time to answer, read and type."""
    rng, chains, contents = Random(seed), Chains(), count(9)
    turns: list[tuple[float, list[tuple[int, int]], int]] = []
    began = _poisson(1.0, rng)
    while len(turns) < 2 * size:
        at_s, parts = next(began), [(1 + rng.randrange(8), 500)]
        for _ in range(1 + min(int(rng.expovariate(1 / 5)), 30)):
            asked, output = _lognormal(rng, 150, 1.0, most=8_000), _lognormal(rng, 250, 0.7, most=2_000)
            parts = [*parts, (next(contents), asked)]
            said = sum(tokens for _, tokens in parts)
            if said + output > 32_000:
                break
            turns.append((at_s, parts, output))
            parts = [*parts, (next(contents), output)]
            at_s += 0.03 * output + _lognormal(rng, 40, 0.8)
    # The first hundreds of seconds have hardly a second turn; what is kept begins after them.
    turns = sorted(turns, key=lambda turn: turn[0])[size // 2 : size // 2 + size]
    jobs = []
    answers = count(next(contents))
    for index, (at_s, parts, output) in enumerate(turns):
        prompt = sum(tokens for _, tokens in parts)
        jobs.append(Job(index, at_s, chains.pieces([*parts, (next(answers), output)]), prompt, output))
    return Workload("conversations", tuple(jobs), is_poisson=False)


def _poisson(per_s: float, rng: Random) -> Iterator[float]:
    at_s = 0.0
    while True:
        at_s += rng.expovariate(per_s)
        yield at_s


def _lognormal(rng: Random, median: float, sigma: float, *, most: int = 1 << 16) -> int:
    return max(1, min(most, round(exp(rng.gauss(log(median), sigma)))))


WORKLOADS: Mapping[str, Callable[[int], Workload]] = {
    "r2": shared_prefixes,
    "r3": independent_prompts,
    "chat": conversations,
}
