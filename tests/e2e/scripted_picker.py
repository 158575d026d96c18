"""An ext_proc server that answers as a test says and keeps what it was sent, on a codec that shares nothing with ours.

For what Envoy does with a filter's settings; what the picker does with Envoy's messages is tested with the picker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
    StreamedBodyResponse,
    TrailersResponse,
)
from tests.e2e.changes import Changes

from extproc.servers.health import Health

Answer = Callable[[str, ProcessingRequest], Sequence[ProcessingResponse]]
"""From a message and its kind, e.g. `request_headers`, to the messages that are sent at once for it."""


def pass_on(kind: str, message: ProcessingRequest) -> Sequence[ProcessingResponse]:
    """What lets everything through unchanged, with full duplex in neither phase."""
    return [_response(kind, BodyResponse() if kind.endswith("_body") else None)]


def echo(kind: str, message: ProcessingRequest) -> Sequence[ProcessingResponse]:
    """What lets everything through unchanged, bodies in full duplex: each chunk is sent back."""
    body = message.response_body if message.request_body is None else message.request_body
    if body is None:
        return pass_on(kind, message)
    mutation = BodyMutation(streamed_response=StreamedBodyResponse(body=body.body, end_of_stream=body.end_of_stream))
    return [_response(kind, BodyResponse(response=CommonResponse(body_mutation=mutation)))]


@dataclass(slots=True)
class SeenStream:
    """One stream, as the server saw it."""

    metadata: dict[str, str]
    messages: list[ProcessingRequest] = field(default_factory=list)
    is_over: bool = False
    """Envoy has ended it or cancelled it."""

    @property
    def has_body(self) -> bool:
        """The request's body is here, to its last chunk."""
        body = self.messages[-1].request_body if self.messages else None
        return body is not None and body.end_of_stream

    @property
    def kinds(self) -> list[str]:
        """The field that is set in each message, e.g. `request_headers`; neighbours of one kind once."""
        kinds = [_kind(message) for message in self.messages]
        return [kind for index, kind in enumerate(kinds) if index == 0 or kind != kinds[index - 1]]


class ScriptedPicker:
    """`answer` gives the messages owed for each message, often one or none; the stream stays until Envoy ends it.

    It serves the health service too, and is ready; `set_ready` says otherwise. `streams` are those seen, oldest first.
    """

    def __init__(self, answer: Answer = pass_on) -> None:
        self.address = ""
        self.streams: list[SeenStream] = []
        self.changes = Changes()
        self._answer = answer
        self._health = Health()
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])

    async def __aenter__(self) -> Self:
        method = grpc.stream_stream_rpc_method_handler(self._process)
        service = grpc.method_handlers_generic_handler(
            "envoy.service.ext_proc.v3.ExternalProcessor", {"Process": method}
        )
        self._server.add_generic_rpc_handlers((service,))
        self._health.add_to(self._server)
        await self._health.start()
        await self._health.set_ready(True)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(grace=None)

    @property
    def over(self) -> int:
        """How many streams are over."""
        return sum(stream.is_over for stream in self.streams)

    async def set_ready(self, is_ready: bool) -> None:
        """What the health service says from now on."""
        await self._health.set_ready(is_ready)

    async def _process(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        stream = SeenStream({key: str(value) for key, value in context.invocation_metadata()})
        self.streams.append(stream)
        try:
            async for data in messages:
                message = ProcessingRequest.parse(data)
                stream.messages.append(message)
                self.changes.notify()
                for response in self._answer(_kind(message), message):
                    yield bytes(response)
        finally:
            stream.is_over = True
            self.changes.notify()


def _kind(message: ProcessingRequest) -> str:
    kinds = ("headers", "body", "trailers")
    names = [f"{phase}_{kind}" for phase in ("request", "response") for kind in kinds]
    return next(name for name in names if getattr(message, name) is not None)


def _response(kind: str, body: BodyResponse | None) -> ProcessingResponse:
    response = ProcessingResponse()
    if body is None:
        setattr(response, kind, HeadersResponse() if kind.endswith("_headers") else TrailersResponse())
    else:
        setattr(response, kind, body)
    return response
