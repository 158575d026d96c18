"""probes/scan: what is read off a page, whatever it is."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from extproc.probes.scan import LARGEST_NUMBER, MOST_ADAPTERS, MOST_SAMPLES, scan
from extproc.sim.engine import Engine, EngineSettings
from extproc.sim.meters import HttpMeters
from extproc.sim.metrics_page import MetricsPage
from extproc.values.load import Adapters, EngineLoad

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="phi"} 3.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="phi"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="phi"} 0.25
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="phi"} 4096.0
# TYPE vllm:prefix_cache_hits_created gauge
vllm:prefix_cache_hits_created{engine="0",model_name="phi"} 1.76e+09
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="phi"} 1.2345678e+07
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="4",running_lora_adapters="sql",waiting_lora_adapters=""} 1.76e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="sql,law",waiting_lora_adapters="old, new"} 1.76000001e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters="law"} 1.75e+09
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_cpu_blocks="None",num_gpu_blocks="8192"} 1.0
# TYPE vllm:request_prefill_time_seconds histogram
vllm:request_prefill_time_seconds_bucket{engine="0",le="0.3",model_name="phi"} 12.0
vllm:request_prefill_time_seconds_count{engine="0",model_name="phi"} 12.0
vllm:request_prefill_time_seconds_sum{engine="0",model_name="phi"} 31.5
# TYPE vllm:request_prefill_kv_computed_tokens histogram
vllm:request_prefill_kv_computed_tokens_count{engine="0",model_name="phi"} 12.0
vllm:request_prefill_kv_computed_tokens_sum{engine="0",model_name="phi"} 9000.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="phi"} 2.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="phi"} 15.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="phi"} 40.5
"""
VLLM_LOAD = EngineLoad(
    asked_at_s=5.0,
    waiting=7.0,
    running=3.0,
    kv_used_ratio=0.25,
    adapters=Adapters(frozenset({"sql", "law"}), frozenset({"old", "new"}), 4),
    block_tokens=16,
    blocks=8192,
    first_tokens=15.0,
    prompt_tokens=12345678.0,
    cached_tokens=4096.0,
    prefills=12.0,
    prefill_s=31.5,
    prefill_tokens=9000.0,
)
SGLANG = """\
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{engine_type="unified",model_name="phi",tp_rank="0"} 2.0
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="phi",tp_rank="0"} 5.0
sglang:num_running_reqs_offline_batch{engine_type="unified",model_name="phi",tp_rank="0"} 9.0
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="phi"} 0.5
# TYPE sglang:cache_config_info gauge
sglang:cache_config_info{model_name="phi",num_pages="4096",page_size="64"} 1.0
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{model_name="phi"} 900.0
# TYPE sglang:cached_tokens_total counter
sglang:cached_tokens_total{cache_source="device",model_name="phi"} 300.0
sglang:cached_tokens_total{cache_source="host",model_name="phi"} 50.0
"""
SGLANG_LOAD = EngineLoad(5.0, 2.0, 5.0, 0.5, block_tokens=64, blocks=4096, prompt_tokens=900.0, cached_tokens=350.0)
TRTLLM = """\
# TYPE trtllm_num_requests_waiting gauge
trtllm_num_requests_waiting{engine_type="trtllm",model_name="phi"} 2.0
trtllm_num_requests_running{engine_type="trtllm",model_name="phi"} 4.0
trtllm_kv_cache_utilization{engine_type="trtllm",model_name="phi"} 0.125
trtllm_kv_cache_tokens_per_block{engine_type="trtllm",model_name="phi"} 32.0
trtllm_kv_cache_max_blocks{engine_type="trtllm",model_name="phi"} 1000.0
trtllm_prompt_tokens_total{engine_type="trtllm",model_name="phi"} 77.0
"""
TRTLLM_LOAD = EngineLoad(5.0, 2.0, 4.0, 0.125, block_tokens=32, blocks=1000, prompt_tokens=77.0)
TRITON = """\
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 64
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 6
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 1
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.75
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="tensorrt_llm",version="1"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 4680
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6239
"""
TRITON_LOAD = EngineLoad(5.0, 1.0, 6.0, 0.75, block_tokens=64, blocks=6239)


