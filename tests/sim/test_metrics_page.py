"""sim/metrics_page, sim/meters: vLLM's page, true at each moment."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.sim.conftest import StartSim, Until

from extproc.sim.meters import Histogram, label_text, token_buckets


async def scrape(http: aiohttp.ClientSession, address: str) -> list[Sample]:
    async with http.get(f"http://{address}/metrics") as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await response.text()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """Of the one sample of that name that has these labels."""
    (found,) = (s.value for s in samples if s.name == name and s.labels.items() >= labels.items())
    return found


async def test_every_family_is_there_and_the_page_is_large(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim("m")
    async with http.get(f"http://{server.address}/metrics") as response:
        text = await response.text()
    assert len(text) >= 60 * 1024
    comments = sum(len(line) for line in text.splitlines() if line.startswith("#"))
    assert comments < len(text) / 5
    families = {family.name: family for family in text_string_to_metric_families(text)}
    histograms = [
        "vllm:time_to_first_token_seconds",
        "vllm:inter_token_latency_seconds",
        "vllm:e2e_request_latency_seconds",
        "vllm:request_queue_time_seconds",
        "vllm:request_prefill_time_seconds",
        "vllm:request_decode_time_seconds",
        "vllm:request_prompt_tokens",
        "vllm:request_generation_tokens",
        "vllm:iteration_tokens_total",
    ]
    assert {families[name].type for name in histograms} == {"histogram"}
    for name in histograms:
        assert all(
            sample.labels.items() >= {"engine": "0", "model_name": "m"}.items() for sample in families[name].samples
        )
    counters = ["prompt_tokens", "generation_tokens", "request_success", "prefix_cache_queries", "prefix_cache_hits"]
    assert {families[f"vllm:{name}"].type for name in counters} == {"counter"}
    assert {"http_requests", "http_request_duration_seconds", "python_gc_objects_collected"} <= set(families)
    assert {"process_resident_memory_bytes", "python_info"} <= set(families)
    (cache,) = families["vllm:cache_config_info"].samples
    assert (cache.labels["block_size"], cache.labels["num_gpu_blocks"]) == ("16", "8192")


async def test_gauges_are_exact_at_each_moment(start_sim: StartSim, http: aiohttp.ClientSession, until: Until) -> None:
    server = await start_sim("phi", lora=("sql",), max_running=2, token_delay_s=60)

    async def gauges() -> tuple[float, float]:
        samples = await scrape(http, server.address)
        return value(samples, "vllm:num_requests_running"), value(samples, "vllm:num_requests_waiting")

    assert await gauges() == (0, 0)
    tasks: list[asyncio.Task[Any]] = []

    def all_arrived() -> bool:
        return server.engine.served["sql"] == len(tasks)

    for expected in ((1, 0), (2, 0), (2, 1), (2, 2)):
        fields = {"model": "sql", "max_tokens": 16, "prompt": "a" * 64}
        tasks.append(asyncio.create_task(http.post(f"http://{server.address}/v1/completions", json=fields)))
        await until(all_arrived)
        assert await gauges() == expected
    samples = await scrape(http, server.address)
    assert value(samples, "vllm:kv_cache_usage_perc") == 2 * 2 / 8192
    lora = [sample for sample in samples if sample.name == "vllm:lora_requests_info"]
    newest = max(lora, key=lambda sample: sample.value)
    assert newest.labels == {"max_lora": "4", "running_lora_adapters": "sql", "waiting_lora_adapters": "sql"}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: server.engine.running == 0)
    assert await gauges() == (0, 0)


async def test_one_prompt_is_computed_at_a_time_and_the_others_wait(
    start_sim: StartSim, http: aiohttp.ClientSession, until: Until
) -> None:
    server = await start_sim("phi", prefill_tokens_per_s=1, kv_blocks=100)
    tasks: list[asyncio.Task[Any]] = []
    for expected in ((1, 0), (1, 1), (1, 2)):
        fields = {"model": "phi", "max_tokens": 16, "prompt": "a" * 1280}
        tasks.append(asyncio.create_task(http.post(f"http://{server.address}/v1/completions", json=fields)))
        await until(lambda: server.engine.served["phi"] == len(tasks))
        samples = await scrape(http, server.address)
        gauges = [value(samples, f"vllm:num_requests_{name}") for name in ("running", "waiting")]
        assert (*gauges, value(samples, "vllm:kv_cache_usage_perc")) == (*expected, 21 / 100)
        assert value(samples, "vllm:prefix_cache_queries_total") == 320  # of the one that has begun
    (cache,) = (sample for sample in samples if sample.name == "vllm:cache_config_info")
    assert (cache.labels["block_size"], cache.labels["num_gpu_blocks"]) == ("16", "100")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: server.engine.running + server.engine.waiting == 0)
    assert server.engine.kv_used_ratio == 0


async def test_counters_and_histograms_move_with_the_load(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim("phi", time_to_first_token_s=0.01)
    prompt = "a" * 1280
    for fields in ({"max_tokens": 5}, {}, {"max_tokens": 5, "stream": True}):
        async with http.post(
            f"http://{server.address}/v1/completions", json={"model": "phi", "prompt": prompt, **fields}
        ) as response:
            await response.read()
    await http.post(f"http://{server.address}/v1/completions", json={"model": "other"})
    samples = await scrape(http, server.address)
    assert value(samples, "vllm:prompt_tokens_total") == 3 * 320
    assert value(samples, "vllm:generation_tokens_total") == 5 + 16 + 5
    assert value(samples, "vllm:request_success_total", finished_reason="length") == 2
    assert value(samples, "vllm:request_success_total", finished_reason="stop") == 1
    assert value(samples, "vllm:prefix_cache_queries_total") == 3 * 320
    assert value(samples, "vllm:prefix_cache_hits_total") == 2 * 304  # the last block is computed always
    assert value(samples, "vllm:time_to_first_token_seconds_count") == 3
    assert value(samples, "vllm:time_to_first_token_seconds_bucket", le="0.005") == 0
    assert value(samples, "vllm:time_to_first_token_seconds_bucket", le="+Inf") == 3
    assert value(samples, "vllm:inter_token_latency_seconds_count") == 4 + 15 + 4
    assert value(samples, "vllm:e2e_request_latency_seconds_sum") >= 0.03
    assert value(samples, "vllm:request_generation_tokens_bucket", le="5.0") == 2
    assert value(samples, "http_requests_total", handler="/v1/completions", status="2xx") == 3
    assert value(samples, "http_requests_total", handler="/v1/completions", status="4xx") == 1
    assert value(samples, "http_request_duration_seconds_count", handler="/v1/completions") == 4
    assert value(samples, "http_request_duration_highr_seconds_count") == 4
    assert value(samples, "http_request_size_bytes_sum", handler="/v1/completions") > 3 * 1280


async def test_the_page_renders_quickly(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim()
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        async with http.get(f"http://{server.address}/metrics") as response:
            await response.read()
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.02  # with the HTTP around it; 2 ms measured


@pytest.mark.parametrize(
    ("observed", "buckets"),
    [([], [0, 0, 0]), ([1.0], [1, 1, 1]), ([1.1, 2.0], [0, 2, 2]), ([3.0], [0, 0, 1])],
)
def test_a_histogram_is_cumulative_and_its_bounds_belong_to_it(observed: list[float], buckets: list[int]) -> None:
    histogram = Histogram("x", (1, 2), {"a": "b"})
    assert histogram.text()  # cached from here on
    for each in observed:
        histogram.observe(each)
    one, two, more = buckets
    assert histogram.text() == (
        f'x_bucket{{a="b",le="1.0"}} {one}.0\nx_bucket{{a="b",le="2.0"}} {two}.0\n'
        f'x_bucket{{a="b",le="+Inf"}} {more}.0\n'
        f'x_count{{a="b"}} {len(observed)}.0\nx_sum{{a="b"}} {float(sum(observed))}\n'
    )


def test_labels_are_escaped_and_sorted() -> None:
    assert label_text({"b": 'q"\\', "a": "1\n2"}) == r'a="1\n2",b="q\"\\"'


def test_token_buckets_end_at_the_longest() -> None:
    assert token_buckets(120) == (1, 2, 5, 10, 20, 50, 100)
