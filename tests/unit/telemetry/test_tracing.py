"""telemetry/tracing: one span for each decision, in the trace that the request belongs to."""

from collections.abc import Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.otlp_receiver import OtlpReceiver, read_attributes

from extproc.telemetry.collector import Collector
from extproc.telemetry.decided import Decided
from extproc.telemetry.tracing import LONGEST, Tracing, describe
from extproc.values.decision import Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead

NOW_S, NOW_UNIX_S = 1000.0, 1_700_000_000.0
TRACE, PARENT, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
LONG_STATE = f"a={'x' * 254},b={'x' * 253}"
CANARY = "canary"
ENDPOINTS = tuple(Endpoint(f"id-{n}", f"pod-{n}", f"10.0.0.{n}:8000") for n in range(1, 8))
SCORES = Scores(ENDPOINTS, {"queue": (0.5,) * 7}, tuple(n / 8 for n in range(1, 8)))
ROUTE = Route((ENDPOINTS[6], ENDPOINTS[5]), SCORES, model="phi")
BASE = {"http.request.method": "POST", "url.path": "/v1/chat/completions", "extproc.held_seconds": 0.25}


def decided(
    outcome: Route | Reject | Reply = ROUTE,
    *,
    headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    path: str = f"/v1/chat/completions?key={CANARY}",
    named: str | None = "phi-alias",
    model: str | None = "phi",
) -> Decided:
    given = {"x-request-id": "r-1", "authorization": CANARY, "x-session": CANARY, **(headers or {})}
    pairs = tuple((metadata or {}).items())
    head = RequestHead("POST", path, given)
    return Decided(head, named, model, outcome, NOW_S - 0.5, 0.3, 7, 0.25, lambda: pairs)


@asynccontextmanager
async def tracing(receiver: OtlpReceiver, *, sample_ratio: float = 0.0) -> Any:
    exporter = OTLPSpanExporter(endpoint=receiver.url)
    async with Tracing(
        Collector(receiver.url, exporter),
        pool="default/demo",
        version="1.2.3",
        sample_ratio=sample_ratio,
        clock=lambda: NOW_S,
        wall_clock=lambda: NOW_UNIX_S,
        rng=Random(1),
    ) as traces:
        yield traces


async def spans_of(*all_decided: Decided, sample_ratio: float = 0.0) -> list[Span]:
    async with OtlpReceiver() as receiver:
        async with tracing(receiver, sample_ratio=sample_ratio) as traces:
            for each in all_decided:
                traces.note_decision(each)
        return receiver.spans


@pytest.mark.parametrize(
    ("headers", "metadata", "parent"),
    [
        pytest.param({"traceparent": SAMPLED}, {}, PARENT, id="the request's"),
        pytest.param({}, {"traceparent": SAMPLED}, PARENT, id="the call's"),
        pytest.param(
            {"traceparent": SAMPLED}, {"traceparent": f"00-{TRACE}-{OTHER}-01"}, OTHER, id="the call's before it"
        ),
        pytest.param({"traceparent": SAMPLED}, {"traceparent": "bad"}, PARENT, id="the call's is bad"),
        pytest.param({"traceparent": f"01-{TRACE}-{PARENT}-01-more"}, {}, PARENT, id="of a version to come"),
        pytest.param({"traceparent": UNSAMPLED}, {}, None, id="not sampled"),
        pytest.param({"traceparent": SAMPLED}, {"traceparent": UNSAMPLED}, None, id="the call's is not sampled"),
    ],
)
async def test_what_a_span_continues(
    headers: Mapping[str, str], metadata: Mapping[str, str], parent: str | None
) -> None:
    spans = await spans_of(decided(headers=headers, metadata=metadata), sample_ratio=float(parent is None))
    assert [(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans] == ([(TRACE, parent)] if parent else [])


@pytest.mark.parametrize(
    "traceparent",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="an empty one"),
        pytest.param(f"{SAMPLED},{SAMPLED}", id="two"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="no parent"),
        pytest.param(f"ff-{TRACE}-{PARENT}-01", id="a forbidden version"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-more", id="too long for its version"),
        pytest.param("\udcff" * 55, id="no text"),
        pytest.param("0" * 70_000, id="a very long one"),
    ],
)
@pytest.mark.parametrize(("sample_ratio", "count"), [(0.0, 0), (1.0, 1)])
async def test_a_trace_of_its_own(traceparent: str | None, sample_ratio: float, count: int) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    spans = await spans_of(decided(headers=headers), sample_ratio=sample_ratio)
    assert len(spans) == count
    assert all(span.trace_id.hex() != TRACE and not span.parent_span_id for span in spans)


