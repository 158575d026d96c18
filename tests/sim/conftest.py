"""Simulated servers on free ports, and a client whose connections are its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

StartSim = Callable[..., Awaitable[SimServer]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
async def start_sim() -> AsyncIterator[StartSim]:
    """Starts a server that answers at once, unless told otherwise; stops all it started."""
    servers: list[SimServer] = []

    async def start(*models: str, **settings: Any) -> SimServer:
        at_once = {"time_to_first_token_s": 0.0, "token_delay_s": 0.0}
        server = SimServer(EngineSettings(models=models or ("phi",), **{**at_once, **settings}))
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
def until() -> Until:
    """Lets the loop run until the condition holds; fails after 5 s."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)

    return wait
