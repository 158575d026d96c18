"""The engine behind the simulated server: models, adapters, a bounded batch with its queue, and what it counted."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from extproc.sim.batch import Batch, Turn
from extproc.sim.failures import Failures
from extproc.sim.kv_cache import KvCache, lease_for
from extproc.sim.meters import EngineMeters

KV_BLOCKS = 8192  # 131,072 tokens: what a 7B model leaves on a 24 GB card, about
MAX_LORA = 4
_LORA_SAMPLES_KEPT = 64  # vLLM keeps all it ever published; this bounds a long run


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Times in seconds. An empty `name` becomes host:port when the server listens.

    The first token comes `time_to_first_token_s` after the prompt is computed, and then one each `token_delay_s`,
    whatever else the engine does.
    """

    models: tuple[str, ...]
    name: str = ""
    lora: tuple[str, ...] = ()  # adapters of models[0], loaded from the start
    api_key: str | None = None
    time_to_first_token_s: float = 0.02
    token_delay_s: float = 0.005
    prefill_tokens_per_s: int = 0  # of prompts, one at a time, less what is cached of them; 0: they cost nothing
    kv_blocks: int = KV_BLOCKS  # of 16 tokens
    default_tokens: int = 16  # for a request that gives no max_tokens
    max_model_len: int = 4096  # listed, and the longest answer; prompts of any length are taken
    startup_delay_s: float = 0.0  # the port refuses connections until then
    unload_grace_s: float = 0.0  # an unloaded adapter is unlisted at once, and served this long
    max_running: int = 256  # requests beyond it wait
    failures: Failures = field(default_factory=Failures)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("an engine needs at least one model")
        if self.max_running < 1:
            raise ValueError(f"max_running is {self.max_running}: at least one request must be able to run")
        if self.kv_blocks < 1:
            raise ValueError(f"kv_blocks is {self.kv_blocks}: a cache has at least one block")
        if self.prefill_tokens_per_s < 0:
            raise ValueError(f"prefill_tokens_per_s is {self.prefill_tokens_per_s}: 0 is the least")


