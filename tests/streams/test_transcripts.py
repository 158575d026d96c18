"""Transcripts of ext_proc streams: events in, commands out. A row per line of the tables in `protocol.stream`."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extproc.admission.held import HeldBytes
from extproc.protocol.commands import (
    Abort,
    AwaitBody,
    Chunk,
    Command,
    Continue,
    Decide,
    Finish,
    Immediate,
    ModeOverride,
    Pass,
    RenewPiece,
    Replace,
    RouteBody,
    Send,
)
from extproc.protocol.events import (
    BodyMode,
    DeadlineExpired,
    EndOfInput,
    Event,
    Modes,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Unknown,
)
from extproc.protocol.plan import Policy, Timer
from extproc.protocol.stream import ANSWERED, CHUNK_BYTES, SMALL_BYTES, State, Stream
from extproc.values.decision import Edit, Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, RequestHead

HEAD = RequestHead("POST", "/v1/chat/completions", {"content-type": "application/json"})
LIMIT = 10
ROUTE = Route((Endpoint("a", "a", "127.0.0.1:1"), Endpoint("b", "b", "[::1]:2")), Scores())
TO = "127.0.0.1:1,[::1]:2"
RENAMED = replace(ROUTE, model="phi", edit=Edit(1, 2, b"phi"))
"""Of the body `{}` it makes `{phi`."""
REPLY = Reply(200, b"{}")
REFUSED = Reject(Reason.MODEL_MISSING)

NONE, STREAMED, BUFFERED = BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED
PARTIAL, DUPLEX, GRPC = BodyMode.BUFFERED_PARTIAL, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.GRPC


def head(request: BodyMode, response: BodyMode = NONE, *, early: bool = False, end: bool = False) -> RequestHeaders:
    return RequestHeaders(HEAD, end_of_stream=end, modes=Modes(request, response, early))


def announced(length: int, request: BodyMode, *, early: bool = False) -> RequestHeaders:
    with_length = RequestHead(HEAD.method, HEAD.path, {**HEAD.headers, "content-length": str(length)})
    return RequestHeaders(with_length, end_of_stream=False, modes=Modes(request, NONE, early))


OPEN = head(DUPLEX, DUPLEX)
OPEN_UNTOLD = RequestHeaders(HEAD, end_of_stream=False)
CLOSED = head(DUPLEX, DUPLEX, end=True)
EARLY = head(STREAMED, STREAMED, early=True)
WATCHED = RequestHeaders(HEAD, end_of_stream=False, modes=Modes(STREAMED, STREAMED), is_observability=True)
ANSWER = ResponseHeaders(200, "text/event-stream", None, False)
TRAILERS, END, LATE = RequestTrailers(), EndOfInput(), DeadlineExpired("10s")
LAST, MORE = RequestBody(b"{}", True), RequestBody(b"{", False)

AWAIT = Send((AwaitBody(),))
CUT_OFF = Abort("the stream ended before its answer", is_callers_end=True)


def refuse(reason: Reason, **details: str) -> Finish:
    return Finish((Immediate(Reject(reason, details)),))


def out_of_order(kind: str, state: str) -> Abort:
    return Abort(f"{kind} is out of order in state {state}")


def passed(*kinds: str) -> Send:
    return Send(tuple(Pass(kind) for kind in kinds))  # type: ignore[arg-type]  # the test's own words


TOO_LARGE = refuse(Reason.BODY_TOO_LARGE, limit=str(LIMIT))
TIMED_OUT = refuse(Reason.DECISION_TIMED_OUT, timeout="10s")
UNSEEN_HEADERS = refuse(Reason.HEADERS_UNSEEN)

DUPLEX_POLICY = Policy(LIMIT)
TRACK, OBSERVE = Policy(LIMIT, response_phase="track"), Policy(LIMIT, response_phase="observe")
OVERRIDE = Policy(LIMIT, allows_mode_override=True)


class Transcript(NamedTuple):
    """What comes, a decision being something that comes too, and what each is answered with."""

    steps: list[tuple[Event | Route | Reject | Reply, Command | None]]
    policy: Policy = DUPLEX_POLICY
    is_direct: bool = True
    ends_in: State = State.DONE


def play(stream: Stream, step: Event | Route | Reject | Reply) -> Command | None:
    return stream.decided(step) if isinstance(step, Route | Reject | Reply) else stream.receive(step)


def decide(body: bytes = b"{}", extent: BodyExtent = BodyExtent.WHOLE, timer: Timer = Timer.NONE) -> Decide:
    return Decide(HEAD, body, extent, timer)


TRANSCRIPTS: dict[str, Transcript] = {
    # The row "full duplex, direct Envoy": one message, gone.
    "full duplex, one piece": Transcript([(OPEN, None), (LAST, decide()), (ROUTE, Finish((Replace(TO, b"{}"),)))]),
    "full duplex, the modes are not told": Transcript(
        [(OPEN_UNTOLD, None), (LAST, decide()), (ROUTE, Finish((Replace(TO, b"{}"),)))]
    ),
    "full duplex, several pieces": Transcript(
        [
            (OPEN, None),
            (MORE, None),
            (RequestBody(b"", False), None),
            (RequestBody(b"}", False), None),
            (RequestBody(b" ", True), decide(b"{} ")),
            (ROUTE, Finish((Replace(TO, b"{} "),))),
        ]
    ),
    "full duplex, an empty last piece": Transcript(
        [(OPEN, None), (RequestBody(b"{}", False), None), (RequestBody(b"", True), decide())], ends_in=State.DECIDING
    ),
    "full duplex, an empty body": Transcript(
        [(OPEN, None), (RequestBody(b"", True), decide(b"")), (ROUTE, Finish((Replace(TO, b""),)))]
    ),
    "full duplex, trailers end the body": Transcript(
        [(OPEN, None), (RequestBody(b"{}", False), None), (TRAILERS, decide()), (ROUTE, Finish((Replace(TO, b"{}"),)))]
    ),
    "full duplex, trailers without a body": Transcript(
        [(OPEN, None), (TRAILERS, decide(b"")), (ROUTE, Finish((Replace(TO, b""),)))]
    ),
    "full duplex, the last piece is repeated": Transcript(
        [(OPEN, None), (LAST, decide()), (LAST, None), (ROUTE, Finish((Replace(TO, b"{}"),))), (LAST, None)]
    ),
    "headers with end of stream": Transcript([(CLOSED, decide(b"")), (ROUTE, Finish((Continue(TO),)))]),
    # ... with responsePhase track: the same message, and the stream stays.
    "tracked": Transcript(
        [
            (head(DUPLEX), None),
            (LAST, decide()),
            (ROUTE, Send((Replace(TO, b"{}"),))),
            (ANSWER, passed("response_headers")),
            (ResponseTrailers(), passed("response_trailers")),
            (END, Finish()),
        ],
        TRACK,
    ),
    "tracked, headers with end of stream": Transcript(
        [
            (head(DUPLEX, end=True), decide(b"")),
            (ROUTE, Send((Continue(TO),))),
            (ANSWER, passed("response_headers")),
            (END, Finish()),
        ],
        TRACK,
    ),
    "tracked, the last piece is repeated after the answer": Transcript(
        [(head(DUPLEX), None), (LAST, decide()), (ROUTE, Send((Replace(TO, b"{}"),))), (LAST, None), (TRAILERS, None)],
        TRACK,
        ends_in=State.RESPONDING,
    ),
    "tracked, the deadline was for the decision": Transcript(
        [(head(DUPLEX, end=True), decide(b"")), (ROUTE, Send((Continue(TO),))), (LATE, None)],
        TRACK,
        ends_in=State.RESPONDING,
    ),
    "tracked, a refusal does not stay": Transcript(
        [(head(DUPLEX), None), (LAST, decide()), (REFUSED, Finish((Immediate(REFUSED),)))], TRACK
    ),
    # The row "an HTTP hop between, or not Envoy": headers, chunks, and the response is passed on.
    "observed through a hop": Transcript(
        [
            (OPEN, None),
            (LAST, decide()),
            (ROUTE, Send((Continue(TO), Chunk("request_body", b"{}", True)))),
            (ANSWER, passed("response_headers")),
            (ResponseBody(b"x", False), Send((Chunk("response_body", b"x", False),))),
            (ResponseBody(b"", True), Send((Chunk("response_body", b"", True),))),
            (END, Finish()),
        ],
        is_direct=False,
    ),
    "observed, the modes are not told: what comes is taken for full duplex": Transcript(
        [
            (OPEN_UNTOLD, None),
            (LAST, decide()),
            (ROUTE, Send((Continue(TO), Chunk("request_body", b"{}", True)))),
            (ANSWER, passed("response_headers")),
            (ResponseBody(b"x", True), Send((Chunk("response_body", b"x", True),))),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "observed through a hop, response trailers": Transcript(
        [
            (CLOSED, decide(b"")),
            (ROUTE, Send((Continue(TO),))),
            (ANSWER, passed("response_headers")),
            (ResponseBody(b"x", False), Send((Chunk("response_body", b"x", False),))),
            (ResponseTrailers(), passed("response_trailers")),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "chunks, request trailers": Transcript(
        [
            (OPEN, None),
            (RequestBody(b"{}", False), None),
            (TRAILERS, decide()),
            (ROUTE, Send((Continue(TO), Chunk("request_body", b"{}", False), Pass("request_trailers")))),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "chunks, request trailers without a body": Transcript(
        [(OPEN, None), (TRAILERS, decide(b"")), (ROUTE, Send((Continue(TO), Pass("request_trailers"))))],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "chunks, an empty body": Transcript(
        [
            (OPEN, None),
            (RequestBody(b"", True), decide(b"")),
            (ROUTE, Send((Continue(TO), Chunk("request_body", b"", True)))),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "whole through a hop, as set": Transcript(
        [(OPEN, None), (LAST, decide()), (ROUTE, Send((Replace(TO, b"{}"),)))],
        Policy(LIMIT, body_answer="whole"),
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "chunks to a direct Envoy, as set: only staying is safe": Transcript(
        [(OPEN, None), (LAST, decide()), (ROUTE, Send((Continue(TO), Chunk("request_body", b"{}", True))))],
        Policy(LIMIT, response_phase="detach", body_answer="chunks"),
        ends_in=State.RESPONDING,
    ),
    "chunks and gone, where nothing of the response comes here": Transcript(
        [
            (head(DUPLEX), None),
            (LAST, decide()),
            (ROUTE, Finish((Continue(TO), Chunk("request_body", b"{}", True)))),
        ],
        Policy(LIMIT, response_phase="detach", body_answer="chunks"),
    ),
    "detached through a hop, as set": Transcript(
        [(OPEN, None), (LAST, decide()), (ROUTE, Finish((Replace(TO, b"{}"),)))],
        Policy(LIMIT, response_phase="detach", body_answer="whole"),
        is_direct=False,
    ),
    # The row BUFFERED.
    "buffered": Transcript(
        [
            (head(BUFFERED), AWAIT),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (ROUTE, Finish((RouteBody(TO, clears_route=True),))),
        ]
    ),
    "buffered, whole without an end of stream": Transcript(
        [
            (head(BUFFERED), AWAIT),
            (RequestBody(b"{}", False), decide(timer=Timer.SINCE_BODY)),
            (ROUTE, Finish((RouteBody(TO, clears_route=True),))),
        ]
    ),
    "buffered and observed": Transcript(
        [
            (head(BUFFERED, STREAMED), AWAIT),
            (RequestBody(b"{}", False), decide(timer=Timer.SINCE_BODY)),
            (ROUTE, Send((RouteBody(TO, clears_route=True),))),
            (TRAILERS, passed("request_trailers")),
            (ANSWER, passed("response_headers")),
            (ResponseBody(b"x", False), passed("response_body")),
            (END, Finish()),
        ],
        OBSERVE,
    ),
    "buffered, said by the settings": Transcript(
        [(OPEN_UNTOLD, AWAIT), (LAST, decide(timer=Timer.SINCE_BODY))],
        Policy(LIMIT, request_body=BUFFERED),
        ends_in=State.DECIDING,
    ),
    "buffered, over the limit: nothing more would come": Transcript(
        [(head(BUFFERED), AWAIT), (RequestBody(b"x" * (LIMIT + 1), False), TOO_LARGE)]
    ),
    "buffered, trailers without a body cannot be routed": Transcript(
        [(head(BUFFERED), AWAIT), (TRAILERS, refuse(Reason.BODY_MISSING))]
    ),
    "buffered, without a body": Transcript(
        [(head(BUFFERED, end=True), decide(b"", timer=Timer.SINCE_HEADERS)), (ROUTE, Finish((Continue(TO),)))]
    ),
    # The row NONE.
    "none": Transcript(
        [
            (head(NONE), decide(b"", BodyExtent.UNSEEN, Timer.SINCE_HEADERS)),
            (ROUTE, Finish((Continue(TO),))),
        ]
    ),
    "none and tracked, request trailers": Transcript(
        [
            (head(NONE), decide(b"", BodyExtent.UNSEEN, Timer.SINCE_HEADERS)),
            (ROUTE, Send((Continue(TO),))),
            (TRAILERS, passed("request_trailers")),
            (ANSWER, passed("response_headers")),
            (END, Finish()),
        ],
        TRACK,
    ),
    "none, overridden": Transcript(
        [
            (head(NONE, STREAMED), Send((AwaitBody(ModeOverride(NONE, sends_response=False)),))),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (ROUTE, Finish((RouteBody(TO, clears_route=True),))),
        ],
        OVERRIDE,
    ),
    # The rows STREAMED.
    "streamed early": Transcript(
        [
            (EARLY, None),
            (MORE, None),
            (RequestBody(b"}", True), decide(timer=Timer.SINCE_HEADERS)),
            (ROUTE, Finish((Replace(TO, b"{}"),))),
        ]
    ),
    "streamed early with trailers: replaced, it would arrive twice": Transcript(
        [
            (EARLY, None),
            (MORE, None),
            (RequestBody(b"}", False), None),
            (TRAILERS, decide(timer=Timer.SINCE_HEADERS)),
            (ROUTE, Finish((Continue(TO), *[Pass("request_body")] * 2, Pass("request_trailers")))),
        ]
    ),
    "streamed early, all of the announced length is here, and trailers may follow": Transcript(
        [
            (announced(2, STREAMED, early=True), None),
            (MORE, None),
            (RequestBody(b"}", False), Decide(announced(2, STREAMED).head, b"{}", timer=Timer.SINCE_HEADERS)),
            (ROUTE, Send((Continue(TO), *[Pass("request_body")] * 2))),
            (RequestBody(b"", True), passed("request_body")),
            (TRAILERS, passed("request_trailers")),
            (ANSWER, passed("response_headers")),
        ],
        TRACK,
        ends_in=State.RESPONDING,
    ),
    "streamed early, a piece is repeated before the decision": Transcript(
        [
            (EARLY, None),
            (LAST, decide(timer=Timer.SINCE_HEADERS)),
            (LAST, None),
            (ROUTE, Send((Continue(TO), *[Pass("request_body")] * 2))),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "streamed early with trailers, the response in full duplex": Transcript(
        [
            (head(STREAMED, DUPLEX, early=True), None),
            (TRAILERS, decide(b"", timer=Timer.SINCE_HEADERS)),
            (ROUTE, Send((Continue(TO), Pass("request_trailers")))),
            (ResponseBody(b"x", True), Send((Chunk("response_body", b"x", True),))),
        ],
        ends_in=State.RESPONDING,
    ),
    "streamed early, through a hop": Transcript(
        [
            (EARLY, None),
            (LAST, decide(timer=Timer.SINCE_HEADERS)),
            (ROUTE, Send((Continue(TO), Pass("request_body")))),
            (RequestBody(b"", True), passed("request_body")),
            (ResponseBody(b"x", True), passed("response_body")),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "streamed early needs no override": Transcript([(EARLY, None)], OVERRIDE, ends_in=State.BODY),
    "streamed": Transcript([(head(STREAMED), refuse(Reason.STREAMED_UNSUPPORTED, mode="STREAMED"))]),
    "streamed, overridden and tracked": Transcript(
        [
            (head(STREAMED, STREAMED), Send((AwaitBody(ModeOverride(NONE, sends_response=True)),))),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (ROUTE, Send((RouteBody(TO, clears_route=True),))),
            (ANSWER, passed("response_headers")),
            (END, Finish()),
        ],
        Policy(LIMIT, response_phase="track", allows_mode_override=True),
    ),
    "streamed, overridden and observed": Transcript(
        [(head(STREAMED, STREAMED), Send((AwaitBody(ModeOverride(STREAMED, sends_response=True)),)))],
        Policy(LIMIT, response_phase="observe", allows_mode_override=True),
        ends_in=State.BODY,
    ),
    "streamed, an override would be ignored": Transcript(
        [(head(STREAMED, DUPLEX), refuse(Reason.STREAMED_UNSUPPORTED, mode="STREAMED"))], OVERRIDE
    ),
    "streamed, the override was ignored: the length tells": Transcript(
        [
            (announced(3, STREAMED), Send((AwaitBody(ModeOverride(NONE, sends_response=False)),))),
            (MORE, refuse(Reason.STREAMED_UNSUPPORTED)),
        ],
        OVERRIDE,
    ),
    "streamed, the override was ignored, or trailers follow": Transcript(
        [
            (head(STREAMED), Send((AwaitBody(ModeOverride(NONE, sends_response=False)),))),
            (MORE, decide(b"{", BodyExtent.PARTIAL, Timer.SINCE_BODY)),
        ],
        OVERRIDE,
        ends_in=State.DECIDING,
    ),
    # The row BUFFERED_PARTIAL.
    "partial, whole": Transcript(
        [
            (head(PARTIAL), AWAIT),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (ROUTE, Finish((RouteBody(TO, clears_route=False),))),
        ]
    ),
    "partial, the beginning": Transcript(
        [
            (head(PARTIAL), AWAIT),
            (MORE, decide(b"{", BodyExtent.PARTIAL, Timer.SINCE_BODY)),
            (ROUTE, Finish((RouteBody(TO, clears_route=False),))),
        ]
    ),
    "partial, overridden": Transcript(
        [
            (head(PARTIAL), Send((AwaitBody(ModeOverride(NONE, sends_response=False)),))),
            (MORE, decide(b"{", BodyExtent.PARTIAL, Timer.SINCE_BODY)),
        ],
        OVERRIDE,
        ends_in=State.DECIDING,
    ),
    # Modes that cannot work.
    "a mode of later days": Transcript([(head(GRPC), refuse(Reason.MODE_UNSUPPORTED, mode="GRPC"))]),
    "a mode of later days, without a body": Transcript(
        [(head(GRPC, end=True), decide(b"", timer=Timer.SINCE_HEADERS))], ends_in=State.DECIDING
    ),
    "headers skipped, body first": Transcript([(LAST, UNSEEN_HEADERS)]),
    "headers skipped, trailers first": Transcript([(TRAILERS, UNSEEN_HEADERS)]),
    "headers skipped, response first": Transcript([(ANSWER, UNSEEN_HEADERS)]),
    # Observability mode: whatever comes, nothing is said.
    "observability": Transcript(
        [
            (WATCHED, Send(())),
            *((event, None) for event in (MORE, LAST, TRAILERS, ANSWER, ResponseBody(b"", True), ResponseTrailers())),
            (WATCHED, None),
            (LATE, None),
            (END, Finish()),
        ]
    ),
    # Limits.
    "exactly the limit": Transcript(
        [(OPEN, None), (RequestBody(b"x" * LIMIT, True), decide(b"x" * LIMIT))], ends_in=State.DECIDING
    ),
    "one byte over the limit": Transcript([(OPEN, None), (RequestBody(b"x" * (LIMIT + 1), True), TOO_LARGE)]),
    "over the limit: the rest is read first": Transcript(
        [
            (OPEN, None),
            (RequestBody(b"x" * LIMIT, False), None),
            (RequestBody(b"x", False), None),
            (RequestBody(b"x", False), None),
            (RequestBody(b"x", True), TOO_LARGE),
            (LAST, None),
        ]
    ),
    "over the limit, trailers end the rest": Transcript(
        [(OPEN, None), (RequestBody(b"x" * (LIMIT + 1), False), None), (TRAILERS, TOO_LARGE)]
    ),
    "over the limit, and then slow": Transcript(
        [(OPEN, None), (RequestBody(b"x" * (LIMIT + 1), False), None), (LATE, TOO_LARGE)]
    ),
    "over the limit, and then gone": Transcript(
        [(OPEN, None), (RequestBody(b"x" * (LIMIT + 1), False), None), (END, CUT_OFF)]
    ),
    # Another name for the model.
    "renamed, full duplex": Transcript([(OPEN, None), (LAST, decide()), (RENAMED, Finish((Replace(TO, b"{phi"),)))]),
    "renamed, full duplex, trailers end the body": Transcript(
        [
            (OPEN, None),
            (RequestBody(b"{}", False), None),
            (TRAILERS, decide()),
            (RENAMED, Finish((Replace(TO, b"{phi"),))),
        ]
    ),
    "renamed and tracked": Transcript(
        [(head(DUPLEX), None), (LAST, decide()), (RENAMED, Send((Replace(TO, b"{phi"),)))],
        TRACK,
        ends_in=State.RESPONDING,
    ),
    "renamed through a hop": Transcript(
        [(OPEN, None), (LAST, decide()), (RENAMED, Send((Continue(TO), Chunk("request_body", b"{phi", True))))],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "renamed through a hop, request trailers": Transcript(
        [
            (OPEN, None),
            (RequestBody(b"{}", False), None),
            (TRAILERS, decide()),
            (RENAMED, Send((Continue(TO), Chunk("request_body", b"{phi", False), Pass("request_trailers")))),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    "renamed, buffered": Transcript(
        [
            (head(BUFFERED), AWAIT),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (RENAMED, Finish((RouteBody(TO, clears_route=True, body=b"{phi"),))),
        ]
    ),
    "renamed, buffered, and the headers say a length": Transcript(
        [
            (announced(2, BUFFERED), AWAIT),
            (LAST, Decide(announced(2, BUFFERED).head, b"{}", timer=Timer.SINCE_BODY)),
            (RENAMED, Finish((RouteBody(TO, clears_route=True, body=b"{phi", says_length=True),))),
        ]
    ),
    "renamed, buffered partial, all of it": Transcript(
        [
            (head(PARTIAL), AWAIT),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (RENAMED, Finish((RouteBody(TO, clears_route=False, body=b"{phi"),))),
        ]
    ),
    "renamed, overridden": Transcript(
        [
            (head(NONE, STREAMED), Send((AwaitBody(ModeOverride(NONE, sends_response=False)),))),
            (LAST, decide(timer=Timer.SINCE_BODY)),
            (RENAMED, Finish((RouteBody(TO, clears_route=True, body=b"{phi"),))),
        ],
        OVERRIDE,
    ),
    "renamed, streamed early": Transcript(
        [(EARLY, None), (LAST, decide(timer=Timer.SINCE_HEADERS)), (RENAMED, Finish((Replace(TO, b"{phi"),)))]
    ),
    "renamed, streamed early with trailers: the first piece is all of it": Transcript(
        [
            (EARLY, None),
            (MORE, None),
            (RequestBody(b"}", False), None),
            (TRAILERS, decide(timer=Timer.SINCE_HEADERS)),
            (
                RENAMED,
                Finish(
                    (
                        Continue(TO, drops_length=True),
                        RenewPiece(b"{phi"),
                        RenewPiece(b""),
                        Pass("request_trailers"),
                    )
                ),
            ),
        ]
    ),
    "renamed, streamed early through a hop, and a piece is late": Transcript(
        [
            (announced(2, STREAMED, early=True), None),
            (MORE, None),
            (RequestBody(b"}", False), Decide(announced(2, STREAMED).head, b"{}", timer=Timer.SINCE_HEADERS)),
            (RENAMED, Send((Continue(TO, drops_length=True), RenewPiece(b"{phi"), RenewPiece(b"")))),
            (RequestBody(b"", True), passed("request_body")),
        ],
        is_direct=False,
        ends_in=State.RESPONDING,
    ),
    # Endings.
    "reject": Transcript([(OPEN, None), (LAST, decide()), (REFUSED, Finish((Immediate(REFUSED),)))]),
    "reply": Transcript([(CLOSED, decide(b"")), (REPLY, Finish((Immediate(REPLY),)))]),
    "reject through a hop": Transcript(
        [(CLOSED, decide(b"")), (REFUSED, Finish((Immediate(REFUSED),)))], is_direct=False
    ),
    "end of input at once": Transcript([(END, CUT_OFF)]),
    "end of input after headers": Transcript([(OPEN, None), (END, CUT_OFF)]),
    "end of input amid the body": Transcript([(OPEN, None), (MORE, None), (END, CUT_OFF)]),
    "end of input before the buffered body": Transcript([(head(BUFFERED), AWAIT), (END, CUT_OFF)]),
    "end of input before the decision": Transcript([(CLOSED, decide(b"")), (END, CUT_OFF)]),
    "deadline before headers": Transcript([(LATE, TIMED_OUT)]),
    "deadline amid the body": Transcript([(OPEN, None), (LATE, TIMED_OUT)]),
    "deadline before the buffered body": Transcript([(head(BUFFERED), AWAIT), (LATE, TIMED_OUT)]),
    "deadline before the decision": Transcript([(CLOSED, decide(b"")), (LATE, TIMED_OUT)]),
    "headers twice": Transcript([(OPEN, None), (OPEN, out_of_order("request_headers", "BODY"))]),
    "headers twice, when answered": Transcript(
        [(CLOSED, decide(b"")), (ROUTE, Send((Continue(TO),))), (OPEN, out_of_order("request_headers", "RESPONDING"))],
        TRACK,
    ),
    "the gateway answers amid the body": Transcript(
        [
            (OPEN, None),
            (MORE, None),
            (ANSWER, passed("response_headers")),
            (ResponseBody(b"x", True), Send((Chunk("response_body", b"x", True),))),
            (END, Finish()),
        ]
    ),
    "the gateway answers before the buffered body": Transcript(
        [(head(BUFFERED), AWAIT), (ANSWER, passed("response_headers")), (LATE, None), (END, Finish())]
    ),
    "the gateway answers what is over the limit": Transcript(
        [(OPEN, None), (RequestBody(b"x" * (LIMIT + 1), False), None), (ANSWER, passed("response_headers"))],
        ends_in=State.RESPONDING,
    ),
    "response body before the decision": Transcript(
        [(CLOSED, decide(b"")), (ResponseBody(b"", True), out_of_order("response_body", "DECIDING"))]
    ),
    "an unknown message": Transcript(
        [(Unknown("?"), None), (OPEN, None), (Unknown("?"), None), (RequestBody(b"", True), decide(b""))],
        ends_in=State.DECIDING,
    ),
}


@pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS)
def test_transcript(transcript: Transcript) -> None:
    budget = HeldBytes(1000)
    stream = Stream(policy=transcript.policy, budget=budget, is_direct=transcript.is_direct)
    assert [play(stream, step) for step, _ in transcript.steps] == [command for _, command in transcript.steps]
    assert stream.state is transcript.ends_in
    stream.close()
    assert budget.held_bytes == 0


@pytest.mark.parametrize("events", [[], [OPEN], [CLOSED, EndOfInput()]], ids=["at once", "amid the body", "when done"])
def test_a_decision_nobody_asked_for_is_an_error(events: list[Event]) -> None:
    stream = Stream(policy=DUPLEX_POLICY, budget=HeldBytes(1000), is_direct=True)
    for event in events:
        stream.receive(event)
    with pytest.raises(RuntimeError):
        stream.decided(ROUTE)


def test_the_budget_of_all_streams_refuses_what_passes_it_and_gets_everything_back() -> None:
    budget = HeldBytes(12)
    first, second = (Stream(policy=DUPLEX_POLICY, budget=budget, is_direct=True) for _ in range(2))
    for stream in (first, second):
        stream.receive(OPEN)
    assert first.receive(RequestBody(b"x" * 8, False)) is None
    assert second.receive(RequestBody(b"x" * 4, False)) is None
    assert budget.held_bytes == 12
    assert second.receive(RequestBody(b"x", True)) == refuse(Reason.TOO_MUCH_HELD)
    assert budget.held_bytes == 8
    assert isinstance(first.receive(RequestBody(b"xx", True)), Decide)
    first.close()
    first.close()
    assert budget.held_bytes == 0


def test_a_long_body_goes_back_in_pieces_that_every_data_plane_takes() -> None:
    body = bytes(range(256)) * 1000
    stream = Stream(policy=Policy(1 << 20), budget=HeldBytes(1 << 20), is_direct=False)
    stream.receive(OPEN)
    stream.receive(RequestBody(body, True))
    command = stream.decided(ROUTE)
    assert isinstance(command, Send)
    chunks = [answer for answer in command.answers if isinstance(answer, Chunk)]
    assert b"".join(chunk.piece for chunk in chunks) == body
    assert [len(chunk.piece) for chunk in chunks] == [CHUNK_BYTES] * 4 + [len(body) - 4 * CHUNK_BYTES]
    assert [chunk.end_of_stream for chunk in chunks] == [False] * 4 + [True]


def test_the_body_is_given_back_when_the_answer_is_out_not_when_the_response_ends() -> None:
    budget = HeldBytes(100)
    stream = Stream(policy=TRACK, budget=budget, is_direct=True)
    for step in (head(DUPLEX), RequestBody(b"x" * LIMIT, True), ROUTE):
        play(stream, step)
    assert (budget.held_bytes, stream._body) == (LIMIT, b""), "it counts, but the answer alone carries it"
    stream.drop_body()
    assert (budget.held_bytes, stream.state) == (0, State.RESPONDING)


def test_a_body_of_single_bytes_is_not_kept_as_an_object_for_each() -> None:
    body = bytes(range(256)) * 64
    stream = Stream(policy=Policy(1 << 20), budget=HeldBytes(1 << 20), is_direct=True)
    stream.receive(OPEN)
    stream.receive(RequestBody(b"x" * SMALL_BYTES, False))
    for byte in body:
        stream.receive(RequestBody(bytes([byte]), False))
    stream.receive(RequestBody(b"y" * SMALL_BYTES, False))
    assert len(stream._pieces) == 3
    assert stream.receive(RequestBody(b"", True)) == decide(b"x" * SMALL_BYTES + body + b"y" * SMALL_BYTES)


MODES = st.builds(Modes, st.sampled_from(BodyMode), st.sampled_from(BodyMode), st.booleans())
STEPS = st.one_of(
    st.builds(RequestHeaders, st.just(HEAD), st.booleans(), st.none() | MODES, st.sampled_from([False] * 5 + [True])),
    st.builds(RequestBody, chunk=st.binary(max_size=6), end_of_stream=st.booleans()),
    st.builds(ResponseBody, chunk=st.binary(max_size=6), end_of_stream=st.booleans()),
    st.sampled_from([TRAILERS, END, LATE, Unknown("?"), ANSWER, ResponseTrailers()]),
    st.sampled_from([ROUTE, REFUSED, REPLY]),
)
POLICIES = st.builds(
    Policy,
    st.just(LIMIT),
    st.sampled_from(BodyMode),
    st.sampled_from(BodyMode),
    st.sampled_from(["auto", "detach", "track", "observe"]),
    st.sampled_from(["auto", "whole", "chunks"]),
    st.booleans(),
)


@given(st.lists(STEPS, max_size=30), POLICIES, st.booleans(), st.integers(0, 20))
def test_any_walk_answers_once_holds_little_and_gives_all_back(
    walk: list[Event | Route | Reject | Reply], policy: Policy, is_direct: bool, budget_bytes: int
) -> None:
    """No reachable state without an answer owed or given; no exception; what is held stays within both limits."""
    budget = HeldBytes(budget_bytes)
    stream = Stream(policy=policy, budget=budget, is_direct=is_direct)
    decisions = bodies = 0
    for step in walk:
        before = stream.state
        if isinstance(step, Route | Reject | Reply) and before is not State.DECIDING:
            continue
        bodies += isinstance(step, RequestBody)
        command = play(stream, step)
        decisions += isinstance(command, Decide)
        assert decisions <= 1
        assert isinstance(command, Decide) == (stream.state is State.DECIDING and before is not State.DECIDING)
        assert isinstance(command, Finish | Abort) == (stream.state is State.DONE and before is not State.DONE)
        if before in ANSWERED:
            assert stream.state in ANSWERED, "an answered stream owes no second answer"
        if before is State.WATCHING:
            assert not isinstance(command, Send | Abort), "nothing may be said, least of all an error"
        if isinstance(command, Send | Finish):
            assert sum(isinstance(answer, Immediate) for answer in command.answers) <= 1
            sent = b"".join(bytes(a.piece) for a in command.answers if isinstance(a, Chunk))
            assert len(sent) <= LIMIT
        assert budget.held_bytes <= min(LIMIT, budget_bytes)
        assert len(stream._pieces) <= 2, "pieces below SMALL_BYTES are put together"
    if stream.state not in ANSWERED:
        assert isinstance(stream.receive(LATE), Finish)
    elif stream.state is not State.DONE:
        assert stream.receive(LATE) is None
        assert stream.receive(END) == Finish()
    assert stream.receive(OPEN) is None
    stream.close()
    assert budget.held_bytes == 0


@given(st.lists(st.binary(max_size=5), max_size=8), st.booleans(), st.booleans(), st.data())
def test_what_is_sent_on_is_what_came_but_for_an_edit(
    pieces: list[bytes], has_trailers: bool, is_direct: bool, data: st.DataObject
) -> None:
    """However it is cut, and whichever way it goes back."""
    body = b"".join(pieces)
    start, end = sorted(data.draw(st.lists(st.integers(0, len(body)), min_size=2, max_size=2)))
    edit = data.draw(st.none() | st.builds(Edit, st.just(start), st.just(end), st.binary(max_size=5)))
    sent_on = body if edit is None else body[:start] + edit.replacement + body[end:]
    stream = Stream(policy=Policy(1000), budget=HeldBytes(1000), is_direct=is_direct)
    stream.receive(OPEN)
    for piece in pieces:
        stream.receive(RequestBody(piece, False))
    asked = stream.receive(TRAILERS if has_trailers else RequestBody(b"", True))
    assert asked == decide(body)
    command = stream.decided(replace(ROUTE, edit=edit))
    assert isinstance(command, Finish if is_direct else Send)
    sent = b""
    for answer in command.answers:
        if isinstance(answer, Chunk):
            sent += answer.piece
        elif isinstance(answer, Replace):
            sent += answer.body
    assert sent == sent_on
    ends = [answer for answer in command.answers if isinstance(answer, Chunk) and answer.end_of_stream]
    assert len(ends) == (not has_trailers and not is_direct)
