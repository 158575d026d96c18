"""The engine's prefix cache: which prompt prefixes it still holds, in blocks, the least recently used going first."""

from collections import OrderedDict

CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; nothing here needs a tokenizer
BLOCK_TOKENS = 16  # vLLM's default block_size
_BLOCK_CHARS = CHARS_PER_TOKEN * BLOCK_TOKENS
_LONGEST_CHARS = 256 * 1024  # what is beyond counts as a miss: hashing a 64 MiB prompt would stall the loop


class PrefixCache:
    """At most `capacity_blocks` blocks, each known by the hash of itself and all before it."""

    def __init__(self, capacity_blocks: int) -> None:
        self._capacity = capacity_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"PrefixCache({len(self._blocks)}/{self._capacity} blocks)"

    def enter(self, model: str, prompt: str) -> int:
        """Tokens of `prompt` that were cached for `model`; afterwards all its whole blocks are, as far as they fit."""
        digest = hash(model)
        hits = 0
        whole = min(len(prompt), _LONGEST_CHARS) // _BLOCK_CHARS
        for index in range(whole):
            digest = hash((digest, prompt[index * _BLOCK_CHARS : (index + 1) * _BLOCK_CHARS]))
            if digest in self._blocks:
                hits += 1
                self._blocks.move_to_end(digest)
            else:
                self._blocks[digest] = None
                if len(self._blocks) > self._capacity:
                    self._blocks.popitem(last=False)
        return hits * BLOCK_TOKENS
