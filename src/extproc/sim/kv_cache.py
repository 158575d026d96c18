"""The engine's KV cache: the blocks that requests hold, and the prompt prefixes that it still has beside them.

One pool serves both, as in vLLM: what a request lets go of stays known until its room is needed, the longest unused
first, the end of a prompt before its beginning. Generated tokens are held and never found again.
Source: vLLM `vllm/v1/core/kv_cache_manager.py`, `block_pool.py`.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; nothing here needs a tokenizer
BLOCK_TOKENS = 16  # vLLM's default block_size
_BLOCK_CHARS = CHARS_PER_TOKEN * BLOCK_TOKENS
_LONGEST_CHARS = 256 * 1024  # what is beyond counts as a miss: hashing a 64 MiB prompt would stall the loop


@dataclass(eq=False)
class Lease:
    """What one request needs of the cache, and what it has of it."""

    prompt_tokens: int
    blocks: int
    """For the prompt and the whole answer: room for both is taken at once."""
    chain: tuple[int, ...]
    """A hash for each whole block of the prompt, of that block, all before it and the model."""
    known: int = 0
    """Blocks at the beginning of the prompt that are shared: found in the cache, or written and found by others."""
    cached_tokens: int = 0
    """Tokens of the prompt that were found in the cache."""


def lease_for(model: str, prompt: str, *, answer_tokens: int) -> Lease:
    """The lease of a request, which holds nothing yet."""
    prompt_tokens = max(1, len(prompt) // CHARS_PER_TOKEN)
    digest = hash(model)
    chain = []
    for index in range(min(len(prompt), _LONGEST_CHARS) // _BLOCK_CHARS):
        digest = hash((digest, prompt[index * _BLOCK_CHARS : (index + 1) * _BLOCK_CHARS]))
        chain.append(digest)
    return Lease(prompt_tokens, math.ceil((prompt_tokens + answer_tokens) / BLOCK_TOKENS), tuple(chain))


class KvCache:
    """`capacity` blocks. A request takes its own, writes its prompt, and returns them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._shared: dict[int, int] = {}  # hash -> requests that hold the block
        self._idle: OrderedDict[int, None] = OrderedDict()  # held by nobody, known; the first to go first
        self._private = 0  # held by one request and known to nobody

    def __repr__(self) -> str:
        return f"KvCache({self._held} held, {len(self._idle)} idle of {self._capacity} blocks)"

    @property
    def used_ratio(self) -> float:
        """Share of the cache that requests hold, in [0, 1]. More than all of it, by prompts of any length, is 1."""
        return min(1.0, self._held / self._capacity)

    def has_room(self, lease: Lease) -> bool:
        """Whether everything that it needs can be had without taking from those that hold something."""
        held_already = sum(digest in self._shared for digest in lease.chain[: self._find(lease)])
        return self._held + lease.blocks - held_already <= self._capacity

    def take(self, lease: Lease) -> None:
        """Holds what it needs: the blocks found of its prompt, fresh ones for the rest. What is idle makes room."""
        lease.known = self._find(lease)
        lease.cached_tokens = lease.known * BLOCK_TOKENS
        for digest in lease.chain[: lease.known]:
            self._idle.pop(digest, None)
            self._shared[digest] = self._shared.get(digest, 0) + 1
        self._private += lease.blocks - lease.known
        self._make_room()

    def write(self, lease: Lease) -> None:
        """Its prompt has been computed: from now on others find it.

        A block that is known by then, since two computed it at a time or it held a prompt's last token, stays its own.
        """
        while lease.known < len(lease.chain) and not self._has(digest := lease.chain[lease.known]):
            self._shared[digest] = 1
            self._private -= 1
            lease.known += 1

    def free(self, lease: Lease) -> None:
        """Returns all that it holds; what is known stays so until its room is needed."""
        for digest in reversed(lease.chain[: lease.known]):
            self._shared[digest] -= 1
            if not self._shared[digest]:
                del self._shared[digest]
                self._idle[digest] = None
        self._private -= lease.blocks - lease.known
        lease.known = 0
        self._make_room()

    @property
    def _held(self) -> int:
        return len(self._shared) + self._private

    def _has(self, digest: int) -> bool:
        return digest in self._shared or digest in self._idle

    def _find(self, lease: Lease) -> int:
        """Blocks at the beginning of its prompt that are known. The last token is computed always."""
        most = min(len(lease.chain), (lease.prompt_tokens - 1) // BLOCK_TOKENS)
        for index, digest in enumerate(lease.chain[:most]):
            if not self._has(digest):
                return index
        return most

    def _make_room(self) -> None:
        while self._idle and self._held + len(self._idle) > self._capacity:
            self._idle.popitem(last=False)
