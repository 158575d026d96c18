"""Which endpoint has which beginnings of prompts in its cache, as far as can be told from what was sent where.

A prompt is cut into blocks of equal size, and each is known by a hash of itself and of all before it. Every endpoint
has a list of the blocks that it was sent, the least recently used going first, as long as its own cache: what the
engine will have dropped is dropped here too. Of a prompt the first block is touched last, so that an endpoint that is
thought to have a block has all before it. Source: docs/decisions/017.
"""

from collections import OrderedDict
from collections.abc import Sequence
from struct import Struct

from xxhash import xxh3_64_intdigest

BLOCK_BYTES = 256
MOST_HOLDERS = 8
"""Endpoints that are remembered by block, the latest: enough to find some that have it among thousands."""
MOST_DROPPED = 4096
"""Blocks dropped at one time: 2 ms of work, and more than one prompt adds."""
_cut = Struct(f"{BLOCK_BYTES}s").iter_unpack
"""Cuts bytes of whole blocks, in half the time of slices."""
NOTABLE_RESIZE = 0.05
"""The bytes of a token are learned from each answer that tells: each time, all endpoints' shares would change."""
MOST_CACHE_BLOCKS = 2_000_000
"""Over 100 million tokens, for which no engine has room: one that says so would take all shares from the others."""
DEFAULT_BLOCKS = 8192
"""Blocks of an endpoint whose cache is not known: 2 MiB of text, half a million tokens."""


def hash_blocks(text: bytes, *, model: str, salt: str = "") -> tuple[int, ...]:
    """The chained hashes of the whole blocks of `text`. What is left over has none."""
    digest = hash_text(model)
    if salt:
        digest = hash_text(salt, digest)
    hashes = []
    for (block,) in _cut(text[: len(text) - len(text) % BLOCK_BYTES]):
        digest = xxh3_64_intdigest(block, digest)
        hashes.append(digest)
    return tuple(hashes)


def hash_text(text: str, seed: int = 0) -> int:
    """64 bits that stand for `text`; the same in every process."""
    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), seed)


class EndpointPrefixes:
    """The blocks that one endpoint is thought to have."""

    __slots__ = ("blocks", "cache_blocks", "endpoint_id")

    def __init__(self, endpoint_id: str, cache_blocks: int) -> None:
        self.endpoint_id = endpoint_id
        self.cache_blocks = cache_blocks
        """Blocks that fit into the engine's own cache."""
        self.blocks: OrderedDict[int, None] = OrderedDict()
        """The least recently used first."""

    def __repr__(self) -> str:
        return f"<EndpointPrefixes of {self.endpoint_id}: {len(self.blocks)}/{self.cache_blocks}>"

    def count_known(self, hashes: Sequence[int]) -> int:
        """How many of the blocks, from the first on, the endpoint has. It looks at few of them: see the module."""
        blocks = self.blocks
        if not hashes or hashes[0] not in blocks:
            return 0
        if hashes[-1] in blocks:
            return len(hashes)
        low, high = 1, len(hashes) - 1  # it has the first `low`, and not that at `high`
        while low < high:
            middle = (low + high) // 2
            if hashes[middle] in blocks:
                low = middle + 1
            else:
                high = middle
        return low


