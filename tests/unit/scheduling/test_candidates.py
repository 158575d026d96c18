"""scheduling/candidates: whom a request is compared among."""

import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.known import endpoint
from tests.unit.scheduling.pool import Told

from extproc.scheduling.candidates import MOST_COMPARED, RING_AGE_S, VERDICT_AGE_S, Candidates, Roster, rendezvous
from extproc.scheduling.interfaces import Candidate, Load
from extproc.scheduling.prefix import PrefixIndex, hash_text
from extproc.values.endpoint import Endpoint

KEYS = [hash_text(str(number)) for number in range(2000)]


class Without:
    """Leaves out the endpoints that it names."""

    def __init__(self, left_out: str) -> None:
        self.name = "without"
        self._left_out = left_out

    def allows(self, endpoint: Endpoint) -> bool:
        return endpoint.id not in self._left_out


def fleet(size: int) -> list[Endpoint]:
    return [Endpoint(f"e{n:05}", f"e{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:8000") for n in range(size)]


def candidates_of(
    endpoints: Sequence[Endpoint], *, left_out: str = "", prefixes: PrefixIndex | None = None
) -> Candidates:
    prefixes = PrefixIndex(1000) if prefixes is None else prefixes
    return Candidates(endpoints, Roster(filters=[Without(left_out)], load_of=lambda _: Told(), prefixes=prefixes))


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [each.endpoint.id for each in candidates]


@pytest.mark.parametrize(
    ("subset", "left_out", "found"),
    [
        pytest.param((), "", "", id="an empty hint: none"),
        pytest.param(("10.0.0.3:8000", "10.0.0.1:8000"), "", "ca", id="those named"),
        pytest.param(("10.0.0.9:8000",), "", "", id="one that is not in the pool"),
        pytest.param(("10.0.0.1:8001",), "", "", id="another port"),
        pytest.param(("10.0.0.1",), "", "", id="no port"),
        pytest.param(("10.0.0.2:8000", "10.0.0.2:8000"), "", "b", id="named twice"),
        pytest.param(("10.0.0.1:8000", "10.0.0.2:8000"), "a", "b", id="one that is filtered out"),
    ],
)
def test_within_a_subset(subset: tuple[str, ...], left_out: str, found: str) -> None:
    known = candidates_of([endpoint(letter) for letter in "abc"], left_out=left_out)
    assert ids(known.within(subset)) == list(found)
    assert ids(known.within(subset)) == list(found), "asked again"


def test_filters_leave_out() -> None:
    known = candidates_of([endpoint(letter) for letter in "abc"], left_out="b")
    assert ids(known.all) == ["a", "c"]
    assert repr(known) == "<Candidates of 3>"


def test_all_of_a_few_are_compared() -> None:
    known = candidates_of(fleet(MOST_COMPARED))
    assert known.shortlist((), 5, Random(0), now=0.0) is known.all
    assert not known.is_ordered


@given(size=st.integers(MOST_COMPARED + 1, 60), key=st.none() | st.sampled_from(KEYS), seed=st.integers(0, 9))
def test_of_many_a_few_are_compared_none_of_them_twice(size: int, key: int | None, seed: int) -> None:
    known = candidates_of(fleet(size))
    found = ids(known.shortlist((), key, Random(seed), now=0.0))
    assert 0 < len(found) == len(set(found)) <= MOST_COMPARED
    assert set(found) <= set(ids(known.all))
    assert known.is_ordered


def test_those_that_have_the_beginning_are_compared_and_those_that_have_nothing_too() -> None:
    prefixes = PrefixIndex(100_000)
    known = candidates_of(fleet(100), prefixes=prefixes)
    prefixes.add("e00042", (1, 2, 3))
    prefixes.add("e00077", (1, 2))
    prefixes.add("gone", (1, 2, 3))
    found = set(ids(known.shortlist((1, 2, 3, 4), KEYS[0], Random(0), now=0.0)))
    assert {"e00042", "e00077"} <= found
    assert len(found) > 2
    assert "gone" not in found


def test_over_many_requests_all_are_compared() -> None:
    known, rng = candidates_of(fleet(100)), Random(0)
    assert {id_ for _ in range(200) for id_ in ids(known.shortlist((), None, rng, now=0.0))} == set(ids(known.all))


def test_what_was_drawn_is_not_kept_for_each_model() -> None:
    """Of 500 adapters on 5,000 endpoints that would be 150 MB."""
    roster = Roster(filters=[], load_of=lambda _: Told(), prefixes=PrefixIndex(1000))
    endpoints, rng = fleet(1000), Random(0)
    first, second = Candidates(endpoints, roster), Candidates(endpoints, roster)
    assert len(first.all) == 1000, "all are known from here on, once"
    tracemalloc.start()
    try:
        for _ in range(300):
            second.shortlist((), None, rng, now=0.0)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 10_000


