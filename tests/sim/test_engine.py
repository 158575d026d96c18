"""sim/engine, sim/batch: slots handed over without a gap, freed on every exit, and what is counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from tests.sim.conftest import StartSim, Until

from extproc.sim.engine import KV_BLOCKS, Engine, EngineSettings


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def held(engine: Engine, model: str = "phi") -> AsyncIterator[asyncio.Task[None]]:
    """A task that takes a turn and keeps it; let the loop run once and it has arrived."""

    async def hold() -> None:
        async with engine.turn(model, prompt="", max_tokens=1):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(hold())
    await asyncio.sleep(0)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def counts(engine: Engine) -> tuple[int, int]:
    return engine.running, engine.waiting


async def test_beyond_max_running_requests_wait_in_order() -> None:
    engine = Engine(EngineSettings(models=("phi",), max_running=2))
    order: list[int] = []

    async def run(number: int, done: asyncio.Event) -> None:
        async with engine.turn("phi", prompt="", max_tokens=1):
            order.append(number)
            await done.wait()

    gates = [asyncio.Event() for _ in range(4)]
    tasks = [asyncio.create_task(run(number, gate)) for number, gate in enumerate(gates)]
    await asyncio.sleep(0)
    assert counts(engine) == (2, 2)
    gates[1].set()
    await tasks[1]
    assert counts(engine) == (2, 1)
    gates[0].set()
    await tasks[0]
    assert counts(engine) == (2, 0)
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks)
    assert counts(engine) == (0, 0)
    assert order == [0, 1, 2, 3]


async def test_running_never_dips_while_somebody_waits() -> None:
    engine = Engine(EngineSettings(models=("phi",), max_running=1))
    async with AsyncExitStack() as stack:
        async with engine.turn("phi", prompt="", max_tokens=1):
            await stack.enter_async_context(held(engine))
            assert counts(engine) == (1, 1)
        assert counts(engine) == (1, 0)  # no await since the slot was left
    assert counts(engine) == (0, 0)


async def test_a_waiter_that_is_cancelled_takes_no_slot() -> None:
    engine = Engine(EngineSettings(models=("phi",), max_running=1))
    async with held(engine), held(engine) as second, held(engine):
        assert counts(engine) == (1, 2)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert counts(engine) == (1, 1)
    assert counts(engine) == (0, 0)


async def test_a_waiter_cancelled_as_it_gets_its_slot_hands_it_on() -> None:
    engine = Engine(EngineSettings(models=("phi",), max_running=1))
    async with AsyncExitStack() as stack:
        async with engine.turn("phi", prompt="", max_tokens=1):
            second = await stack.enter_async_context(held(engine))
            await stack.enter_async_context(held(engine))
        second.cancel()  # the slot is its own, and it has not run since
        await asyncio.gather(second, return_exceptions=True)
        assert counts(engine) == (1, 0)
    assert counts(engine) == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot(
    start_sim: StartSim, http: aiohttp.ClientSession, until: Until, stream: bool
) -> None:
    server = await start_sim(max_running=1, token_delay_s=60)
    url, fields = f"http://{server.address}/v1/completions", {"model": "phi", "stream": stream}
    first = asyncio.create_task(http.post(url, json=fields))
    await until(lambda: counts(server.engine) == (1, 0))
    second = asyncio.create_task(http.post(url, json=fields))
    await until(lambda: counts(server.engine) == (1, 1))
    for task in (first, second):
        task.cancel()
        for response in await asyncio.gather(task, return_exceptions=True):
            if isinstance(response, aiohttp.ClientResponse):  # a stream's head may have come already
                response.close()
    await until(lambda: counts(server.engine) == (0, 0))
    assert server.engine.served == {"phi": 2}


async def test_the_slot_is_free_when_the_client_has_the_answer(
    start_sim: StartSim, http: aiohttp.ClientSession
) -> None:
    server = await start_sim()
    for stream in (True, False):
        async with http.post(
            f"http://{server.address}/v1/completions", json={"model": "phi", "stream": stream}
        ) as response:
            await response.read()
        assert counts(server.engine) == (0, 0)


async def test_a_turn_is_counted_with_its_times() -> None:
    clock = Clock()
    engine = Engine(EngineSettings(models=("phi",)), clock=clock)
    async with engine.turn("phi", prompt="a" * 400, max_tokens=3) as turn:
        assert engine.kv_used_ratio == 7 / KV_BLOCKS  # 103 tokens in blocks of 16
        clock.now += 2
        engine.produce(turn)
        clock.now += 1
        engine.produce(turn, count=2)
    meters = engine.meters
    assert (meters.prompt_tokens, meters.generation_tokens, dict(meters.finished)) == (100, 3, {"length": 1})
    sums = {name.removeprefix("vllm:"): (each.count, each.sum) for name, each in meters.histograms.items()}
    assert sums == {
        "iteration_tokens_total": (3, 103.0),
        "time_to_first_token_seconds": (1, 2.0),
        "inter_token_latency_seconds": (2, 1.0),
        "time_per_output_token_seconds": (2, 1.0),
        "request_time_per_output_token_seconds": (1, 0.5),
        "e2e_request_latency_seconds": (1, 3.0),
        "request_queue_time_seconds": (1, 0.0),
        "request_inference_time_seconds": (1, 3.0),
        "request_prefill_time_seconds": (1, 2.0),
        "request_decode_time_seconds": (1, 1.0),
        "request_prompt_tokens": (1, 100.0),
        "request_generation_tokens": (1, 3.0),
        "request_max_num_generation_tokens": (1, 3.0),
        "request_params_max_tokens": (1, 3.0),
        "request_prefill_kv_computed_tokens": (1, 100.0),
    }
    assert engine.kv_used_ratio == 0


async def test_a_turn_that_breaks_counts_as_aborted() -> None:
    engine = Engine(EngineSettings(models=("phi",)))
    async with held(engine):
        pass
    assert dict(engine.meters.finished) == {"abort": 1}


async def test_an_unloaded_adapter_is_served_through_its_grace() -> None:
    clock = Clock()
    engine = Engine(EngineSettings(models=("phi",), lora=("sql",), unload_grace_s=5), clock=clock)
    assert engine.unload_adapter("sql")
    assert (list(engine.adapters), engine.serves("sql")) == ([], True)
    clock.now += 4.9
    assert engine.serves("sql")
    clock.now += 0.1
    assert not engine.serves("sql")
    assert not engine.unload_adapter("sql")


async def test_the_newest_lora_sample_is_the_true_one() -> None:
    wall = Clock()
    engine = Engine(EngineSettings(models=("phi",), lora=("sql", "code"), max_running=1), wall_clock=wall)

    def newest() -> tuple[str, str]:
        samples = engine.lora_samples()
        return max(samples, key=lambda pair: samples[pair])

    assert newest() == ("", "")
    async with held(engine, "sql"):
        assert newest() == ("sql", "")
        async with held(engine, "code"):
            assert newest() == ("sql", "code")
        assert newest() == ("sql", "")
    assert newest() == ("", "")
    times = list(engine.lora_samples().values())
    assert len(set(times)) == len(times) == 3  # even though the clock stood still
