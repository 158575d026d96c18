"""sim/server, sim/routes, sim/middlewares: start and stop, the model list, adapters, the key, errors."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from tests.sim.conftest import StartSim, Until

from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        pytest.param({"models": ()}, "at least one model", id="no-model"),
        pytest.param({"max_running": 0}, "max_running is 0", id="no-slot"),
        pytest.param({"kv_blocks": 0}, "kv_blocks is 0", id="no-block"),
        pytest.param({"prefill_tokens_per_s": -1}, "prefill_tokens_per_s is -1", id="backwards"),
    ],
)
def test_an_engine_without_models_or_room_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        EngineSettings(**{"models": ("phi",), **settings})


async def test_stop_closes_the_port_and_start_takes_it_again(http: aiohttp.ClientSession) -> None:
    server = SimServer(EngineSettings(models=("phi", "gemma"), name="pod-0"))
    assert "not listening" in repr(server)
    async with server:
        port = int(server.address.rpartition(":")[2])
        assert repr(server) == (
            f"SimServer(at 127.0.0.1:{port}, Engine('pod-0' serving phi, gemma; 0 running, 0 waiting))"
        )
        with pytest.raises(RuntimeError, match="started already"):
            await server.start()
    await server.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"http://127.0.0.1:{port}/health")
    assert await server.start(port=port) == port
    assert (await http.get(f"http://{server.address}/health")).status == 200
    await server.stop()


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(start_sim: StartSim) -> None:
    taken = await start_sim()
    second = SimServer(EngineSettings(models=("phi",)))
    with pytest.raises(OSError, match="in use"):
        await second.start(port=int(taken.address.rpartition(":")[2]))
    assert await second.start() > 0
    await second.stop()


async def test_the_port_is_closed_during_startup(http: aiohttp.ClientSession, until: Until) -> None:
    server = SimServer(EngineSettings(models=("phi",), startup_delay_s=0.2))
    begun = time.monotonic()
    starting = asyncio.create_task(server.start())
    await until(lambda: server.address != "")
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"http://{server.address}/health")
    await starting
    assert time.monotonic() - begun >= 0.2
    assert (await http.get(f"http://{server.address}/health")).status == 200
    await server.stop()


async def test_a_cancelled_start_leaves_nothing_open(until: Until) -> None:
    server = SimServer(EngineSettings(models=("phi",), startup_delay_s=60))
    starting = asyncio.create_task(server.start())
    await until(lambda: server.address != "")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    successor = SimServer(EngineSettings(models=("phi",)))
    await successor.start(port=int(server.address.rpartition(":")[2]))
    await successor.stop()


async def test_stopping_cuts_streams_at_once(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim(token_delay_s=60)
    async with http.post(f"http://{server.address}{CHAT}", json={"model": "phi", "stream": True}) as response:
        assert await response.content.readline()
        begun = time.monotonic()
        await server.stop()
        assert time.monotonic() - begun < 0.5
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert server.engine.running == 0


async def test_models_are_listed_anew_at_each_call(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim("org/phi", "phi-alias", lora=("sql",), max_model_len=2048)
    lists = [await (await http.get(f"http://{server.address}/v1/models")).json() for _ in range(2)]
    cards = {card["id"]: card for card in lists[0]["data"]}
    assert lists[0]["object"] == "list"
    assert list(cards) == ["org/phi", "phi-alias", "sql"]
    facts = {name: (card["root"], card["parent"], card["max_model_len"]) for name, card in cards.items()}
    assert facts == {
        "org/phi": ("org/phi", None, 2048),
        "phi-alias": ("phi-alias", None, 2048),
        "sql": ("/adapters/sql", "org/phi", None),
    }
    assert {card["object"] + card["owned_by"] for card in cards.values()} == {"modelvllm"}
    assert abs(cards["org/phi"]["created"] - time.time()) < 5
    permissions = {card["permission"][0]["id"] for each in lists for card in each["data"]}
    assert len(permissions) == 6
    assert all(permission.startswith("modelperm-") for permission in permissions)


async def test_adapters_come_and_go(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim()
    base = f"http://{server.address}"

    async def post(path: str, **fields: object) -> tuple[int, str]:
        async with http.post(base + path, json=fields) as response:
            return response.status, await response.text()

    async def listed() -> list[str]:
        return [card["id"] for card in (await (await http.get(f"{base}/v1/models")).json())["data"]]

    adapter = {"lora_name": "sql", "lora_path": "/data/sql"}
    assert await post("/v1/load_lora_adapter", **adapter) == (200, "Success: LoRA adapter 'sql' added successfully.")
    assert await listed() == ["phi", "sql"]
    status, text = await post("/v1/load_lora_adapter", **adapter)
    assert (status, "has already been loaded" in text, '"InvalidUserInput"' in text) == (400, True, True)
    assert (await post(CHAT, model="sql"))[0] == 200
    assert await post("/v1/unload_lora_adapter", lora_name="sql") == (
        200,
        "Success: LoRA adapter 'sql' removed successfully.",
    )
    assert await listed() == ["phi"]
    assert (await post(CHAT, model="sql"))[0] == 404
    status, text = await post("/v1/unload_lora_adapter", lora_name="sql")
    assert (status, "cannot be found" in text) == (404, True)
    assert (await post("/v1/load_lora_adapter", lora_name="sql"))[0] == 400
    assert (await post("/v1/load_lora_adapter", lora_name=1, lora_path="/"))[0] == 400
    assert (await post("/v1/unload_lora_adapter"))[0] == 400


async def test_with_a_key_v1_needs_it_and_the_rest_does_not(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim(api_key="sesame", name="pod-0")

    async def get(path: str, token: str | None = None) -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with http.get(f"http://{server.address}{path}", headers=headers) as response:
            assert response.headers["x-served-by"] == "pod-0"
            if response.status == 401:
                assert await response.json() == {"error": "Unauthorized"}
            return response.status

    assert await get("/v1/models") == 401
    assert await get("/v1/models", "wrong") == 401
    assert await get("/v1/models", "sesame") == 200
    assert [await get(path) for path in ("/health", "/metrics", "/ping", "/version", "/sim/stats")] == [200] * 5
    async with http.post(f"http://{server.address}{CHAT}", json={"model": "phi"}) as response:
        assert response.status == 401
    assert server.engine.served == {}


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [("GET", "/v1/nothing", 404, "Not Found"), ("GET", CHAT, 405, "Method Not Allowed")],
)
async def test_other_errors_have_the_same_shape(
    start_sim: StartSim, http: aiohttp.ClientSession, method: str, path: str, status: int, reason: str
) -> None:
    server = await start_sim()
    async with http.request(method, f"http://{server.address}{path}") as response:
        assert response.status == status
        assert response.headers["x-served-by"] == server.address
        assert await response.json() == {"error": {"message": reason, "type": reason, "param": None, "code": status}}


async def test_stats_say_what_was_served(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim("phi", "gemma", name="pod-0")
    for model in ("phi", "phi", "gemma", "other"):
        await http.post(f"http://{server.address}{CHAT}", json={"model": model})
    expected = {"name": "pod-0", "served": {"phi": 2, "gemma": 1}, "wrong_model": 1, "running": 0, "waiting": 0}
    assert await (await http.get(f"http://{server.address}/sim/stats")).json() == expected
