"""A policy that knows what no router can: what is in each engine's cache and queue, as it is."""

from collections.abc import Sequence
from random import Random

from bench.policies.engine import Engine
from bench.policies.jobs import Job
from bench.policies.policies import Simple
from extproc.values.refusal import Reject


class Oracle(Simple):
    """The engine with the soonest first token, told by the engines themselves from their caches, queues and batches.

    It is greedy: it does not know what comes next.
    """

    def __init__(self, rng: Random, engines: Sequence[Engine]) -> None:
        super().__init__(rng)
        self._all = engines

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """See `Policy.choose`."""
        keys = job.block_keys()
        return min(self._engines, key=lambda each: (self._all[each].first_token_s(job, keys, now=now), each))
