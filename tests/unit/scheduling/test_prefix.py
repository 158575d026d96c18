"""scheduling/prefix: block hashes, and an index of who has them that does what a naive one does."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.scheduling.prefix import (
    BLOCK_BYTES,
    DEFAULT_BLOCKS,
    MOST_CACHE_BLOCKS,
    MOST_DROPPED,
    MOST_HOLDERS,
    EndpointPrefixes,
    PrefixIndex,
    hash_blocks,
    hash_text,
)

TEXT = bytes(range(256)) * 4


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        pytest.param(b"", 0, id="none"),
        pytest.param(TEXT[: BLOCK_BYTES - 1], 0, id="not a whole block"),
        pytest.param(TEXT[:BLOCK_BYTES], 1, id="one block"),
        pytest.param(TEXT[: BLOCK_BYTES + 1], 1, id="what is left over has none"),
        pytest.param(TEXT, 4, id="four blocks"),
    ],
)
def test_whole_blocks_have_hashes(text: bytes, blocks: int) -> None:
    assert len(hash_blocks(text, model="m")) == blocks


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        pytest.param(hash_blocks(TEXT, model="m"), 4, id="nothing"),
        pytest.param(hash_blocks(TEXT, model="n"), 0, id="the model"),
        pytest.param(hash_blocks(TEXT, model="m", salt="s"), 0, id="the salt"),
        pytest.param(hash_blocks(TEXT, model="ms"), 0, id="the salt as part of the model"),
        pytest.param(hash_blocks(b"-" + TEXT[1:], model="m"), 0, id="the first byte"),
        pytest.param(hash_blocks(TEXT[:512] + b"-" + TEXT[513:], model="m"), 2, id="a byte of the third block"),
        pytest.param(hash_blocks(TEXT[:-1] + b"-", model="m"), 3, id="the last byte"),
    ],
)
def test_a_hash_stands_for_all_before_it(changed: Sequence[int], same: int) -> None:
    original = hash_blocks(TEXT, model="m")
    assert [one == other for one, other in zip(original, changed, strict=True)] == [True] * same + [False] * (4 - same)


def test_hashes_are_the_same_in_every_process_and_release() -> None:
    """Replicas of two releases run side by side while one is rolled out."""
    assert hash_text("meta-llama/Llama-3.1-8B") == 0xE40671A050495A5
    assert hash_blocks(TEXT[:256], model="m", salt="s") == (0xC990DAB3A1F4C99F,)


def test_any_text_has_a_hash() -> None:
    assert hash_text("\ud800") != hash_text("")


@given(known=st.integers(0, 40), asked=st.integers(0, 40), others=st.integers(0, 40))
def test_counts_the_blocks_from_the_first_on(known: int, asked: int, others: int) -> None:
    prefixes = EndpointPrefixes("a", 100)
    prefixes.blocks.update(dict.fromkeys(range(known)))
    prefixes.blocks.update(dict.fromkeys(range(1000, 1000 + others)))
    assert prefixes.count_known(range(asked)) == min(known, asked)
    assert prefixes.count_known([*range(asked), -1, -2]) == min(known, asked)
    assert repr(prefixes) == f"<EndpointPrefixes of a: {known + others}/100>"


def chain(words: str) -> list[int]:
    """The blocks of a prompt that is told by letters: two that begin alike share the first ones."""
    return [int.from_bytes(words[: end + 1].encode(), "big") for end in range(len(words))]


class Naive:
    """The same index of lists, by the rules alone."""

    def __init__(self, most_blocks: int) -> None:
        self.most_blocks = most_blocks
        self.sizes: dict[str, int] = {}
        self.blocks: dict[str, list[int]] = {}

    def of(self, id_: str) -> list[int]:
        self.sizes.setdefault(id_, DEFAULT_BLOCKS)
        return self.blocks.setdefault(id_, [])

    def add(self, id_: str, hashes: Sequence[int]) -> None:
        blocks = self.of(id_)
        for hash_ in reversed(hashes):
            if hash_ in blocks:
                blocks.remove(hash_)
            blocks.append(hash_)
        self.trim(id_)
        for each in self.blocks:
            if sum(map(len, self.blocks.values())) <= self.most_blocks:
                break
            self.trim(each)

    def trim(self, id_: str) -> None:
        total = sum(self.sizes.values())
        share = self.sizes[id_] if total <= self.most_blocks else self.sizes[id_] * self.most_blocks // total
        blocks = self.of(id_)
        del blocks[: max(0, len(blocks) - share)]

    def resize(self, id_: str, size: int) -> None:
        self.of(id_)
        if self.sizes[id_] != size:
            self.sizes[id_] = size
            self.trim(id_)

    def forget(self, id_: str) -> None:
        self.sizes.pop(id_, None)
        self.blocks.pop(id_, None)

    def count_known(self, id_: str, hashes: Sequence[int]) -> int:
        blocks = self.blocks.get(id_, [])
        return next((at for at, hash_ in enumerate(hashes) if hash_ not in blocks), len(hashes))


def steps(ids: str) -> st.SearchStrategy[list[tuple[str, str, str | int]]]:
    letters = st.sampled_from(ids)
    return st.lists(
        st.one_of(
            st.tuples(st.just("add"), letters, st.text("xyz", max_size=7)),
            st.tuples(st.just("add"), letters, st.text("xyz", max_size=7)),
            st.tuples(st.just("resize"), letters, st.integers(0, 20)),
            st.tuples(st.just("forget"), letters, st.just(0)),
        ),
        max_size=30,
    )


def follow(most_blocks: int, taken: list[tuple[str, str, str | int]]) -> tuple[PrefixIndex, Naive]:
    """An index and a naive one after the same steps. The bounds are kept after each of them."""
    index, naive = PrefixIndex(most_blocks), Naive(most_blocks)
    for what, id_, value in taken:
        if isinstance(value, str):
            index.add(id_, chain(value))
            naive.add(id_, chain(value))
        elif what == "resize":
            index.resize(id_, value)
            naive.resize(id_, value)
        else:
            index.forget(id_)
            naive.forget(id_)
        assert len(index) == sum(map(len, naive.blocks.values()))
        assert len(index) <= most_blocks
    return index, naive


PROMPTS = [chain(words) for words in ("x", "xy", "xyzxyzx", "zzzzzzz", "yxyxyx", "xxxxyyyy")]


@settings(max_examples=200)
@given(most_blocks=st.integers(0, 40), taken=steps("abcd"), words=st.text("xyz", min_size=1, max_size=9))
def test_it_does_what_a_naive_one_does(most_blocks: int, taken: list[tuple[str, str, str | int]], words: str) -> None:
    index, naive = follow(most_blocks, taken)
    for hashes in [chain(words), *PROMPTS]:
        counts = {id_: naive.count_known(id_, hashes) for id_ in "abcd"}
        assert {id_: index.of(id_).count_known(hashes) for id_ in "abcd"} == counts
        for hash_ in hashes:
            holders = {id_ for id_, blocks in naive.blocks.items() if hash_ in blocks}
            assert set(index.find_holders([hash_], 9)) == holders
        found = index.find_holders(hashes, 2)
        assert len(found) == len(set(found)) <= 2
        assert all(counts[id_] for id_ in found)
        if any(counts.values()):
            assert counts[found[0]] == max(counts.values()), "the longest first"
        else:
            assert not found


@given(most_blocks=st.integers(0, 40), taken=steps("abcd"))
def test_who_has_a_block_has_all_before_it(most_blocks: int, taken: list[tuple[str, str, str | int]]) -> None:
    index, _ = follow(most_blocks, taken)
    prompts = [chain(value) for _, _, value in taken if isinstance(value, str)]
    for id_ in "abcd":
        blocks = index.of(id_).blocks
        for hashes in prompts:
            held = [hash_ in blocks for hash_ in hashes]
            assert held == sorted(held, reverse=True)


@settings(max_examples=200)
@given(taken=steps("abcdefghijkl"))
def test_of_many_holders_the_latest_are_remembered_and_none_that_is_not(
    taken: list[tuple[str, str, str | int]],
) -> None:
    index, naive = follow(60, taken)
    for hash_ in {hash_ for hashes in PROMPTS for hash_ in hashes}:
        found = index.find_holders([hash_], 99)
        assert len(found) == len(set(found)) <= MOST_HOLDERS
        assert all(hash_ in naive.blocks[id_] for id_ in found)


def test_more_holders_than_are_remembered() -> None:
    index = PrefixIndex(10**6)
    for number in range(MOST_HOLDERS + 3):
        index.add(str(number), (1,))
    assert index.find_holders((1,), 99) == [str(number) for number in reversed(range(3, MOST_HOLDERS + 3))]
    assert index.of("0").count_known((1,)) == 1, "it has it all the same"
    for number in range(MOST_HOLDERS + 3):
        index.forget(str(number))
    assert index.find_holders((1,), 99) == []


def test_a_restart_forgets() -> None:
    index = PrefixIndex(100)
    index.resize("a", 50)
    before = index.of("a")
    index.add("a", (1, 2))
    index.forget("a")
    assert (len(index), before.count_known((1, 2)), index.find_holders((1, 2), 9)) == (0, 0, [])
    assert index.of("a") is not before
    assert index.of("a").cache_blocks == DEFAULT_BLOCKS
    index.forget("never heard of")
    assert repr(index) == "<PrefixIndex of 0 blocks at 1 endpoints>"


def test_lookups_change_nothing() -> None:
    """What is looked up is not what was used: the engine was not sent it."""
    index = PrefixIndex(4)
    index.resize("a", 2)
    index.add("a", (1,))
    index.add("a", (2,))
    assert index.of("a").count_known((1,)) == 1
    assert index.find_holders((1,), 9) == ["a"]
    index.add("a", (3,))
    assert list(index.of("a").blocks) == [2, 3]


class Watched(list[int]):
    """Hashes that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return super().__getitem__(index)