def favourites(endpoints: Sequence[Endpoint], *, seed: int = 0) -> list[str]:
    """For each key the one that is chosen among equals."""
    known, rng = candidates_of(endpoints), Random(seed)
    if not known.is_ordered:
        return [max(known.all, key=lambda each: rendezvous(key, each)).endpoint.id for key in KEYS]
    return [known.shortlist((), key, rng, now=0.0)[0].endpoint.id for key in KEYS]


@pytest.mark.parametrize("size", [2, MOST_COMPARED, MOST_COMPARED + 2, 100, 1000])
def test_every_replica_thinks_of_the_same_one_for_a_key(size: int) -> None:
    assert favourites(fleet(size), seed=1) == favourites(fleet(size), seed=2)


@pytest.mark.parametrize("size", [2, MOST_COMPARED, MOST_COMPARED + 2, 100])
def test_one_that_goes_moves_only_what_it_had(size: int) -> None:
    """Nor does it matter in which order they are known, nor by which ids: only by their addresses."""
    endpoints = fleet(size)
    gone = endpoints.pop(size // 2)
    before, after = favourites([*endpoints[::-1], gone]), favourites(endpoints)
    assert {new for old, new in zip(before, after, strict=True) if old == gone.id}.isdisjoint({gone.id})
    assert all(old == new for old, new in zip(before, after, strict=True) if old != gone.id)


@pytest.mark.parametrize(("size", "most"), [(2, 1.2), (MOST_COMPARED, 1.5), (100, 2.5)])
def test_keys_are_shared_out(size: int, most: float) -> None:
    """The most that one gets, to the mean."""
    shares = Counter(favourites(fleet(size)))
    assert max(shares.values()) < most * len(KEYS) / size


@pytest.mark.parametrize(
    ("size", "asked"),
    [pytest.param(MOST_COMPARED, 3, id="few: each time"), pytest.param(MOST_COMPARED + 1, 2, id="many: now and then")],
)
def test_how_often_admission_is_asked(size: int, asked: int) -> None:
    verdicts: list[int] = []

    def admits(loads: Iterable[Load]) -> bool:
        verdicts.append(len(list(loads)))
        return len(verdicts) % 2 == 0

    known = candidates_of(fleet(size))
    told = [known.is_admitted(admits, now) for now in (1.0, 1.0 + VERDICT_AGE_S / 2, 1.0 + VERDICT_AGE_S)]
    assert verdicts == [size] * asked
    assert told == ([False, True, False] if asked == 3 else [False, False, True])


def test_while_endpoints_come_and_go_a_ring_of_a_moment_ago_will_do() -> None:
    before = candidates_of(fleet(100))
    first = before.shortlist((), KEYS[0], Random(0), now=0.0)[0].endpoint
    roster = Roster(filters=[], load_of=lambda _: Told(), prefixes=PrefixIndex(1000))
    left = Candidates([each for each in fleet(100) if each.id != first.id], roster, ring=before.ring)
    second = left.shortlist((), KEYS[0], Random(0), now=RING_AGE_S)[0].endpoint
    assert second.id != first.id, "one that is gone is passed over"
    assert left.ring is before.ring
    left.shortlist((), KEYS[0], Random(0), now=RING_AGE_S + 0.1)
    assert left.ring is not None
    assert left.ring.made_at_s == RING_AGE_S + 0.1
    assert len(left.ring.seeds) == 99


def test_one_that_began_anew_is_another_candidate_however_it_was_found() -> None:
    """By its key, by its blocks and at random: what was known of it before is not looked at again."""
    prefixes = PrefixIndex(100_000)
    roster = Roster(filters=[], load_of=lambda _: Told(), prefixes=prefixes)
    known, rng = Candidates(fleet(MOST_COMPARED + 1), roster), Random(0)

    def found() -> dict[str, Candidate]:
        lists = [known.shortlist((1,), key, rng, now=0.0) for key in KEYS[:50]]
        return {each.endpoint.id: each for shortlist in lists for each in shortlist}

    prefixes.add("e00001", (1,))
    before = found()
    prefixes.forget("e00001")
    roster.forget("e00001")
    prefixes.add("e00001", (1,))
    after = found()
    assert len(before) == len(after) == MOST_COMPARED + 1
    assert [id_ for id_ in before if after[id_] is not before[id_]] == ["e00001"]
