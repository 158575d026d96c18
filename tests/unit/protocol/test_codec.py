"""protocol/codec: read and written against envoy-data-plane, a codec that shares nothing with ours."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue, Metadata
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as Mode
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeHeaderSendMode as Header
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    CommonResponseResponseStatus,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from envoy_data_plane.google.protobuf import Struct
from hypothesis import given
from hypothesis import strategies as st

from extproc.protocol.codec import HEADERS_READ, LARGE_BYTES, METHOD_NAME, SERVICE_NAME, decode, encode
from extproc.protocol.commands import (
    Answer,
    AwaitBody,
    Chunk,
    Continue,
    Immediate,
    ModeOverride,
    Pass,
    PassKind,
    RenewPiece,
    Replace,
    RouteBody,
)
from extproc.protocol.events import (
    BodyMode,
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
from extproc.values.decision import Reply
from extproc.values.refusal import REFUSALS, Reason, Reject
from extproc.values.request import RequestHead

DESTINATION = "x-gateway-destination-endpoint"
SUBSET = "x-gateway-destination-endpoint-subset"


def headers_message(
    *headers: HeaderValue,
    end_of_stream: bool = False,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
    config: ProtocolConfiguration | None = None,
) -> ProcessingRequest:
    return ProcessingRequest(
        request_headers=HttpHeaders(headers=HeaderMap(headers=[*headers]), end_of_stream=end_of_stream),
        metadata_context=None
        if metadata is None
        else Metadata(filter_metadata={name: Struct.from_dict({**fields}) for name, fields in metadata.items()}),
        protocol_config=config,
    )


def raw(key: str, value: bytes) -> HeaderValue:
    return HeaderValue(key=key, raw_value=value)


def read_headers(message: ProcessingRequest) -> RequestHeaders:
    event = decode(bytes(message))
    assert isinstance(event, RequestHeaders)
    return event


@pytest.mark.parametrize(
    ("message", "event"),
    [
        pytest.param(
            ProcessingRequest(request_body=HttpBody(body=b"\x00\xff", end_of_stream=True)),
            RequestBody(b"\x00\xff", end_of_stream=True),
            id="the last piece of a body",
        ),
        pytest.param(
            ProcessingRequest(request_body=HttpBody(body=b"x")), RequestBody(b"x", end_of_stream=False), id="a piece"
        ),
        pytest.param(ProcessingRequest(request_body=HttpBody()), RequestBody(b"", False), id="an empty piece"),
        pytest.param(
            ProcessingRequest(request_trailers=HttpTrailers(trailers=HeaderMap(headers=[raw("a", b"b")]))),
            RequestTrailers(),
            id="trailers",
        ),
        pytest.param(
            ProcessingRequest(response_headers=HttpHeaders()),
            ResponseHeaders(0, "", None, False),
            id="response headers without any",
        ),
        pytest.param(
            ProcessingRequest(
                response_headers=HttpHeaders(
                    headers=HeaderMap(
                        headers=[raw(":status", b"404"), raw("status", b"200"), raw("content-type", b"a/b")]
                    ),
                    end_of_stream=True,
                )
            ),
            ResponseHeaders(404, "a/b", None, True),
            id="response headers",
        ),
        pytest.param(ProcessingRequest(response_body=HttpBody(body=b"x")), ResponseBody(b"x", False), id="its body"),
        pytest.param(
            ProcessingRequest(response_body=HttpBody(end_of_stream=True)), ResponseBody(b"", True), id="its body's end"
        ),
        pytest.param(ProcessingRequest(response_trailers=HttpTrailers()), ResponseTrailers(), id="its trailers"),
        pytest.param(
            ProcessingRequest(request_headers=HttpHeaders(), observability_mode=True),
            RequestHeaders(RequestHead("", "", {}), False, None, is_observability=True),
            id="observability",
        ),
        pytest.param(ProcessingRequest(), Unknown("a ProcessingRequest of no known kind"), id="no kind"),
        pytest.param(
            ProcessingRequest(observability_mode=True),
            Unknown("a ProcessingRequest of no known kind"),
            id="a flag only",
        ),
        pytest.param(
            headers_message(raw(":method", b"GET"), raw(":path", b"/x?y"), end_of_stream=True),
            RequestHeaders(RequestHead("GET", "/x?y", {":method": "GET", ":path": "/x?y"}), end_of_stream=True),
            id="headers",
        ),
        pytest.param(headers_message(), RequestHeaders(RequestHead("", "", {}), False), id="headers without any"),
    ],
)
def test_each_message_is_one_event(message: ProcessingRequest, event: Event) -> None:
    assert decode(bytes(message)) == event


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        pytest.param([raw(":path", b"b")], {":path": "b"}, id="raw_value"),
        pytest.param([HeaderValue(key=":path", value="b")], {":path": "b"}, id="value, as older Envoys fill it"),
        pytest.param([HeaderValue(key=":path", value="x", raw_value=b"b")], {":path": "b"}, id="both: raw_value"),
        pytest.param([raw(":path", b"")], {":path": ""}, id="neither"),
        pytest.param(
            [raw("content-encoding", b"1"), raw(":path", b"2"), raw("content-encoding", b"3")],
            {"content-encoding": "1,3", ":path": "2"},
            id="repeated",
        ),
        pytest.param([raw(":path", "é".encode())], {":path": "é"}, id="UTF-8"),
        pytest.param([raw(":path", b"\xff")], {":path": "\udcff"}, id="no UTF-8"),
        pytest.param([raw("", b"b"), raw("cookie", b"secret"), raw("authorization", b"s")], {}, id="read by nobody"),
        pytest.param([raw(key, b"b") for key in sorted(HEADERS_READ)], dict.fromkeys(HEADERS_READ, "b"), id="all"),
    ],
)
def test_headers(headers: list[HeaderValue], read: dict[str, str]) -> None:
    assert read_headers(headers_message(*headers)).head.headers == read


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param(ProtocolConfiguration(), Modes(BodyMode.NONE, BodyMode.NONE), id="present: NONE is its zero"),
        *(
            pytest.param(
                ProtocolConfiguration(request_body_mode=mode, response_body_mode=Mode.STREAMED),
                Modes(BodyMode[mode.name], BodyMode.STREAMED),
                id=mode.name,
            )
            for mode in Mode
            if mode.name is not None
        ),
    ],
)
def test_modes(config: ProtocolConfiguration | None, modes: Modes | None) -> None:
    assert read_headers(headers_message(config=config)).modes == modes


def test_a_mode_of_a_later_envoy_is_none_that_works() -> None:
    later = bytes(headers_message()) + b"\x5a\x02\x08\x63"  # protocol_config { request_body_mode: 99 }
    event = decode(later)
    assert isinstance(event, RequestHeaders)
    assert event.modes == Modes(BodyMode.GRPC, BodyMode.NONE)


def test_a_body_that_comes_early_is_told() -> None:
    config = ProtocolConfiguration(request_body_mode=Mode.STREAMED, send_body_without_waiting_for_header_response=True)
    assert read_headers(headers_message(config=config)).modes == Modes(BodyMode.STREAMED, BodyMode.NONE, True)


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"abc", "²00".encode(), b"-12", b"\xff\xff\xff"])
def test_a_status_that_is_none_is_zero(status: bytes) -> None:
    message = ProcessingRequest(response_headers=HttpHeaders(headers=HeaderMap(headers=[raw(":status", status)])))
    event = decode(bytes(message))
    assert isinstance(event, ResponseHeaders)
    assert event.status == 0


EXT_PROC = "envoy.filters.http.ext_proc"
SERVED = "x-gateway-destination-endpoint-served"


@pytest.mark.parametrize(
    ("attributes", "metadata", "served_by"),
    [
        pytest.param({}, {}, None, id="not told"),
        pytest.param({EXT_PROC: {"upstream.address": "10.0.0.1:80"}}, {}, "10.0.0.1:80", id="an attribute"),
        pytest.param({EXT_PROC: {"upstream.address": "[2001:DB8:0::1]:80"}}, {}, "[2001:db8::1]:80", id="IPv6"),
        pytest.param({EXT_PROC: {"source.address": "10.0.0.1:80"}}, {}, None, id="another attribute"),
        pytest.param({"other": {"upstream.address": "10.0.0.1:80"}}, {}, None, id="of another filter"),
        pytest.param({EXT_PROC: {"upstream.address": 5}}, {}, None, id="a number"),
        pytest.param({}, {"envoy.lb": {SERVED: "10.0.0.2:80"}}, "10.0.0.2:80", id="metadata"),
        pytest.param({}, {"envoy.lb": {DESTINATION: "10.0.0.2:80"}}, None, id="where it was meant to go"),
        pytest.param(
            {EXT_PROC: {"upstream.address": "10.0.0.1:80"}},
            {"envoy.lb": {SERVED: "10.0.0.2:80"}},
            "10.0.0.1:80",
            id="both: what Envoy itself says",
        ),
    ],
)
def test_who_served(
    attributes: dict[str, dict[str, Any]], metadata: dict[str, dict[str, Any]], served_by: str | None
) -> None:
    message = ProcessingRequest(
        response_headers=HttpHeaders(),
        attributes={name: Struct.from_dict(fields) for name, fields in attributes.items()},
        metadata_context=Metadata(filter_metadata={name: Struct.from_dict(f) for name, f in metadata.items()}),
    )
    event = decode(bytes(message))
    assert isinstance(event, ResponseHeaders)
    assert event.served_by == served_by


@pytest.mark.parametrize(
    ("metadata", "subset"),
    [
        pytest.param(None, None, id="no metadata"),
        pytest.param({"other": {SUBSET: ["10.0.0.1:80"]}}, None, id="another namespace"),
        pytest.param({"envoy.lb": {SUBSET: ["10.0.0.1:80"]}}, None, id="the destination's namespace"),
        pytest.param({"envoy.lb.subset_hint": {}}, None, id="no key"),
        pytest.param({"envoy.lb.subset_hint": {"other": "10.0.0.1:80"}}, None, id="another key"),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: []}}, (), id="an empty list"),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: ""}}, (), id="an empty string"),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: " , "}}, (), id="commas only"),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: None}}, (), id="null"),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: 5}}, (), id="a number"),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: [5, "10.0.0.1:80"]}}, ("10.0.0.1:80",), id="a number in it"),
        pytest.param(
            {"envoy.lb.subset_hint": {SUBSET: ["10.0.0.2:80", "10.0.0.1:80"]}},
            ("10.0.0.2:80", "10.0.0.1:80"),
            id="a list",
        ),
        pytest.param(
            {"envoy.lb.subset_hint": {SUBSET: "10.0.0.2:80, 10.0.0.1:80"}},
            ("10.0.0.2:80", "10.0.0.1:80"),
            id="a string",
        ),
        pytest.param(
            {"envoy.lb.subset_hint": {SUBSET: ["[2001:DB8:0::1]:80"]}}, ("[2001:db8::1]:80",), id="IPv6, another form"
        ),
        pytest.param({"envoy.lb.subset_hint": {SUBSET: ["vllm-0:80"]}}, ("vllm-0:80",), id="a name matches nothing"),
    ],
)
def test_subset_hint(metadata: dict[str, dict[str, Any]] | None, subset: tuple[str, ...] | None) -> None:
    assert read_headers(headers_message(metadata=metadata)).head.subset == subset


@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    assert decode(data).kind


WHOLE = bytes(
    headers_message(
        raw(":path", b"/v1"),
        HeaderValue(key="a", value="b"),
        metadata={"envoy.lb.subset_hint": {SUBSET: ["10.0.0.1:80"]}},
        config=ProtocolConfiguration(request_body_mode=Mode.FULL_DUPLEX_STREAMED),
    )
)


@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, len(WHOLE)),
)
def test_no_damaged_message_raises(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(WHOLE)
    for index, byte in changes:
        data[index] = byte
    assert decode(bytes(data[:cut])).kind
    assert decode(bytes(data)).kind


@pytest.mark.parametrize(
    "data", [b"\x12", b"\xff\xff", b"\x12\x04\x0a\x02\x0a\xff"], ids=["cut", "no tag", "no length"]
)
def test_garbage_is_unknown(data: bytes) -> None:
    assert decode(data) == Unknown("not a ProcessingRequest")


@given(body=st.binary(max_size=200), end=st.booleans())
def test_a_body_arrives_byte_for_byte(body: bytes, end: bool) -> None:
    message = ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=end))
    assert decode(bytes(message)) == RequestBody(body, end)


def test_further_headers_are_read_where_they_are_asked_for() -> None:
    message = bytes(headers_message(raw(":method", b"POST"), raw("x-session-id", b"s"), raw("x-other", b"o")))
    asked = decode(message, HEADERS_READ | {"x-session-id"})
    assert isinstance(asked, RequestHeaders)
    assert asked.head.headers == {":method": "POST", "x-session-id": "s"}
    plain = decode(message)
    assert isinstance(plain, RequestHeaders)
    assert plain.head.headers == {":method": "POST"}


LARGE = bytes(range(256)) * (LARGE_BYTES // 256) + b"end"


@pytest.mark.parametrize("end", [True, False])
def test_a_large_piece_arrives_byte_for_byte(end: bool) -> None:
    message = ProcessingRequest(request_body=HttpBody(body=LARGE, end_of_stream=end))
    assert decode(bytes(message)) == RequestBody(LARGE, end)
    message.metadata_context = Metadata(filter_metadata={"x": Struct.from_dict({"y": "z"})})
    assert decode(bytes(message)) == RequestBody(LARGE, end)


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (bytes(ProcessingRequest(response_body=HttpBody(body=LARGE))), ResponseBody(LARGE, False)),
        (bytes(ProcessingRequest(request_body=HttpBody(body=LARGE)))[:-1], Unknown("not a ProcessingRequest")),
        (bytes(ProcessingRequest(request_body=HttpBody(body=LARGE))) + b"\xff", Unknown("not a ProcessingRequest")),
        (
            bytes(ProcessingRequest(request_body=HttpBody(body=LARGE)))
            + bytes(ProcessingRequest(response_body=HttpBody(body=b"x"))),
            ResponseBody(b"x", False),
        ),
        (
            bytes(ProcessingRequest(request_body=HttpBody(body=LARGE)))
            + bytes(ProcessingRequest(request_body=HttpBody(body=b"x", end_of_stream=True))),
            RequestBody(b"x", True),
        ),
        (b"\x22\xff\xff\xff\xff\xff\xff" + LARGE, Unknown("not a ProcessingRequest")),
        (b"\x22" * (LARGE_BYTES + 2), Unknown("not a ProcessingRequest")),
    ],
    ids=["of a response", "cut off", "damaged behind", "another kind behind", "twice", "no length", "nonsense"],
)
def test_any_other_large_message_is_read_as_ever(data: bytes, event: Event) -> None:
    assert decode(data) == event


def written(answer: Answer) -> ProcessingResponse:
    return ProcessingResponse.parse(encode(answer))


def headers_of(mutation: Any) -> dict[str, str]:
    """The headers that a mutation sets. Each is given as bytes and overwrites: no action is set, as Envoy wants it."""
    for option in mutation.set_headers:
        assert option.header.value == ""
        assert option.append is None
        assert not option.keep_empty_value
        assert option.append_action == 0
    assert mutation.remove_headers == []
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


@pytest.mark.parametrize("destination", ["10.0.0.1:8000", "10.0.0.1:8000,10.0.0.2:8000", "[2001:db8::1]:8000"])
@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b'{"model":"phi"}\x00\xff',
        *(b"x" * (size + more) for size in (100, 1 << 14, 1 << 21) for more in range(28)),
    ],
    ids=lambda body: f"{len(body)} B" if body else None,
)
def test_a_route_names_its_destination_in_header_and_metadata(destination: str, body: bytes | None) -> None:
    response = written(Continue(destination) if body is None else Replace(destination, body))
    assert response.request_headers is not None
    common = response.request_headers.response
    assert common is not None
    assert common.clear_route_cache
    assert headers_of(common.header_mutation) == {DESTINATION: destination}
    assert response.dynamic_metadata is not None
    assert response.dynamic_metadata.to_dict() == {"envoy.lb": {DESTINATION: destination}}
    if body is None:
        assert common.status is CommonResponseResponseStatus.CONTINUE
        assert common.body_mutation is None
    else:
        assert common.status is CommonResponseResponseStatus.CONTINUE_AND_REPLACE
        assert common.body_mutation is not None
        assert common.body_mutation.body == body, "also an empty body is said to be the body"


@pytest.mark.parametrize("size", [0, 1, *range(90, 130), *range(16_340, 16_390), 1 << 21])
def test_a_body_of_any_length_is_framed(size: int) -> None:
    """Around the lengths from which on a length takes a byte more, of the body and of each message around it."""
    body = b"x" * size
    response = written(Replace("10.0.0.1:80", body))
    assert response.request_headers is not None
    assert response.request_headers.response is not None
    assert response.request_headers.response.body_mutation is not None
    assert response.request_headers.response.body_mutation.body == body


@pytest.mark.parametrize("clears_route", [True, False])
def test_a_route_by_the_body_stands_in_the_answer_to_the_body(clears_route: bool) -> None:
    response = written(RouteBody("10.0.0.1:80", clears_route))
    assert response.request_headers is None
    assert response.request_body is not None
    common = response.request_body.response
    assert common is not None
    assert (common.clear_route_cache, common.body_mutation) == (clears_route, None)
    assert headers_of(common.header_mutation) == {DESTINATION: "10.0.0.1:80"}
    assert response.dynamic_metadata is not None
    assert response.dynamic_metadata.to_dict() == {"envoy.lb": {DESTINATION: "10.0.0.1:80"}}


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("body", [b"", b'{"model":"phi"}\x00\xff', b"x" * ((1 << 14) + 7)], ids=len)
def test_another_body_goes_on_with_its_own_length(body: bytes, says_length: bool) -> None:
    response = written(RouteBody("10.0.0.1:80", clears_route=True, body=body, says_length=says_length))
    assert response.request_headers is None
    assert response.request_body is not None
    common = response.request_body.response
    assert common is not None
    assert common.clear_route_cache
    assert common.body_mutation is not None
    assert common.body_mutation.body == body, "also an empty body is said to be the body"
    length = {"content-length": str(len(body))} if says_length else {}
    assert headers_of(common.header_mutation) == {DESTINATION: "10.0.0.1:80", **length}
    assert response.dynamic_metadata is not None
    assert response.dynamic_metadata.to_dict() == {"envoy.lb": {DESTINATION: "10.0.0.1:80"}}


def test_a_length_that_is_no_longer_right_is_taken_away() -> None:
    response = written(Continue("10.0.0.1:80", drops_length=True))
    assert response.request_headers is not None
    common = response.request_headers.response
    assert common is not None
    assert common.clear_route_cache
    assert common.header_mutation is not None
    assert common.header_mutation.remove_headers == ["content-length"]
    assert [option.header.key for option in common.header_mutation.set_headers if option.header] == [DESTINATION]
    kept = written(Continue("10.0.0.1:80")).request_headers
    assert kept is not None
    assert kept.response is not None
    assert headers_of(kept.response.header_mutation) == {DESTINATION: "10.0.0.1:80"}


@pytest.mark.parametrize("piece", [b"", b"\x00\xff"], ids=["nothing", "bytes"])
def test_a_piece_is_replaced(piece: bytes) -> None:
    response = written(RenewPiece(piece))
    assert response.request_body is not None
    common = response.request_body.response
    assert common is not None
    assert common.body_mutation is not None
    assert (common.body_mutation.body, common.body_mutation.streamed_response) == (piece, None)
    assert common.header_mutation is None


@pytest.mark.parametrize(
    ("override", "modes"),
    [
        (None, None),
        (ModeOverride(BodyMode.NONE, sends_response=False), (Mode.NONE, Header.SKIP)),
        (ModeOverride(BodyMode.STREAMED, sends_response=True), (Mode.STREAMED, Header.SEND)),
    ],
    ids=["none", "nothing of the response", "all of the response"],
)
def test_a_body_is_awaited_and_a_destination_of_the_clients_is_taken_away(
    override: ModeOverride | None, modes: tuple[Mode, Header] | None
) -> None:
    response = written(AwaitBody(override))
    assert response.request_headers is not None
    common = response.request_headers.response
    assert common is not None
    assert common.header_mutation is not None
    assert common.header_mutation.remove_headers == [DESTINATION]
    assert common.header_mutation.set_headers == []
    assert common.status is CommonResponseResponseStatus.CONTINUE
    mode = response.mode_override
    if modes is None:
        assert mode is None
    else:
        assert mode is not None
        assert mode.request_body_mode is Mode.BUFFERED
        assert (mode.response_body_mode, mode.response_header_mode) == modes
        assert mode.response_trailer_mode is mode.response_header_mode
        assert mode.request_trailer_mode is Header.SEND


@pytest.mark.parametrize("kind", get_args(PassKind))
def test_a_pass_changes_nothing(kind: PassKind) -> None:
    response = written(Pass(kind))
    assert bytes(getattr(response, kind)) == b""
    others = [*get_args(PassKind), "request_headers", "immediate_response", "dynamic_metadata", "mode_override"]
    assert [name for name in others if getattr(response, name) is not None] == [kind]


@given(piece=st.binary(max_size=200), end=st.booleans(), is_view=st.booleans())
@pytest.mark.parametrize("kind", ["request_body", "response_body"])
def test_a_chunk_goes_back_byte_for_byte(kind: Any, piece: bytes, end: bool, is_view: bool) -> None:
    response = written(Chunk(kind, memoryview(piece) if is_view else piece, end))
    body = getattr(response, kind)
    assert body is not None
    streamed = body.response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (piece, end)
    assert body.response.header_mutation is None


DETAILS = dict.fromkeys(["format", "limit", "encoding", "model", "available", "timeout", "mode"], "x")


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_is_an_answer_to_the_client(reason: Reason) -> None:
    refusal = REFUSALS[reason]
    immediate = written(Immediate(Reject(reason, DETAILS))).immediate_response
    assert immediate is not None
    assert immediate.status is not None
    assert immediate.status.code == refusal.status
    assert immediate.details == f"extproc_{refusal.code}"
    retry = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    assert headers_of(immediate.headers) == {
        "content-type": "application/json",
        "x-extproc-reason": refusal.code,
        **retry,
    }
    assert json.loads(immediate.body)["error"]["code"] == refusal.code


@pytest.mark.parametrize("status", [200, 299, 404])
def test_a_reply_is_the_pickers_own(status: int) -> None:
    immediate = written(Immediate(Reply(status, b"[]"))).immediate_response
    assert immediate is not None
    assert immediate.status is not None
    assert immediate.status.code == status
    assert headers_of(immediate.headers) == {"content-type": "application/json"}
    assert (immediate.body, immediate.details, immediate.grpc_status) == (b"[]", "", None)


def test_an_answer_is_of_one_kind() -> None:
    assert written(Continue("10.0.0.1:80")).immediate_response is None
    assert written(Immediate(Reply(200, b""))).request_headers is None
    assert written(Immediate(Reply(200, b""))).dynamic_metadata is None


def test_the_service_is_envoys() -> None:
    assert f"/{SERVICE_NAME}/{METHOD_NAME}" == "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
