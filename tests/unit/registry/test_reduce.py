"""registry/reduce: the rules of the registry, one row each, and what holds whatever the order of changes."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.known import (
    POOL,
    answered,
    failed,
    gone,
    known_after,
    listed,
    overdue,
    refused,
    round_of,
    said,
    with_cards,
)

from extproc.registry.changes import Change, Failure, NamesListed, PoolListed
from extproc.registry.reduce import SUSPECT_WINDOW_S, reduce
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.names import Alias, Target
from extproc.values.snapshot import KnownModel, Snapshot

READY, CONFIRMED, SUSPECT = "ready", "confirmed", "suspect"
CONNECT, TIMEOUT = Failure.CONNECT, Failure.TIMEOUT


def outline(snapshot: Snapshot, letter: str) -> tuple[str, str]:
    """What is said of an endpoint, and the models that it lists."""
    state = snapshot.endpoints[letter]
    said = [(READY, state.is_ready), (CONFIRMED, state.is_confirmed), (SUSPECT, state.is_suspect)]
    return " ".join(word for word, is_so in said if is_so), " ".join(card.id for card in state.cards)


@pytest.mark.parametrize(
    ("changes", "state", "models"),
    [
        pytest.param([], READY, "", id="new: nobody says that it isn't ready"),
        pytest.param([answered("a", "m")], "ready confirmed", "m", id="answered"),
        pytest.param([answered("a")], "ready confirmed", "", id="answered with an empty list, the first time"),
        pytest.param([answered("a", "m"), answered("a", "n")], "ready confirmed", "n", id="answered with another"),
        pytest.param([answered("a", "m", "m")], "ready confirmed", "m", id="the same model twice in one list"),
        pytest.param([answered("a", "m"), answered("a")], "ready confirmed", "m", id="an empty list after a filled"),
        pytest.param([answered("a", "m"), answered("a"), answered("a")], "ready confirmed", "", id="twice empty"),
        pytest.param(
            [answered("a", "m"), answered("a"), answered("a", "m"), answered("a")],
            "ready confirmed",
            "m",
            id="empty, but not twice in a row",
        ),
        pytest.param([answered("a", "m"), refused("a")], "", "m", id="refused: the list is still known"),
        pytest.param([answered("a", "m"), refused("a"), answered("a", "m")], "ready confirmed", "m", id="back"),
        pytest.param(
            [answered("a", "m"), refused("a"), answered("a")], READY, "m", id="back, its first list empty: unconfirmed"
        ),
        pytest.param(
            [answered("a", "m"), refused("a"), answered("a"), answered("a")],
            "ready confirmed",
            "",
            id="back, twice empty",
        ),
        *(
            pytest.param([answered("a", "m"), failed("a", failure)], "ready confirmed", "m", id=f"{failure} is no news")
            for failure in Failure
            if failure is not Failure.REFUSED
        ),
        *(
            pytest.param([refused("a"), failed("a", failure)], READY, "", id=f"{failure} after a refusal: there again")
            for failure in (Failure.UNAUTHORIZED, Failure.STATUS, Failure.INVALID)
        ),
        *(
            pytest.param([refused("a"), failed("a", failure)], "", "", id=f"{failure} after a refusal: still away")
            for failure in (Failure.CONNECT, Failure.TIMEOUT, Failure.DROPPED)
        ),
        pytest.param(
            [answered("a", "m"), refused("a"), failed("a", Failure.UNAUTHORIZED)],
            READY,
            "m",
            id="401 after a refusal: another process may be there, nothing is routed",
        ),
        pytest.param([answered("a", "m"), *[failed("a", CONNECT)] * 2], "ready confirmed", "m", id="two connect fail"),
        pytest.param([answered("a", "m"), *[failed("a", CONNECT)] * 3], SUSPECT, "m", id="three: suspect, not ready"),
        pytest.param([*[failed("a", CONNECT)] * 2, refused("a")], SUSPECT, "", id="a refusal counts among the three"),
        pytest.param(
            [answered("a", "m"), *[failed("a", TIMEOUT)] * 9], "ready confirmed", "m", id="slow, never suspect"
        ),
        pytest.param(
            [failed("a", CONNECT), failed("a", CONNECT), answered("a", "m"), failed("a", CONNECT)],
            "ready confirmed",
            "m",
            id="an answer between: not three in a row",
        ),
        pytest.param(
            [*[failed("a", CONNECT)] * 3, answered("a", "m")], "ready confirmed", "m", id="suspect, then good"
        ),
        pytest.param([*[failed("a", CONNECT)] * 3, failed("a", Failure.STATUS)], READY, "", id="suspect, then a 500"),
        pytest.param([*[failed("a", CONNECT)] * 3, failed("a", TIMEOUT)], SUSPECT, "", id="suspect, then slow"),
        pytest.param([answered("a", "m"), overdue("a")], "ready confirmed", "m", id="overdue is no fault"),
        pytest.param([answered("a", "m"), listed("a")], "ready confirmed", "m", id="listed again: all is kept"),
        pytest.param([answered("a", "m"), listed(""), listed("a")], READY, "", id="gone and back: nothing is kept"),
        pytest.param([answered("b", "m")], READY, "", id="news of an endpoint that is not there"),
    ],
)
def test_what_follows_for_an_endpoint(changes: Sequence[Change], state: str, models: str) -> None:
    assert outline(known_after(listed("a"), *changes), "a") == (state, models)


@pytest.mark.parametrize(
    ("changes", "state", "models"),
    [
        pytest.param([said("a", ready=False)], "", "", id="new and not ready"),
        pytest.param([said("a")], READY, "", id="new and ready: unconfirmed"),
        pytest.param([said("a"), answered("a", "m")], "ready confirmed", "m", id="ready and answered"),
        pytest.param([said("a", ready=False), answered("a", "m")], "", "m", id="answered, not ready: known, no more"),
        pytest.param([said("a"), answered("a", "m"), said("a", ready=False)], "", "m", id="no longer ready"),
        pytest.param(
            [said("a"), answered("a", "m"), said("a", ready=False), said("a")],
            READY,
            "m",
            id="ready again: unconfirmed",
        ),
        pytest.param(
            [said("a"), answered("a", "m"), said("a", ready=False), said("a"), answered("a", "m")],
            "ready confirmed",
            "m",
            id="ready again and answered",
        ),
        pytest.param([said("a"), answered("a", "m"), said("a")], "ready confirmed", "m", id="said again: all is kept"),
        pytest.param([said("a"), answered("a", "m"), said("a", life="2")], READY, "m", id="started anew"),
        pytest.param([said("a"), answered("a", "m"), gone("a"), said("a")], READY, "", id="gone and back"),
        pytest.param([said("a"), answered("a", "m"), gone("b")], "ready confirmed", "m", id="another is gone"),
        pytest.param([said("a"), answered("a", "m"), refused("a")], "ready confirmed", "m", id="refused: not its word"),
        pytest.param(
            [said("a"), answered("a", "m"), *[failed("a", CONNECT)] * 3],
            "ready confirmed suspect",
            "m",
            id="three connect failures: suspect, still ready",
        ),
        pytest.param(
            [said("a"), answered("a", "m"), *[failed("a", CONNECT)] * 3, answered("a", "m")],
            "ready confirmed",
            "m",
            id="suspect, then good",
        ),
        pytest.param(
            [said("a"), answered("a", "m"), *[failed("a", CONNECT)] * 3, said("a", ready=False), said("a")],
            READY,
            "m",
            id="suspect, then ready anew",
        ),
        pytest.param(
            [said("a", ready=False), failed("a", Failure.STATUS)], "", "", id="a 500 says nothing of readiness here"
        ),
        pytest.param(
            [said("a"), answered("a", "m"), said("a", ready=False), answered("a"), said("a"), answered("a")],
            READY,
            "m",
            id="an empty list from before it was ready is none of the two",
        ),
    ],
)
def test_what_follows_where_the_source_says_who_is_ready(changes: Sequence[Change], state: str, models: str) -> None:
    assert outline(known_after(*changes), "a") == (state, models)


@pytest.mark.parametrize(
    ("changes", "is_complete", "is_due"),
    [
        pytest.param([said("a", ready=False)], True, False, id="nobody waits for one that is not ready"),
        pytest.param([said("a")], False, True, id="ready and not yet asked"),
        pytest.param([said("a"), answered("a", "m")], True, False, id="answered"),
        pytest.param([said("a"), failed("a", TIMEOUT)], True, True, id="asked, no answer yet"),
        pytest.param([said("a"), overdue("a")], True, False, id="overdue"),
        pytest.param([said("a", ready=False), overdue("a"), said("a")], False, True, id="its time begins when ready"),
        pytest.param(
            [said("a"), answered("a", "m"), said("a", ready=False), said("a")], False, True, id="ready again: due anew"
        ),
    ],
)
def test_who_is_waited_for(changes: Sequence[Change], is_complete: bool, is_due: bool) -> None:
    snapshot = known_after(listed(""), *changes)
    assert (snapshot.is_complete, snapshot.has_answer_due) == (is_complete, is_due)


@pytest.mark.parametrize(
    ("failed_at_s", "is_suspect"),
    [
        pytest.param([0.0, 0.5, SUSPECT_WINDOW_S], True, id="within the second"),
        pytest.param([0.0, 0.5, SUSPECT_WINDOW_S + 0.01], False, id="the third too late"),
        pytest.param([0.0, 0.9, 1.1, 1.2], True, id="the last three of four"),
        pytest.param([0.0, 2.0, 4.0, 6.0], False, id="many, far apart"),
        pytest.param([0.0, 0.1, 0.2, 9.0], True, id="a later failure does not clear it"),
    ],
)
def test_three_connect_failures_in_a_second(failed_at_s: list[float], is_suspect: bool) -> None:
    snapshot = known_after(listed("a"))
    for at_s in failed_at_s:
        snapshot = reduce(snapshot, failed("a", CONNECT), now=at_s)
    assert snapshot.endpoints["a"].is_suspect is is_suspect


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(failed("a", Failure.STATUS), "status by a", id="as the probe tells it"),
        pytest.param(answered("a", "m"), "", id="none after a good answer"),
        pytest.param(answered("a"), "answered with an empty list", id="an empty list that is not believed"),
    ],
)
def test_how_the_last_probe_failed(change: Change, problem: str) -> None:
    snapshot = known_after(listed("a"), answered("a", "m"), failed("a", TIMEOUT), change)
    assert snapshot.endpoints["a"].problem == problem


@pytest.mark.parametrize(
    ("changes", "candidates"),
    [
        pytest.param([], {}, id="nothing answered"),
        pytest.param([answered("a", "m"), answered("b", "m", "n")], {"m": "ab", "n": "b"}, id="the union"),
        pytest.param([answered("b", "z"), answered("a", "m")], {"m": "a", "z": "b"}, id="sorted by id"),
        pytest.param([answered("a", "m"), refused("a")], {"m": ""}, id="known, with none to serve it"),
        pytest.param([answered("b", "m"), answered("a", "m")], {"m": "ab"}, id="in whatever order they answer"),
        pytest.param([answered("a", "m"), answered("b", "n"), listed("b")], {"n": "b"}, id="an endpoint is gone"),
        pytest.param([answered("a", "m"), listed("ba")], {"m": "a"}, id="the pool in another order"),
    ],
)
def test_the_models_known(changes: Sequence[Change], candidates: dict[str, str]) -> None:
    models = known_after(listed("ab"), *changes).models
    found = {id_: "".join(sorted(each.id for each in known.candidates)) for id_, known in models.items()}
    assert list(found.items()) == list(candidates.items())


def test_cards_of_several_endpoints_become_one() -> None:
    snapshot = known_after(
        listed("ab"),
        with_cards("a", ModelCard("m", created=20, root="first", max_model_len=None)),
        with_cards("b", ModelCard("m", created=10, root="second", max_model_len=4096)),
    )
    assert snapshot.models["m"].card == ModelCard("m", created=10, root="first", max_model_len=4096)
    smaller = reduce(snapshot, with_cards("a", ModelCard("m", created=20, root="first", max_model_len=2048)), now=0.0)
    assert smaller.models["m"].card.max_model_len == 2048


def test_created_is_kept_as_first_seen() -> None:
    snapshot = known_after(listed("a"), with_cards("a", ModelCard("m", created=10)))
    assert reduce(snapshot, with_cards("a", ModelCard("m", created=11)), now=0.0) is snapshot
    other = reduce(snapshot, with_cards("a", ModelCard("m", created=11, root="new")), now=0.0)
    assert other.models["m"].card == ModelCard("m", created=11, root="new")


@pytest.mark.parametrize(
    ("given_", "change"),
    [
        pytest.param([listed("")], listed(""), id="the same empty pool"),
        pytest.param([listed("ab")], listed("ab"), id="the same pool"),
        pytest.param([listed("a"), answered("a", "m")], answered("a", "m"), id="the same list"),
        pytest.param([listed("a"), failed("a", TIMEOUT)], failed("a", TIMEOUT), id="the same failure"),
        pytest.param([listed("a"), *[refused("a")] * 3], refused("a"), id="as dead as before"),
        pytest.param([listed("a"), answered("a")], overdue("a"), id="overdue, but it has answered"),
        pytest.param([listed("a"), round_of(5.0)], round_of(5.0), id="the same round"),
        pytest.param([listed("a"), round_of(5.0)], round_of(4.0), id="an older round"),
        pytest.param([listed("a")], answered("b", "m"), id="an answer of an endpoint that is gone"),
        pytest.param([listed("a")], refused("b"), id="a failure of an endpoint that is gone"),
        pytest.param([listed("a")], overdue("b"), id="an overdue endpoint that is gone"),
    ],
)
def test_what_tells_nothing_new_makes_no_snapshot(given_: Sequence[Change], change: Change) -> None:
    snapshot = known_after(*given_)
    assert reduce(snapshot, change, now=9.0) is snapshot


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(listed("b"), id="another pool"),
        pytest.param(listed("ab"), id="one more"),
        pytest.param(PoolListed.of((Endpoint("a", "a", "10.0.0.1:8000", {"zone": "z"}),)), id="other labels"),
        pytest.param(answered("a", "m", "n"), id="one more model"),
        pytest.param(refused("a"), id="refused"),
    ],
)
def test_what_is_new_makes_the_next_version(change: Change) -> None:
    before = known_after(listed("a"), answered("a", "m"))
    after = reduce(before, change, now=9.0)
    assert (after.version, after.made_at_s) == (before.version + 1, 9.0)


def test_a_round_is_news_but_no_change_of_what_is_known() -> None:
    before = known_after(listed("a"), answered("a", "m"))
    after = reduce(before, round_of(5.0), now=9.0)
    assert (after.version, after.made_at_s) == (before.version + 1, before.made_at_s)


def test_an_empty_pool_is_news_the_first_time() -> None:
    assert not Snapshot(POOL).is_synced
    assert known_after(listed("")).is_synced


def test_an_endpoint_that_is_listed_with_new_labels_keeps_what_is_known() -> None:
    relabelled = Endpoint("a", "a", "10.0.0.1:8000", {"zone": "z"})
    snapshot = known_after(listed("a"), answered("a", "m"), PoolListed.of((relabelled,)))
    assert snapshot.models["m"].candidates == (relabelled,)
    assert snapshot.routable == (relabelled,)


def test_a_round_says_since_when_all_is_known() -> None:
    assert known_after(listed("a")).probed_since_s == float("-inf")
    assert known_after(listed("a"), round_of(5.0), round_of(4.0)).probed_since_s == 5.0


letters = st.sampled_from("abc")
changes = st.one_of(
    st.permutations("abc").flatmap(lambda pool: st.integers(0, 3).map(lambda size: listed("".join(pool[:size])))),
    st.builds(answered, letters, st.sampled_from(["m", "n"])),
    st.builds(with_cards, letters, st.builds(ModelCard, st.sampled_from("mn"), st.integers(0, 3))),
    st.builds(
        lambda letter, size: with_cards(letter, *[ModelCard(id_, max_model_len=size) for id_ in "nm"]),
        letters,
        st.sampled_from([None, 1, 2]),
    ),
    st.builds(answered, letters),
    st.builds(failed, letters, st.sampled_from(Failure)),
    st.builds(overdue, letters),
    st.builds(round_of, st.floats(0, 10)),
)


def in_order(models: dict[str, KnownModel]) -> list[tuple[str, ModelCard, list[str]]]:
    """The index with each model's candidates in one order: theirs tells nothing."""
    return [(id_, known.card, sorted(each.id for each in known.candidates)) for id_, known in models.items()]


