"""One engine: continuous batching with chunked prefill, first come first served, as vLLM V1 schedules it.

Each step takes one token of every request that decodes and, up to a limit of tokens, the prompts of those that came
first; at most one prompt is left half done. A request begins when there is room for its whole prompt; when blocks run
out for those that decode, the youngest is preempted: its blocks are freed and it begins again, before all that wait.
Source: vllm/v1/core/sched/scheduler.py.
"""

from collections import deque
from heapq import heappop, heappush
from typing import NamedTuple

from bench.policies.blocks import BlockPool
from bench.policies.costs import A100, BLOCK_TOKENS, Card, Costs
from bench.policies.jobs import Job
from extproc.values.load import EngineLoad

NEVER = 1 << 62


class Visit:
    """One job at one engine. All times in seconds."""

    __slots__ = (
        "_base", "_cached_now", "_computed", "_ends_at", "_held", "_keys", "_tokens", "_turn",
        "cached_tokens", "done_s", "first_token_s", "generated", "job", "preemptions", "scheduled_s", "sent_s",
    )  # fmt: skip

    def __init__(self, job: Job, sent_s: float) -> None:
        self.job = job
        self.sent_s = sent_s
        self.scheduled_s: float | None = None
        self.first_token_s: float | None = None
        self.done_s: float | None = None
        self.cached_tokens = 0
        """Of the prompt, found in the prefix cache when it first began."""
        self.generated = 0
        self.preemptions = 0
        self._tokens = job.prompt_tokens
        """To be computed before it decodes: after a preemption with what it has generated."""
        self._computed = 0
        self._cached_now = 0
        """Tokens that were found when it came or last began."""
        self._keys = job.block_keys()
        self._held: list[int] = []
        """Keys of its blocks that can be found, in their order."""
        self._base = 0
        """Tokens in its KV cache, less the steps of the engine. Holds while it decodes."""
        self._ends_at = -1
        """The engine's step that generates its last token."""
        self._turn = 0
        """Tells the times apart at which it began to decode; 0 while it does not."""

    def __repr__(self) -> str:
        return f"<Visit {self.job.index}, {self.generated} of {self.job.output_tokens} generated>"


class Counters(NamedTuple):
    """What an engine counts, as `EngineLoad` has it."""

    first_tokens: float = 0.0
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    prefills: float = 0.0
    prefill_s: float = 0.0
    prefill_tokens: float = 0.0


