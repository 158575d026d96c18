"""Transcripts of ext_proc streams: events in, commands out. One row per line of the table in `protocol.stream`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.admission.held import HeldBytes
from extproc.protocol.commands import Abort, Command, Continue, Decide, Finish, Immediate, Replace
from extproc.protocol.events import (
    BodyMode,
    DeadlineExpired,
    EndOfInput,
    Event,
    Modes,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponsePhase,
    Unknown,
)
from extproc.protocol.stream import State, Stream
from extproc.values.decision import Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead

HEAD = RequestHead("POST", "/v1/chat/completions", {"content-type": "application/json"})
FULL_DUPLEX = Modes(BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED)
OPEN = RequestHeaders(HEAD, end_of_stream=False, modes=FULL_DUPLEX)
OPEN_UNTOLD = RequestHeaders(HEAD, end_of_stream=False)
CLOSED = RequestHeaders(HEAD, end_of_stream=True, modes=FULL_DUPLEX)
LIMIT = 10
ROUTE = Route((Endpoint("a", "a", "127.0.0.1:1"), Endpoint("b", "b", "[::1]:2")), Scores())
DESTINATION = "127.0.0.1:1,[::1]:2"
REPLY = Reply(200, b"{}")
REFUSED = Reject(Reason.MODEL_MISSING)


def mode(request_body: BodyMode) -> RequestHeaders:
    return RequestHeaders(HEAD, end_of_stream=False, modes=Modes(request_body, BodyMode.NONE))


def unsupported(name: str) -> Finish:
    return Finish(Immediate(Reject(Reason.MODE_UNSUPPORTED, {"mode": name})))


def out_of_order(kind: str, state: str) -> Abort:
    return Abort(f"{kind} is out of order in state {state}")


TOO_LARGE = Finish(Immediate(Reject(Reason.BODY_TOO_LARGE, {"limit": str(LIMIT)})))
TIMED_OUT = Finish(Immediate(Reject(Reason.DECISION_TIMED_OUT, {"timeout": "10s"})))
CUT_OFF = Abort("the stream ended before its answer", is_callers_end=True)

TRANSCRIPTS: dict[str, tuple[list[Event], list[Command | None]]] = {
    "headers with end of stream": ([CLOSED], [Decide(HEAD, b"")]),
    "one piece": ([OPEN, RequestBody(b"{}", True)], [None, Decide(HEAD, b"{}")]),
    "the mode is not told": ([OPEN_UNTOLD, RequestBody(b"{}", True)], [None, Decide(HEAD, b"{}")]),
    "several pieces": (
        [OPEN, RequestBody(b"{", False), RequestBody(b"", False), RequestBody(b"}", True)],
        [None, None, None, Decide(HEAD, b"{}")],
    ),
    "an empty last piece": (
        [OPEN, RequestBody(b"{}", False), RequestBody(b"", True)],
        [None, None, Decide(HEAD, b"{}")],
    ),
    "an empty body": ([OPEN, RequestBody(b"", True)], [None, Decide(HEAD, b"")]),
    "trailers end the body": (
        [OPEN, RequestBody(b"{}", False), RequestTrailers()],
        [None, None, Decide(HEAD, b"{}")],
    ),
    "trailers without a body": ([OPEN, RequestTrailers()], [None, Decide(HEAD, b"")]),
    "the last piece is repeated": (
        [OPEN, RequestBody(b"{}", True), RequestBody(b"{}", True)],
        [None, Decide(HEAD, b"{}"), None],
    ),
    "exactly the limit": ([OPEN, RequestBody(b"x" * LIMIT, True)], [None, Decide(HEAD, b"x" * LIMIT)]),
    "one byte over the limit": ([OPEN, RequestBody(b"x" * (LIMIT + 1), True)], [None, TOO_LARGE]),
    "over the limit in pieces": (
        [OPEN, RequestBody(b"x" * LIMIT, False), RequestBody(b"x", False), RequestBody(b"x", True)],
        [None, None, TOO_LARGE, None],
    ),
    "an unknown message": (
        [Unknown("?"), OPEN, Unknown("?"), RequestBody(b"", True)],
        [None, None, None, Decide(HEAD, b"")],
    ),
    "mode NONE": ([mode(BodyMode.NONE)], [unsupported("NONE")]),
    "mode STREAMED": ([mode(BodyMode.STREAMED)], [unsupported("STREAMED")]),
    "mode BUFFERED": ([mode(BodyMode.BUFFERED)], [unsupported("BUFFERED")]),
    "mode BUFFERED_PARTIAL": ([mode(BodyMode.BUFFERED_PARTIAL)], [unsupported("BUFFERED_PARTIAL")]),
    "mode NONE without a body": (
        [RequestHeaders(HEAD, end_of_stream=True, modes=Modes(BodyMode.NONE, BodyMode.NONE))],
        [Decide(HEAD, b"")],
    ),
    "end of input at once": ([EndOfInput()], [CUT_OFF]),
    "end of input after headers": ([OPEN, EndOfInput()], [None, CUT_OFF]),
    "end of input amid the body": ([OPEN, RequestBody(b"{", False), EndOfInput()], [None, None, CUT_OFF]),
    "end of input before the decision": ([CLOSED, EndOfInput()], [Decide(HEAD, b""), CUT_OFF]),
    "deadline before headers": ([DeadlineExpired("10s")], [TIMED_OUT]),
    "deadline amid the body": ([OPEN, DeadlineExpired("10s")], [None, TIMED_OUT]),
    "deadline before the decision": ([CLOSED, DeadlineExpired("10s")], [Decide(HEAD, b""), TIMED_OUT]),
    "body before headers": ([RequestBody(b"", True)], [out_of_order("request_body", "HEADERS")]),
    "trailers before headers": ([RequestTrailers()], [out_of_order("request_trailers", "HEADERS")]),
    "headers twice": ([OPEN, OPEN], [None, out_of_order("request_headers", "BODY")]),
    "response headers first": (
        [ResponsePhase("response_headers")],
        [out_of_order("response_headers", "HEADERS")],
    ),
    "response body before the decision": (
        [CLOSED, ResponsePhase("response_body")],
        [Decide(HEAD, b""), out_of_order("response_body", "DECIDING")],
    ),
}


@pytest.mark.parametrize(("events", "commands"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_transcript(events: list[Event], commands: list[Command | None]) -> None:
    stream = Stream(max_body_bytes=LIMIT, budget=HeldBytes(1000))
    assert [stream.receive(event) for event in events] == commands


DECISIONS: dict[str, tuple[list[Event], Route | Reject | Reply, Finish]] = {
    "route with a body": (
        [OPEN, RequestBody(b"{}", True)],
        ROUTE,
        Finish(Replace(DESTINATION, b"{}")),
    ),
    "route with an empty body": ([OPEN, RequestBody(b"", True)], ROUTE, Finish(Replace(DESTINATION, b""))),
    "route without a body": ([CLOSED], ROUTE, Finish(Continue(DESTINATION))),
    "reject": ([OPEN, RequestBody(b"{}", True)], REFUSED, Finish(Immediate(REFUSED))),
    "reply": ([CLOSED], REPLY, Finish(Immediate(REPLY))),
}


@pytest.mark.parametrize(("events", "outcome", "answer"), DECISIONS.values(), ids=DECISIONS)
def test_decision(events: list[Event], outcome: Route | Reject | Reply, answer: Finish) -> None:
    stream = Stream(max_body_bytes=LIMIT, budget=HeldBytes(1000))
    for event in events:
        stream.receive(event)
    assert stream.decided(outcome) == answer
    assert stream.state is State.DONE


@pytest.mark.parametrize("events", [[], [OPEN], [CLOSED, EndOfInput()]], ids=["at once", "amid the body", "when done"])
def test_a_decision_nobody_asked_for_is_an_error(events: list[Event]) -> None:
    stream = Stream(max_body_bytes=LIMIT, budget=HeldBytes(1000))
    for event in events:
        stream.receive(event)
    with pytest.raises(RuntimeError):
        stream.decided(ROUTE)


def test_the_budget_of_all_streams_refuses_what_passes_it_and_gets_everything_back() -> None:
    budget = HeldBytes(12)
    first, second = (Stream(max_body_bytes=LIMIT, budget=budget) for _ in range(2))
    for stream in (first, second):
        stream.receive(OPEN)
    assert first.receive(RequestBody(b"x" * 8, False)) is None
    assert second.receive(RequestBody(b"x" * 4, False)) is None
    assert second.receive(RequestBody(b"x", True)) == Finish(Immediate(Reject(Reason.TOO_MUCH_HELD)))
    assert budget.held_bytes == 12
    second.close()
    assert budget.held_bytes == 8
    assert isinstance(first.receive(RequestBody(b"xx", True)), Decide)
    first.close()
    first.close()
    assert budget.held_bytes == 0


EVENTS = st.one_of(
    st.sampled_from(
        [OPEN, OPEN_UNTOLD, CLOSED, mode(BodyMode.BUFFERED), RequestTrailers(), EndOfInput(), Unknown("?")]
    ),
    st.builds(RequestBody, chunk=st.binary(max_size=6), end_of_stream=st.booleans()),
    st.sampled_from([ResponsePhase("response_headers"), ResponsePhase("response_body"), DeadlineExpired("10s")]),
    st.sampled_from([ROUTE, REFUSED, REPLY]),
)


@given(st.lists(EVENTS, max_size=30), st.integers(0, 20))
def test_any_walk_answers_once_holds_little_and_gives_all_back(
    walk: list[Event | Route | Reject | Reply], budget_bytes: int
) -> None:
    """No reachable state without an answer owed or given; no exception; what is held stays within both limits."""
    budget = HeldBytes(budget_bytes)
    stream = Stream(max_body_bytes=LIMIT, budget=budget)
    answers = 0
    for step in walk:
        was_deciding = stream.state is State.DECIDING
        if isinstance(step, Route | Reject | Reply):
            if not was_deciding:
                continue
            command: Command | None = stream.decided(step)
        else:
            command = stream.receive(step)
        answers += isinstance(command, Finish | Abort)
        assert answers == (stream.state is State.DONE)
        assert isinstance(command, Decide) <= (stream.state is State.DECIDING)
        assert budget.held_bytes <= min(LIMIT, budget_bytes)
    if stream.state is not State.DONE:
        assert isinstance(stream.receive(DeadlineExpired("10s")), Finish)
    stream.close()
    assert budget.held_bytes == 0
    assert stream.receive(OPEN) is None
