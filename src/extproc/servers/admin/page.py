"""The page, and the JSON that it shows, over HTTP."""

from aiohttp import web

from extproc.errors import PortInUseError
from extproc.servers.admin.access import Access
from extproc.servers.admin.views import Views
from extproc.servers.listen import hosts


class PageServer:
    """Serves the page."""

    def __init__(self, views: Views, access: Access) -> None:
        self._views = views
        self._access = access
        app = web.Application()
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, address: str, port: int) -> int:
        """Opens the port and returns its number. Errors: PortInUseError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, hosts(address), port, reuse_port=False)  # type: ignore[arg-type]
        try:
            await site.start()
        except OSError as exc:
            await self._runner.cleanup()
            raise PortInUseError("the admin page", f"{address}:{port}", "admin-http-port") from exc
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Closes the port. Harmless when it was never opened."""
        await self._runner.cleanup()
