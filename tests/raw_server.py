"""A TCP server for one test, of whose connections nothing is left, however its handler or its clients end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[int]:
    """Serves each connection by `handler` on a free port of 127.0.0.1, and yields the port.

    A handler may leave its connection open, and a client may go away amid it. At the end every handler is cancelled and
    every connection dropped: an open one would be reported by whichever test runs when it is collected.
    """
    handling: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        writers.append(writer)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            handling.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling)
        for writer in writers:
            if not writer.is_closing():
                writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()
