"""What each metric is called, and what it says: the one statement, of which scrapes and docs/metrics.md are made."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample


class Definition(NamedTuple):
    """One metric."""

    name: str
    """As queries have it: that of a counter ends in `_total`."""
    kind: str
    """counter, gauge or histogram."""
    text: str
    labels: tuple[str, ...] = ()

    def metric(self, rows: Iterable[tuple[Sequence[str], float]]) -> Metric:
        """It with its samples: the values of the labels, and that of the sample."""
        metric = Metric(self.name.removesuffix("_total"), self.text, self.kind)
        name, labels = self.name, self.labels
        metric.samples = [Sample(name, dict(zip(labels, values, strict=True)), value) for values, value in rows]
        return metric

    def value(self, value: float) -> Metric:
        """It as one sample without labels."""
        return self.metric([((), value)])


REQUESTS = Definition(
    "extproc_requests_total",
    "counter",
    "Requests by what became of them: routed, replied, an error code, answered_by_gateway, watched, aborted, "
    "cancelled, failed.",
    ("pool", "model", "outcome"),
)
DECISIONS = Definition(
    "extproc_decision_seconds", "histogram", "From the whole request to the decision, waiting for news included."
)
PROMPT_TOKENS = Definition(
    "extproc_prompt_tokens_total",
    "counter",
    "Prompt tokens of routed requests, estimated: cached are those thought to be in the prefix cache of the endpoint, "
    "new the others.",
    ("pool", "model", "kind"),
)
STREAMS = Definition("extproc_streams", "gauge", "Open ext_proc streams.")
MESSAGES = Definition(
    "extproc_stream_messages_total",
    "counter",
    "ext_proc messages: in from the data plane, out to it.",
    ("kind", "direction"),
)
RESPONSES = Definition(
    "extproc_responses_total", "counter", "Responses seen, by HTTP status.", ("pool", "model", "status")
)
HEADERS = Definition("extproc_time_to_headers_seconds", "histogram", "From the decision to the head of the response.")
FIRST_TOKENS = Definition(
    "extproc_time_to_first_token_seconds",
    "histogram",
    "From the decision to the first event of a streamed answer.",
)
TOKENS = Definition(
    "extproc_tokens_total",
    "counter",
    "Tokens of streamed answers, as the engines count them: prompt, cached_prompt (part of them) and completion.",
    ("pool", "model", "kind"),
)

MODEL_ENDPOINTS = Definition(
    "extproc_model_endpoints",
    "gauge",
    "Ready and confirmed endpoints that serve a known model.",
    ("pool", "model"),
)
MODELS = Definition(
    "extproc_known_models", "gauge", "Models that an endpoint of the pool lists, ready or not.", ("pool",)
)
READY = Definition(
    "extproc_endpoint_ready", "gauge", "1 while the endpoint is ready and confirmed.", ("pool", "endpoint")
)
INFLIGHT = Definition(
    "extproc_endpoint_inflight",
    "gauge",
    "Requests that the endpoint is answering, of those whose streams stay open until the end.",
    ("pool", "endpoint"),
)
WAITING = Definition(
    "extproc_endpoint_waiting",
    "gauge",
    "Requests in the engine's queue, when its metrics were last read.",
    ("pool", "endpoint"),
)
RUNNING = Definition(
    "extproc_endpoint_running",
    "gauge",
    "Requests in the engine's batch, when its metrics were last read.",
    ("pool", "endpoint"),
)
KV_USED = Definition(
    "extproc_endpoint_kv_used_ratio",
    "gauge",
    "Share of the engine's KV cache in use, when its metrics were last read.",
    ("pool", "endpoint"),
)

PROBE_SECONDS = Definition("extproc_probe_seconds", "histogram", "Duration of answered probes.", ("kind",))
PROBE_FAILURES = Definition("extproc_probe_failures_total", "counter", "Probes that failed.", ("kind", "reason"))
PROBE_AGE = Definition(
    "extproc_probe_age_seconds", "gauge", "Since the endpoint's last good answer.", ("kind", "endpoint")
)
SNAPSHOT_VERSION = Definition("extproc_snapshot_version", "gauge", "Version of the snapshot.")
SNAPSHOT_AGE = Definition("extproc_snapshot_age_seconds", "gauge", "Since something last changed.")
SOURCE_CONNECTED = Definition(
    "extproc_source_connected",
    "gauge",
    "1 while the last reading of the source was good, else 0: what was known before is kept.",
    ("source",),
)
SOURCE_AGE = Definition(
    "extproc_source_age_seconds", "gauge", "Since the source was last read as it should.", ("source",)
)

CONFIG_GOOD = Definition(
    "extproc_config_good",
    "gauge",
    "1 while the config file is in effect as it is, 0 while it is bad: what was read before is kept.",
)
CONFIG_RELOADS = Definition(
    "extproc_config_reloads_total", "counter", "Edits of the config file: good and bad ones.", ("outcome",)
)
HELD_BYTES = Definition("extproc_held_bytes", "gauge", "Bytes of request bodies held at this moment.")
HELD_LIMIT = Definition("extproc_held_limit_bytes", "gauge", "At most so many, requests.maxHeldBytes.")
PREFIX_BLOCKS = Definition("extproc_prefix_blocks", "gauge", "Blocks of prompts in the prefix index.")
PREFIX_LIMIT = Definition("extproc_prefix_limit_blocks", "gauge", "At most so many, scheduling.prefixBlocks.")
LOOP_DELAY = Definition(
    "extproc_event_loop_delay_seconds",
    "histogram",
    "How late a timer rings, twice a second: so long everything else waits too.",
)
SPANS_DROPPED = Definition(
    "extproc_spans_dropped_total", "counter", "Spans that were not exported: the queue was full, or the export failed."
)
BUILD_INFO = Definition("extproc_build_info", "gauge", "Always 1.", ("version",))

POOL_QUEUE = Definition(
    "inference_pool_average_queue_size",
    "gauge",
    "Requests in an engine's queue: the mean over ready pods with a fresh reading.",
    ("name",),
)
POOL_RUNNING = Definition(
    "inference_pool_average_running_requests",
    "gauge",
    "Requests in an engine's batch: the mean over ready pods with a fresh reading.",
    ("name",),
)
POOL_KV_USED = Definition(
    "inference_pool_average_kv_cache_utilization",
    "gauge",
    "Share of an engine's KV cache in use: the mean over ready pods with a fresh reading.",
    ("name",),
)
POOL_READY = Definition(
    "inference_pool_ready_pods",
    "gauge",
    "Pods with a ready and confirmed endpoint. One with several ports is one pod.",
    ("name",),
)


class Group(NamedTuple):
    """Metrics that belong together."""

    title: str
    text: str
    definitions: tuple[Definition, ...]


GROUPS = (
    Group("Requests", "", (REQUESTS, DECISIONS, PROMPT_TOKENS, STREAMS, MESSAGES)),
    Group(
        "Responses",
        "There only once a response was seen, which takes streams that stay open to its end (`envoy.responsePhase`).",
        (RESPONSES, HEADERS, FIRST_TOKENS, TOKENS),
    ),
    Group(
        "Models and endpoints",
        "`extproc_endpoint_inflight` is there only where it is exact. What an engine does not say has no sample.",
        (MODEL_ENDPOINTS, MODELS, READY, INFLIGHT, WAITING, RUNNING, KV_USED),
    ),
    Group(
        "What is known, and since when",
        "An endpoint that has never answered has no age.",
        (PROBE_SECONDS, PROBE_FAILURES, PROBE_AGE, SNAPSHOT_VERSION, SNAPSHOT_AGE, SOURCE_CONNECTED, SOURCE_AGE),
    ),
    Group(
        "The picker itself",
        "With those of every Python process: `process_cpu_seconds_total`, `process_resident_memory_bytes`, "
        "`process_open_fds`, `process_max_fds`, `process_start_time_seconds`, `python_gc_…`, `python_info`. "
        "`extproc_spans_dropped_total` is there only with tracing on.",
        (
            CONFIG_GOOD,
            CONFIG_RELOADS,
            HELD_BYTES,
            HELD_LIMIT,
            PREFIX_BLOCKS,
            PREFIX_LIMIT,
            LOOP_DELAY,
            SPANS_DROPPED,
            BUILD_INFO,
        ),
    ),
    Group(
        "Names of today's pickers",
        "Autoscalers and dashboards made for gateway-api-inference-extension's picker ask for these; `name` is the "
        "pool's, without its namespace. A reading is fresh up to `probes.metrics.staleness`; while no ready pod has "
        "one, a mean has no sample. A pod of several ports counts once, with the mean of its ports.",
        (POOL_QUEUE, POOL_RUNNING, POOL_KV_USED, POOL_READY),
    ),
)
