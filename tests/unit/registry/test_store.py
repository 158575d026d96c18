"""registry/store: the current snapshot, old news, and who is told."""

from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.known import POOL, answered, endpoint, failed, gone, listed, refused, round_of, said

from extproc.registry.changes import Change, Failure, ModelsListed, NamesListed
from extproc.registry.store import Store
from extproc.values.names import Alias, Target
from extproc.values.snapshot import Snapshot


def store_after(*changes: Change) -> Store:
    store = Store(POOL)
    for now, change in enumerate(changes):
        store.apply(change, now=float(now))
    return store


@pytest.mark.parametrize(
    ("changes", "models"),
    [
        pytest.param([answered("a", "m", asked_at_s=1.0), answered("a", "n", asked_at_s=2.0)], "n", id="in order"),
        pytest.param([answered("a", "m", asked_at_s=2.0), answered("a", "n", asked_at_s=1.0)], "m", id="overtaken"),
        pytest.param([answered("a", "m", asked_at_s=1.0), answered("a", "n", asked_at_s=1.0)], "n", id="asked at once"),
        pytest.param(
            [failed("a", Failure.REFUSED, asked_at_s=2.0), answered("a", "m", asked_at_s=1.0)],
            "",
            id="a slow answer of a process that is dead",
        ),
        pytest.param(
            [answered("a", "m", asked_at_s=2.0), failed("a", Failure.REFUSED, asked_at_s=1.0)],
            "m",
            id="an old refusal of a process that has come back",
        ),
        *(
            pytest.param(
                [failed("a", failure, asked_at_s=2.0), answered("a", "m", asked_at_s=1.0)],
                "m",
                id=f"a patient answer after a hurried probe that failed: {failure}",
            )
            for failure in Failure
            if failure is not Failure.REFUSED
        ),
        pytest.param(
            [answered("b", "m", asked_at_s=2.0), answered("a", "n", asked_at_s=1.0)], "mn", id="of different endpoints"
        ),
        pytest.param(
            [answered("a", "m", asked_at_s=2.0), listed("b"), listed("ab"), answered("a", "n", asked_at_s=2.5)],
            "n",
            id="gone, back and asked again",
        ),
        pytest.param(
            [answered("c", "m", asked_at_s=9.0), listed("c"), answered("c", "m", asked_at_s=8.0)],
            "m",
            id="what was not in the pool has no news",
        ),
    ],
)
def test_outcomes_count_in_the_order_of_asking(changes: Sequence[Change], models: str) -> None:
    snapshot = store_after(listed("ab"), *changes).snapshot
    assert "".join(id_ for id_, known in snapshot.models.items() if known.candidates) == models


@pytest.mark.parametrize(
    ("changes", "answered_at_s"),
    [
        pytest.param([], None, id="never asked"),
        pytest.param([answered("a", "m")], 1.0, id="answered"),
        pytest.param([answered("a", "m"), answered("a", "m")], 2.0, id="the same again is an answer too"),
        pytest.param([answered("a", "m"), failed("a", Failure.TIMEOUT)], 1.0, id="failed since"),
        pytest.param([answered("a", "m", asked_at_s=2.0), answered("a", asked_at_s=1.0)], 1.0, id="old news"),
        pytest.param([refused("a")], None, id="failed only"),
        pytest.param([answered("a", "m"), listed(""), listed("a")], None, id="gone and back"),
    ],
)
def test_when_an_endpoint_last_answered(changes: Sequence[Change], answered_at_s: float | None) -> None:
    assert store_after(listed("a"), *changes).answered_at_s("a") == answered_at_s


def test_listeners_are_told_of_each_new_snapshot_and_no_other() -> None:
    store, told = Store(POOL), list[tuple[Snapshot, Snapshot, set[str]]]()
    first = store.snapshot
    unsubscribe = store.subscribe(lambda before, after, ids: told.append((before, after, set(ids))))
    second = store.apply(listed("a"), now=1.0)
    third = store.apply(answered("a", "m"), now=2.0)
    assert store.apply(answered("a", "m"), now=3.0) is third
    unsubscribe()
    fourth = store.apply(listed(""), now=4.0)
    assert store.snapshot is fourth
    assert told == [(first, second, {"a"}), (second, third, {"a"})]


def test_a_listener_sees_the_new_snapshot_in_the_store_and_may_leave() -> None:
    store, told = Store(POOL), list[str]()

    def once(_before: Snapshot, after: Snapshot, _ids: Collection[str]) -> None:
        assert store.snapshot is after
        told.append("once")
        unsubscribe()

    unsubscribe = store.subscribe(once)
    store.subscribe(lambda *_: told.append("always"))
    store.apply(listed("a"), now=1.0)
    store.apply(listed(""), now=2.0)
    assert told == ["once", "always", "always"]


def test_repr_tells_pool_version_and_size() -> None:
    assert repr(store_after(listed("ab"), answered("a", "m"))) == "<Store default/demo v2 2 endpoints>"


