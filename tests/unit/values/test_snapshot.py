"""values/snapshot: what can be read off a snapshot."""

import msgspec
import pytest
from tests.unit.known import POOL, answered, endpoint, failed, known_after, listed, overdue, refused

from extproc.registry.changes import Failure
from extproc.values.snapshot import EndpointState, Snapshot


@pytest.mark.parametrize(
    ("is_ready", "is_confirmed", "is_routable"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_routable_is_ready_and_confirmed(is_ready: bool, is_confirmed: bool, is_routable: bool) -> None:
    state = EndpointState(endpoint("a"), is_ready=is_ready, is_confirmed=is_confirmed)
    assert state.is_routable is is_routable


@pytest.mark.parametrize(
    ("snapshot", "has_answer", "has_answer_due", "is_complete"),
    [
        pytest.param(Snapshot(POOL), False, False, False, id="source not read"),
        pytest.param(known_after(listed("")), False, False, True, id="empty pool"),
        pytest.param(known_after(listed("a")), False, True, False, id="not probed"),
        pytest.param(known_after(listed("a"), answered("a")), True, False, True, id="answered, if with nothing"),
        pytest.param(
            known_after(listed("a"), failed("a", Failure.TIMEOUT)), False, True, True, id="slow: its answer is due"
        ),
        pytest.param(
            known_after(listed("a"), failed("a", Failure.UNAUTHORIZED)), False, True, True, id="401 is no answer"
        ),
        pytest.param(known_after(listed("a"), overdue("a")), False, False, True, id="its time is over"),
        pytest.param(known_after(listed("a"), refused("a")), False, False, True, id="nobody listens"),
        pytest.param(
            known_after(listed("a"), answered("a"), refused("a")), False, False, True, id="answered, then gone"
        ),
        pytest.param(known_after(listed("ab"), answered("a")), True, True, False, id="one of two answered"),
        pytest.param(known_after(listed("ab"), answered("a"), overdue("b")), True, False, True, id="the other overdue"),
    ],
)
def test_what_has_been_heard(snapshot: Snapshot, has_answer: bool, has_answer_due: bool, is_complete: bool) -> None:
    assert snapshot.has_answer is has_answer
    assert snapshot.has_answer_due is has_answer_due
    assert snapshot.is_complete is is_complete


def test_a_snapshot_can_be_sent_to_another_process() -> None:
    snapshot = known_after(listed("ab"), answered("a", "phi", "lora"), refused("b"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot) == snapshot
