"""The two sides of a benchmark: the picker and the reference, each behind an Envoy of its own in the same mode."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from bench.chat import SMALL_BYTES, Request, chat_requests
from bench.modes import Mode
from bench.processes import Picker, PythonServer, Reference, endpoints_file
from extproc.cli.demo.envoy import Envoy, GatewaySettings

Server = TypeVar("Server", bound=PythonServer, covariant=True)


@dataclass(frozen=True)
class Side(Generic[Server]):
    """A server and the URL of the gateway that asks it."""

    server: Server
    url: str


@dataclass(frozen=True)
class Sides:
    """Both, and what to send to them."""

    ours: Side[Picker]
    reference: Side[Reference]
    requests: Sequence[Request]

    def in_turn(self, index: int) -> tuple[Side[PythonServer], Side[PythonServer]]:
        """Both, in the order of round `index`: each goes first in every other round."""
        return (self.ours, self.reference) if index % 2 else (self.reference, self.ours)


@asynccontextmanager
async def serve_sides(
    mode: Mode,
    endpoints: Sequence[str],
    *,
    body_bytes: int = SMALL_BYTES,
    requests: Sequence[Request] | None = None,
) -> AsyncIterator[Sides]:
    """Starts both sides of `mode` in front of `endpoints`, which serve `bench.chat.ENDPOINT_MODELS`.

    `requests`: others than those of `body_bytes`; through the reference all of them come with the body of the first.
    """
    requests = requests or chat_requests(body_bytes=body_bytes, names_model_in_header=mode.names_model_in_header)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        picker = await stack.enter_async_context(
            Picker(endpoints_file(endpoints, directory), config=mode.picker_config)
        )
        reference = await stack.enter_async_context(Reference(endpoints, directory, mode=mode, body=requests[0].body))
        gateways = [
            await stack.enter_async_context(
                Envoy(GatewaySettings(endpoints=endpoints, picker=address, processing_mode=mode.filter))
            )
            for address in (picker.address, reference.address)
        ]
        yield Sides(Side(picker, gateways[0].url), Side(reference, gateways[1].url), requests)
