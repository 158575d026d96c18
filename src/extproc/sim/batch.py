"""The engine's batch: who waits, who runs, and whose prompt is being computed."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from extproc.sim.kv_cache import KvCache, Lease


@dataclass(eq=False, kw_only=True)
class Turn:
    """One request in the engine, from arrival to its last token. Times on the engine's clock; 0 is "not yet"."""

    model: str
    lease: Lease
    max_tokens: int
    finish_reason: Literal["stop", "length"]
    arrived: float
    started: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0
    tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.lease.prompt_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that were in the cache when the turn started."""
        return self.lease.cached_tokens


class Batch:
    """At most `max_running` turns run, the others wait in order of arrival.

    With a `prefill_tokens_per_s` prompts are computed one at a time at that speed, what is cached of them for nothing;
    a turn starts when its own is next and the cache has room for it, or is empty. Without (0) a prompt costs nothing,
    and room is not waited for.
    """

    def __init__(
        self,
        cache: KvCache,
        *,
        max_running: int,
        prefill_tokens_per_s: int,
        clock: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._max_running = max_running
        self._prefill_tokens_per_s = prefill_tokens_per_s
        self._clock = clock
        self._running: dict[Turn, None] = {}
        self._waiting: dict[Turn, asyncio.Future[None]] = {}
        self._prefilling: Turn | None = None

    def __repr__(self) -> str:
        return f"Batch({len(self._running)} running, {len(self._waiting)} waiting, {self._cache!r})"

    @property
    def running(self) -> Collection[Turn]:
        return self._running.keys()

    @property
    def waiting(self) -> Collection[Turn]:
        return self._waiting.keys()

    async def enter(self, turn: Turn) -> None:
        """Returns when it has started. Cancelled before that, it was never there."""
        granted = asyncio.get_running_loop().create_future()
        self._waiting[turn] = granted
        self._advance()
        if granted.done():
            return
        try:
            await granted
        except asyncio.CancelledError:
            if turn in self._running:  # cancelled in the very step in which the slot was handed over
                self.leave(turn)
            elif self._waiting.pop(turn, None) is not None:
                self._advance()  # others may fit where it did not
            raise

    def prefill_ends_at(self, turn: Turn) -> float:
        """When the prompt of a turn that has just started will be computed, on the engine's clock."""
        if not self._prefill_tokens_per_s:
            return turn.started
        return turn.started + (turn.prompt_tokens - turn.cached_tokens) / self._prefill_tokens_per_s

    def end_prefill(self, turn: Turn) -> None:
        """Its prompt is computed: others find it, and the next one begins."""
        self._cache.write(turn.lease)
        if self._prefilling is turn:
            self._prefilling = None
            self._advance()

    def leave(self, turn: Turn) -> None:
        """Hands what it had on at once, so that `running` never dips while somebody waits."""
        del self._running[turn]
        self._cache.free(turn.lease)
        if self._prefilling is turn:
            self._prefilling = None
        self._advance()

    def _advance(self) -> None:
        """Starts all that can, in order."""
        while (turn := self._next()) is not None and self._may_start(turn):
            granted = self._waiting.pop(turn)
            self._running[turn] = None
            turn.started = self._clock()
            self._cache.take(turn.lease)
            if self._prefill_tokens_per_s:
                self._prefilling = turn
            granted.set_result(None)

    def _next(self) -> Turn | None:
        """The first that waits. One that has been cancelled is passed by: it is about to go."""
        return next((turn for turn, granted in self._waiting.items() if not granted.done()), None)

    def _may_start(self, turn: Turn) -> bool:
        if len(self._running) >= self._max_running:
            return False
        if not self._prefill_tokens_per_s:
            return True
        return self._prefilling is None and (not self._running or self._cache.has_room(turn.lease))
