"""telemetry/journal: the last decisions and changes, and those who watch."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.unit.known import answered, endpoint, failed, gone, known_after, listed

from extproc.registry.changes import Failure, NamesListed
from extproc.registry.reduce import reduce
from extproc.telemetry.changes import telling
from extproc.telemetry.decided import Decided
from extproc.telemetry.entries import MOST_KEPT, shorten
from extproc.telemetry.journal import (
    DEFAULT_PER_S,
    MOST_CHANGES,
    MOST_DECISIONS,
    MOST_PER_S,
    MOST_UNREAD,
    MOST_WATCHES,
    Journal,
    TooManyWatchesError,
    Watch,
)
from extproc.values.admin import DecisionEvent
from extproc.values.decision import Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.names import Alias, Target
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead
from extproc.values.snapshot import Snapshot

A, B = endpoint("a"), endpoint("b")
ROUTED = Route((A, B), Scores((A, B), {"queue": (1.0, 0.0)}, (0.75, 0.25)))
REFUSED = Reject(Reason.MODEL_UNKNOWN, {"model": "x", "available": "y"})


class Clock:
    """Monotonic seconds as a test says; the day began 1,000 s before 0."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> Journal:
    return Journal(clock=clock, wall_clock=clock.wall)


def decided(
    outcome: Route | Reject | Reply = ROUTED,
    *,
    at_s: float = 0.0,
    model: str | None = "phi",
    named: str | None = "phi",
    path: str = "/v1/completions",
    request_id: str = "r1",
) -> Decided:
    return Decided(RequestHead("POST", path, {"x-request-id": request_id}), named, model, outcome, at_s, 0.0, 7)


async def unread(watch: Watch) -> Sequence[DecisionEvent]:
    """What waits for a watcher."""
    events = []
    while True:
        coroutine = watch.next()
        try:
            coroutine.send(None)
        except StopIteration as done:
            events.append(done.value)
        else:
            coroutine.close()
            return events


def test_a_routed_request_is_told_in_full(journal: Journal, clock: Clock) -> None:
    head = RequestHead("POST", "/v1/completions?key=1", {"x-request-id": "r1", "content-type": "secret"})
    journal.note_decision(Decided(head, "fast", "phi", ROUTED, 2.0, 0.5, 7))
    clock.now = 10.0
    [event] = journal.decisions()
    assert event == DecisionEvent(
        1002.5, "r1", "/v1/completions", "fast", "phi", "routed",
        endpoint="a", destination=f"{A.address},{B.address}", seconds=0.5, snapshot_version=7, best=event.best,
    )  # fmt: skip
    assert [(each.endpoint, each.total) for each in event.best] == [("a", 0.75), ("b", 0.25)]


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        pytest.param(REFUSED, ("model_not_found", "model_unknown", 404), id="a refusal"),
        pytest.param(Reject(Reason.BODY_TOO_LARGE), ("request_too_large", "body_too_large", 413), id="another one"),
        pytest.param(Reply(200, b"[]"), ("replied", "", 200), id="a reply"),
    ],
)
def test_what_is_not_routed(outcome: Reject | Reply, told: tuple[str, str, int], journal: Journal) -> None:
    journal.note_decision(decided(outcome))
    [event] = journal.decisions()
    assert (event.outcome, event.reason, event.status) == told
    assert (event.endpoint, event.destination, event.best) == ("", "", ())


def test_of_many_candidates_the_best_five_are_told(journal: Journal) -> None:
    endpoints = tuple(endpoint(letter) for letter in "abcdefgh")
    totals = (0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.6, 0.5)
    journal.note_decision(decided(Route((endpoints[1],), Scores(endpoints, {}, totals))))
    [event] = journal.decisions()
    assert [each.endpoint for each in event.best] == ["b", "d", "f", "g", "h"]


def test_of_thousands_of_candidates_only_the_best_are_kept() -> None:
    """A data plane can name all of a pool as its subset: 200 such decisions would hold 100 MB."""
    endpoints = tuple(Endpoint(str(number), str(number), "10.0.0.1:80") for number in range(MOST_KEPT + 1))
    totals = tuple(float(number % 7) for number in range(MOST_KEPT + 1))
    scores = Scores(endpoints, {"queue": totals}, totals)
    kept = shorten(decided(Route((endpoints[0],), scores))).scores
    assert kept == Scores(tuple(endpoints[index] for index in (6, 13, 20, 27, 5)), {}, (6.0, 6.0, 6.0, 6.0, 5.0))
    assert shorten(decided(ROUTED)).scores is ROUTED.scores