def test_a_lookup_looks_at_few_of_many_blocks() -> None:
    index = PrefixIndex(10_000)
    index.add("a", range(600))
    hashes = Watched(range(1024))
    assert index.find_holders(hashes, 9) == ["a"]
    assert index.of("a").count_known(hashes) == 600
    assert hashes.looks < 60


@pytest.mark.parametrize(
    ("sizes", "most_blocks", "kept"),
    [
        pytest.param({"a": 10, "b": 10}, 100, {"a": 10, "b": 10}, id="room for all: as their caches are"),
        pytest.param({"a": 100, "b": 100}, 100, {"a": 50, "b": 50}, id="shared out"),
        pytest.param({"a": 300, "b": 100}, 100, {"a": 75, "b": 25}, id="by the sizes of their caches"),
        pytest.param({"a": 100, "b": 0}, 50, {"a": 50, "b": 0}, id="an engine without a cache"),
        pytest.param({"a": 100, "b": 100}, 0, {"a": 0, "b": 0}, id="no index"),
    ],
)
def test_each_has_its_share(sizes: dict[str, int], most_blocks: int, kept: dict[str, int]) -> None:
    index = PrefixIndex(most_blocks)
    for id_, size in sizes.items():
        index.resize(id_, size)
    for id_ in sizes:
        index.add(id_, range(1000))
    assert {id_: index.of(id_).count_known(range(1000)) for id_ in sizes} == kept


