"""The admin service on grpc.aio: `proto/extproc/admin/v1/admin.proto`."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.servers.admin.access import Access
from extproc.servers.admin.messages import to_message
from extproc.servers.admin.requests import read_request
from extproc.servers.admin.views import Views

SERVICE_NAME: str = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name


class AdminService(admin_pb2_grpc.AdminServicer):
    """Answers from the views."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the service on `server`."""
        admin_pb2_grpc.add_AdminServicer_to_server(self, server)

    async def GetSnapshot(self, request: admin_pb2.GetSnapshotRequest, context: Any) -> admin_pb2.Snapshot:  # noqa: N802
        """See the .proto file."""
        return to_message(self._views.snapshot(), admin_pb2.Snapshot)

    async def Explain(self, request: admin_pb2.ExplainRequest, context: Any) -> admin_pb2.Explanation:  # noqa: N802
        """See the .proto file."""
        head, body = read_request(request)
        return to_message(self._views.explain(head, body), admin_pb2.Explanation)

    async def WatchDecisions(  # noqa: N802
        self, request: admin_pb2.WatchDecisionsRequest, context: Any
    ) -> AsyncIterator[admin_pb2.DecisionEvent]:
        """See the .proto file."""
        journal = self._views.journal
        with journal.watch(
            model=request.model, refusals_only=request.refusals_only, most_per_s=request.most_per_s
        ) as watch:
            while True:
                yield to_message(await watch.next(), admin_pb2.DecisionEvent)

    async def GetConfig(self, request: admin_pb2.GetConfigRequest, context: Any) -> admin_pb2.Config:  # noqa: N802
        """See the .proto file."""
        return to_message(self._views.config(), admin_pb2.Config)


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Lets only those call who may ask."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """See gRPC. Without the token, a call of whatever kind ends with UNAUTHENTICATED."""
        handler = await continuation(details)
        shown = next((str(value) for key, value in details.invocation_metadata if key == "authorization"), "")
        if handler is None or self._access.allows(shown):
            return handler
        return _refuse(handler)


def _refuse(handler: Any) -> Any:
    """A handler of the same kind as `handler` that refuses."""

    async def refuse(_request: object, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "show the admin token: `authorization: Bearer TOKEN`")

    async def refuse_stream(_request: object, context: Any) -> AsyncIterator[object]:
        await refuse(_request, context)
        yield None

    if handler.response_streaming:
        stream, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return (stream if handler.request_streaming else unary)(refuse_stream)
    stream, unary = grpc.stream_unary_rpc_method_handler, grpc.unary_unary_rpc_method_handler
    return (stream if handler.request_streaming else unary)(refuse)