@pytest.mark.parametrize(
    ("given", "want"),
    [
        pytest.param("x" * 100_000, "x" * 200, id="enormous"),
        pytest.param("a\ud800b", "a?b", id="half a character"),
        pytest.param(None, "", id="none"),
    ],
)
def test_what_clients_name(given: str | None, want: str, journal: Journal) -> None:
    text = given or ""
    journal.note_decision(decided(named=given, model=given, path=text, request_id=text))
    [event] = journal.decisions()
    assert [event.named_model, event.model, event.path, event.request_id] == [want] * 4


def test_nothing_large_is_kept(journal: Journal) -> None:
    """Not the body of a reply, nor details of a refusal, nor headers: thousands of them may come in a second."""
    body = b"x" * 1_000_000
    for outcome in (Reply(200, body), Reject(Reason.MODEL_UNKNOWN, {"model": body.decode()})):
        journal.note_decision(decided(outcome, named=body.decode(), path=body.decode(), request_id=body.decode()))
    assert all(len(str(entry)) < 2000 for entry in journal._decisions)  # what it holds, nothing else shows


def test_the_last_decisions_the_newest_first(journal: Journal) -> None:
    for number in range(MOST_DECISIONS + 5):
        journal.note_decision(decided(request_id=str(number)))
    last = [str(number) for number in range(MOST_DECISIONS + 4, 4, -1)]
    assert [event.request_id for event in journal.decisions()] == last
    assert [event.request_id for event in journal.decisions(most=2)] == last[:2]
    assert [event.request_id for event in journal.decisions(after=journal.decided - 3)] == last[:3]
    assert journal.decisions(after=journal.decided) == journal.decisions(after=journal.decided + 1) == ()
    assert len(journal.decisions(after=1)) == MOST_DECISIONS


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        pytest.param({}, ["routed", "renamed", "refused", "replied"], id="all"),
        pytest.param({"refusals_only": True}, ["refused"], id="refusals only"),
        pytest.param({"model": "phi"}, ["routed", "renamed"], id="of a model"),
        pytest.param({"model": "fast"}, ["renamed"], id="of a model as clients name it"),
        pytest.param({"model": "phi", "refusals_only": True}, [], id="refusals of a model that has none"),
    ],
)
async def test_what_a_watcher_wants(wanted: dict[str, object], seen: list[str], journal: Journal) -> None:
    with journal.watch(**wanted) as watch:  # type: ignore[arg-type]
        journal.note_decision(decided(request_id="routed"))
        journal.note_decision(decided(request_id="renamed", named="fast"))
        journal.note_decision(decided(REFUSED, request_id="refused", named="x", model="x"))
        journal.note_decision(decided(Reply(200, b""), request_id="replied", named=None, model=None))
        assert [event.request_id for event in await unread(watch)] == seen


async def test_a_name_that_is_cut_can_be_watched_for(journal: Journal) -> None:
    name = "x" * 1000
    with journal.watch(model=name) as watch:
        journal.note_decision(decided(named=name, model=name))
        assert len(await unread(watch)) == 1


@pytest.mark.parametrize(
    ("asked", "most"), [(0, DEFAULT_PER_S), (3, 3), (MOST_PER_S, MOST_PER_S), (MOST_PER_S + 1, MOST_PER_S)]
)
async def test_at_most_so_many_a_second(asked: int, most: int, journal: Journal) -> None:
    """Of a burst the first so many, then, when a second has passed, again; how many were left out is said."""
    with journal.watch(most_per_s=asked) as watch:
        for _ in range(most + 5):
            journal.note_decision(decided(at_s=10.0))
        journal.note_decision(decided(at_s=10.9))
        first = await unread(watch)
        journal.note_decision(decided(at_s=11.0))
        journal.note_decision(decided(at_s=12.0))
        last, later = await unread(watch)
    assert [event.left_out for event in first] == [0] * most
    assert (last.left_out, later.left_out) == (6, 0)


