"""An OpenTelemetry collector's receiver of spans, OTLP over gRPC: a real server on loopback that keeps what it gets."""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class OtlpReceiver:
    """Use as an async context manager. `raw` holds the requests as they came, `metadata` those of their calls.

    With `status` it refuses each with it, and without answering (`is_silent`) it never says anything.
    """

    def __init__(self, *, status: grpc.StatusCode | None = None, is_silent: bool = False) -> None:
        self.raw: list[bytes] = []
        self.metadata: list[Mapping[str, Any]] = []
        self.status = status
        self.url = ""
        self._is_silent = is_silent
        self._changed = asyncio.Condition()
        self._server = grpc.aio.server()

    async def __aenter__(self) -> Self:
        handler = grpc.unary_unary_rpc_method_handler(
            self._export, response_serializer=ExportTraceServiceResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(0)

    async def _export(self, request: bytes, context: Any) -> ExportTraceServiceResponse:
        async with self._changed:
            self.raw.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            self._changed.notify_all()
        if self._is_silent:
            await asyncio.Event().wait()
        if self.status is not None:
            await context.abort(self.status, "refused")
        return ExportTraceServiceResponse()

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The attributes of what sent the spans, one entry a request."""
        return [read_attributes(of.resource.attributes) for each in self._requests() for of in each.resource_spans]

    @property
    def spans(self) -> list[Span]:
        """Every span so far."""
        scopes = [scope for each in self._requests() for of in each.resource_spans for scope in of.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Returns once it is so, as looked at after each request, answered or not."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(is_so)

    def _requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(each) for each in self.raw]


def read_attributes(attributes: Any) -> dict[str, Any]:
    """The attributes of a span, or of what sent it."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _read(pair.value) for pair in pairs}


def _read(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_read(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
