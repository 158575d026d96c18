"""What engines could do at best: the rate of requests that loads are shares of, and the hits of one large cache."""

from collections.abc import Sequence

from bench.policies.blocks import BlockPool
from bench.policies.costs import BLOCK_TOKENS, Card
from bench.policies.engine import Engine
from bench.policies.jobs import Job

MEASURED = 0.9


def measure_capacity(jobs: Sequence[Job], card: Card, speeds: Sequence[float]) -> float:
    """Requests a second that engines of these speeds could complete, if each had all their caches joined.

    One engine of the card's speed gets all jobs at once; its prefix cache is as large as those of all together, but its
    batch takes no more of it than one engine has. The rate at which it completes the first nine tenths (with the last
    it runs out of work), times the sum of the speeds. No router comes quite there: each engine has its own cache, and
    work comes when it comes.
    """
    engine = Engine(card, stands_for=len(speeds))
    visits = [engine.send(job, now=0.0) for job in jobs]
    engine.advance(float("inf"))
    ends = sorted([visit.done_s for visit in visits if visit.done_s is not None])
    count = int(MEASURED * len(ends))
    return count / ends[count - 1] * sum(speeds)


def joined_hit_ratio(jobs: Sequence[Job], card: Card, engines: int) -> float:
    """The share of prompt tokens that one cache finds, as large as those of `engines` engines together, if each request
    is done before the next one comes."""
    pool = BlockPool(card.blocks * engines)
    cached = 0
    for job in jobs:
        keys = job.block_keys()
        hits = pool.count_cached(keys, (job.prompt_tokens - 1) // BLOCK_TOKENS)
        pool.share(keys[:hits])
        pool.take(len(keys) - hits)
        pool.release(keys[:hits] + pool.name(keys[hits:]))
        cached += hits * BLOCK_TOKENS
    return cached / sum(job.prompt_tokens for job in jobs)
