"""Between bytes of the wire and values: the only module that names Envoy's generated types."""

from collections.abc import Iterable
from functools import lru_cache

from google.protobuf.message import DecodeError

from extproc._gen.envoy.config.core.v3.base_pb2 import Metadata
from extproc._gen.envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from extproc._gen.envoy.service.ext_proc.v3.external_processor_pb2 import (
    DESCRIPTOR,
    BodyMutation,
    CommonResponse,
    HeadersResponse,
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from extproc.protocol.commands import (
    Answer,
    AwaitBody,
    Chunk,
    Continue,
    Immediate,
    ModeOverride,
    Pass,
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
from extproc.values.endpoint import canonical_address
from extproc.values.refusal import Reject
from extproc.values.request import RequestHead

SERVICE_NAME: str = DESCRIPTOR.services_by_name["ExternalProcessor"].full_name
METHOD_NAME = "Process"

DESTINATION = "x-gateway-destination-endpoint"
"""Key of the destination, both as header and in the metadata namespace `envoy.lb`. Source: endpoint-picker protocol."""
DESTINATION_NAMESPACE = "envoy.lb"
SERVED = "x-gateway-destination-endpoint-served"
"""Key in that namespace, in the response phase: who served. Source: endpoint-picker protocol."""
ATTRIBUTES = "envoy.filters.http.ext_proc"
SERVED_ATTRIBUTE = "upstream.address"
"""Sent where the filter has `response_attributes: [upstream.address]`; plain Envoy never sends `SERVED`."""
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
SUBSET_KEY = "x-gateway-destination-endpoint-subset"

HEADERS_READ = frozenset(
    {
        ":method",
        ":path",
        ":status",
        "content-encoding",
        "content-length",
        "content-type",
        "traceparent",
        "tracestate",
        "x-gateway-inference-objective",
        "x-gateway-model-name",
        "x-gateway-model-name-rewrite",
        "x-llm-d-inference-objective",
        "x-llm-d-model-name-rewrite",
        "x-request-id",
    }
)
"""The headers that are always read. The others are not decoded: a request has a dozen and more of them."""

SHORT_BYTES = 8
"""Messages up to it are few, and come with every request: the end of a body that has no piece in it. Each is parsed
once."""

LARGE_BYTES = 1 << 20
"""A message above it is not given to the parser whole: of its body that makes two copies more."""

_MODES: dict[int, BodyMode] = {mode.value: mode for mode in BodyMode}


def _tag(field: int) -> bytes:
    """What a field of any length begins with. Source: protobuf's encoding, wire type 2."""
    return bytes((field << 3 | 2,))


_ANSWER_HEADERS = _tag(ProcessingResponse.REQUEST_HEADERS_FIELD_NUMBER)
_ANSWER_BODY = _tag(ProcessingResponse.REQUEST_BODY_FIELD_NUMBER)
_RESPONSE = _tag(HeadersResponse.RESPONSE_FIELD_NUMBER)
_BODY_MUTATION = _tag(CommonResponse.BODY_MUTATION_FIELD_NUMBER)
_BODY = _tag(BodyMutation.BODY_FIELD_NUMBER)
_REQUEST_BODY_FIELD = ProcessingRequest.REQUEST_BODY_FIELD_NUMBER
_PIECE_FIELD = HttpBody.BODY_FIELD_NUMBER


def decode(data: bytes, headers_read: frozenset[str] = HEADERS_READ) -> Event:
    """The event in a serialized ProcessingRequest. Never raises: what cannot be read becomes `Unknown`.

    Of a request's headers those of `headers_read` are kept, names in lower case: `HEADERS_READ` and what settings name.
    """
    size = len(data)
    if size <= SHORT_BYTES:
        return _decode_short(data)
    if size > LARGE_BYTES and (piece := _cut_piece(data)) is not None:
        return piece
    return _parse(data, headers_read)


@lru_cache(maxsize=256)
def _decode_short(data: bytes) -> Event:
    return _parse(data, HEADERS_READ)


def _parse(data: bytes, headers_read: frozenset[str]) -> Event:
    try:
        message = ProcessingRequest.FromString(data)
    except DecodeError:
        return Unknown("not a ProcessingRequest")
    match message.WhichOneof("request"):
        case "request_body":
            piece = message.request_body
            return RequestBody(piece.body, piece.end_of_stream)
        case "request_headers":
            return _decode_request_headers(message, headers_read)
        case "request_trailers":
            return RequestTrailers()
        case "response_body":
            piece = message.response_body
            return ResponseBody(piece.body, piece.end_of_stream)
        case "response_headers":
            return _decode_response_headers(message)
        case "response_trailers":
            return ResponseTrailers()
        case _:
            return Unknown("a ProcessingRequest of no known kind")


def _cut_piece(data: bytes) -> RequestBody | None:
    """The piece of a request body in a message that begins with it, as all of Envoy's do, cut out of it.

    What stands around it is parsed as ever. None where the message begins with anything else, or is broken.
    """
    try:
        body_at, size = _read_length(data, 0, _REQUEST_BODY_FIELD)
        end = body_at + size
        piece_at, size = _read_length(data, body_at, _PIECE_FIELD)
        rest_at = piece_at + size
        if rest_at > end or end > len(data):
            return None
        rest = HttpBody.FromString(data[rest_at:end])
        others = ProcessingRequest.FromString(data[end:])
    except (DecodeError, IndexError, ValueError):
        return None
    if rest.body or others.WhichOneof("request") is not None:
        return None
    return RequestBody(data[piece_at:rest_at], rest.end_of_stream)


def _read_length(data: bytes, at: int, field: int) -> tuple[int, int]:
    """Where the content of the length-delimited `field` at `at` begins, and its size.

    Errors: ValueError where another field stands there, or a size of more than five bytes; IndexError.
    """
    if data[at] != field << 3 | 2:
        raise ValueError(field)
    size = 0
    for shift in range(0, 35, 7):
        at += 1
        size |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return at + 1, size
    raise ValueError(size)


def _decode_request_headers(message: ProcessingRequest, headers_read: frozenset[str]) -> RequestHeaders:
    shown = message.request_headers
    headers = _decode_headers(shown, headers_read)
    subset = _decode_subset(message.metadata_context) if message.HasField("metadata_context") else None
    head = RequestHead(headers.get(":method", ""), headers.get(":path", ""), headers, subset)
    modes = _decode_modes(message.protocol_config) if message.HasField("protocol_config") else None
    return RequestHeaders(head, shown.end_of_stream, modes, message.observability_mode)


def _decode_response_headers(message: ProcessingRequest) -> ResponseHeaders:
    headers = _decode_headers(message.response_headers, HEADERS_READ)
    status = headers.get(":status", "")
    return ResponseHeaders(
        status=int(status) if len(status) == 3 and status.isascii() and status.isdigit() else 0,
        content_type=headers.get("content-type", ""),
        served_by=_decode_served_by(message),
        end_of_stream=message.response_headers.end_of_stream,
    )


def _decode_served_by(message: ProcessingRequest) -> str | None:
    served = ""
    if ATTRIBUTES in message.attributes:
        fields = message.attributes[ATTRIBUTES].fields
        served = fields[SERVED_ATTRIBUTE].string_value if SERVED_ATTRIBUTE in fields else ""
    if not served and DESTINATION_NAMESPACE in message.metadata_context.filter_metadata:
        fields = message.metadata_context.filter_metadata[DESTINATION_NAMESPACE].fields
        served = fields[SERVED].string_value if SERVED in fields else ""
    return _canonical(served) if served else None


def _decode_headers(http_headers: HttpHeaders, headers_read: frozenset[str]) -> dict[str, str]:
    """The headers of `headers_read`.

    Envoy fills `raw_value` (older ones `value`), which need not be UTF-8: other bytes are kept as surrogates.
    """
    headers: dict[str, str] = {}
    for header in http_headers.headers.headers:
        key = header.key
        if key in headers_read:
            value = header.raw_value.decode("utf-8", "surrogateescape") or header.value
            headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers


def _decode_modes(config: ProtocolConfiguration) -> Modes:
    return _modes(
        config.request_body_mode,
        config.response_body_mode,
        config.send_body_without_waiting_for_header_response,
    )


@lru_cache
def _modes(request_body: int, response_body: int, sends_body_early: bool) -> Modes:
    mode = _MODES.get
    return Modes(mode(request_body, BodyMode.GRPC), mode(response_body, BodyMode.GRPC), sends_body_early)


def _decode_subset(metadata: Metadata) -> tuple[str, ...] | None:
    """The subset hint, sent as a list or as a comma-separated string; None where there is none."""
    namespaces = metadata.filter_metadata
    if SUBSET_NAMESPACE not in namespaces:
        return None
    fields = namespaces[SUBSET_NAMESPACE].fields
    if SUBSET_KEY not in fields:
        return None
    hint = fields[SUBSET_KEY]
    if hint.HasField("list_value"):
        addresses = [value.string_value for value in hint.list_value.values]
    else:
        addresses = hint.string_value.split(",")
    return read_subset(addresses)


def read_subset(addresses: Iterable[str]) -> tuple[str, ...]:
    """The addresses of a subset as endpoints spell theirs, empty ones left out."""
    return tuple(_canonical(address) for address in addresses if address.strip())


def _canonical(address: str) -> str:
    """The address as endpoints spell theirs; one that is none stays as it is and matches nothing."""
    try:
        return canonical_address(address)
    except ValueError:
        return address


def encode(answer: Answer) -> bytes:
    """The serialized ProcessingResponse for `answer`.

    A destination goes out as header and as metadata with one identical value: data planes read one or the other. The
    header replaces what the client may have sent.
    """
    # Frequent ones first, by type: patterns of classes take ten times as long to match, and long not to match.
    if type(answer) is Replace:
        return _replaced(answer.destination, answer.body)
    if type(answer) is Pass:
        return _PASSED[answer.kind]
    if type(answer) is Chunk:
        return _chunk(answer.kind, bytes(answer.piece), answer.end_of_stream)
    if type(answer) is AwaitBody:
        return _awaiting_body(answer.override)
    if type(answer) is RouteBody:
        if answer.body is None:
            return _routed_by_body(answer.destination, answer.clears_route)
        return _routed_with_body(answer.destination, answer.clears_route, answer.body, answer.says_length)
    if type(answer) is Continue:
        return _routed(answer.destination, answer.drops_length)
    return _renewed(answer.piece) if type(answer) is RenewPiece else _immediate(answer)


@lru_cache(maxsize=4096)
def _routed(destination: str, drops_length: bool = False) -> bytes:
    """The answer to a request without a body. Kept, as a pool has few destinations and parsing costs less than this."""
    response = ProcessingResponse()
    common = response.request_headers.response
    common.clear_route_cache = True
    _set_destination(response, common, destination)
    if drops_length:
        common.header_mutation.remove_headers.append("content-length")
    return response.SerializeToString()


def _replaced(destination: str, body: bytes) -> bytes:
    common, rest = _replacing(destination)
    return _framed(_ANSWER_HEADERS, common, body, rest)


def _framed(kind: bytes, common: bytes, body: bytes, rest: bytes) -> bytes:
    """The answer with the whole body, framed by hand around it, so that the body is copied once.

    Set in a message that is then serialized it is copied three times, which for 20 MB took 43 ms and 57 MB (measured).
    `kind` is the tag of the answer's kind, `common` its CommonResponse without the body, `rest` what else it holds.
    """
    size = len(body)
    mutation_tail = _BODY + _length(size)
    size += len(mutation_tail)
    mutation_head = _BODY_MUTATION + _length(size)
    size += len(mutation_head) + len(common)
    common_head = _RESPONSE + _length(size)
    answer_head = kind + _length(size + len(common_head))
    return b"".join((answer_head, common_head, common, mutation_head, mutation_tail, body, rest))


@lru_cache(maxsize=4096)
def _replacing(destination: str) -> tuple[bytes, bytes]:
    """The CommonResponse of such an answer without its body, and what the answer holds beside `request_headers`."""
    response = ProcessingResponse.FromString(_routed(destination))
    common = response.request_headers.response
    common.status = CommonResponse.CONTINUE_AND_REPLACE
    serialized = common.SerializeToString()
    response.ClearField("request_headers")
    return serialized, response.SerializeToString()


def _length(size: int) -> bytes:
    """A length as it stands behind a tag: seven bits a byte, the lowest first, all but the last with the eighth bit."""
    if 0x7F < size < 0x4000:  # as most bodies have it
        return bytes((size & 0x7F | 0x80, size >> 7))
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length)


@lru_cache(maxsize=4096)
def _routed_by_body(destination: str, clears_route: bool) -> bytes:
    response = ProcessingResponse()
    common = response.request_body.response
    common.clear_route_cache = clears_route
    _set_destination(response, common, destination)
    return response.SerializeToString()


def _routed_with_body(destination: str, clears_route: bool, body: bytes, says_length: bool) -> bytes:
    response = ProcessingResponse.FromString(_routed_by_body(destination, clears_route))
    common = response.request_body.response
    if says_length:
        _set_header(common, "content-length", str(len(body)))
    serialized = common.SerializeToString()
    response.ClearField("request_body")
    return _framed(_ANSWER_BODY, serialized, body, response.SerializeToString())


def _renewed(piece: bytes) -> bytes:
    response = ProcessingResponse()
    response.request_body.response.body_mutation.body = piece
    return response.SerializeToString()


def _set_header(common: CommonResponse, key: str, value: str) -> None:
    header = common.header_mutation.set_headers.add().header
    header.key = key
    header.raw_value = value.encode()


def _set_destination(response: ProcessingResponse, common: CommonResponse, destination: str) -> None:
    _set_header(common, DESTINATION, destination)
    namespace = response.dynamic_metadata.fields[DESTINATION_NAMESPACE].struct_value
    namespace.fields[DESTINATION].string_value = destination


@lru_cache
def _awaiting_body(override: ModeOverride | None) -> bytes:
    response = ProcessingResponse()
    response.request_headers.response.header_mutation.remove_headers.append(DESTINATION)
    if override is not None:
        head = ProcessingMode.SEND if override.sends_response else ProcessingMode.SKIP
        mode = response.mode_override
        mode.request_body_mode = ProcessingMode.BUFFERED
        # Skipped, trailers without a body before them would go upstream with the request, routed by nobody (measured).
        mode.request_trailer_mode = ProcessingMode.SEND
        mode.response_header_mode = mode.response_trailer_mode = head
        mode.response_body_mode = override.response_body.value  # type: ignore[assignment]  # the same numbers
    return response.SerializeToString()


def _pass_each() -> dict[str, bytes]:
    passed = {}
    for kind in ("request_body", "request_trailers", "response_headers", "response_body", "response_trailers"):
        response = ProcessingResponse()
        getattr(response, kind).SetInParent()
        passed[kind] = response.SerializeToString()
    return passed


_PASSED = _pass_each()


def _chunk(kind: str, piece: bytes, end_of_stream: bool) -> bytes:
    response = ProcessingResponse()
    body = response.response_body if kind == "response_body" else response.request_body
    streamed = body.response.body_mutation.streamed_response
    streamed.body = piece
    streamed.end_of_stream = end_of_stream
    return response.SerializeToString()


def _immediate(answer: Immediate) -> bytes:
    response = ProcessingResponse()
    immediate = response.immediate_response
    immediate.status.code = answer.status  # type: ignore[assignment]  # an open enum takes any number
    immediate.body = answer.body
    if isinstance(answer.outcome, Reject):
        immediate.details = f"extproc_{answer.outcome.refusal.code}"
    for key, value in answer.headers.items():
        header = immediate.headers.set_headers.add().header
        header.key = key
        header.raw_value = value.encode()
    return response.SerializeToString()
