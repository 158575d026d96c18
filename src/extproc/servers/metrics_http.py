"""`GET /metrics` for Prometheus."""

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from extproc.errors import PortInUseError
from extproc.servers.listen import hosts


class MetricsServer:
    """A small HTTP server that renders a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        app = web.Application()
        app.router.add_get("/metrics", self._render)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, address: str, port: int) -> int:
        """Opens the port and returns its number. Errors: PortInUseError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, hosts(address), port, reuse_port=False)  # type: ignore[arg-type]
        try:
            await site.start()
        except OSError as exc:
            await self._runner.cleanup()
            raise PortInUseError("metrics", f"{address}:{port}", "metrics-port") from exc
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Closes the port. Harmless when it was never opened."""
        await self._runner.cleanup()

    async def _render(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return web.Response(body=encode(self._registry), headers={"content-type": content_type})
