"""Both ports of the admin server: gRPC and the page."""

import grpc
from grpc_reflection.v1alpha import reflection

from extproc.servers.admin.access import Access
from extproc.servers.admin.page import PageServer
from extproc.servers.admin.service import SERVICE_NAME, AdminService, TokenInterceptor
from extproc.servers.admin.views import Views
from extproc.servers.listen import build_grpc_server, open_port
from extproc.settings.telling import AdminSettings


class AdminServer:
    """Serves the admin service and the page, to those who may ask."""

    def __init__(self, views: Views, settings: AdminSettings) -> None:
        self._settings = settings
        access = Access(settings.token_file)
        self._service = AdminService(views)
        self._interceptor = TokenInterceptor(access)
        self._page = PageServer(views, access)
        self._server: grpc.aio.Server | None = None

    def __repr__(self) -> str:
        return f"<AdminServer at {self._settings.address}>"

    async def start(self) -> dict[str, int]:
        """Opens the ports and returns their numbers. Errors: PortInUseError; what is open then is closed by `stop`."""
        settings = self._settings
        server = self._server = build_grpc_server(interceptors=(self._interceptor,))
        self._service.add_to(server)
        reflection.enable_server_reflection((SERVICE_NAME, reflection.SERVICE_NAME), server)
        grpc_port = open_port(server, settings.address, settings.grpc_port, purpose="admin", setting="admin-grpc-port")
        http_port = await self._page.start(settings.address, settings.http_port)
        await server.start()
        return {"admin_grpc": grpc_port, "admin_http": http_port}

    async def stop(self) -> None:
        """Closes the ports. Harmless when they were never opened."""
        if self._server is not None:
            await self._server.stop(0)
        await self._page.stop()
