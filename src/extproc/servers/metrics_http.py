"""`GET /metrics` for Prometheus."""

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry

from extproc.servers.listen import build_runner, open_site
from extproc.telemetry.metrics.exposition import CONTENT_TYPES, render, wants_openmetrics


class MetricsServer:
    """A small HTTP server that renders a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        app = web.Application()
        app.router.add_get("/metrics", self._render)
        self._runner = build_runner(app)

    async def start(self, address: str, port: int) -> int:
        """Opens the port and returns its number. Errors: PortInUseError."""
        return await open_site(self._runner, address, port, purpose="metrics", setting="metrics-port")

    async def stop(self) -> None:
        """Closes the port. Harmless when it was never opened."""
        await self._runner.cleanup()

    async def _render(self, request: web.Request) -> web.Response:
        is_openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        parts = []
        for part in render(self._registry.collect(), is_openmetrics=is_openmetrics):
            parts.append(part)
            await asyncio.sleep(0)  # requests go first
        # A model's name may hold half a character: no scrape fails for it.
        body = "".join(parts).encode("utf-8", "replace")
        return web.Response(body=body, headers={"content-type": CONTENT_TYPES[is_openmetrics]})
