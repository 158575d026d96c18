"""What every request to the simulated server passes: the API key, errors in vLLM's shape, counting, a signature."""

import hmac
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from extproc.sim.engine import Engine
from extproc.sim.meters import HttpMeters
from extproc.sim.replies import error

# Headers about the request, sent back with the answer. Set by the handler that reads the body.
RECEIVED = web.RequestKey("received", dict[str, str])

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Signer = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def signer(engine: Engine) -> _Signer:
    """Puts `x-served-by`, and what the handler says it received, on every reply, errors and streams included."""

    async def sign(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-served-by"] = engine.name
        response.headers.update(request.get(RECEIVED, {}))

    return sign


def counting(http: HttpMeters) -> Middleware:
    """Counts each answered request; a stream when it has ended."""

    @web.middleware
    async def count(request: web.Request, handler: _Handler) -> web.StreamResponse:
        started = time.monotonic()
        response = await handler(request)
        http.observe(
            request.method,
            request.path,
            status=response.status,
            duration_s=time.monotonic() - started,
            request_bytes=request.content_length or 0,
            response_bytes=response.content_length or 0,
        )
        return response

    return count


@web.middleware
async def errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """aiohttp's own refusals (404, 405, 413) in the shape that vLLM gives to any."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        response = web.json_response(error(exc.status, exc.reason, kind=exc.reason), status=exc.status)
        if isinstance(exc, web.HTTPMethodNotAllowed):
            response.headers["allow"] = exc.headers["allow"]
        return response


def authorizing(api_key: str | None) -> Middleware:
    """With a key, everything under /v1 needs `Authorization: Bearer KEY`; /health, /metrics and /sim never do."""
    expected = f"Bearer {api_key}".encode()

    @web.middleware
    async def authorize(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if api_key is None or not request.path.startswith("/v1"):
            return await handler(request)
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, expected):
            return web.json_response({"error": "Unauthorized"}, status=401)
        return await handler(request)

    return authorize
