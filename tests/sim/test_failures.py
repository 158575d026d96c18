"""sim/failures: each kind seen by a client, and how rates are set."""

import random

import aiohttp
import pytest
from tests.sim.conftest import StartSim, Until

from extproc.sim.failures import KINDS, Failures

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("texts", "rates", "delay_s"),
    [
        ([], {}, 10.0),
        (["drop"], {"drop": 1.0}, 10.0),
        (["drop:0.25", "500:1"], {"drop": 0.25, "500": 1.0}, 10.0),
        (["slow-models"], {"slow-models": 1.0}, 10.0),
        (["slow-models:0.5"], {"slow-models": 0.5}, 10.0),
        (["slow-models:50ms"], {"slow-models": 1.0}, 0.05),
        (["drop:0"], {}, 10.0),
    ],
)
def test_words_become_rates(texts: list[str], rates: dict[str, float], delay_s: float) -> None:
    failures = Failures.parse(texts)
    assert (failures.rates, failures.delay_s) == (rates, delay_s)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("dorp", "no failure kind 'dorp': there are 500, hang"),
        ("drop:2", "rate '2' of failure drop"),
        ("drop:-1", "rate '-1' of failure drop"),
        ("drop:nan", "rate 'nan'"),
        ("drop:", "rate ''"),
        ("drop:1s", "rate '1s'"),
        ("slow-models:soon", "'soon' is no duration"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Failures.parse([text])


def test_a_bad_update_changes_nothing() -> None:
    failures = Failures({"drop": 0.5})
    with pytest.raises(ValueError, match="no failure kind"):
        failures.update({"slow-models": "1s", "500": 1, "other": 1})
    assert (failures.rates, failures.delay_s) == ({"drop": 0.5}, 10.0)
    failures.clear()
    assert failures.rates == {}


def test_a_rate_is_a_probability() -> None:
    failures = Failures({"drop": 0.25}, rng=random.Random(1))
    assert 200 < sum(failures.strikes("drop") for _ in range(1000)) < 300
    assert not any(failures.strikes(kind) for kind in KINDS if kind != "drop")


async def test_500(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim(failures=Failures({"500": 1}))
    async with http.post(f"http://{server.address}{CHAT}", json={"model": "phi"}) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (500, "InternalServerError")
    async with http.get(f"http://{server.address}/v1/models") as response:
        assert response.status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_hang_holds_its_slot_until_the_client_leaves(
    start_sim: StartSim, http: aiohttp.ClientSession, until: Until, stream: bool
) -> None:
    server = await start_sim(failures=Failures({"hang": 1}))
    timeout = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(TimeoutError):
        await http.post(f"http://{server.address}{CHAT}", json={"model": "phi", "stream": stream}, timeout=timeout)
    assert server.engine.served == {"phi": 1}
    await until(lambda: server.engine.running == 0)


async def test_drop_closes_without_a_response(start_sim: StartSim, http: aiohttp.ClientSession, until: Until) -> None:
    server = await start_sim(failures=Failures({"drop": 1}))
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(f"http://{server.address}{CHAT}", json={"model": "phi"})
    assert server.engine.served == {"phi": 1}
    await until(lambda: server.engine.running == 0)


async def test_drop_closes_half_way_through_a_stream(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim(failures=Failures({"drop": 1}))
    fields = {"model": "phi", "stream": True, "max_tokens": 8}
    async with http.post(f"http://{server.address}{CHAT}", json=fields) as response:
        assert response.status == 200
        lines = [await response.content.readline() for _ in range(8)]  # an event and an empty line, each
        assert sum(line.startswith(b"data: ") for line in lines) == 4
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readline()


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("models-500", 500, b'{"error": {"message": "Internal server error"'),
        ("models-empty", 200, b'{"object": "list", "data": []}'),
        ("models-garbage", 200, b'{"object": "list", "data": [{"id": '),
    ],
)
async def test_failing_model_lists(
    start_sim: StartSim, http: aiohttp.ClientSession, kind: str, status: int, body: bytes
) -> None:
    server = await start_sim()
    server.engine.failures.set(kind)
    async with http.get(f"http://{server.address}/v1/models") as response:
        assert response.status == status
        assert (await response.read()).startswith(body)
    async with http.post(f"http://{server.address}{CHAT}", json={"model": "phi"}) as response:
        assert response.status == 200


async def test_slow_models(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim()
    server.engine.failures.set("slow-models", delay_s=0.2)
    url, timeout = f"http://{server.address}/v1/models", aiohttp.ClientTimeout(total=0.1)
    with pytest.raises(TimeoutError):
        await http.get(url, timeout=timeout)
    async with http.get(url) as response:
        assert response.status == 200
    server.engine.failures.set("slow-models", 0)
    async with http.get(url, timeout=timeout) as response:
        assert response.status == 200


async def test_failures_change_over_http(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim()
    url = f"http://{server.address}/sim/failures"
    async with http.post(url, json={"500": 1, "slow-models": "1ms"}) as response:
        assert await response.json() == {"500": 1.0, "slow-models": 1.0}
    async with http.post(url, json={"500": 0}) as response:
        assert await response.json() == {"slow-models": 1.0}
    refused: list[object] = [{"nothing": 1}, {"500": True}, []]
    for bad in refused:
        async with http.post(url, json=bad) as response:
            assert response.status == 400
    assert (server.engine.failures.rates, server.engine.failures.delay_s) == ({"slow-models": 1.0}, 0.001)
