"""What can come on a stream, read off a tape: messages of Envoy's as its wire has them, decisions, ends."""

from collections.abc import Callable
from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue, Metadata
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as Mode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProtocolConfiguration,
)
from envoy_data_plane.google.protobuf import Struct
from tests.fuzz.tape import Tape

from extproc.protocol.events import DeadlineExpired, EndOfInput
from extproc.values.decision import Edit, Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject

FIRST, SECOND = Endpoint("a", "a", "127.0.0.1:1"), Endpoint("b", "b", "[::1]:2")
Step = bytes | Route | Reject | Reply | EndOfInput | DeadlineExpired
"""Wire bytes, or what comes from elsewhere: a decision, an end."""

HEADERS = (
    (),
    ((":method", b"POST"), (":path", b"/v1/chat/completions"), ("content-type", b"application/json")),
    ((":method", b"GET"), (":path", b"/v1/models/a%2Fb?c"), ("cookie", b"secret")),
    ((":method", b"POST"), ("content-type", b"multipart/form-data; boundary=b"), ("x-gateway-model-name", b"phi")),
    ((":method", b"\xff"), (":path", b"\xf0\x9f\x98"), ("content-encoding", b"gzip"), ("content-encoding", b"br")),
    ((":method", b"POST"), (":path", b"/v1/completions"), ("content-length", b"4")),
)
PIECES = (b"", b"{", b'{"model":"phi"}', b'{"model":"', b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n')
SUBSETS: tuple[dict[str, list[object]] | None, ...] = (
    None,
    {},
    {"x-gateway-destination-endpoint-subset": ["10.0.0.1:80", 5, "::1"]},
)
_UNTOLD, _LATER = 6, 7


def _header_map(headers: tuple[tuple[str, bytes], ...]) -> HeaderMap:
    return HeaderMap(headers=[HeaderValue(key=key, raw_value=value) for key, value in headers])


@lru_cache(maxsize=10_000)
def request_headers(request: int, response: int, flags: int, headers: int, subset: int) -> bytes:
    """The first message. `request` and `response` are body modes, beside them one not told and one of later days."""
    config = None
    if request % 8 != _UNTOLD:
        config = ProtocolConfiguration(
            request_body_mode=Mode.NONE if request % 8 == _LATER else Mode(request % 8),
            response_body_mode=Mode(response % 6),
            send_body_without_waiting_for_header_response=bool(flags & 1),
        )
    hint = SUBSETS[subset % len(SUBSETS)]
    message = ProcessingRequest(
        request_headers=HttpHeaders(
            headers=_header_map(HEADERS[headers % len(HEADERS)]), end_of_stream=bool(flags & 2)
        ),
        metadata_context=None
        if hint is None
        else Metadata(filter_metadata={"envoy.lb.subset_hint": Struct.from_dict({**hint})}),
        protocol_config=config,
        observability_mode=flags & 12 == 12,
    )
    later = b"\x5a\x02\x08\x63" if request % 8 == _LATER else b""  # protocol_config { request_body_mode: 99 }
    return bytes(message) + later


def _request_headers(tape: Tape) -> bytes:
    return request_headers(*(tape.number() for _ in range(5)))


def _body(tape: Tape) -> HttpBody:
    kind = tape.number() % (len(PIECES) + 1)
    piece = PIECES[kind] if kind < len(PIECES) else tape.piece()
    return HttpBody(body=tape.repeated(piece), end_of_stream=tape.flag())


def _response_headers(tape: Tape) -> bytes:
    status = tape.choice([b"200", b"503", b"20", b"\xb200", b""])
    served = tape.choice([None, "10.0.0.1:80", "[2001:DB8:0::1]:80", "9" * 5000 + ":1", "1.1.1.1:" + "9" * 5000])
    headers = ((":status", status), ("content-type", b"text/event-stream"))
    attributes = (
        {} if served is None else {"envoy.filters.http.ext_proc": Struct.from_dict({"upstream.address": served})}
    )
    return bytes(
        ProcessingRequest(
            response_headers=HttpHeaders(headers=_header_map(headers), end_of_stream=tape.flag()),
            attributes=attributes,
        )
    )


def _reject(tape: Tape) -> Reject:
    return Reject(tape.choice(list(Reason)), dict.fromkeys(DETAILS, tape.piece().decode("utf-8", "surrogateescape")))


def _edit(tape: Tape) -> Edit | None:
    if not tape.flag():
        return None
    start = tape.number() % 16
    return Edit(start, start + tape.number() % 16, tape.piece())


DETAILS = ("format", "limit", "encoding", "model", "available", "timeout", "mode")
STEPS: dict[str, Callable[[Tape], Step]] = {
    "request headers": _request_headers,
    "request body": lambda tape: bytes(ProcessingRequest(request_body=_body(tape))),
    "request trailers": lambda _: bytes(ProcessingRequest(request_trailers=HttpTrailers())),
    "route": lambda tape: Route((FIRST, SECOND) if tape.flag() else (FIRST,), Scores(), edit=_edit(tape)),
    "response headers": _response_headers,
    "response body": lambda tape: bytes(ProcessingRequest(response_body=_body(tape))),
    "response trailers": lambda _: bytes(ProcessingRequest(response_trailers=HttpTrailers())),
    "end": lambda _: EndOfInput(),
    "late": lambda _: DeadlineExpired("10s"),
    "reject": _reject,
    "reply": lambda tape: Reply(tape.choice([200, 404]), tape.piece()),
    "any bytes": lambda tape: tape.piece(),
    "no kind": lambda _: bytes(ProcessingRequest(observability_mode=True)),
}
NAMES = tuple(STEPS)
CHANGED = 224
"""Of the 256 numbers that choose a step, those from here on choose one that is changed."""


def read_step(tape: Tape) -> Step:
    """The next step; of a message every eighth or so is changed in one place, or in several."""
    choice = tape.number()
    step = STEPS[NAMES[choice % 32 % len(NAMES)]](tape)
    if isinstance(step, bytes) and choice >= CHANGED:
        for _ in range(1 + tape.number() % 4):
            step = tape.mutated(step)
    return step