class PrefixIndex:
    """The blocks of all endpoints, bounded in all: each has its share by the size of its cache.

    Lookups change nothing.
    """

    def __init__(self, most_blocks: int) -> None:
        """`most_blocks`: of all endpoints together, one that several have counted for each."""
        self.most_blocks = most_blocks
        self._endpoints: dict[str, EndpointPrefixes] = {}
        self._holders: dict[int, str | tuple[str, ...]] = {}
        """Block → ids of the latest endpoints that have it. Most have one: that stands for itself, for its size."""
        self._blocks = 0
        self._cache_blocks = 0

    def __repr__(self) -> str:
        return f"<PrefixIndex of {len(self)} blocks at {len(self._endpoints)} endpoints>"

    def __len__(self) -> int:
        return self._blocks

    def of(self, endpoint_id: str) -> EndpointPrefixes:
        """What one endpoint has: the same object until it is forgotten."""
        known = self._endpoints.get(endpoint_id)
        if known is None:
            known = self._endpoints[endpoint_id] = EndpointPrefixes(endpoint_id, DEFAULT_BLOCKS)
            self._cache_blocks += DEFAULT_BLOCKS
        return known

    def resize(self, endpoint_id: str, cache_blocks: int) -> None:
        """The endpoint's own cache holds so many blocks, `MOST_CACHE_BLOCKS` at most. A change by less than
        `NOTABLE_RESIZE` is none.
        """
        cache_blocks = min(cache_blocks, MOST_CACHE_BLOCKS)
        endpoint = self.of(endpoint_id)
        if abs(endpoint.cache_blocks - cache_blocks) > NOTABLE_RESIZE * cache_blocks:
            self._cache_blocks += cache_blocks - endpoint.cache_blocks
            endpoint.cache_blocks = cache_blocks
            self._trim(endpoint, MOST_DROPPED)

    def count_known(self, hashes: Sequence[int]) -> int:
        """How many of the blocks, from the first on, any endpoint has: those that one has are a beginning too."""
        holders = self._holders
        low, high = 0, len(hashes)
        if not hashes or hashes[-1] in holders:
            return high
        while low < high:
            middle = (low + high) // 2
            if hashes[middle] in holders:
                low = middle + 1
            else:
                high = middle
        return low

    def find_holders(self, hashes: Sequence[int], most: int) -> list[str]:
        """Ids of at most `most` endpoints that have the longest beginnings of these blocks, the longest first."""
        holders, found = self._holders, dict[str, None]()
        low = self.count_known(hashes)
        step = 1
        while low > 0 and len(found) < most:
            held = holders.get(hashes[low - 1], ())
            for id_ in (held,) if isinstance(held, str) else held:
                found.setdefault(id_)
            low -= step
            step *= 2  # the shorter they are, the less it matters by how much
        return list(found)[:most]

    def add(self, endpoint_id: str, hashes: Sequence[int]) -> None:
        """The endpoint has these blocks now, as of a prompt that was sent there."""
        endpoint = self.of(endpoint_id)
        blocks = endpoint.blocks
        for hash_ in reversed(hashes):
            if hash_ in blocks:
                blocks.move_to_end(hash_)
            else:
                blocks[hash_] = None
                self._blocks += 1
                self._hold(hash_, endpoint_id)
        left = self._trim(endpoint, MOST_DROPPED)
        if self._blocks > self.most_blocks:  # others came since, and some have more than what is their share by now
            for each in self._endpoints.values():
                left = self._trim(each, left)
                if not left or self._blocks <= self.most_blocks:  # the next adding goes on
                    break

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone, or its cache is empty: it was restarted."""
        endpoint = self._endpoints.pop(endpoint_id, None)
        if endpoint is None:
            return
        self._cache_blocks -= endpoint.cache_blocks
        self._blocks -= len(endpoint.blocks)
        for hash_ in endpoint.blocks:
            self._let_go(hash_, endpoint_id)
        endpoint.blocks.clear()

    def _trim(self, endpoint: EndpointPrefixes, most: int) -> int:
        """Drops what the endpoint has beyond its share, `most` blocks at most. Returns how many more may be dropped."""
        share = endpoint.cache_blocks
        if self._cache_blocks > self.most_blocks:
            share = share * self.most_blocks // self._cache_blocks
        blocks = endpoint.blocks
        if len(blocks) <= share:
            return most
        excess = min(len(blocks) - share, most)
        for _ in range(excess):
            hash_, _ = blocks.popitem(last=False)
            self._blocks -= 1
            self._let_go(hash_, endpoint.endpoint_id)
        return most - excess

    def _hold(self, hash_: int, endpoint_id: str) -> None:
        held = self._holders.get(hash_)
        if held is None:
            self._holders[hash_] = endpoint_id
        elif isinstance(held, str):
            self._holders[hash_] = (endpoint_id, held)
        else:
            self._holders[hash_] = (endpoint_id, *held[: MOST_HOLDERS - 1])

    def _let_go(self, hash_: int, endpoint_id: str) -> None:
        held = self._holders.get(hash_)
        if held == endpoint_id:
            del self._holders[hash_]
        elif isinstance(held, tuple) and endpoint_id in held:
            left = tuple([id_ for id_ in held if id_ != endpoint_id])
            self._holders[hash_] = left[0] if len(left) == 1 else left