async def test_those_that_are_not_wanted_do_not_count_as_left_out(journal: Journal) -> None:
    with journal.watch(model="x", most_per_s=1) as watch:
        for second, model in enumerate("pxxpx"):
            journal.note_decision(decided(at_s=second / 2, named=model, model=model))
        assert [event.left_out for event in await unread(watch)] == [0, 1]


async def test_for_one_who_does_not_read_the_newest_are_kept(journal: Journal) -> None:
    with journal.watch(most_per_s=MOST_PER_S) as watch:
        for number in range(MOST_UNREAD + 7):
            journal.note_decision(decided(at_s=float(number), request_id=str(number)))
        events = await unread(watch)
    assert len(events) == MOST_UNREAD
    assert (events[0].request_id, events[0].left_out) == ("7", 7)
    assert [event.left_out for event in events[1:]] == [0] * (MOST_UNREAD - 1)


async def test_a_watch_sees_nothing_of_before_and_is_forgotten_after(journal: Journal) -> None:
    journal.note_decision(decided())
    with journal.watch() as watch:
        assert await unread(watch) == []
        assert "1 watches" in repr(journal)
    journal.note_decision(decided())
    assert await unread(watch) == []
    assert "0 watches" in repr(journal)


def test_the_watches_are_limited(journal: Journal) -> None:
    watches = [journal.watch() for _ in range(MOST_WATCHES)]
    for each in watches:
        each.__enter__()
    with pytest.raises(TooManyWatchesError, match=str(MOST_WATCHES)), journal.watch():
        pass
    watches[0].__exit__(None, None, None)
    with journal.watch():
        pass


async def test_a_watcher_waits_for_the_next(journal: Journal) -> None:
    with journal.watch() as watch:
        waiter = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        assert not waiter.done()
        journal.note_decision(decided())
        assert (await waiter).request_id == "r1"


NEW = listed("ab")
ALIAS = NamesListed((Alias("fast", (Target("m", 1),)),))


@pytest.mark.parametrize(
    ("before", "change", "told"),
    [
        pytest.param(
            [],
            NEW,
            [
                ("source read", "", "endpoints 2"),
                ("endpoint new", "b", "address 10.0.0.2:8000"),
                ("endpoint new", "a", "address 10.0.0.1:8000"),
            ],
            id="the first reading",
        ),
        pytest.param([NEW], gone("a"), [("endpoint gone", "a", "")], id="gone"),
        pytest.param(
            [NEW],
            answered("a", "m"),
            [("endpoint changed", "a", "ready yes, confirmed yes, suspect no, models m")],
            id="answered",
        ),
        pytest.param(
            [NEW, answered("a", "m")],
            failed("a", Failure.TIMEOUT),
            [("endpoint probe failed", "a", "problem timeout by a")],
            id="a failed probe",
        ),
        pytest.param([NEW], ALIAS, [("aliases changed", "", "fast")], id="aliases"),
        pytest.param(
            [NEW], NamesListed((), {"batch": -1}), [("objectives changed", "", "batch")], id="objectives"
        ),
    ],
)  # fmt: skip
def test_changes(before: list[object], change: object, told: list[object], journal: Journal, clock: Clock) -> None:
    old: Snapshot = known_after(*before)  # type: ignore[arg-type]
    new = reduce(old, change, now=0.0)  # type: ignore[arg-type]
    ids = sorted(old.endpoints.keys() | new.endpoints.keys())
    clock.now = 5.0
    telling(journal.note_changes)(old, new, ids)
    assert [(each.what, each.endpoint, each.detail) for each in journal.changes()] == told
    assert {each.at_unix_s for each in journal.changes()} == {1005.0}


def test_the_last_changes_are_kept_and_none_is_enormous(journal: Journal) -> None:
    for number in range(MOST_CHANGES + 1):
        journal.note(str(number), endpoint="e" * 10_000, detail="\ud800" * 10_000)
    changes = journal.changes()
    assert [changes[0].what, changes[-1].what, len(changes)] == [str(MOST_CHANGES), "1", MOST_CHANGES]
    assert (len(changes[0].endpoint), changes[0].detail) == (200, "?" * 1000)