async def test_a_share_of_the_others_is_traced() -> None:
    spans = await spans_of(*[decided() for _ in range(1000)], sample_ratio=0.1)
    assert len(spans) in range(70, 130)
    assert len({span.trace_id for span in spans}) == len(spans)


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        pytest.param("vendor=value", "vendor=value", id="one"),
        pytest.param("a=1,b=2", "a=1,b=2", id="two"),
        pytest.param("", "", id="empty"),
        pytest.param(LONG_STATE, LONG_STATE, id="as long as may be"),
        pytest.param(f"{LONG_STATE}b", "", id="too long"),
        pytest.param("\udcff\n", "", id="no such thing"),
    ],
)
async def test_the_state_goes_on(state: str, kept: str) -> None:
    assert len(LONG_STATE) == LONGEST
    (span,) = await spans_of(decided(headers={"traceparent": SAMPLED, "tracestate": state}))
    assert span.trace_state == kept


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        pytest.param(ROUTE, (Status.STATUS_CODE_UNSET, ""), id="routed"),
        pytest.param(Reply(200, b""), (Status.STATUS_CODE_UNSET, ""), id="replied"),
        pytest.param(Reject(Reason.MODEL_UNKNOWN), (Status.STATUS_CODE_UNSET, ""), id="the client's fault"),
        pytest.param(Reject(Reason.POOL_SATURATED), (Status.STATUS_CODE_UNSET, ""), id="overload"),
        pytest.param(
            Reject(Reason.NO_READY_ENDPOINTS), (Status.STATUS_CODE_ERROR, "no_ready_endpoints"), id="the pool's fault"
        ),
    ],
)
async def test_a_span(outcome: Route | Reject | Reply, status: tuple[Any, str]) -> None:
    (span,) = await spans_of(decided(outcome, headers={"traceparent": SAMPLED}))
    assert span.name == "extproc.decide"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.start_time_unix_nano / 1e9 == pytest.approx(NOW_UNIX_S - 0.5, abs=1e-6)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 300_000_000
    assert (span.status.code, span.status.message) == status
    assert read_attributes(span.attributes) == describe(decided(outcome))


@pytest.mark.parametrize(
    ("given", "attributes"),
    [
        pytest.param(
            decided(),
            {
                "gen_ai.request.model": "phi-alias",
                "extproc.model": "phi",
                "extproc.outcome": "routed",
                "extproc.endpoint": "pod-7",
                "extproc.destination": "10.0.0.7:8000,10.0.0.6:8000",
                "extproc.candidates": 7,
                "extproc.best.endpoints": ["pod-7", "pod-6", "pod-5", "pod-4", "pod-3"],
                "extproc.best.scores": [0.875, 0.75, 0.625, 0.5, 0.375],
            },
            id="routed",
        ),
        pytest.param(
            decided(Reject(Reason.MODEL_UNKNOWN, {"model": CANARY, "available": "phi"})),
            {
                "gen_ai.request.model": "phi-alias",
                "extproc.model": "phi",
                "extproc.outcome": "model_not_found",
                "extproc.reason": "model_unknown",
                "error.type": "model_not_found",
                "http.response.status_code": 404,
            },
            id="refused",
        ),
        pytest.param(
            decided(Reply(200, CANARY.encode()), named=None, model=None, path=""),
            {"extproc.outcome": "replied", "http.response.status_code": 200, "url.path": None},
            id="replied, without model and path",
        ),
        pytest.param(
            decided(Route(ENDPOINTS[:1], Scores()), headers={"x-request-id": ""}),
            {
                "gen_ai.request.model": "phi-alias",
                "extproc.model": "phi",
                "extproc.outcome": "routed",
                "extproc.endpoint": "pod-1",
                "extproc.destination": "10.0.0.1:8000",
                "extproc.candidates": 0,
                "extproc.request_id": None,
            },
            id="without scores and request id",
        ),
    ],
)
def test_what_a_span_says(given: Decided, attributes: Mapping[str, Any]) -> None:
    wanted = {**BASE, "extproc.request_id": "r-1", "extproc.snapshot_version": 7, **attributes}
    assert describe(given) == {name: value for name, value in wanted.items() if value is not None}
    assert CANARY not in str(describe(given))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(decided(headers={"x-request-id": "\udcff"}), id="request id"),
        pytest.param(decided(path="/\udcff"), id="path"),
        pytest.param(decided(named="\ud800"), id="model"),
        pytest.param(decided(Route((Endpoint("i", "\udcff", "1.2.3.4:1"),), Scores())), id="endpoint"),
        pytest.param(
            decided(Route(ENDPOINTS[:1], Scores((Endpoint("i", "\udcff", "1.2.3.4:1"),), {}, (1.0,)))), id="candidate"
        ),
    ],
)
async def test_half_a_character_does_not_lose_a_batch(given: Decided) -> None:
    spans = await spans_of(given, decided(), sample_ratio=1.0)
    assert len(spans) == 2
    assert "?" in str(read_attributes(spans[0].attributes))


async def test_who_sends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "picker-of-mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=epp-0")
    async with OtlpReceiver() as receiver:
        async with tracing(receiver, sample_ratio=1.0) as traces:
            traces.note_decision(decided())
        (resource,) = receiver.resources
    assert resource == {
        "service.name": "picker-of-mine",
        "service.version": "1.2.3",
        "extproc.pool": "default/demo",
        "k8s.pod.name": "epp-0",
    }


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        pytest.param({"status": grpc.StatusCode.PERMISSION_DENIED}, 40, id="refuses"),
        pytest.param({"is_silent": True}, 40, id="never answers"),
    ],
)
async def test_a_collector_that_takes_nothing(fault: Mapping[str, Any], count: int) -> None:
    """What it was offered is counted as dropped, and the end is not held up: the test has no other time limit."""
    async with OtlpReceiver(**fault) as receiver:
        async with tracing(receiver, sample_ratio=1.0) as traces:
            for _ in range(count):
                traces.note_decision(decided())
            await receiver.wait_until(lambda: bool(receiver.raw))
        assert traces.dropped == count
        assert "dropped" in repr(traces)
