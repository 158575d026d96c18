"""The `/metrics` page, as vLLM writes it: Prometheus text, one label set for the engine, true at each moment.

Families and labels are vLLM's; what cannot change is rendered once, a histogram only after an observation.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from extproc.sim.engine import MAX_LORA, Engine
from extproc.sim.kv_cache import BLOCK_TOKENS
from extproc.sim.meters import FINISH_REASONS, HttpMeters, label_text

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_HISTOGRAM_HELP: Final[Mapping[str, str]] = {
    "vllm:iteration_tokens_total": "Histogram of number of tokens per engine_step.",
    "vllm:time_to_first_token_seconds": "Histogram of time to first token in seconds.",
    "vllm:inter_token_latency_seconds": "Histogram of inter-token latency in seconds.",
    "vllm:time_per_output_token_seconds": "Deprecated: use vllm:inter_token_latency_seconds.",
    "vllm:request_time_per_output_token_seconds": "Histogram of time_per_output_token_seconds per request.",
    "vllm:e2e_request_latency_seconds": "Histogram of e2e request latency in seconds.",
    "vllm:request_queue_time_seconds": "Histogram of time spent in WAITING phase for request.",
    "vllm:request_inference_time_seconds": "Histogram of time spent in RUNNING phase for request.",
    "vllm:request_prefill_time_seconds": "Histogram of time spent in PREFILL phase for request.",
    "vllm:request_decode_time_seconds": "Histogram of time spent in DECODE phase for request.",
    "vllm:request_prompt_tokens": "Number of prefill tokens processed.",
    "vllm:request_generation_tokens": "Number of generation tokens processed.",
    "vllm:request_max_num_generation_tokens": "Histogram of maximum number of requested generation tokens.",
    "vllm:request_params_max_tokens": "Histogram of the max_tokens request parameter.",
    "vllm:request_prefill_kv_computed_tokens": "Histogram of new KV tokens computed during prefill.",
}
_GAUGES: Final[tuple[tuple[str, str, Callable[[Engine], float]], ...]] = (
    ("num_requests_running", "Number of requests in model execution batches.", lambda engine: engine.running),
    ("num_requests_waiting", "Number of requests waiting to be processed.", lambda engine: engine.waiting),
    ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", lambda engine: engine.kv_used_ratio),
)
_COUNTERS: Final[tuple[tuple[str, str, Callable[[Engine], int]], ...]] = (
    ("prefix_cache_queries", "Prefix cache queries, in number of tokens.", lambda engine: engine.meters.prefix_queries),
    ("prefix_cache_hits", "Prefix cache hits, in number of cached tokens.", lambda engine: engine.meters.prefix_hits),
    ("num_preemptions", "Cumulative number of preemption from the engine.", lambda engine: 0),
    ("prompt_tokens", "Number of prefill tokens processed.", lambda engine: engine.meters.prompt_tokens),
    ("generation_tokens", "Number of generation tokens processed.", lambda engine: engine.meters.generation_tokens),
)


class MetricsPage:
    """The page of one engine and its HTTP side. `created_s` (Unix time) is what the `_created` samples say."""

    def __init__(self, engine: Engine, http: HttpMeters, *, created_s: float) -> None:
        self._engine = engine
        self._http = http
        self._created_s = created_s
        self._braces = f"{{{label_text(engine.labels)}}}"
        self._cache_config = self._render_cache_config()
        self._histograms = [
            (
                f"# HELP {name} {_HISTOGRAM_HELP[name]}\n# TYPE {name} histogram\n",
                histogram,
                self._created(name, [self._braces]),
            )
            for name, histogram in engine.meters.histograms.items()
        ]
        self._process = CollectorRegistry()  # its own: several simulators share one process
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    def render(self) -> bytes:
        """The whole page, true at this moment."""
        parts = [generate_latest(self._process).decode(), *self._engine_parts(), *self._http_parts()]
        return "".join(parts).encode()

    def _engine_parts(self) -> Iterable[str]:
        for name, text, gauge in _GAUGES:
            yield _family(f"vllm:{name}", "gauge", text, [(self._braces, float(gauge(self._engine)))])
        for name, text, counter in _COUNTERS:
            yield _family(f"vllm:{name}_total", "counter", text, [(self._braces, float(counter(self._engine)))])
            yield self._created(f"vllm:{name}", [self._braces])
        yield self._success()
        yield self._lora()
        yield self._cache_config
        for head, histogram, created in self._histograms:
            yield head
            yield histogram.text()
            yield created

    def _success(self) -> str:
        finished = self._engine.meters.finished
        samples = [
            (f"{{{label_text({**self._engine.labels, 'finished_reason': reason})}}}", float(finished[reason]))
            for reason in FINISH_REASONS
        ]
        text = _family("vllm:request_success_total", "counter", "Count of successfully processed requests.", samples)
        return text + self._created("vllm:request_success", [braces for braces, _ in samples])

    def _lora(self) -> str:
        samples = []
        for (running, waiting), at in self._engine.lora_samples().items():
            labels = {"max_lora": str(MAX_LORA), "running_lora_adapters": running, "waiting_lora_adapters": waiting}
            samples.append((f"{{{label_text(labels)}}}", at))
        return _family("vllm:lora_requests_info", "gauge", "Running stats on lora requests.", samples)

    def _render_cache_config(self) -> str:
        labels = {
            "block_size": str(BLOCK_TOKENS),
            "cache_dtype": "auto",
            "enable_prefix_caching": "True",
            "engine": "0",
            "gpu_memory_utilization": "0.9",
            "num_cpu_blocks": "None",
            "num_gpu_blocks": str(self._engine.settings.kv_blocks),
            "prefix_caching_hash_algo": "sha256",
            "sliding_window": "None",
            "swap_space": "4.0",
        }
        samples = [(f"{{{label_text(labels)}}}", 1.0)]
        return _family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig", samples)

    def _http_parts(self) -> Iterable[str]:
        http = self._http
        requests = [
            (f"{{{label_text({'handler': handler, 'method': method, 'status': status})}}}", float(count))
            for (method, handler, status), count in sorted(http.requests.items())
        ]
        yield _family(
            "http_requests_total", "counter", "Total number of requests by method, status and handler.", requests
        )
        yield self._created("http_requests", [braces for braces, _ in requests])
        handlers = [handler for _, handler in http.durations]
        counts = {handler: histogram.count for (_, handler), histogram in http.durations.items()}
        for name, size in (
            ("http_request_size_bytes", http.request_bytes),
            ("http_response_size_bytes", http.response_bytes),
        ):
            yield f"# HELP {name} Content length by handler.\n# TYPE {name} summary\n"
            for handler in handlers:
                braces = f"{{{label_text({'handler': handler})}}}"
                yield f"{name}_count{braces} {counts[handler]}.0\n{name}_sum{braces} {size[handler]}.0\n"
            yield self._created(name, [f"{{{label_text({'handler': handler})}}}" for handler in handlers])
        name = "http_request_duration_highr_seconds"
        yield f"# HELP {name} Latency with many buckets but no API specific labels.\n# TYPE {name} histogram\n"
        yield http.all_durations.text()
        yield self._created(name, [""])
        name = "http_request_duration_seconds"
        yield f"# HELP {name} Latency by handler.\n# TYPE {name} histogram\n"
        for histogram in http.durations.values():
            yield histogram.text()
        routes = (label_text({"handler": handler, "method": method}) for method, handler in http.durations)
        yield self._created(name, [f"{{{route}}}" for route in routes])

    def _created(self, name: str, braces: Iterable[str]) -> str:
        return _family(f"{name}_created", "gauge", "When it was created.", [(each, self._created_s) for each in braces])


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> str:
    lines = "".join(f"{name}{braces} {value!r}\n" for braces, value in samples)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{lines}"