def read(page: str | bytes, engine: str = "") -> EngineLoad:
    content = page.encode() if isinstance(page, str) else page
    return scan(content, engine=engine, asked_at_s=5.0)


OF_ENGINE_0, OF_ENGINE_1 = (f'vllm:num_requests_waiting{{engine="{each}"}}' for each in "01")


def waiting(lines: str) -> float | None:
    """What a page of vLLM's says that waits: these lines after a family of another name."""
    return read(f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n{lines}").waiting


@pytest.mark.parametrize(
    ("page", "engine", "load"),
    [
        pytest.param(VLLM, "vllm", VLLM_LOAD, id="vllm"),
        pytest.param(SGLANG, "sglang", SGLANG_LOAD, id="sglang"),
        pytest.param(TRTLLM, "trtllm-serve", TRTLLM_LOAD, id="trtllm-serve"),
        pytest.param(TRITON, "triton-tensorrt-llm", TRITON_LOAD, id="triton-tensorrt-llm"),
        pytest.param(VLLM, "", VLLM_LOAD, id="vllm, by the page"),
        pytest.param(SGLANG, "", SGLANG_LOAD, id="sglang, by the page"),
        pytest.param(TRTLLM, "", TRTLLM_LOAD, id="trtllm-serve, by the page"),
        pytest.param(TRITON, "", TRITON_LOAD, id="triton, by the page"),
        pytest.param(SGLANG, "llama.cpp", SGLANG_LOAD, id="a label that says nothing"),
        pytest.param(SGLANG, "vllm", SGLANG_LOAD, id="a label that is wrong"),
        pytest.param(TRTLLM + VLLM, "", VLLM_LOAD, id="two engines on a page: the first of ours"),
        pytest.param(VLLM + TRTLLM, "trtllm-serve", TRTLLM_LOAD, id="two engines on a page, and a label"),
        pytest.param("tgi_queue_size 3\n", "", EngineLoad(5.0), id="another engine"),
    ],
)
def test_a_page_of_each_engine(page: str, engine: str, load: EngineLoad) -> None:
    assert read(page, engine) == load


@pytest.mark.parametrize(
    ("page", "field", "value"),
    [
        pytest.param("vllm:gpu_cache_usage_perc 0.5", "kv_used_ratio", 0.5, id="vllm's KV use before 0.10"),
        pytest.param("vllm:kv_cache_usage_perc 0.25\nvllm:gpu_cache_usage_perc 0.5", "kv_used_ratio", 0.25, id="both"),
        pytest.param("vllm:gpu_prefix_cache_hits_total 5", "cached_tokens", 5.0, id="vllm's hits before 0.9"),
        pytest.param("sglang:page_size 16\nsglang:num_pages 10", "cache_tokens", 160, id="sglang's pages as gauges"),
    ],
)
def test_names_of_other_releases(page: str, field: str, value: float) -> None:
    assert getattr(read(page), field) == value


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        pytest.param("vllm:num_requests_waiting 2", 2.0, id="no labels"),
        pytest.param("vllm:num_requests_waiting{} 2", 2.0, id="empty labels"),
        pytest.param("vllm:num_requests_waiting{a=\"b\"} 2\n", 2.0, id="a label"),
        pytest.param("vllm:num_requests_waiting\t2\n", 2.0, id="a tab"),
        pytest.param('vllm:num_requests_waiting {a="b"}2\n', 2.0, id="odd blanks"),
        pytest.param("vllm:num_requests_waiting 2 1700000000000\n", 2.0, id="a timestamp"),
        pytest.param('vllm:num_requests_waiting 2 # {trace="x"} 7 1.5\n', 2.0, id="an exemplar"),
        pytest.param("vllm:num_requests_waiting 2\r\n", 2.0, id="CRLF"),
        pytest.param("vllm:num_requests_waiting 1.5e+03\n", 1500.0, id="an exponent"),
        pytest.param("vllm:num_requests_waiting 0\n", 0.0, id="zero is known"),
        pytest.param('vllm:num_requests_waiting{a="x} 9",b="{"} 2\n', 2.0, id="braces in a label"),
        pytest.param('vllm:num_requests_waiting{a="x\\"} 9"} 2\n', 2.0, id="an escaped quote and a brace"),
        pytest.param('vllm:num_requests_waiting{a="x\\\\"} 2\n', 2.0, id="an escaped backslash before the quote"),
        pytest.param(f"{OF_ENGINE_0} 2\n{OF_ENGINE_1} 3\n", 5.0, id="two samples"),
        pytest.param("", None, id="no line"),
        pytest.param("vllm:num_requests_waiting NaN\n", None, id="NaN"),
        pytest.param("vllm:num_requests_waiting +Inf\n", None, id="+Inf"),
        pytest.param("vllm:num_requests_waiting 1e999\n", None, id="too large"),
        pytest.param("vllm:num_requests_waiting 9007199254740992\n", 2.0**53, id="the largest"),
        pytest.param("vllm:num_requests_waiting 9007199254740994\n", None, id="larger than the largest"),
        pytest.param("vllm:num_requests_waiting 1\n" * MOST_SAMPLES, float(MOST_SAMPLES), id="many samples"),
        pytest.param("vllm:num_requests_waiting 1\n" * (MOST_SAMPLES + 1), None, id="too many samples"),
        pytest.param("vllm:num_requests_waiting -1\n", None, id="negative"),
        pytest.param("vllm:num_requests_waiting many\n", None, id="a word"),
        pytest.param("vllm:num_requests_waiting 1_000\n", None, id="a number of Python's alone"),
        pytest.param("vllm:num_requests_waiting 1-2\n", None, id="no number, of its letters"),
        pytest.param("vllm:num_requests_waiting \n5\n", None, id="cut before its value"),
        pytest.param('vllm:num_requests_waiting{a="b', None, id="cut in a label"),
        pytest.param("vllm:num_requests_waiting", None, id="cut behind the name"),
        pytest.param(f"{OF_ENGINE_0} 2\n{OF_ENGINE_1} NaN\n", None, id="one of two unknown"),
        pytest.param("vllm:num_requests_waiting 1e308\nvllm:num_requests_waiting 1e308\n", None, id="a sum too large"),
        pytest.param("vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 9\n", None, id="a longer name"),
        pytest.param("x_vllm:num_requests_waiting 9\n", None, id="a name that ends so"),
        pytest.param("# HELP vllm:num_requests_waiting 9\n", None, id="a help line"),
        pytest.param("# vllm:num_requests_waiting 9\n", None, id="a comment"),
        pytest.param("x{y=\"vllm:num_requests_waiting 9\"} 1\n", None, id="in a label"),
        pytest.param(
            "vllm:num_requests_waiting_by_reason 9\n# TYPE vllm:num_requests_waiting gauge\n"
            "vllm:num_requests_waiting 2\n",
            2.0,
            id="behind a longer name",
        ),
        pytest.param(
            "vllm:num_requests_waiting_by_reason 9\nvllm:num_requests_waiting 2\n", 2.0, id="the same without comments"
        ),
    ],
)  # fmt: skip
def test_a_count(lines: str, value: float | None) -> None:
    assert waiting(lines) == value


