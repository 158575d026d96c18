"""The block pool against the plainest thing that can be said to do the same."""

from collections.abc import Sequence
from random import Random

import pytest
from bench.policies.blocks import BlockPool


class ListedBlocks:
    """Every block by itself in one list, the next to be used first: [key, users]. A key of None is no content."""

    def __init__(self, total: int) -> None:
        self.queue: list[list[int | None]] = [[None, 0] for _ in range(total)]
        self.held: list[list[int | None]] = []

    def find(self, key: int) -> list[int | None] | None:
        return next((block for block in [*self.held, *self.queue] if block[0] == key), None)

    def begin(self, keys: Sequence[int], blocks: int) -> list[list[int | None]]:
        hits = []
        for key in keys:
            if (found := self.find(key)) is None:
                break
            hits.append(found)
        for hit in hits:
            if not hit[1]:
                self.queue = [other for other in self.queue if other is not hit]
                self.held.append(hit)
            assert hit[1] is not None
            hit[1] += 1
        mine = list(hits)
        new: list[int | None] = [*keys[len(hits) :], *[None] * (blocks - len(keys))]
        for content in new:
            self.queue.pop(0)
            is_second = content is not None and self.find(content) is not None
            block: list[int | None] = [None if is_second else content, 1]
            self.held.append(block)
            mine.append(block)
        return mine

    def end(self, mine: list[list[int | None]]) -> None:
        for block in reversed(mine):
            assert block[1] is not None
            block[1] -= 1
            if not block[1]:
                self.held = [other for other in self.held if other is not block]
                self.queue.append(block)


@pytest.mark.parametrize("seed", range(8))
def test_it_holds_the_same_as_a_plain_list_of_blocks(seed: int) -> None:
    rng, pool, plain = Random(seed), BlockPool(60), ListedBlocks(60)
    open_ones: list[tuple[list[int], int, list[list[int | None]]]] = []
    for _ in range(400):
        if open_ones and rng.random() < 0.5:
            held, nameless, mine = open_ones.pop(rng.randrange(len(open_ones)))
            pool.release(held, nameless=nameless)
            plain.end(mine)
        else:
            chain = rng.randrange(6)
            keys = [chain * 100 + depth for depth in range(rng.randint(1, 12))]
            blocks = len(keys) + rng.randint(0, 1)
            hits = pool.count_cached(keys, len(keys))
            head = keys[:hits]
            if blocks - hits + pool.count_free(head) > pool.room:
                continue
            pool.share(head)
            pool.take(blocks - hits)
            open_ones.append((head + pool.name(keys[hits:]), blocks - len(keys), plain.begin(keys, blocks)))
        assert pool.used == len(plain.held)
        for chain in range(6):
            for depth in range(12):
                key = chain * 100 + depth
                assert bool(pool.count_cached([key], 1)) == (plain.find(key) is not None)


def test_of_one_prompt_the_deepest_block_goes_first() -> None:
    pool = BlockPool(4)
    pool.take(4)
    pool.release(pool.name([1, 2, 3, 4]))
    pool.take(2)
    assert [pool.count_cached([key], 1) for key in (1, 2, 3, 4)] == [1, 1, 0, 0]


def test_a_block_that_was_never_computed_is_not_found() -> None:
    pool = BlockPool(4)
    pool.take(3)
    held = pool.name([1, 2, 3])
    pool.forget(held[1:])
    pool.release(held[:1], nameless=2)
    assert pool.count_cached([1, 2, 3], 3) == 1
    assert (pool.used, pool.room) == (0, 4)


def test_requests_may_hold_no_more_than_their_part_of_a_larger_cache() -> None:
    pool = BlockPool(10, most_used=4)
    pool.take(3)
    assert pool.room == 1
    pool.release(pool.name([1, 2, 3]))
    pool.take(4)
    assert pool.count_cached([1, 2, 3], 3) == 3


def test_a_block_of_several_requests_counts_for_less_where_a_pool_stands_for_several() -> None:
    pool = BlockPool(40, most_used=10, engines=4)
    pool.take(8)
    held = pool.name(range(8))
    assert pool.room == 2
    pool.share(held)
    assert pool.room == 8
    pool.release(held)
    assert pool.room == 2
