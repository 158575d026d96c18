"""The admin service on grpc.aio: `proto/extproc/admin/v1/admin.proto`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import msgspec
from google.protobuf.message import Message

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.servers.admin.access import Access
from extproc.servers.admin.messages import to_message
from extproc.servers.admin.requests import read_request
from extproc.servers.admin.views import Views
from extproc.telemetry.journal import TooManyWatchesError
from extproc.telemetry.logs import Log

M = TypeVar("M", bound=Message)

LONGEST_CONFIG = 1_000_000
"""Characters of the settings as a file: they are the operator's own."""

PIECE = 500
"""Endpoints that are made into messages at one go: 4 ms."""

_log = Log("servers.admin")

SERVICE_NAME: str = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name


class AdminService(admin_pb2_grpc.AdminServicer):
    """Answers from the views."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def __repr__(self) -> str:
        return f"<AdminService of {self._views!r}>"

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the service on `server`."""
        admin_pb2_grpc.add_AdminServicer_to_server(self, server)

    async def GetSnapshot(self, request: admin_pb2.GetSnapshotRequest, context: Any) -> admin_pb2.Snapshot:  # noqa: N802
        """See the .proto file."""
        async with _told_as_internal(context):
            snapshot = self._views.snapshot(most_decisions=request.most_decisions)
            return await _build_in_pieces(snapshot, admin_pb2.Snapshot, "endpoints", admin_pb2.Endpoint)

    async def Explain(self, request: admin_pb2.ExplainRequest, context: Any) -> admin_pb2.Explanation:  # noqa: N802
        """See the .proto file."""
        async with _told_as_internal(context):
            head, body = read_request(request)
            told = await self._views.explain(head, body)
            return await _build_in_pieces(told, admin_pb2.Explanation, "candidates", admin_pb2.Candidate)

    async def WatchDecisions(self, request: admin_pb2.WatchDecisionsRequest, context: Any) -> None:  # noqa: N802
        """See the .proto file. It never ends by itself.

        What is due is written here and not yielded: a generator that is not being asked for its next value outlives the
        call that was cancelled, and its watch with it.
        """
        journal = self._views.journal
        async with _told_as_internal(context):
            with journal.watch(
                model=request.model, refusals_only=request.refusals_only, most_per_s=request.most_per_s
            ) as watch:
                await context.send_initial_metadata(())  # who watches knows from when on
                while True:
                    await context.write(to_message(await watch.next(), admin_pb2.DecisionEvent))

    async def GetConfig(self, request: admin_pb2.GetConfigRequest, context: Any) -> admin_pb2.Config:  # noqa: N802
        """See the .proto file."""
        async with _told_as_internal(context):
            return to_message(self._views.config(), admin_pb2.Config, longest_text=LONGEST_CONFIG)


async def _build_in_pieces(value: msgspec.Struct, kind: type[M], field: str, row_kind: type[Message]) -> M:
    """`value` as a message, made so that requests are picked meanwhile: the rows of `field`, one for each endpoint,
    take 40 ms for 5,000.
    """
    rows = getattr(value, field)
    message = to_message(msgspec.structs.replace(value, **{field: ()}), kind)
    for first in range(0, len(rows), PIECE):
        await asyncio.sleep(0)
        getattr(message, field).extend([to_message(row, row_kind) for row in rows[first : first + PIECE]])
    return message


@asynccontextmanager
async def _told_as_internal(context: Any) -> AsyncIterator[None]:
    """Ends the call with INTERNAL where something fails within: gRPC would send the exception's text, and with it
    perhaps what a client of the pool sent.
    """
    try:
        yield
    except TooManyWatchesError as exc:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(exc))
    except Exception:  # noqa: BLE001 - see above
        _log.exception("an admin call failed")
        await context.abort(grpc.StatusCode.INTERNAL, "internal error: the picker's log has it")


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
