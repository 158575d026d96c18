"""What an engine publishes of its load."""

import msgspec


class Adapters(msgspec.Struct, frozen=True):
    """The LoRA adapters of an engine."""

    running: frozenset[str] = frozenset()
    """In use by requests in the batch: loaded."""
    waiting: frozenset[str] = frozenset()
    """Asked for by requests that wait."""
    most: int = 0
    """Adapters that fit in at one time."""


class EngineLoad(msgspec.Struct, frozen=True):
    """One reading of an engine's metrics page. None is what the page does not say: unknown, which is not idle.

    Where a page has several samples of one family (engines of one data-parallel server), counts are their sums and
    ratios their means. Source: protocol of the engines' pages, docs/scheduling.md.
    """

    asked_at_s: float
    """Monotonic seconds at which the page was asked for: a request routed after that cannot show in it."""
    waiting: float | None = None
    """Requests in the queue."""
    running: float | None = None
    """Requests in the batch."""
    kv_used_ratio: float | None = None
    """Share of the KV cache in use, in [0, 1]."""
    adapters: Adapters | None = None
    block_tokens: int | None = None
    """Tokens of one KV block."""
    blocks: int | None = None
    """KV blocks of the cache."""
    first_tokens: float | None = None
    """Counter: requests whose prefill is done."""
    prompt_tokens: float | None = None
    """Counter: tokens of their prompts, those found in the prefix cache included."""
    cached_tokens: float | None = None
    """Counter: prompt tokens that were found in the prefix cache."""
    prefills: float | None = None
    """Counter: requests that are over, of which the next two tell."""
    prefill_s: float | None = None
    """Counter: seconds that they spent in prefill, summed over requests."""
    prefill_tokens: float | None = None
    """Counter: tokens that were computed in it, those found in the prefix cache left out."""

    @property
    def cache_tokens(self) -> int | None:
        """Tokens that the KV cache holds."""
        return None if self.blocks is None or self.block_tokens is None else self.blocks * self.block_tokens
