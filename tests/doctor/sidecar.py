"""A mesh's proxy before an engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.raw_server import raw_server


class Sidecar:
    """Lets connections through to `strict`, which wants the mesh's TLS of everybody, until `is_strict` is unset: then
    to the engine itself, as PERMISSIVE does with plaintext.
    """

    def __init__(self, engine: str, strict: str) -> None:
        self.address = ""
        self.is_strict = True
        self._engine, self._strict = engine, strict

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hands on what comes, both ways, until one side ends it."""
        host, _, port = (self._strict if self.is_strict else self._engine).rpartition(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_hand_on(reader, inner_writer), _hand_on(inner_reader, writer))
        finally:
            inner_writer.transport.abort()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def sidecar(engine: str, strict: str) -> AsyncIterator[Sidecar]:
    """One that runs."""
    proxy = Sidecar(engine, strict)
    async with raw_server(proxy.serve) as port:
        proxy.address = f"127.0.0.1:{port}"
        yield proxy
