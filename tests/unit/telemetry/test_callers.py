"""telemetry/callers: kinds of streams, by the plans that real modes and settings make."""

from typing import Any

import pytest

from extproc.protocol.events import BodyMode, Modes, RequestHeaders
from extproc.protocol.plan import Plan, Policy, plan_for
from extproc.telemetry.callers import Callers
from extproc.values.admin import Caller
from extproc.values.request import RequestHead

NONE, STREAMED, BUFFERED = BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED
DUPLEX, GRPC = BodyMode.FULL_DUPLEX_STREAMED, BodyMode.GRPC


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plan(modes: Modes | None, *, is_direct: bool = True, end: bool = False, **policy: Any) -> Plan:
    return plan_for(
        RequestHeaders(RequestHead("POST", "/", {}), end, modes), policy=Policy(1, **policy), is_direct=is_direct
    )


def seen_after(*plans: Plan | None, is_direct: bool = True) -> list[Caller]:
    callers = Callers(clock=lambda: 10.0)
    for each in plans:
        callers.note(each, is_direct=is_direct, began_at_s=4.0, has_left_early=False)
    return list(callers.seen())


@pytest.mark.parametrize(
    ("modes", "policy", "is_direct", "answer"),
    [
        pytest.param(Modes(DUPLEX, NONE), {}, True, "detach", id="full duplex from Envoy"),
        pytest.param(Modes(DUPLEX, DUPLEX), {}, True, "detach", id="Istio's filter"),
        pytest.param(Modes(DUPLEX, DUPLEX), {}, False, "observe", id="a hop between"),
        pytest.param(Modes(DUPLEX, DUPLEX), {"response_phase": "track"}, True, "observe", id="told to track Istio's"),
        pytest.param(Modes(DUPLEX, DUPLEX), {"body_answer": "chunks"}, True, "observe", id="answered in chunks"),
        pytest.param(Modes(DUPLEX, NONE), {"response_phase": "track"}, True, "track", id="told to track"),
        pytest.param(Modes(DUPLEX, NONE), {}, False, "track", id="a hop, and no response body"),
        pytest.param(Modes(BUFFERED, STREAMED), {"response_phase": "observe"}, True, "observe", id="told to observe"),
        pytest.param(Modes(BUFFERED, NONE), {}, True, "detach", id="buffered"),
        pytest.param(Modes(NONE, NONE), {}, True, "detach", id="no body is shown"),
        pytest.param(Modes(STREAMED, NONE, True), {}, True, "detach", id="streamed, sent early"),
        pytest.param(Modes(STREAMED, NONE), {}, True, "refuse", id="streamed"),
        pytest.param(Modes(GRPC, NONE), {}, True, "refuse", id="grpc"),
        pytest.param(Modes(STREAMED, NONE), {"allows_mode_override": True}, True, "detach", id="streamed, overridden"),
        pytest.param(
            Modes(STREAMED, NONE), {"allows_mode_override": True, "response_phase": "track"}, True, "track",
            id="overridden, and told to track",
        ),
    ],
)  # fmt: skip
def test_what_becomes_of_a_stream(modes: Modes, policy: dict[str, Any], is_direct: bool, answer: str) -> None:
    made = plan(modes, is_direct=is_direct, **policy)
    [caller] = seen_after(made, is_direct=is_direct)
    assert (caller.is_direct, caller.answer, caller.tells_modes) == (is_direct, answer, True)
    assert (caller.request_body_mode, caller.response_body_mode) == (made.request_body.name, modes.response_body.name)


def test_modes_that_nobody_told() -> None:
    [caller] = seen_after(plan(None, request_body=BUFFERED, response_body=STREAMED))
    assert (caller.request_body_mode, caller.response_body_mode, caller.tells_modes) == ("BUFFERED", "STREAMED", False)


def test_a_stream_that_showed_no_request() -> None:
    assert seen_after(None, None) == [Caller(True, "", "", False, "watch", 2, 6.0, first_age_s=6.0)]


def test_requests_with_and_without_a_body_are_one_kind() -> None:
    [caller] = seen_after(plan(Modes(DUPLEX, NONE)), plan(Modes(DUPLEX, NONE), end=True))
    assert caller.streams == 2
    kinds = seen_after(plan(Modes(STREAMED, NONE)), plan(Modes(STREAMED, NONE), end=True))
    assert sorted(caller.answer for caller in kinds) == ["detach", "refuse"]


def test_counts_and_times() -> None:
    """Streams end in another order than they began in, and the kind seen last comes first."""
    clock = Clock()
    callers = Callers(clock=clock)
    duplex, whole, buffered = (
        plan(Modes(DUPLEX, NONE)),
        plan(Modes(DUPLEX, NONE), end=True),
        plan(Modes(BUFFERED, NONE)),
    )
    for each, began_at_s, ended_at_s, has_left in (
        (buffered, 0.5, 1.0, False),
        (duplex, 3.0, 3.25, True),
        (duplex, 1.0, 4.0, True),
        (whole, 2.0, 2.5, True),
        (duplex, 2.5, 6.0, False),
    ):
        clock.now = ended_at_s
        callers.note(each, is_direct=True, began_at_s=began_at_s, has_left_early=has_left)
    clock.now = 10.0
    first, second = callers.seen()
    assert (first.streams, first.age_s, first.left_early, first.left_after_s) == (4, 7.0, 3, 0.25)
    assert (first.first_age_s, second.first_age_s) == (9.0, 9.5)
    assert (second.streams, second.age_s, second.left_early, second.left_after_s) == (1, 9.5, 0, None)
    assert (first.left_early_age_s, second.left_early_age_s) == (7.0, None)
    clock.now = 20.0
    callers.note(buffered, is_direct=False, began_at_s=19.0, has_left_early=False)
    last, *_ = callers.seen()
    assert (last.is_direct, last.request_body_mode) == (False, "BUFFERED")


def test_since_when_nothing_was_left_early_or_refused() -> None:
    """What was mended since shows in how long ago the last was, in streams of one kind."""
    clock = Clock()
    callers = Callers(clock=clock)
    none, whole = plan(Modes(NONE, NONE)), plan(Modes(NONE, NONE), end=True)
    for each, began_at_s, has_left, is_refused in (
        (none, 3.0, False, True),
        (none, 1.0, False, True),
        (whole, 4.0, True, False),
        (whole, 2.0, True, False),
        (none, 50.0, False, False),
        (whole, 60.0, False, False),
    ):
        clock.now = began_at_s + 0.5
        callers.note(each, is_direct=True, began_at_s=began_at_s, has_left_early=has_left, is_refused=is_refused)
    clock.now = 100.0
    [caller] = callers.seen()
    assert (caller.streams, caller.age_s) == (6, 40.0)
    assert (caller.left_early, caller.left_early_age_s) == (2, 96.0)
    assert (caller.refused, caller.refused_age_s) == (2, 97.0)