def test_the_first_line_of_a_page_counts_like_any_other() -> None:
    assert read("vllm:num_requests_waiting 2\n").waiting == 2.0


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        pytest.param(["0.5"], 0.5, id="one"),
        pytest.param(["0.5", "0.25"], 0.375, id="the mean of two"),
        pytest.param(["1.5"], 1.0, id="over 1"),
        pytest.param(["1.5", "0.5"], 0.75, id="one of two over 1"),
        pytest.param(["-0.1"], None, id="negative"),
        pytest.param(["0.5", "NaN"], None, id="one of two unknown"),
    ],
)
def test_a_ratio(values: Sequence[str], ratio: float | None) -> None:
    lines = (f'vllm:kv_cache_usage_perc{{engine="{n}"}} {value}\n' for n, value in enumerate(values))
    assert read("".join(lines)).kv_used_ratio == ratio


@pytest.mark.parametrize(
    ("configs", "block_tokens", "blocks"),
    [
        pytest.param(['block_size="16",num_gpu_blocks="100"'], 16, 100, id="one cache"),
        pytest.param(
            ['block_size="16",engine="0",num_gpu_blocks="100"', 'block_size="16",engine="1",num_gpu_blocks="50"'],
            *(16, 150),
            id="the caches of two engines",
        ),
        pytest.param(['block_size="16",num_gpu_blocks="None"'], 16, None, id="not known yet"),
        pytest.param(['block_size="16"'], 16, None, id="no such label"),
        pytest.param(['block_size="0",num_gpu_blocks="-5"'], None, None, id="no sizes"),
        pytest.param([f'block_size="{"9" * 5000}",num_gpu_blocks="²"'], None, None, id="no numbers"),
        pytest.param(['xblock_size="3",block_size="16",num_gpu_blocks="4"'], 16, 4, id="a longer label"),
    ],
)
def test_the_size_of_the_cache(configs: Sequence[str], block_tokens: int | None, blocks: int | None) -> None:
    load = read("".join(f"vllm:cache_config_info{{{labels}}} 1.0\n" for labels in configs))
    assert (load.block_tokens, load.blocks) == (block_tokens, blocks)


