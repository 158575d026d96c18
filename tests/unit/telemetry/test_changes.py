"""telemetry/changes: what is said of the difference between two snapshots."""

from collections.abc import Sequence

import pytest
from tests.unit.known import answered, failed, gone, known_after, listed, refused

from extproc.registry.changes import Change, Failure
from extproc.registry.reduce import reduce
from extproc.telemetry.changes import SHOWN_NAMES, EndpointChange, find_changes, join_names, telling
from extproc.values.snapshot import Snapshot

MANY = [f"m{number:02}" for number in range(SHOWN_NAMES + 1)]
ANSWERED = answered("a", "m")


@pytest.mark.parametrize(
    ("before", "change", "found"),
    [
        pytest.param([], listed("a"), [("endpoint new", False)], id="new"),
        pytest.param([listed("a")], gone("a"), [("endpoint gone", False)], id="gone"),
        pytest.param([listed("a")], listed("a"), [], id="the same again"),
        pytest.param([listed("a")], ANSWERED, [("endpoint changed", False)], id="confirmed"),
        pytest.param([listed("a"), ANSWERED], answered("a", "n"), [("endpoint changed", False)], id="other models"),
        pytest.param([listed("a"), ANSWERED], refused("a"), [("endpoint changed", True)], id="lost"),
        pytest.param(
            [listed("a"), answered("a", *MANY)],
            answered("a", *MANY[:-1], "other"),
            [("endpoint changed", False)],
            id="another model beyond those that are shown",
        ),
        pytest.param(
            [listed("a"), ANSWERED], failed("a", Failure.STATUS), [("endpoint probe failed", False)], id="probe failed"
        ),
        pytest.param(
            [listed("a"), ANSWERED, failed("a", Failure.STATUS)], failed("a", Failure.STATUS), [], id="failed again"
        ),
        pytest.param([listed("a"), ANSWERED, failed("a", Failure.STATUS)], ANSWERED, [], id="well again"),
    ],
)
def test_what_is_found(before: list[Change], change: Change, found: list[tuple[str, bool]]) -> None:
    old = known_after(*before)
    new = reduce(old, change, now=0.0)
    changes = list(find_changes(old, new, ["a", "never heard of"]))
    assert [(each.what, each.is_loss) for each in changes] == found
    assert {each.endpoint for each in changes} <= {"a"}


def test_all_who_tell_of_changes_are_given_the_same_ones() -> None:
    given: list[tuple[Snapshot, Snapshot, Sequence[EndpointChange]]] = []
    old = known_after()
    new = reduce(old, listed("a"), now=0.0)
    telling(*[lambda *args: given.append(args)] * 2)(old, new, ["a"])
    assert given[0][:2] == (old, new)
    assert [change.what for change in given[0][2]] == ["endpoint new"]
    assert given[1][2] is given[0][2], "found once"


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], ""),
        (["a", "b"], "a,b"),
        (["x" * 1000], "x" * 200),
        (MANY, ",".join(MANY[:SHOWN_NAMES]) + " and 1 more"),
    ],
)
def test_names_for_a_line(names: list[str], line: str) -> None:
    assert join_names(names) == line