class Engine:
    """Serves `models` and adapters, in a batch whose rules are `Batch`'s.

    `clock` gives seconds from any zero, `sleep` lets as many of them pass, `wall_clock` is Unix time.
    `served` counts the requests accepted by model, `wrong_model` those for a model it does not serve.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.failures = settings.failures
        self.name = settings.name
        self.adapters = {name: f"/adapters/{name}" for name in settings.lora}  # name -> path
        self.served: Counter[str] = Counter()
        self.wrong_model = 0
        self.labels = {"engine": "0", "model_name": settings.models[0]}
        self.meters = EngineMeters(self.labels, max_model_len=settings.max_model_len)
        self.sleep = sleep
        self._clock = clock
        self._wall_clock = wall_clock
        self._unloaded: dict[str, float] = {}  # adapter -> served until
        self._cache = KvCache(settings.kv_blocks)
        self._batch = Batch(
            self._cache,
            max_running=settings.max_running,
            prefill_tokens_per_s=settings.prefill_tokens_per_s,
            clock=clock,
        )
        self._lora_samples: dict[tuple[str, str], float] = {}
        self._sample_adapters()

    def __repr__(self) -> str:
        served = ", ".join((*self.settings.models, *self.adapters))
        return f"Engine({self.name!r} serving {served}; {self.running} running, {self.waiting} waiting)"

    @property
    def running(self) -> int:
        return len(self._batch.running)

    @property
    def waiting(self) -> int:
        return len(self._batch.waiting)

    @property
    def kv_used_ratio(self) -> float:
        """Share of the KV cache that running requests hold, in [0, 1]."""
        return self._cache.used_ratio

    def serves(self, model: str) -> bool:
        """Whether a request for exactly this name is answered: also a while after its adapter was unloaded."""
        return model in self.settings.models or model in self.adapters or self._unloaded.get(model, 0.0) > self._clock()

    def load_adapter(self, name: str, path: str) -> bool:
        """False, and no change, if an adapter of that name is loaded."""
        if name in self.adapters:
            return False
        self._unloaded.pop(name, None)
        self.adapters[name] = path
        return True

    def unload_adapter(self, name: str) -> bool:
        """False if there is none; else it is no longer listed, and served for `unload_grace_s` more."""
        if self.adapters.pop(name, None) is None:
            return False
        self._unloaded[name] = self._clock() + self.settings.unload_grace_s
        return True

    @asynccontextmanager
    async def turn(self, model: str, *, prompt: str, max_tokens: int | None) -> AsyncIterator[Turn]:
        """A place in the batch, after waiting for it, with the prompt computed.

        It is free again however the block ends, cancellation included.
        """
        answer_tokens = (
            self.settings.default_tokens if max_tokens is None else min(max_tokens, self.settings.max_model_len)
        )
        turn = Turn(
            model=model,
            lease=lease_for(model, prompt, answer_tokens=answer_tokens),
            max_tokens=answer_tokens,
            finish_reason="stop" if max_tokens is None else "length",
            arrived=self._clock(),
        )
        await self._batch.enter(turn)
        finished = False
        try:
            self.meters.prefix_queries += turn.prompt_tokens
            self.meters.prefix_hits += turn.cached_tokens
            if (remaining_s := self._batch.prefill_ends_at(turn) - self._clock()) > 0.0:
                await self.sleep(remaining_s)
            self._batch.end_prefill(turn)
            yield turn
            finished = True
        finally:
            self._batch.leave(turn)
            self._observe(turn, finished=finished)

    def produce(self, turn: Turn, *, count: int = 1) -> None:
        """Counts `count` tokens made since the last ones. Each is an iteration of its own: nothing is batched here."""
        if count < 1:
            return
        now = self._clock()
        meters = self.meters
        if turn.tokens == 0:
            turn.first_token = turn.last_token = now
            meters.time_to_first_token.observe(now - turn.arrived)
            meters.iteration_tokens.observe(turn.prompt_tokens + 1)
            meters.prompt_tokens += turn.prompt_tokens
            later = count - 1
        else:
            later = count
        if later:
            for histogram in (meters.inter_token, meters.time_per_output_token):
                histogram.observe((now - turn.last_token) / later, times=later)
            meters.iteration_tokens.observe(1, times=later)
        turn.last_token = now
        turn.tokens += count
        meters.generation_tokens += count

    def lora_samples(self) -> dict[tuple[str, str], float]:
        """(running adapters, waiting adapters) -> when that was last so. vLLM drops no sample: the newest is true."""
        self._sample_adapters()
        return dict(self._lora_samples)

    def _observe(self, turn: Turn, *, finished: bool) -> None:
        meters = self.meters
        now = self._clock()
        meters.finished[turn.finish_reason if finished else "abort"] += 1
        first_token = turn.first_token or now
        meters.e2e.observe(now - turn.arrived)
        meters.queue.observe(turn.started - turn.arrived)
        meters.inference.observe(now - turn.started)
        meters.prefill.observe(first_token - turn.started)
        meters.decode.observe(max(0.0, turn.last_token - first_token))
        meters.request_prompt_tokens.observe(turn.prompt_tokens)
        meters.request_generation_tokens.observe(turn.tokens)
        meters.request_most_tokens.observe(turn.tokens)
        meters.request_max_tokens.observe(turn.max_tokens)
        meters.prefill_computed_tokens.observe(turn.prompt_tokens - turn.cached_tokens)
        if turn.tokens > 1:
            meters.per_output_token.observe((turn.last_token - first_token) / (turn.tokens - 1))

    def _sample_adapters(self) -> None:
        running, waiting = (
            ",".join(sorted({turn.model for turn in turns} - set(self.settings.models)))
            for turns in (self._batch.running, self._batch.waiting)
        )
        newest = max(self._lora_samples.values(), default=0.0)
        self._lora_samples.pop((running, waiting), None)
        # Never equal to another sample's: the reader takes the newest.
        self._lora_samples[running, waiting] = max(self._wall_clock(), math.nextafter(newest, math.inf))
        if len(self._lora_samples) > _LORA_SAMPLES_KEPT:
            del self._lora_samples[next(iter(self._lora_samples))]
