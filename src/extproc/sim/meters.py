"""What the engine and its HTTP side have counted, under the names and with the buckets that vLLM publishes.

Source: vLLM `vllm/v1/metrics/loggers.py` (families, buckets), prometheus-fastapi-instrumentator (http_request_*).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

FIRST_TOKEN_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
PER_TOKEN_S: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_S: Final = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
ITERATION_TOKENS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
HTTP_S: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5),
    *(3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
FINISH_REASONS: Final = ("stop", "length", "abort", "error")


def token_buckets(longest: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, … up to `longest`: vLLM's buckets for token counts."""
    buckets = (mantissa * 10**exponent for exponent in range(len(str(longest))) for mantissa in (1, 2, 5))
    return tuple(bucket for bucket in buckets if bucket <= longest)


def label_text(labels: Mapping[str, str]) -> str:
    """`a="1",b="2"`, sorted and escaped as the Prometheus text format wants it."""
    escaped = (
        (key, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for key, value in labels.items()
    )
    return ",".join(f'{key}="{value}"' for key, value in sorted(escaped))


class Histogram:
    """One series of a histogram family. Its text is rebuilt only after an observation."""

    def __init__(self, name: str, bounds: Sequence[float], labels: Mapping[str, str]) -> None:
        self.count = 0
        self.sum = 0.0
        self._bounds = bounds
        self._per_bucket = [0] * (len(bounds) + 1)
        edges = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._heads = [f"{name}_bucket{{{label_text({**labels, 'le': edge})}}} " for edge in edges]
        braces = f"{{{label_text(labels)}}}" if labels else ""
        self._count_head, self._sum_head = f"{name}_count{braces} ", f"{name}_sum{braces} "
        self._text: str | None = None

    def observe(self, value: float, *, times: int = 1) -> None:
        self._per_bucket[bisect_left(self._bounds, value)] += times
        self.count += times
        self.sum += value * times
        self._text = None

    def text(self) -> str:
        if self._text is None:
            counts = accumulate(self._per_bucket)
            lines = [f"{head}{count}.0\n" for head, count in zip(self._heads, counts, strict=True)]
            lines += [f"{self._count_head}{self.count}.0\n", f"{self._sum_head}{self.sum}\n"]
            self._text = "".join(lines)
        return self._text


class EngineMeters:
    """Counters and histograms of the engine, one series each: vLLM labels all with its first served model name."""

    def __init__(self, labels: Mapping[str, str], *, max_model_len: int) -> None:
        tokens = token_buckets(max_model_len)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.finished: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}

        def histogram(name: str, bounds: Sequence[float]) -> Histogram:
            return self.histograms.setdefault(f"vllm:{name}", Histogram(f"vllm:{name}", bounds, labels))

        self.iteration_tokens = histogram("iteration_tokens_total", ITERATION_TOKENS)
        self.time_to_first_token = histogram("time_to_first_token_seconds", FIRST_TOKEN_S)
        self.inter_token = histogram("inter_token_latency_seconds", PER_TOKEN_S)
        self.time_per_output_token = histogram("time_per_output_token_seconds", PER_TOKEN_S)  # inter_token's older name
        self.per_output_token = histogram("request_time_per_output_token_seconds", PER_TOKEN_S)
        self.e2e = histogram("e2e_request_latency_seconds", REQUEST_S)
        self.queue = histogram("request_queue_time_seconds", REQUEST_S)
        self.inference = histogram("request_inference_time_seconds", REQUEST_S)
        self.prefill = histogram("request_prefill_time_seconds", REQUEST_S)
        self.decode = histogram("request_decode_time_seconds", REQUEST_S)
        self.request_prompt_tokens = histogram("request_prompt_tokens", tokens)
        self.request_generation_tokens = histogram("request_generation_tokens", tokens)
        self.request_most_tokens = histogram("request_max_num_generation_tokens", tokens)
        self.request_max_tokens = histogram("request_params_max_tokens", tokens)
        self.prefill_computed_tokens = histogram("request_prefill_kv_computed_tokens", tokens)


class HttpMeters:
    """What prometheus-fastapi-instrumentator counts for `routes`, all of whose series exist from the start.

    Every handler has the fine buckets that the library gives to the unlabelled one (`latency_lowr_buckets` set so).
    """

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.request_bytes: Counter[str] = Counter()
        self.response_bytes: Counter[str] = Counter()
        self.durations: dict[tuple[str, str], Histogram] = {
            (method, handler): Histogram(
                "http_request_duration_seconds", HTTP_S, {"handler": handler, "method": method}
            )
            for method, handler in routes
        }
        self.all_durations = Histogram("http_request_duration_highr_seconds", HTTP_S, {})

    def observe(
        self, method: str, handler: str, *, status: int, duration_s: float, request_bytes: int, response_bytes: int
    ) -> None:
        """Counts one answered request; those to other routes are not counted, as in vLLM (/health, /metrics, …)."""
        durations = self.durations.get((method, handler))
        if durations is None:
            return
        durations.observe(duration_s)
        self.all_durations.observe(duration_s)
        self.requests[method, handler, f"{status // 100}xx"] += 1
        self.request_bytes[handler] += request_bytes
        self.response_bytes[handler] += response_bytes
