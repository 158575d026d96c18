"""Answering a completion: refuse it, run it through the engine, write it whole or token by token."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from aiohttp import web

from extproc.sim.batch import Turn
from extproc.sim.engine import Engine
from extproc.sim.middlewares import RECEIVED
from extproc.sim.replies import Answer, Chunk, Dialect, error, model_not_found
from extproc.sim.requests import BadRequestError, Generation, read_generation

_DESTINATION = "x-gateway-destination-endpoint"


class Completions:
    """Answers the requests of every dialect with one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        """One POST to `dialect.path`. Its reply says in headers what was received, byte for byte."""
        body = await request.read()
        request[RECEIVED] = received = {
            "x-received-body-sha256": hashlib.sha256(body).hexdigest(),
            "x-received-body-bytes": str(len(body)),
        }
        if _DESTINATION in request.headers:
            received["x-received-destination"] = request.headers[_DESTINATION]
        try:
            wanted = read_generation(
                dialect,
                body,
                content_type=request.headers.get("content-type", ""),
                content_encoding=request.headers.get("content-encoding", ""),
            )
        except BadRequestError as exc:
            return web.json_response(error(exc.status, exc.message), status=exc.status)
        engine = self._engine
        model = wanted.model or engine.settings.models[0]
        if not engine.serves(model):
            engine.wrong_model += 1
            return web.json_response(model_not_found(model), status=404)
        engine.served[model] += 1
        if engine.failures.strikes("500"):
            return web.json_response(error(500, "Internal server error"), status=500)
        if wanted.dialect.chunk is not None and wanted.streams:
            return await self._stream(request, wanted, model, wanted.dialect.chunk)
        return await self._whole(request, wanted, model)

    async def _whole(self, request: web.Request, wanted: Generation, model: str) -> web.Response:
        engine, settings = self._engine, self._engine.settings
        async with engine.turn(model, prompt=wanted.prompt, max_tokens=wanted.max_tokens) as turn:
            if engine.failures.strikes("hang"):
                await _never()
            if engine.failures.strikes("drop"):
                await _cut(request)
            await engine.sleep(settings.time_to_first_token_s)
            engine.produce(turn, count=min(1, turn.max_tokens))
            await engine.sleep(turn.max_tokens * settings.token_delay_s)
            engine.produce(turn, count=turn.max_tokens - turn.tokens)
        return web.json_response(wanted.dialect.reply(_answer(wanted, turn)))

    async def _stream(self, request: web.Request, wanted: Generation, model: str, chunk: Chunk) -> web.StreamResponse:
        engine, settings = self._engine, self._engine.settings
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        async with engine.turn(model, prompt=wanted.prompt, max_tokens=wanted.max_tokens) as turn:
            if engine.failures.strikes("hang"):
                await _never()
            drop_at = turn.max_tokens // 2 if engine.failures.strikes("drop") else None
            answer = _answer(wanted, turn)
            await engine.sleep(settings.time_to_first_token_s)
            await response.prepare(request)
            for index in range(turn.max_tokens):
                if index == drop_at:
                    await _cut(request)
                engine.produce(turn)
                await response.write(_event(chunk(answer, index)))
                await engine.sleep(settings.token_delay_s)
        # The slot is free before the client can know that the answer is whole.
        last = [_event(chunk(answer, None))]
        if wanted.includes_usage:
            last.append(_event({**chunk(answer, None), "choices": [], "usage": answer.usage}))
        await response.write(b"".join([*last, b"data: [DONE]\n\n"]))
        await response.write_eof()
        return response


def _answer(wanted: Generation, turn: Turn) -> Answer:
    return wanted.answer(
        model=turn.model,
        prompt_tokens=turn.prompt_tokens,
        cached_tokens=turn.cached_tokens,
        tokens=turn.max_tokens,
        finish_reason=turn.finish_reason,
    )


def _event(chunk: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n".encode()


async def _never() -> NoReturn:
    """Ends by cancellation only: the client leaves, or the server stops."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves this future")


async def _cut(request: web.Request) -> NoReturn:
    """Closes the connection without another byte; the handler is then cancelled."""
    if request.transport is not None:
        request.transport.abort()
    await _never()
