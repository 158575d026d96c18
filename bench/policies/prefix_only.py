"""The policy that looks at prompts alone."""

from random import Random

from bench.policies.jobs import TOKEN_BYTES, Job
from bench.policies.policies import Simple
from extproc.scheduling.prefix import BLOCK_BYTES, PrefixIndex, hash_blocks
from extproc.values.load import EngineLoad
from extproc.values.refusal import Reject

MOST_BLOCKS = 1_000_000


class PrefixOnly(Simple):
    """The engine that has most of the prompt by the project's own index; of those that have as much, the one that was
    sent the fewest requests so far."""

    reads_loads = True

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._index = PrefixIndex(MOST_BLOCKS)
        self._sent: dict[int, int] = {}

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """See `Policy.choose`."""
        hashes = hash_blocks(job.text(), model="")
        engine = min(
            self._engines, key=lambda each: (-self._index.of(str(each)).count_known(hashes), self._sent[each], each)
        )
        self._index.add(str(engine), hashes)
        self._sent[engine] += 1
        return engine

    def read(self, engine: int, load: EngineLoad, *, now: float) -> None:
        """See `Policy.read`. Only the size of the cache is of interest."""
        if engine in self._sent and load.cache_tokens is not None:
            self._index.resize(str(engine), load.cache_tokens * TOKEN_BYTES // BLOCK_BYTES)

    def join(self, engine: int, *, now: float) -> None:
        """See `Policy.join`. It begins with as many as the one that has got the fewest, not with all that come."""
        super().join(engine, now=now)
        self._sent[engine] = min(self._sent.values(), default=0)

    def leave(self, engine: int, *, now: float) -> None:
        """See `Policy.leave`."""
        super().leave(engine, now=now)
        del self._sent[engine]
        self._index.forget(str(engine))
