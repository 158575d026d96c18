"""One OpenTelemetry span for each decision, in the trace that the request belongs to.

OpenTelemetry comes with the extra `extproc[tracing]`, and nothing of it is imported before spans are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from extproc.telemetry.changes import LONGEST_NAME
from extproc.telemetry.collector import Collector
from extproc.telemetry.decided import Decided
from extproc.telemetry.entries import replace_halves, shorten, tell
from extproc.telemetry.outbox import Outbox
from extproc.values.decision import Route
from extproc.values.refusal import Reject

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan

    Attribute = str | int | float | list[str] | list[float]

SPAN_NAME = "extproc.decide"
HEADERS_READ = ("traceparent", "tracestate")
"""Source: W3C Trace Context."""
LONGEST = 512
"""Letters of a `tracestate`: longer ones need not be passed on. Source: the same, 3.3.1.5."""


class Tracing:
    """Makes spans of decisions, and has them sent. Use as an async context manager.

    A request whose `traceparent` says that it is sampled gets one, and one whose says that it is not gets none; of
    those without, `sample_ratio` do.
    """

    def __init__(
        self,
        collector: Collector,
        *,
        pool: str,
        version: str,
        sample_ratio: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: Random,
    ) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970."""
        from opentelemetry.context import Context
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SpanExportResult
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before what we do.
        ours = Resource({"service.name": "extproc", "service.version": version, "extproc.pool": pool})
        resource = ours.merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        self._tracer = provider.get_tracer("extproc", version)
        self._read_context = TraceContextTextMapPropagator().extract
        self._parent_in = get_current_span
        self._nothing = Context()
        self._kind = SpanKind.SERVER
        self._failed = partial(Status, StatusCode.ERROR)
        self._sample_ratio = sample_ratio
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng
        url, exporter = collector
        taken = SpanExportResult.SUCCESS
        self._outbox: Outbox[ReadableSpan] = Outbox(
            send=lambda spans: exporter.export(spans) is taken, cut=exporter.shutdown, to=url
        )

    def __repr__(self) -> str:
        return f"<Tracing by {self._outbox!r}>"

    @property
    def dropped(self) -> int:
        """Spans so far that were not delivered."""
        return self._outbox.dropped

    async def __aenter__(self) -> Tracing:
        await self._outbox.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._outbox.__aexit__()

    def note_decision(self, decided: Decided) -> None:
        """An observer of decisions."""
        context = self._find_context(decided)
        if context is None:
            return
        began_at_s = self._wall_clock() - (self._clock() - decided.began_at_s)
        began_at_ns = int(began_at_s * 1e9)
        span = self._tracer.start_span(SPAN_NAME, context, self._kind, describe(decided), start_time=began_at_ns)
        outcome = decided.outcome
        if isinstance(outcome, Reject) and outcome.refusal.status >= 500:
            span.set_status(self._failed(outcome.reason.value))
        span.end(began_at_ns + int(decided.seconds * 1e9))
        self._outbox.put(span)  # type: ignore[arg-type]  # the SDK's spans can be read

    def _find_context(self, decided: Decided) -> Context | None:
        """What the span continues, empty for a trace of its own; None where the request is not to be traced.

        A gateway that traces writes its own context into the call's metadata, and into the request's headers only once
        they have left us (measured with Envoy): those are of whoever sent it the request. A `traceparent` that cannot
        be read is as none. Source: W3C Trace Context, 4.3.
        """
        of_call = {key: str(value) for key, value in decided.metadata() if key in HEADERS_READ}
        for headers in (of_call, decided.head.headers):
            if "traceparent" not in headers:
                continue
            carrier = {key: headers[key] for key in HEADERS_READ if len(headers.get(key, "")) in range(1, LONGEST + 1)}
            found = self._read_context(carrier, self._nothing)
            parent = self._parent_in(found).get_span_context()
            if parent.is_valid:
                return found if parent.trace_flags.sampled else None
        return self._nothing if self._rng.random() < self._sample_ratio else None


def describe(decided: Decided) -> dict[str, Attribute]:
    """What a span says of a decision: nothing of a body, and no header but `x-request-id`.

    Names are OpenTelemetry's conventions where there is one, else they begin with `extproc.`.
    """
    told = tell(shorten(decided), at_unix_s=0.0)
    attributes: dict[str, Attribute] = {
        "http.request.method": replace_halves(decided.head.method[:LONGEST_NAME]),
        "url.path": told.path,
        "extproc.request_id": told.request_id,
        "gen_ai.request.model": told.named_model,
        "extproc.model": told.model,
        "extproc.outcome": told.outcome,
        "extproc.reason": told.reason,
        "extproc.endpoint": replace_halves(told.endpoint),
        "extproc.destination": told.destination,
        "extproc.best.endpoints": [replace_halves(each.endpoint) for each in told.best],
        "extproc.best.scores": [each.total for each in told.best],
        "extproc.held_seconds": round(decided.held_s, 6),
        "extproc.snapshot_version": told.snapshot_version,
    }
    if told.status:
        attributes["http.response.status_code"] = told.status
    if told.reason:
        attributes["error.type"] = told.outcome
    if isinstance(decided.outcome, Route):
        attributes["extproc.candidates"] = len(decided.outcome.scores.candidates)
    return {name: value for name, value in attributes.items() if value not in ("", [])}
