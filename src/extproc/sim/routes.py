"""The paths of the simulated server, and how each is answered."""

import asyncio
import time
from functools import partial
from typing import Any

from aiohttp import web

from extproc.sim.completions import Completions
from extproc.sim.engine import Engine
from extproc.sim.failures import SLOW_MODELS
from extproc.sim.meters import HttpMeters
from extproc.sim.metrics_page import CONTENT_TYPE, MetricsPage
from extproc.sim.middlewares import authorizing, counting, errors_as_json, signer
from extproc.sim.replies import DIALECTS, error, model_list
from extproc.sim.requests import MAX_BODY_BYTES, BadRequestError, json_object

VERSION = "0.11.0"  # of vLLM, whose behaviour this is


def application(engine: Engine) -> web.Application:
    """A fresh aiohttp application that serves `engine`."""
    routes = _Routes(engine)
    completions = Completions(engine)
    counted = [
        web.get("/v1/models", routes.models, allow_head=False),
        web.post("/v1/load_lora_adapter", routes.load_adapter),
        web.post("/v1/unload_lora_adapter", routes.unload_adapter),
        *(web.post(dialect.path, partial(completions.answer, dialect)) for dialect in DIALECTS),
    ]
    http = HttpMeters((route.method, route.path) for route in counted)
    page = MetricsPage(engine, http, created_s=time.time())

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=page.render(), headers={"content-type": CONTENT_TYPE})

    app = web.Application(
        client_max_size=MAX_BODY_BYTES,
        middlewares=[counting(http), errors_as_json, authorizing(engine.settings.api_key)],
    )
    app.on_response_prepare.append(signer(engine))
    app.add_routes(counted)
    app.add_routes(
        [
            web.get("/health", routes.healthy, allow_head=False),
            web.get("/ping", routes.healthy, allow_head=False),
            web.get("/version", routes.version, allow_head=False),
            web.get("/metrics", metrics, allow_head=False),
            web.get("/sim/stats", routes.stats, allow_head=False),
            web.post("/sim/failures", routes.change_failures),
        ]
    )
    return app


class _Routes:
    """Everything that is no completion."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def healthy(self, request: web.Request) -> web.Response:
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    async def models(self, request: web.Request) -> web.Response:
        failures = self._engine.failures
        if failures.strikes(SLOW_MODELS):
            await asyncio.sleep(failures.delay_s)
        if failures.strikes("models-500"):
            return web.json_response(error(500, "Internal server error"), status=500)
        if failures.strikes("models-garbage"):
            return web.Response(text='{"object": "list", "data": [{"id": ', content_type="application/json")
        if failures.strikes("models-empty"):
            return web.json_response({"object": "list", "data": []})
        return web.json_response(model_list(self._engine))

    async def load_adapter(self, request: web.Request) -> web.Response:
        try:
            name, path = await _strings(request, "lora_name", "lora_path")
        except BadRequestError as exc:
            return _refusal(exc.status, exc.message)
        if not name or not path:
            return _refusal(400, "Both 'lora_name' and 'lora_path' must be provided.")
        if not self._engine.load_adapter(name, path):
            return _refusal(400, f"The lora adapter '{name}' has already been loaded.")
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def unload_adapter(self, request: web.Request) -> web.Response:
        try:
            (name,) = await _strings(request, "lora_name")
        except BadRequestError as exc:
            return _refusal(exc.status, exc.message)
        if not name:
            return _refusal(400, "'lora_name' needs to be provided to unload a LoRA adapter.")
        if not self._engine.unload_adapter(name):
            return _refusal(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def stats(self, request: web.Request) -> web.Response:
        engine = self._engine
        return web.json_response(
            {
                "name": engine.name,
                "served": dict(engine.served),
                "wrong_model": engine.wrong_model,
                "running": engine.running,
                "waiting": engine.waiting,
            }
        )

    async def change_failures(self, request: web.Request) -> web.Response:
        """`{"kind": rate, …}`: sets the kinds named, leaves the others; answers with all that are on."""
        failures = self._engine.failures
        try:
            failures.update(json_object(await request.read()))
        except (BadRequestError, ValueError) as exc:
            return _refusal(400, str(exc))
        return web.json_response(failures.rates)


async def _strings(request: web.Request, *keys: str) -> list[str]:
    """The values under `keys` of a JSON body, "" for what is missing."""
    fields: dict[str, Any] = json_object(await request.read())
    values = [fields.get(key, "") for key in keys]
    for key, value in zip(keys, values, strict=True):
        if not isinstance(value, str):
            raise BadRequestError(f"{key} must be a string")
    return values


def _refusal(status: int, message: str) -> web.Response:
    kind = "InvalidUserInput" if status == 400 else None
    return web.json_response(error(status, message, kind=kind), status=status)
