"""sim/kv_cache: what is found of a prompt, what is held, and what goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.sim.kv_cache import KvCache, Lease, lease_for

BLOCK = 64  # characters


def prompt(blocks: str) -> str:
    """One block of text for each letter."""
    return "".join(letter * BLOCK for letter in blocks)


def lease(blocks: str, *, model: str = "phi", answer_tokens: int = 0) -> Lease:
    return lease_for(model, prompt(blocks), answer_tokens=answer_tokens)


def serve(cache: KvCache, blocks: str, *, model: str = "phi") -> int:
    """Blocks that were found of a request which came and went."""
    wanted = lease(blocks, model=model)
    cache.take(wanted)
    cache.write(wanted)
    cache.free(wanted)
    return wanted.cached_tokens // 16


def found(cache: KvCache, blocks: str, *, model: str = "phi") -> int:
    """Blocks that would be found of it now, with nothing changed."""
    wanted = lease(blocks, model=model)
    cache.take(wanted)
    cache.free(wanted)
    return wanted.cached_tokens // 16


@pytest.mark.parametrize(
    ("blocks", "model", "expected"),
    [
        pytest.param("abcd", "phi", 3, id="all-but-the-last-token"),
        pytest.param("abcdx", "phi", 4, id="longer"),
        pytest.param("abx", "phi", 2, id="beginning"),
        pytest.param("abxd", "phi", 2, id="same-block-after-another"),
        pytest.param("bcd", "phi", 0, id="same-blocks-without-their-beginning"),
        pytest.param("abcdx", "gemma", 0, id="other-model"),
        pytest.param("", "phi", 0, id="nothing"),
    ],
)
def test_what_is_found_is_a_beginning_in_whole_blocks(blocks: str, model: str, expected: int) -> None:
    cache = KvCache(100)
    assert serve(cache, "abcd") == 0
    assert found(cache, blocks, model=model) == expected


def test_a_block_that_is_not_full_is_not_known() -> None:
    cache = KvCache(100)
    first, second = (lease_for("phi", "a" * (2 * BLOCK - 1) + tail, answer_tokens=0) for tail in ("", "bbbbb"))
    for each in (first, second):
        cache.take(each)
        cache.write(each)
    assert second.cached_tokens == 16


def test_a_prompt_is_found_only_once_it_is_computed() -> None:
    cache = KvCache(100)
    first = lease("abc")
    cache.take(first)
    assert found(cache, "abcx") == 0
    cache.write(first)
    assert found(cache, "abcx") == 3
    second = lease("xyz")
    cache.take(second)
    cache.free(second)  # it went before it was computed
    assert found(cache, "xyzx") == 0


@pytest.mark.parametrize(
    ("served", "blocks", "expected"),
    [
        pytest.param(["abc", "xyz"], "abcq", 3, id="all-fit"),
        pytest.param(["abc", "xyz", "k"], "abcq", 2, id="the-end-goes-first"),
        pytest.param(["abc", "xyz", "kl"], "abcq", 1, id="then-what-is-before"),
        pytest.param(["abc", "xyz", "kl"], "xyzq", 3, id="what-was-used-later-stays"),
        pytest.param(["xyz", "ab", "abq"], "xyzq", 3, id="what-is-found-takes-no-room-twice"),
        pytest.param(["abc", "xyz", "abcq", "kl"], "abcqr", 4, id="what-was-found-was-used"),
        pytest.param(["abc", "xyz", "abcq", "kl"], "xyzq", 0, id="and-the-other-was-not"),
    ],
)
def test_of_six_blocks_what_was_unused_for_longest_goes_first(served: list[str], blocks: str, expected: int) -> None:
    cache = KvCache(6)
    for each in served:
        serve(cache, each)
    assert found(cache, blocks) == expected


def test_what_is_held_does_not_go() -> None:
    cache = KvCache(4)
    held = lease("abc")
    cache.take(held)
    cache.write(held)
    for blocks in ("k", "l", "m"):
        serve(cache, blocks)
    assert found(cache, "abcq") == 3


@pytest.mark.parametrize(
    ("blocks", "answer_tokens", "fits"),
    [
        pytest.param("kl", 16, True, id="just"),
        pytest.param("kl", 17, False, id="a-token-more"),
        pytest.param("abkl", 16, True, id="on-top-of-what-others-hold"),
        pytest.param("xykl", 0, False, id="on-top-of-what-nobody-holds"),
    ],
)
def test_there_is_room_for_what_is_not_held_yet(blocks: str, answer_tokens: int, fits: bool) -> None:
    cache = KvCache(5)
    serve(cache, "xy")
    holder = lease("ab")
    cache.take(holder)
    cache.write(holder)
    assert cache.used_ratio == 2 / 5
    wanted = lease(blocks, answer_tokens=answer_tokens)
    assert cache.has_room(wanted) == fits
    cache.take(wanted)
    assert cache.used_ratio <= 1
    cache.free(wanted)
    assert cache.used_ratio == 2 / 5


def test_a_prompt_beyond_the_cache_is_taken_and_leaves_its_beginning() -> None:
    cache = KvCache(3)
    assert serve(cache, "abcde") == 0
    assert cache.used_ratio == 0
    assert found(cache, "abcde") == 3


def test_only_the_beginning_of_a_very_long_prompt_is_looked_at() -> None:
    assert len(lease_for("phi", "a" * 20_000_000, answer_tokens=0).chain) == 4096


@given(
    capacity=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(0, 3), st.text("ab", max_size=6), st.booleans()), max_size=60),
)
def test_nothing_is_lost_and_what_has_room_fits(capacity: int, steps: list[tuple[int, str, bool]]) -> None:
    cache = KvCache(capacity)
    slots: dict[int, Lease] = {}
    for slot, blocks, writes in steps:
        if (held := slots.pop(slot, None)) is not None:
            cache.free(held)
            continue
        wanted = lease(blocks, answer_tokens=16)
        if cache.has_room(wanted):
            slots[slot] = wanted
            cache.take(wanted)
            if writes:
                cache.write(wanted)
        held_blocks = round(cache.used_ratio * capacity)
        assert held_blocks <= capacity
        assert held_blocks >= max((each.blocks for each in slots.values()), default=0)
        distinct = len({digest for each in slots.values() for digest in each.chain[: each.known]})
        assert held_blocks == distinct + sum(each.blocks - each.known for each in slots.values())
    for held in slots.values():
        cache.free(held)
    assert cache.used_ratio == 0
    assert repr(cache).startswith("KvCache(0 held")
