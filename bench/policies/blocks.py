"""The KV blocks of an engine: a prefix cache in what is free, the least recently freed used again first.

As vLLM V1 does it: a block whose tokens are all computed can be found by the hash of everything up to its end; blocks
of a request that ends keep their content until they are needed, and are freed from the last to the first, so that of
one prompt the deepest goes first. Source: vllm/v1/core/kv_cache_manager.py and block_pool.py.
"""

from collections import OrderedDict
from collections.abc import Sequence


class BlockPool:
    """Blocks by the key of their content. Keys are 0 or more; a block that cannot be found again has a negative one."""

    def __init__(self, total: int, *, most_used: int | None = None, engines: int = 1) -> None:
        """`engines`: a pool that stands for those of so many. A block that several requests hold then counts for only
        one part in so many of `most_used`: such blocks would be shared out to the engines, with the requests."""
        self.total = total
        self.most_used = total if most_used is None else most_used
        """Blocks that requests may hold at one time; what is beyond that is cache alone."""
        self._common = 0
        """Blocks that more than one request holds."""
        self._common_share = 1.0 - 1.0 / engines
        self.used = 0
        self._blank = total
        """Free ones that never had content."""
        self._users: dict[int, int] = {}
        """Key of each block that can be found → requests that hold it, 0 for one that is free."""
        self._free: OrderedDict[int, None] = OrderedDict()
        """Keys of the free ones with content, the first to be used again first."""
        self._anonymous = 0

    def __repr__(self) -> str:
        return f"<BlockPool {self.used} of {self.total} used, {len(self._users)} cached>"

    @property
    def room(self) -> int:
        """Blocks that can be taken now."""
        return min(self.total - self.used, self.most_used - self.used + int(self._common * self._common_share))

    def count_cached(self, keys: Sequence[int], most: int) -> int:
        """How many of the first `most` of `keys` are there, from the first one on without a gap."""
        users = self._users
        count = 0
        for key in keys:
            if count == most or key not in users:
                break
            count += 1
        return count

    def count_free(self, keys: Sequence[int]) -> int:
        """How many of `keys`, which are all cached, nobody holds: to share them takes room."""
        users = self._users
        return sum([not users[key] for key in keys])

    def share(self, keys: Sequence[int]) -> None:
        """Holds blocks that are cached."""
        users, free = self._users, self._free
        for key in keys:
            count = users[key]
            if not count:
                del free[key]
                self.used += 1
            elif count == 1:
                self._common += 1
            users[key] = count + 1

    def take(self, count: int) -> None:
        """Holds `count` blocks of no content yet, at most `room`."""
        self.used += count
        blank = min(count, self._blank)
        self._blank -= blank
        users, evict = self._users, self._free.popitem
        for _ in range(count - blank):
            users.pop(evict(last=False)[0], None)

    def name(self, keys: Sequence[int]) -> list[int]:
        """Gives content to as many blocks taken before: from now on they can be found. Returns the keys to release
        them by: a second block of the same content keeps its place and is found by nobody."""
        users, named = self._users, []
        for key in keys:
            if key in users:
                self._anonymous -= 1
                named.append(self._anonymous)
            else:
                users[key] = 1
                named.append(key)
        return named

    def forget(self, keys: Sequence[int]) -> None:
        """Takes their content from blocks that one request named and never computed: they are held without a name."""
        for key in keys:
            self._users.pop(key, None)

    def release(self, keys: Sequence[int], *, nameless: int = 0) -> None:
        """Frees the blocks of a request, in the order in which it holds them, and then `nameless` ones without content
        that can be found. The last is freed first."""
        users, free = self._users, self._free
        for _ in range(nameless):
            self._anonymous -= 1
            free[self._anonymous] = None
        self.used -= nameless
        for key in reversed(keys):
            if key >= 0:
                count = users[key] - 1
                users[key] = count
                if count:
                    self._common -= count == 1
                    continue
            free[key] = None
            self.used -= 1