def test_who_comes_later_gets_its_share_too() -> None:
    index = PrefixIndex(100)
    index.add("a", range(100))
    index.add("b", range(100))
    assert (index.of("a").count_known(range(100)), index.of("b").count_known(range(100))) == (50, 50)


def test_newcomers_do_not_have_all_the_others_trimmed_at_once() -> None:
    index = PrefixIndex(1000)
    for id_ in "abcdefghij":
        index.resize(id_, 100)
        index.add(id_, chain_of(id_, 100))
    index.resize("k", 1000)
    index.add("k", chain_of("k", 10))
    kept = sorted(len(index.of(id_).blocks) for id_ in "abcdefghij")
    assert kept == [50] + [100] * 9
    assert len(index) <= 1000


def test_an_engine_that_boasts_does_not_take_all_from_the_others() -> None:
    index = PrefixIndex(1000)
    index.add("a", chain_of("a", 500))
    index.resize("b", 10**24)
    index.add("a", chain_of("a", 500))
    share = 1000 * DEFAULT_BLOCKS // (DEFAULT_BLOCKS + MOST_CACHE_BLOCKS)
    assert index.of("a").count_known(chain_of("a", 500)) == share > 0


def chain_of(id_: str, blocks: int) -> Sequence[int]:
    """Blocks that no other letter has."""
    return range(ord(id_) * 1000, ord(id_) * 1000 + blocks)


def test_a_lowered_limit_is_come_down_to_in_steps() -> None:
    """All at once would hold up the request that comes next for as long as it takes."""
    index = PrefixIndex(10 * MOST_DROPPED)
    for name in "abc":
        index.resize(name, 10 * MOST_DROPPED)
        index.add(name, range(10 * MOST_DROPPED))
    before = len(index)
    index.most_blocks = 10
    sizes = [before]
    while len(index) > 10:
        index.add("a", [sizes[-1] + 10**9])
        sizes.append(len(index))
    dropped = [was - is_ for was, is_ in pairwise(sizes)]
    assert max(dropped) <= MOST_DROPPED
    assert len(dropped) < 3 * before / MOST_DROPPED