class Engine:
    """Runs when it is asked to: `advance` does every step that begins before a moment."""

    def __init__(self, card: Card = A100, *, speed: float = 1.0, stands_for: int = 1, leaps: bool = True) -> None:
        """`speed` is a multiple of the card's. One that `stands_for` several has the prefix cache of all of them, and
        for the requests of its batch no more than each has. Without `leaps` every step is done by itself, to the same
        end."""
        self.card = card
        self.costs = Costs(speed=card.speed * speed)
        self.pool = BlockPool(card.blocks * stands_for, most_used=card.blocks, engines=stands_for)
        self.waiting: deque[Visit] = deque()
        self.done: list[Visit] = []
        """Those that are done since the caller last emptied it; some end after the moment asked for."""
        self.busy_s = 0.0
        self.preemptions = 0
        self.steps = 0
        self.clock_s = 0.0
        """When the last step ends: before that nothing changes."""
        self._leaps = leaps
        self._running: dict[Visit, None] = {}
        """In the order in which they began."""
        self._prefilling: Visit | None = None
        self._decoding = 0
        self._context_tokens = 0
        self._crossing = [0] * BLOCK_TOKENS
        """How many that decode need a new block in a step, by the negative of its number."""
        self._ends: list[tuple[int, int, Visit]] = []
        self._turns = 0
        self._is_blocked = False
        """The first that waits does not fit, until something is freed."""
        self._counters = Counters()
        self._published = self._next = (0.0, self._read())

    def __repr__(self) -> str:
        return f"<Engine at {self.clock_s:.3f} s, {len(self._running)} running, {len(self.waiting)} waiting>"

    @property
    def is_idle(self) -> bool:
        """Nothing is to be done."""
        return not self._running and not self.waiting

    @property
    def running(self) -> list[Visit]:
        """Those in the batch, the oldest first."""
        return list(self._running)

    def send(self, job: Job, *, now: float) -> Visit:
        """A request arrives. Everything before must have been asked for with `advance(now)`.

        Errors: ValueError for a job that never fits.
        """
        if -(-(job.prompt_tokens + job.output_tokens) // BLOCK_TOKENS) > min(self.pool.total, self.pool.most_used):
            raise ValueError(f"job {job.index} does not fit into the KV cache")
        if self.is_idle:
            self.clock_s = max(self.clock_s, now)
        visit = Visit(job, now)
        visit._cached_now = self.pool.count_cached(visit._keys, (job.prompt_tokens - 1) // BLOCK_TOKENS) * BLOCK_TOKENS
        self.waiting.append(visit)
        return visit

    def advance(self, until_s: float) -> None:
        """Does all steps that begin before `until_s`."""
        while self.clock_s < until_s and not self.is_idle:
            if not self._leap(until_s):
                self._step()

    def read_load(self, *, now: float) -> EngineLoad:
        """The metrics page as it is at `now`, up to which `advance` was called: that of the last step that has ended,
        for counts and ratios are set at the end of a step.
        """
        _, (waiting, running, used_ratio, counters) = self._next if self._next[0] <= now else self._published
        return EngineLoad(
            asked_at_s=now,
            waiting=waiting,
            running=running,
            kv_used_ratio=used_ratio,
            block_tokens=BLOCK_TOKENS,
            blocks=self.pool.most_used,
            first_tokens=counters.first_tokens,
            prompt_tokens=counters.prompt_tokens,
            cached_tokens=counters.cached_tokens,
            prefills=counters.prefills,
            prefill_s=counters.prefill_s,
            prefill_tokens=counters.prefill_tokens,
        )

    def first_token_s(self, job: Job, keys: list[int], *, now: float) -> float:
        """Seconds until `job` would have its first token if it came now, up to which `advance` was called. `keys` are
        its own. Exact but for what ends or comes meanwhile."""
        tokens, seconds = 0, 0.0
        queue = [] if self._prefilling is None else [(self._prefilling._computed, self._prefilling._tokens)]
        queue += [(visit._cached_now, visit._tokens) for visit in self.waiting]
        hits = self.pool.count_cached(keys, (job.prompt_tokens - 1) // BLOCK_TOKENS)
        for start, end in [*queue, (hits * BLOCK_TOKENS, job.prompt_tokens)]:
            tokens += end - start
            seconds += self.costs.prefill_s(start, end - start)
        steps = -(-tokens // (self.card.most_batched_tokens - self._decoding))
        if self._is_blocked or -(-job.prompt_tokens // BLOCK_TOKENS) - hits > self.pool.room:
            steps += max(0, min(self._next_end - self.steps, job.output_tokens))
        return (
            max(self.clock_s - now, 0.0)
            + seconds
            + steps * self.costs.decode_s(1, self._decoding, self._context_tokens)
        )

    def stop(self, *, now: float) -> list[Visit]:
        """It dies at `now`: returns what it had not done."""
        left = [*self._running, *self.waiting, *[visit for visit in self.done if (visit.done_s or 0.0) > now]]
        self._running.clear()
        self.waiting.clear()
        return left

    def _read(self) -> tuple[float, float, float, Counters]:
        return len(self.waiting), len(self._running), self.pool.used / self.pool.most_used, self._counters

    def _leap(self, until_s: float) -> bool:
        """Does steps of which only decoding is made, up to the next that ends a request or begins at `until_s` or
        later. False where the next step is another one."""
        if self._prefilling or not self._decoding or (self.waiting and not self._is_blocked) or not self._leaps:
            return False
        steps = self.costs.fewest_steps(
            until_s - self.clock_s, self._decoding, self._context_tokens, most=self._next_end - self.steps
        )
        steps, blocks = self._affordable(steps)
        if not steps:
            return False
        self.pool.take(blocks)
        self._spend(self.costs.decode_s(steps, self._decoding, self._context_tokens), steps)
        return True

    def _affordable(self, steps: int) -> tuple[int, int]:
        """How many of `steps` there are blocks for, and how many blocks those need."""
        cycles = min(steps // BLOCK_TOKENS, self.pool.room // self._decoding)
        count, blocks = cycles * BLOCK_TOKENS, cycles * self._decoding
        while count < steps:
            more = self._crossing[-(self.steps + count) % BLOCK_TOKENS]
            if blocks + more > self.pool.room:
                break
            blocks += more
            count += 1
        return count, blocks

    @property
    def _next_end(self) -> int:
        """The step that ends a request, of those that decode."""
        while self._ends and self._ends[0][1] != self._ends[0][2]._turn:
            heappop(self._ends)
        return self._ends[0][0] if self._ends else NEVER

    def _step(self) -> None:
        while self._crossing[-self.steps % BLOCK_TOKENS] > self.pool.room:
            self._preempt()
        self.pool.take(self._crossing[-self.steps % BLOCK_TOKENS])
        budget = self.card.most_batched_tokens - self._decoding
        took_s, computed = 0.0, []
        if visit := self._prefilling:
            seconds, budget = self._compute(visit, budget)
            took_s += seconds
            computed.append(visit)
        while budget > 0 and self.waiting and self._begin():
            visit = self.waiting.popleft()
            seconds, budget = self._compute(visit, budget)
            took_s += seconds
            computed.append(visit)
        if not self._decoding and not computed:
            return
        self._prefilling = computed.pop() if computed and computed[-1]._computed < computed[-1]._tokens else None
        took_s += self.costs.decode_s(1, self._decoding, self._context_tokens)
        self._spend(took_s, 1, computed)

    def _begin(self) -> bool:
        """Gives the first that waits its blocks, if it fits."""
        visit = self.waiting[0]
        pool, keys, tokens = self.pool, visit._keys, visit._tokens
        shared = pool.count_cached(keys, (tokens - 1) // BLOCK_TOKENS)
        blocks = -(-tokens // BLOCK_TOKENS) - shared
        head = keys[:shared]
        if len(self._running) >= self.card.most_sequences or blocks + pool.count_free(head) > pool.room:
            self._is_blocked = True
            return False
        pool.share(head)
        pool.take(blocks)
        visit._held = head + pool.name(keys[shared : tokens // BLOCK_TOKENS])
        visit._computed = visit._cached_now = shared * BLOCK_TOKENS
        if visit.scheduled_s is None:
            visit.scheduled_s = self.clock_s
            visit.cached_tokens = visit._computed
        self._running[visit] = None
        return True

    def _compute(self, visit: Visit, budget: int) -> tuple[float, int]:
        """Computes what of the prompt fits into `budget` tokens: the seconds that takes, and the budget left."""
        tokens = min(budget, visit._tokens - visit._computed)
        seconds = self.costs.prefill_s(visit._computed, tokens)
        visit._computed += tokens
        return seconds, budget - tokens

    def _spend(self, took_s: float, steps: int, computed: list[Visit] | None = None) -> None:
        """Lets steps pass, ends what ends with them, and lets those decode whose prompt was computed."""
        self._published = self._next
        self.clock_s += took_s
        self.busy_s += took_s
        self.steps += steps
        self._context_tokens += self._decoding * steps
        while self._next_end <= self.steps:
            self._end(heappop(self._ends)[2])
        for visit in computed or ():
            self._decode(visit)
        self._next = (self.clock_s, self._read())

    def _decode(self, visit: Visit) -> None:
        """The prompt is computed and with it one token generated."""
        if visit.first_token_s is None:
            visit.first_token_s = self.clock_s
            before = self._counters
            self._counters = before._replace(
                first_tokens=before.first_tokens + 1,
                prompt_tokens=before.prompt_tokens + visit.job.prompt_tokens,
                cached_tokens=before.cached_tokens + visit.cached_tokens,
            )
        visit.generated += 1
        visit._base = visit._tokens - self.steps
        visit._ends_at = self.steps + visit.job.output_tokens - visit.generated
        self._decoding += 1
        self._context_tokens += visit._tokens
        self._crossing[visit._base % BLOCK_TOKENS] += 1
        if visit.generated >= visit.job.output_tokens:
            self._end(visit)
        else:
            self._turns += 1
            visit._turn = self._turns
            heappush(self._ends, (visit._ends_at, visit._turn, visit))

    def _end(self, visit: Visit) -> None:
        visit.generated = visit.job.output_tokens
        visit.done_s = self.clock_s
        assert visit.first_token_s is not None
        assert visit.scheduled_s is not None
        before = self._counters
        self._counters = before._replace(
            prefills=before.prefills + 1,
            prefill_s=before.prefill_s + visit.first_token_s - visit.scheduled_s,
            prefill_tokens=before.prefill_tokens + visit.job.prompt_tokens - visit.cached_tokens,
        )
        del self._running[visit]
        self._leave(visit)
        visit._keys, visit._held, visit._turn = [], [], 0
        self.done.append(visit)

    def _preempt(self) -> None:
        """The youngest loses its blocks and waits again, before all others."""
        visit, _ = self._running.popitem()
        if visit is self._prefilling:
            self._prefilling = None
            self._is_blocked = False
            whole = visit._computed // BLOCK_TOKENS
            self.pool.forget(visit._held[whole:])
            self.pool.release(visit._held[:whole], nameless=-(-visit._tokens // BLOCK_TOKENS) - whole)
        else:
            visit.generated = visit.job.output_tokens - (visit._ends_at - self.steps)
            self._leave(visit)
            visit._tokens = visit.job.prompt_tokens + visit.generated
        visit._held = []
        visit._turn = 0
        visit.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(visit)

    def _leave(self, visit: Visit) -> None:
        """Frees the blocks of one that decodes; the whole ones of its answer can be found from now on."""
        tokens = visit._base + self.steps
        self._decoding -= 1
        self._context_tokens -= tokens
        self._crossing[visit._base % BLOCK_TOKENS] -= 1
        whole = tokens // BLOCK_TOKENS
        held = visit._held + self.pool.name(visit._keys[len(visit._held) : whole])
        self.pool.release(held, nameless=-(-tokens // BLOCK_TOKENS) - whole)
        self._is_blocked = False