@pytest.mark.parametrize("value", ["0", "0.5", "1e300", "NaN"])
def test_a_gauge_of_blocks_that_can_be_none(value: str) -> None:
    assert read(f"trtllm_kv_cache_max_blocks {value}\n").blocks is None


@pytest.mark.parametrize(
    ("samples", "adapters"),
    [
        pytest.param([('running_lora_adapters="a"', "1")], Adapters(frozenset("a")), id="running"),
        pytest.param([('waiting_lora_adapters=" a , b,,"', "1")], Adapters(waiting=frozenset("ab")), id="waiting"),
        pytest.param([('max_lora="8"', "0")], Adapters(most=8), id="none yet"),
        pytest.param([('max_lora="many"', "1")], Adapters(), id="no number"),
        pytest.param([(f'max_lora="{"9" * 5000}"', "1")], Adapters(), id="a number without end"),
        pytest.param([("", "1")], Adapters(), id="no labels"),
        pytest.param(
            [('running_lora_adapters="new"', "2"), ('running_lora_adapters="old"', "1")],
            Adapters(frozenset({"new"})),
            id="the newest is first",
        ),
        pytest.param(
            [('running_lora_adapters="old"', "1.5e9"), ('running_lora_adapters="new"', "1.6e+09")],
            Adapters(frozenset({"new"})),
            id="the newest is last",
        ),
        pytest.param(
            [('running_lora_adapters="good"', "1"), ('running_lora_adapters="bad"', "NaN")],
            Adapters(frozenset({"good"})),
            id="of no time",
        ),
        pytest.param([('running_lora_adapters="bad"', "NaN")], None, id="none of any time"),
        pytest.param(
            [('running_lora_adapters="a\\"b,c\\\\d"', "1")], Adapters(frozenset({'a"b', "c\\d"})), id="escaped letters"
        ),
        pytest.param([(f'running_lora_adapters="{"a," * MOST_ADAPTERS}"', "1")], None, id="names without end"),
    ],
)
def test_adapters(samples: Sequence[tuple[str, str]], adapters: Adapters | None) -> None:
    page = "".join(f"vllm:lora_requests_info{{{labels}}} {value}\n" for labels, value in samples)
    assert read(page).adapters == adapters


