"""registry/changes: what each kind of failure says, and that changes can be written down and replayed."""

import msgspec
import pytest
from tests.unit.known import answered, failed, listed, overdue, round_of

from extproc.registry.changes import Change, Failure


@pytest.mark.parametrize(
    ("failure", "is_connect_failure", "is_answer"),
    [
        (Failure.REFUSED, True, False),
        (Failure.CONNECT, True, False),
        (Failure.TIMEOUT, False, False),
        (Failure.DROPPED, False, False),
        (Failure.UNAUTHORIZED, False, True),
        (Failure.STATUS, False, True),
        (Failure.INVALID, False, True),
    ],
)
def test_what_a_failure_says_of_the_server(failure: Failure, is_connect_failure: bool, is_answer: bool) -> None:
    assert failure.is_connect_failure is is_connect_failure
    assert failure.is_answer is is_answer


@pytest.mark.parametrize(
    "change",
    [listed("ab"), answered("a", "phi", asked_at_s=1.5), failed("a", Failure.TIMEOUT), overdue("a"), round_of(2.5)],
    ids=lambda change: type(change).__name__,
)
def test_every_change_survives_encoding(change: Change) -> None:
    assert msgspec.json.decode(msgspec.json.encode(change), type=Change) == change
