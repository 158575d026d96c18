"""The page, and the JSON that it shows, over HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from google.protobuf import json_format

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.servers.admin.access import Access
from extproc.servers.admin.page_document import Document, build_document
from extproc.servers.admin.page_guard import EXPLAIN_PATH, find_refusal
from extproc.servers.admin.requests import read_request
from extproc.servers.admin.views import Views
from extproc.servers.listen import build_runner, open_site
from extproc.values.admin import DecisionEvent

SAFETY = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "server": "extproc",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every answer."""

LARGEST_EXPLAIN_BYTES = 1 << 20


class Decisions(msgspec.Struct, frozen=True):
    """What `GET /api/decisions` answers."""

    decided: int
    """Decisions since the picker began; the next to ask with as `after`."""
    decisions: tuple[DecisionEvent, ...]
    """Those after it that are still kept, the newest first."""


class PageServer:
    """Serves the page: `GET /`, `/api/snapshot`, `/api/decisions?after=N`, and `POST /api/explain`."""

    def __init__(self, views: Views, access: Access) -> None:
        self._views = views
        self._access = access
        self._document = Document(b"", "")
        app = web.Application(middlewares=(self._guard,), client_max_size=LARGEST_EXPLAIN_BYTES)
        app.router.add_get("/", self._show)
        app.router.add_get("/api/snapshot", self._tell_snapshot)
        app.router.add_get("/api/decisions", self._tell_decisions)
        app.router.add_post(EXPLAIN_PATH, self._explain)
        app.on_response_prepare.append(self._add_safety)
        self._runner = build_runner(app)

    def __repr__(self) -> str:
        return f"<PageServer of {self._views!r}>"

    async def start(self, address: str, port: int) -> int:
        """Opens the port and returns its number. Errors: PortInUseError."""
        self._document = build_document()
        return await open_site(self._runner, address, port, purpose="the admin page", setting="admin-http-port")

    async def stop(self) -> None:
        """Closes the port. Harmless when it was never opened."""
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        refused = find_refusal(request.method, request.path, request.headers, self._access)
        if refused is not None:
            return web.Response(status=refused.status, text=refused.why + "\n", headers=refused.headers)
        return await handler(request)

    async def _add_safety(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(SAFETY)
        response.headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")

    async def _show(self, _request: web.Request) -> web.Response:
        headers = {"content-security-policy": self._document.policy, "content-type": "text/html; charset=utf-8"}
        return web.Response(body=self._document.html, headers=headers)

    # A pool of 1,000 endpoints is 0.5 MB, gathered and written in 4 ms: no version of it is kept, as ages and load
    # differ at each look.

    async def _tell_snapshot(self, _request: web.Request) -> web.Response:
        snapshot = self._views.snapshot()
        await asyncio.sleep(0)  # requests go first: either half takes 10 ms at 5,000 endpoints
        return _answer_json(snapshot)

    async def _tell_decisions(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 18:
            raise web.HTTPBadRequest(text="`after` is a number of decisions, 0 or more.\n")
        journal = self._views.journal
        return _answer_json(Decisions(journal.decided, journal.decisions(after=int(after))))

    async def _explain(self, request: web.Request) -> web.Response:
        # A form of another site cannot send this type without the browser asking first, which is refused.
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Send an ExplainRequest as application/json.\n")
        try:
            message = json_format.Parse(await request.read(), admin_pb2.ExplainRequest())
        except (json_format.ParseError, UnicodeDecodeError) as exc:
            raise web.HTTPBadRequest(text=f"This is no ExplainRequest: {exc}\n") from exc
        head, body = read_request(message)
        return _answer_json(await self._views.explain(head, body))


def _answer_json(value: msgspec.Struct) -> web.Response:
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError:  # what a client names may hold half a character: slower, and in ASCII
        body = json.dumps(msgspec.to_builtins(value)).encode()
    return web.Response(body=body, content_type="application/json")