def test_adapters_of_too_many_samples_are_unknown() -> None:
    sample = 'vllm:lora_requests_info{running_lora_adapters="a"} 1\n'
    assert read(sample * MOST_SAMPLES).adapters == Adapters(frozenset("a"))
    assert read(sample * (MOST_SAMPLES + 1)).adapters is None


def test_labels_are_read_in_one_pass() -> None:
    """Where each letter began a name, this took half an hour."""
    page = b"vllm:cache_config_info{" + b"a" * 1_000_000 + b',block_size="16"} 1\n'
    assert read(page).block_tokens == 16


def test_sglangs_sum_over_priorities_is_not_counted_twice() -> None:
    samples = [f'{{priority="{each}",dp_rank="{rank}"}} 3\n' for rank in "01" for each in ("", "1")]
    page = "".join(
        f"{name}{sample}" for name in ("sglang:num_queue_reqs", "sglang:num_running_reqs") for sample in samples
    )
    load = read(page)
    assert (load.waiting, load.running) == (6.0, 6.0)


def test_a_histogram_of_two_engines() -> None:
    """The sums do not stand together: each engine's follows its buckets."""
    name = "vllm:request_prefill_time_seconds"
    engines = ('engine="0"', 'engine="1"')
    family = "".join(
        f'{name}_bucket{{{engine},le="+Inf"}} 1\n{name}_count{{{engine}}} 1\n{name}_sum{{{engine}}} 1.5\n'
        for engine in engines
    )
    page = f"# HELP {name} Prefill.\n# TYPE {name} histogram\n{family}# HELP z Z.\n# TYPE z gauge\nz 1\n"
    assert read(page).prefill_s == 3.0


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n" * 5, id="empty lines"),
        pytest.param(b"\xff\x00vllm:\n\xfe", id="binary"),
        pytest.param(b"\x1f\x8b\x08\x00", id="compressed"),
        pytest.param(b'[{"iter": 1}]', id="JSON"),
        pytest.param(b"vllm:num_requests_waiting{" + b'a="b",' * 500_000, id="megabytes of labels"),
        pytest.param(b"vllm:num_requests_waiting_\n" * 100_000, id="megabytes of lines"),
        pytest.param(b"vllm:num_requests_waiting{" + b"\\" * 1_000_000, id="megabytes of backslashes"),
        pytest.param(b'vllm:num_requests_waiting{a="' + b"\\" * 1_000_000, id="megabytes of them in a label"),
    ],
)
def test_what_is_no_page_says_nothing(page: bytes) -> None:
    assert read(page) == EngineLoad(5.0)


def test_the_page_of_the_simulator() -> None:
    """60 KB, as vLLM writes it."""
    engine = Engine(EngineSettings(models=("phi",), lora=("sql",)))
    page = MetricsPage(engine, HttpMeters([]), created_s=1.76e9).render()
    load = read(page)
    assert None not in (load.waiting, load.running, load.kv_used_ratio, load.cache_tokens, load.adapters)
    assert None not in (load.prompt_tokens, load.cached_tokens, load.prefill_s)


# Any page of vLLM's against a parser that reads all of it.

COUNTS = {
    "vllm:num_requests_waiting": "waiting",
    "vllm:num_requests_running": "running",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:prefix_cache_hits_total": "cached_tokens",
}
LOOKALIKES = ["vllm:num_requests_waiting_by_reason", "vllm:num_requests", "vllm:kv_cache_usage", "python_info", "v"]
NAMES = [*COUNTS, *LOOKALIKES, "vllm:kv_cache_usage_perc", "vllm:lora_requests_info", "vllm:cache_config_info"]
texts = st.text(alphabet='ab,{}"\\\n #=é1 ', max_size=8)
numbers = st.one_of(
    st.integers(0, 10**9).map(str), st.floats(0, 1e12).map(repr), st.floats(0, 1e9).map("{:e}".format),
    st.sampled_from(["NaN", "+Inf", "-Inf", "-1", "-0.5", "1e400", "0"]),
)  # fmt: skip
samples = st.tuples(
    st.dictionaries(st.sampled_from(["engine", "model_name", "le"]), texts, max_size=3),
    st.sampled_from(["16", "0", "None", "8192"]),
    st.tuples(texts, texts),
    numbers,
    st.sampled_from(["", " 1700000000000"]),
)
families = st.dictionaries(st.sampled_from(NAMES), st.lists(samples, max_size=3), max_size=8)


def quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def render(pool: dict[str, list[Any]], *, has_comments: bool, end: str) -> str:
    lines = []
    for name, members in pool.items():
        lines += [f"# HELP {name} {name} 9", f"# TYPE {name} gauge"] if has_comments else []
        for labels, size, (running, waits), value, stamp in members:
            own = dict(labels)
            if name == "vllm:lora_requests_info":
                own |= {"running_lora_adapters": running, "waiting_lora_adapters": waits, "max_lora": size}
            if name == "vllm:cache_config_info":
                own |= {"block_size": size, "num_gpu_blocks": size}
            braces = ",".join(f'{key}="{quote(text)}"' for key, text in own.items())
            lines.append(f"{name}{{{braces}}} {value}{stamp}" if own else f"{name} {value}{stamp}")
    return "\n".join(lines) + end


def numbers_of(found: list[Sample]) -> list[float]:
    """The values of samples if all are numbers of 0 and more, else none."""
    values = [sample.value for sample in found]
    return values if all(0 <= value < math.inf for value in values) else []


def names_in(text: str) -> frozenset[str]:
    return frozenset(filter(None, (word.strip() for word in text.split(","))))


@given(pool=families, has_comments=st.booleans(), end=st.sampled_from(["\n", "", "\n\n"]))
def test_a_page_says_what_a_whole_parse_of_it_says(pool: dict[str, list[Any]], has_comments: bool, end: str) -> None:
    page = render(pool, has_comments=has_comments, end=end)
    parsed: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            parsed.setdefault(sample.name, []).append(sample)
    load = read(page)
    for name, field in COUNTS.items():
        values = numbers_of(parsed.get(name, []))
        total = sum(values)
        assert getattr(load, field) == (pytest.approx(total) if values and total < math.inf else None), field
    ratios = [min(value, 1.0) for value in numbers_of(parsed.get("vllm:kv_cache_usage_perc", []))]
    assert load.kv_used_ratio == (pytest.approx(sum(ratios) / len(ratios)) if ratios else None)
    sizes = [sample.labels["block_size"] for sample in parsed.get("vllm:cache_config_info", [])]
    total_blocks = sum(map(int, sizes)) if "None" not in sizes else 0
    assert load.blocks == (total_blocks or None)
    timed = [sample for sample in parsed.get("vllm:lora_requests_info", []) if 0 <= sample.value < math.inf]
    newest = max(reversed(timed), key=lambda sample: sample.value, default=None)
    assert (load.adapters is None) == (newest is None)
    if newest is not None and load.adapters is not None:
        assert load.adapters.running == names_in(newest.labels["running_lora_adapters"])
        assert load.adapters.waiting == names_in(newest.labels["waiting_lora_adapters"])


@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [name.encode() for name in NAMES]
                + [b"\n", b"{", b"}", b'"', b"\\", b" ", b"\r\n", b"# TYPE ", b'engine="0"', b"1.5", b"e", b"NaN", b","]
            ),
        ),
        max_size=60,
    ),
    engine=st.sampled_from(["", "vllm", "sglang", "triton-tensorrt-llm", "x"]),
)
def test_nothing_that_is_read_raises(parts: list[bytes], engine: str) -> None:
    load = read(b"".join(parts), engine)
    values = (load.waiting, load.running, load.prompt_tokens, load.cached_tokens, load.prefill_s)
    assert all(value is None or 0 <= value <= LARGEST_NUMBER * len(parts) for value in values)
    assert load.kv_used_ratio is None or 0 <= load.kv_used_ratio <= 1
