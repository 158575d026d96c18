"""registry/index: what is kept up with changes is what a reading of everything would give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.known import POOL, answered, endpoint, failed, gone, known_after, refused, said, with_cards

from extproc.registry.changes import Change, Failure, Listing, PoolChanged
from extproc.registry.index import WITNESSES, rebuild
from extproc.registry.reduce import reduce
from extproc.values.model import ModelCard
from extproc.values.snapshot import Snapshot

LETTERS = "abc"
cards = st.builds(
    ModelCard,
    st.sampled_from(["m", "n"]),
    created=st.integers(0, 2),
    root=st.sampled_from([None, "r", "s"]),
    max_model_len=st.sampled_from([None, 1, 2]),
)
letters = st.sampled_from(LETTERS)
changes = st.one_of(
    st.builds(lambda letter, said_: with_cards(letter, *said_), letters, st.lists(cards, max_size=2)),
    st.builds(said, letters, ready=st.sampled_from([None, True, False]), life=st.sampled_from("12")),
    st.builds(gone, letters),
    st.builds(refused, letters),
    st.builds(failed, letters, st.just(Failure.CONNECT)),
    st.builds(
        lambda some: PoolChanged(tuple(Listing(endpoint(letter), True) for letter in some), ()), st.sets(letters)
    ),
    st.builds(
        lambda letter, zone: PoolChanged((Listing(replace(endpoint(letter), labels={"zone": zone}), True),), ()),
        letters,
        st.sampled_from("xy"),
    ),
)


def outline(snapshot: Snapshot) -> object:
    return snapshot.endpoints, list(snapshot.models.items()), snapshot.routable, snapshot.suspects


@given(st.lists(changes, max_size=25))
def test_updates_come_to_what_a_reading_of_everything_gives(taken: list[Change]) -> None:
    snapshot = Snapshot(POOL)
    for change in taken:
        snapshot = reduce(snapshot, change, now=0.0)
        assert outline(snapshot) == outline(rebuild(snapshot, snapshot.endpoints, now=0.0))


MANY = "".join(chr(ord("a") + index) for index in range(WITNESSES + 2))


@pytest.mark.parametrize(
    ("change", "created", "root"),
    [
        pytest.param(gone("b"), 1, "r", id="one like the others: nothing is lost"),
        pytest.param(gone("a"), 2, "r", id="the first to have listed it"),
        pytest.param(gone(*MANY), None, None, id="all of them: no longer known"),
        pytest.param(gone(*MANY[:-1]), len(MANY), "s", id="all but the one that says otherwise"),
        pytest.param(with_cards("b", ModelCard("m", created=0, root="q")), 0, "q", id="one says otherwise now"),
        pytest.param(said("b", ready=False), 1, "r", id="one that is no longer ready still lists it"),
    ],
)
def test_what_is_said_of_a_model_when_one_of_many_changes(
    change: Change, created: int | None, root: str | None
) -> None:
    def card(letter: str) -> ModelCard:
        return ModelCard("m", created=MANY.index(letter) + 1, root="s" if letter == MANY[-1] else "r")

    snapshot = known_after(*(change for letter in MANY for change in (said(letter), with_cards(letter, card(letter)))))
    after = reduce(snapshot, change, now=0.0)
    known = after.models.get("m")
    assert (known and known.card.created, known and known.card.root) == (created, root)
    assert outline(after) == outline(rebuild(after, after.endpoints, now=0.0))


def test_a_change_that_bears_on_no_route_keeps_the_index() -> None:
    before = known_after(said("a"), answered("a", "m"))
    after = reduce(before, failed("a", Failure.TIMEOUT), now=1.0)
    assert after.version == before.version + 1
    assert after.models is before.models
    assert after.routable is before.routable
