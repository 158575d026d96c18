"""The simulated vLLM-like server as an object: start it, use its address, stop it."""

import asyncio
import socket
from types import TracebackType
from typing import Self

from aiohttp import web

from extproc.sim.engine import Engine, EngineSettings
from extproc.sim.routes import application

_BACKLOG = 1024
_STOP_S = 1.0  # bound on handlers that are slow to notice that their connection is gone
_MAX_HEADER_BYTES = 64 * 1024  # a gateway in front may add a lot


class SimServer:
    """A server over `engine`, which may be read and changed while it runs. It may be started again after `stop`."""

    def __init__(self, settings: EngineSettings) -> None:
        self.engine = Engine(settings)
        self.address = ""  # "127.0.0.1:PORT", from the moment the port is taken
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"SimServer({f'at {self.address}' if self._runner else 'not listening'}, {self.engine!r})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """The port, once it accepts connections. It is taken at once, and refuses them for `startup_delay_s`.

        Raises `OSError` if the port cannot be had; after any failure nothing is left open.
        """
        if self._runner is not None:
            raise RuntimeError(f"{self!r} is started already")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        runner = web.AppRunner(
            application(self.engine),
            access_log=None,
            auto_decompress=False,  # x-received-body-sha256 is of the bytes that came
            handler_cancellation=True,  # a client that leaves frees its slot
            max_field_size=_MAX_HEADER_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            shutdown_timeout=_STOP_S,
        )
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            port = int(sock.getsockname()[1])
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self.engine.name = self.engine.settings.name or self.address
            await asyncio.sleep(self.engine.settings.startup_delay_s)
            await runner.setup()
            await web.SockSite(runner, sock, backlog=_BACKLOG).start()
        except BaseException:
            await runner.cleanup()
            sock.close()
            raise
        self._runner = runner
        return port

    async def stop(self) -> None:
        """Closes the port and cuts every connection, as a killed process does. Does nothing if it is not started."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        if runner.server is not None:
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()
