"""What modes and settings make of a stream. How a plan is carried out: tests/streams."""

from itertools import product

import pytest

from extproc.protocol.events import BodyMode, Modes, RequestHeaders
from extproc.protocol.plan import Body, Plan, Policy, Timer, plan_for
from extproc.values.request import RequestHead

NONE, STREAMED, BUFFERED = BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED
PARTIAL, DUPLEX, GRPC = BodyMode.BUFFERED_PARTIAL, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.GRPC
PHASES = ("auto", "detach", "track", "observe")


def plan(policy: Policy, modes: Modes | None, *, is_direct: bool = True, end: bool = False) -> Plan:
    return plan_for(RequestHeaders(RequestHead("POST", "/", {}), end, modes), policy=policy, is_direct=is_direct)


@pytest.mark.parametrize(
    ("modes", "body", "timer"),
    [
        (Modes(DUPLEX, NONE), Body.STREAMED, Timer.NONE),
        (Modes(BUFFERED, NONE), Body.BUFFERED, Timer.SINCE_BODY),
        (Modes(PARTIAL, NONE), Body.PARTIAL, Timer.SINCE_BODY),
        (Modes(NONE, NONE), Body.UNSEEN, Timer.SINCE_HEADERS),
        (Modes(STREAMED, NONE, True), Body.STREAMED, Timer.SINCE_HEADERS),
        (Modes(STREAMED, NONE), Body.UNSUPPORTED, Timer.SINCE_HEADERS),
        (Modes(GRPC, NONE), Body.UNSUPPORTED, Timer.SINCE_HEADERS),
    ],
)
def test_how_the_body_comes(modes: Modes, body: Body, timer: Timer) -> None:
    made = plan(Policy(1), modes)
    assert (made.body, made.timer) == (body, timer)
    assert plan(Policy(1), modes, end=True).body is Body.ABSENT
    told_by_settings = plan(Policy(1, modes.request_body), None)
    assert modes.sends_body_early or told_by_settings.body is body


@pytest.mark.parametrize(
    ("phase", "is_direct", "stays"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("detach", False, False),
        ("track", True, True),
        ("observe", True, True),
    ],
)
@pytest.mark.parametrize("mode", [DUPLEX, BUFFERED, PARTIAL, NONE])
def test_who_stays(mode: BodyMode, phase: str, is_direct: bool, stays: bool) -> None:
    policy = Policy(1, response_phase=phase, body_answer="whole")  # type: ignore[arg-type]
    assert plan(policy, Modes(mode, DUPLEX), is_direct=is_direct).stays == stays


def test_nobody_leaves_full_duplex_after_several_messages() -> None:
    for phase, is_direct in product(PHASES, (True, False)):
        policy = Policy(1, response_phase=phase, body_answer="chunks")  # type: ignore[arg-type]
        assert plan(policy, Modes(DUPLEX, DUPLEX), is_direct=is_direct).stays


@pytest.mark.parametrize(
    ("answer", "is_direct", "is_whole"),
    [("auto", True, True), ("auto", False, False), ("whole", False, True), ("chunks", True, False)],
)
def test_how_the_body_goes_back(answer: str, is_direct: bool, is_whole: bool) -> None:
    policy = Policy(1, body_answer=answer)  # type: ignore[arg-type]
    assert plan(policy, Modes(DUPLEX, NONE), is_direct=is_direct).is_whole == is_whole
    assert not plan(policy, Modes(BUFFERED, NONE), is_direct=is_direct).is_whole


@pytest.mark.parametrize("mode", BodyMode)
@pytest.mark.parametrize("response", BodyMode)
def test_an_override_is_only_asked_for_where_envoy_takes_it(mode: BodyMode, response: BodyMode) -> None:
    made = plan(Policy(1, allows_mode_override=True), Modes(mode, response))
    assert made.overrides == (mode in (NONE, STREAMED, PARTIAL) and response is not DUPLEX)
    if made.overrides:
        assert (made.body, made.request_body, made.response_body) == (Body.BUFFERED, BUFFERED, NONE)
    assert not plan(Policy(1, allows_mode_override=True), Modes(mode, response), end=True).overrides
    assert not plan(Policy(1), Modes(mode, response)).overrides


@pytest.mark.parametrize("response", BodyMode)
def test_only_full_duplex_loses_what_was_sent(response: BodyMode) -> None:
    assert plan(Policy(1), Modes(BUFFERED, response)).may_end_early == (response is not DUPLEX)