def recompute(snapshot: Snapshot) -> dict[str, KnownModel]:
    """The models index of the states alone, the slow and plain way."""
    models = {}
    for id_ in sorted({card.id for state in snapshot.endpoints.values() for card in state.cards}):
        listing = [(state, card) for state in snapshot.endpoints.values() for card in state.cards if card.id == id_]
        first = listing[0][1]
        lengths = [card.max_model_len for _, card in listing if card.max_model_len is not None]
        card = ModelCard(
            id_,
            min(card.created for _, card in listing),
            first.owned_by,
            first.root,
            first.parent,
            min(lengths, default=None),
        )
        models[id_] = KnownModel(
            card, tuple(state.endpoint for state, _ in listing if state.is_ready and state.is_confirmed)
        )
    return models


@given(st.lists(st.tuples(changes, st.floats(0, 0.7)), max_size=30))
def test_the_index_is_always_the_one_of_the_states(steps: list[tuple[Change, float]]) -> None:
    snapshot, now = known_after(listed("abc")), 0.0
    for change, passed_s in steps:
        now += passed_s
        before, frozen = snapshot, msgspec.msgpack.encode(snapshot)
        snapshot = reduce(before, change, now=now)
        assert msgspec.msgpack.encode(before) == frozen, "a snapshot never changes"
        assert snapshot is before or snapshot.version == before.version + 1
        assert in_order(snapshot.models) == in_order(recompute(snapshot))
        routable = [s.endpoint.id for s in snapshot.endpoints.values() if s.is_routable]
        assert sorted(endpoint.id for endpoint in snapshot.routable) == sorted(routable)
        assert not any(s.is_suspect and s.is_ready for s in snapshot.endpoints.values())


