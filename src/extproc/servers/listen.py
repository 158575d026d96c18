"""Opening gRPC and HTTP servers on ports that nobody else has."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from aiohttp import web

from extproc.errors import PortInUseError
from extproc.telemetry.logs import Log

STOP_TIMEOUT_S = 1.0
"""Who has not sent the end of a request, or does not read the answer, is waited for so long: twice, by aiohttp."""

_log = Log("servers.listen")


def build_grpc_server(
    *,
    max_receive_bytes: int | None = None,
    max_age_s: float = 0.0,
    max_age_grace_s: float = 0.0,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> grpc.aio.Server:
    """A gRPC server that shares its ports with nobody and advertises no limit of concurrent streams.

    A connection older than `max_age_s` is sent GOAWAY; its open streams then have `max_age_grace_s`. 0: no bound.
    Source: docs/architecture.md, "gRPC": SO_REUSEPORT would hide that a port is taken, and an advertised
    max_concurrent_streams made Envoy answer cold bursts with 500.
    """
    options: list[tuple[str, Any]] = [("grpc.so_reuseport", 0)]
    if max_receive_bytes is not None:
        options.append(("grpc.max_receive_message_length", max_receive_bytes))
    if max_age_s:
        options.append(("grpc.max_connection_age_ms", _whole_ms(max_age_s)))
    if max_age_grace_s:
        options.append(("grpc.max_connection_age_grace_ms", _whole_ms(max_age_grace_s)))
    return grpc.aio.server(options=options, interceptors=interceptors or None)


def _whole_ms(duration_s: float) -> int:
    """At least 1, and at most what fits into gRPC's 31 bits, which there means for ever."""
    return max(1, min(round(duration_s * 1000), 2**31 - 1))


def open_port(
    server: grpc.aio.Server,
    address: str,
    port: int,
    *,
    purpose: str,
    setting: str,
    credentials: grpc.ServerCredentials | None = None,
) -> int:
    """Opens a port, plaintext without `credentials`, and returns its number, chosen by the system where `port` is 0.

    Errors: PortInUseError, naming the flag `setting`.
    """
    try:
        if credentials is None:
            opened = server.add_insecure_port(f"{address}:{port}")
        else:
            opened = server.add_secure_port(f"{address}:{port}", credentials)
    except RuntimeError as exc:
        raise PortInUseError(purpose, f"{address}:{port}", setting) from exc
    return int(opened)


def build_runner(app: web.Application) -> web.AppRunner:
    """Runs `app`: a defect in answering is logged and answered 500, and who does not read on is not waited for long
    when the server stops.
    """
    app.middlewares.insert(0, _tell_failures)  # around all others
    return web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)


@web.middleware
async def _tell_failures(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - aiohttp's own words would quote what clients sent, and are not logged
        _log.exception("a request could not be answered", path=request.path)
        return web.Response(status=500, text="internal error: the picker's log has it\n")


async def open_site(runner: web.AppRunner, address: str, port: int, *, purpose: str, setting: str) -> int:
    """Opens a port for `runner`'s application, and returns its number, chosen by the system where `port` is 0.

    Errors: PortInUseError, naming the flag `setting`; the runner is cleaned up then.
    """
    await runner.setup()
    # aiohttp takes one host by its types; asyncio, which it hands it to, also a list, and None for every interface.
    site = web.TCPSite(runner, hosts(address), port, reuse_port=False)  # type: ignore[arg-type]
    try:
        await site.start()
    except OSError as exc:
        await runner.cleanup()
        raise PortInUseError(purpose, f"{address}:{port}", setting) from exc
    return int(runner.addresses[0][1])


def hosts(listen_address: str) -> Sequence[str] | None:
    """The address as asyncio's servers take it: without brackets, None for every interface."""
    bare = listen_address.removeprefix("[").removesuffix("]")
    return None if bare == "::" else [bare]