@given(st.permutations([answered("a", f"m{at_s}", asked_at_s=float(at_s)) for at_s in range(5)]))
def test_however_answers_overtake_one_another_the_last_asked_stands(outcomes: list[ModelsListed]) -> None:
    assert list(store_after(listed("a"), *outcomes).snapshot.models) == ["m4"]


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        pytest.param(listed("bc"), {"a", "b", "c"}, id="the whole pool: all that were and are in it"),
        pytest.param(said("a", ready=False), {"a"}, id="one has changed"),
        pytest.param(gone("b"), {"b"}, id="one is gone"),
        pytest.param(answered("a", "n"), {"a"}, id="one has answered"),
        pytest.param(refused("a"), {"a"}, id="a probe of one has failed"),
        pytest.param(round_of(1.0), set(), id="a round"),
    ],
)
def test_listeners_are_told_which_endpoints_can_have_changed(change: Change, ids: set[str]) -> None:
    store = store_after(listed("ab"), answered("a", "m"))
    told = list[set[str]]()
    store.subscribe(lambda _before, _after, ids: told.append(set(ids)))
    store.apply(change, now=9.0)
    assert told == [ids]


@pytest.mark.parametrize(
    ("changes", "asked_at_s", "is_confirmed"),
    [
        pytest.param([said("a")], 0.5, True, id="new and ready: asked before it was seen"),
        pytest.param([said("a", ready=False), said("a")], 0.5, False, id="asked before it became ready"),
        pytest.param([said("a", ready=False), said("a")], 1.0, True, id="asked since"),
        pytest.param([said("a"), said("a", life="2")], 0.5, False, id="asked before it was started anew"),
        pytest.param([said("a"), said("a", life="2")], 1.0, True, id="asked since it was started anew"),
        pytest.param([listed("a"), refused("a"), failed("a", Failure.STATUS)], 2.0, True, id="readiness by the probes"),
    ],
)
def test_an_answer_to_what_was_asked_of_a_predecessor(
    changes: Sequence[Change], asked_at_s: float, is_confirmed: bool
) -> None:
    store = store_after(*changes, answered("a", "m", asked_at_s=asked_at_s))
    assert store.snapshot.endpoints["a"].is_confirmed == is_confirmed


@pytest.mark.parametrize(
    ("changes", "id_"),
    [
        pytest.param([listed("ab")], "a", id="there"),
        pytest.param([listed("b")], None, id="not there"),
        pytest.param([listed("a"), listed("b")], None, id="gone"),
        pytest.param([said("a"), gone("a")], None, id="gone by a change"),
        pytest.param([said("a", ready=False), said("x", at="a")], "x", id="of two the ready one"),
        pytest.param([said("a"), said("x", at="a", ready=False)], "a", id="of two the ready one, the first"),
        pytest.param([said("a", ready=False), said("x", at="a"), gone("a")], "x", id="the other one goes"),
    ],
)
def test_the_endpoint_at_an_address(changes: Sequence[Change], id_: str | None) -> None:
    found = store_after(*changes).endpoint_at(endpoint("a").address)
    assert (found and found.id) == id_


FAST, OTHER_FAST, BIG = Alias("fast", (Target("m"),)), Alias("fast", (Target("n"),)), Alias("big", (Target("n"),))


@pytest.mark.parametrize(
    ("stated", "aliases", "objectives"),
    [
        pytest.param([], {"fast": "m"}, {"batch": -1}, id="from the start"),
        pytest.param(
            [NamesListed((BIG,), {"chat": 5})], {"big": "n", "fast": "m"}, {"batch": -1, "chat": 5}, id="both"
        ),
        pytest.param([NamesListed((OTHER_FAST,), {"batch": 7})], {"fast": "m"}, {"batch": -1}, id="of one name: ours"),
        pytest.param([NamesListed((BIG,), {"chat": 5}), NamesListed()], {"fast": "m"}, {"batch": -1}, id="no longer"),
    ],
)
def test_what_is_configured_holds_whatever_a_source_says(
    stated: list[NamesListed], aliases: dict[str, str], objectives: dict[str, int]
) -> None:
    store = Store(POOL, configured=NamesListed((FAST,), {"batch": -1}))
    for change in stated:
        store.apply(change, now=0.0)
    assert {name: alias.targets[0].model for name, alias in store.snapshot.aliases.items()} == aliases
    assert store.snapshot.objectives == objectives


def test_listeners_hear_of_names_and_of_no_endpoint() -> None:
    store = Store(POOL)
    heard: list[tuple[int, int]] = []
    store.subscribe(lambda before, after, ids: heard.append((len(after.aliases), len(ids))))
    for _ in range(2):
        store.apply(NamesListed((FAST,)), now=0.0)
    assert heard == [(1, 0)]


def test_other_names_may_be_configured_and_those_of_the_source_stay() -> None:
    store = Store(POOL, configured=NamesListed((FAST,), {"batch": -1}))
    store.apply(NamesListed((OTHER_FAST, BIG), {"batch": 7, "chat": 5}), now=0.0)
    version = store.snapshot.version
    store.configure(NamesListed((), {"chat": -2}), now=1.0)
    snapshot = store.snapshot
    assert snapshot.aliases == {"big": BIG, "fast": OTHER_FAST}
    assert snapshot.objectives == {"batch": 7, "chat": -2}
    assert (snapshot.version, snapshot.made_at_s) == (version + 1, 1.0)
    store.configure(NamesListed((), {"chat": -2}), now=2.0)
    assert store.snapshot is snapshot
    store.apply(NamesListed(), now=3.0)
    assert (store.snapshot.aliases, store.snapshot.objectives) == ({}, {"chat": -2})