FAST = Alias("fast", (Target("m"),))
BIG = Alias("big", (Target("n", 9), Target("m")))


@pytest.mark.parametrize(
    ("changes", "aliases", "objectives"),
    [
        pytest.param([NamesListed()], [], {}, id="none"),
        pytest.param([NamesListed((FAST, BIG), {"batch": -1})], ["big", "fast"], {"batch": -1}, id="sorted by name"),
        pytest.param([NamesListed((FAST,), {"batch": -1}), NamesListed((BIG,))], ["big"], {}, id="those and no others"),
        pytest.param([NamesListed((FAST,)), listed("a"), answered("a", "m")], ["fast"], {}, id="endpoints come"),
        pytest.param([NamesListed((FAST,)), listed("a"), listed("")], ["fast"], {}, id="endpoints go"),
    ],
)
def test_names(changes: list[Change], aliases: list[str], objectives: dict[str, int]) -> None:
    snapshot = known_after(*changes)
    assert list(snapshot.aliases) == aliases
    assert snapshot.objectives == objectives


def test_names_touch_no_endpoint_and_make_a_version_only_where_they_are_new() -> None:
    before = known_after(listed("a"), answered("a", "m"))
    after = reduce(before, NamesListed((FAST,), {"batch": -1}), now=1.0)
    assert (after.version, after.made_at_s) == (before.version + 1, 1.0)
    assert (after.endpoints, after.models, after.routable) == (before.endpoints, before.models, before.routable)
    assert after.is_synced
    assert reduce(after, NamesListed((FAST,), {"batch": -1}), now=2.0) is after
    assert reduce(after, NamesListed((FAST,), {"batch": -2}), now=2.0) is not after
    assert reduce(after, NamesListed((Alias("fast", (Target("n"),)),), {"batch": -1}), now=2.0) is not after
