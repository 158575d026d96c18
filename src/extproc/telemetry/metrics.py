"""The picker's Prometheus metrics, all with the prefix `extproc_`."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

MODEL_LABELS = 1000
"""Distinct model names used as label values; further ones are counted as `other`."""
NO_MODEL = "none"
UNKNOWN_MODEL = "unknown"
OTHER_MODEL = "other"

_DECISION_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)
_WAIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Knowledge(Protocol):
    """What the gauges read when they are scraped."""

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot."""

    def answered_at_s(self, endpoint_id: str) -> float | None:
        """Monotonic seconds of an endpoint's last good answer."""


class OpenRequests(Protocol):
    """What the gauge of requests in flight reads when it is scraped."""

    is_exact: bool

    def by_name(self, endpoints: Mapping[str, str]) -> Mapping[str, int]:
        """Counts by name: of each endpoint of `endpoints` (id → name), and of others that still have requests."""


class SourceState(NamedTuple):
    """How a source fares."""

    is_connected: bool
    """The last reading was good."""
    read_at_s: float | None
    """Monotonic seconds of the last good one; None if there never was one."""
    problems: tuple[str, ...] = ()


Loads = Callable[[], Mapping[str, EngineLoad]]
"""Gives the last reading of each endpoint's metrics page, by endpoint id."""


class Metrics(Collector):
    """All metrics of one server, in a registry of their own."""

    def __init__(
        self,
        *,
        knowledge: Knowledge,
        in_flight: OpenRequests,
        clock: Callable[[], float],
        version: str,
        loads: Loads = dict,
    ) -> None:
        self.registry = CollectorRegistry()
        self._knowledge = knowledge
        self._model_labels: set[str] = set()
        self._pool = str(knowledge.snapshot.pool)
        self._requests: dict[tuple[str, str], int] = {}
        self._messages: dict[tuple[str, str], int] = {}
        self._responses: dict[tuple[str, str], int] = {}
        self._tokens: dict[tuple[str, str], int] = {}
        self._decisions = _Durations(_DECISION_BUCKETS_S)
        self._headers = _Durations(_WAIT_BUCKETS_S)
        self._first_tokens = _Durations(_WAIT_BUCKETS_S)
        self.streams = Gauge("extproc_streams", "Open ext_proc streams.", registry=self.registry)
        self._probe_seconds = Histogram(
            "extproc_probe_seconds", "Duration of answered probes.", ["kind"], registry=self.registry
        )
        self._probe_failures = Counter(
            "extproc_probe_failures", "Probes that failed.", ["kind", "reason"], registry=self.registry
        )
        self.sources: dict[str, SourceState] = {}
        """By name."""
        self._clock = clock
        build_info = Gauge("extproc_build_info", "Always 1.", ["version"], registry=self.registry)
        build_info.labels(version).set(1)
        self.registry.register(self)
        self.registry.register(_SnapshotCollector(knowledge, in_flight, loads, clock))

    # What is counted at every request is kept in plain numbers and rendered when it is scraped: a locked counter object
    # costs ten times as much, and everything here runs in one thread. Source: docs/performance.md, "What was tried".

    def count_request(self, model: str | None, outcome: str) -> None:
        """Counts a request. Model names that the pool does not know are all counted as `unknown`."""
        key = (self._model_label(model), outcome)
        self._requests[key] = self._requests.get(key, 0) + 1

    def count_message(self, kind: str, direction: str) -> None:
        """Counts a message: `in` from the data plane, `out` to it."""
        key = (kind, direction)
        self._messages[key] = self._messages.get(key, 0) + 1

    def observe_decision(self, seconds: float) -> None:
        """Records the time from a whole request to its decision, waiting for news included."""
        self._decisions.observe(seconds)

    def observe_headers(self, model: str | None, status: int, seconds: float) -> None:
        """Records the head of a response, and the time from the decision to it. `status` 0: it could not be read."""
        key = (self._model_label(model), str(status) if status else "unknown")
        self._responses[key] = self._responses.get(key, 0) + 1
        self._headers.observe(seconds)

    def observe_first_token(self, seconds: float) -> None:
        """Records the time from the decision to the first event of a streamed answer."""
        self._first_tokens.observe(seconds)

    def count_tokens(self, model: str | None, *, prompt: int, cached_prompt: int, completion: int) -> None:
        """Counts the tokens that an engine says it read and wrote for one request."""
        label = self._model_label(model)
        for kind, count in (("prompt", prompt), ("cached_prompt", cached_prompt), ("completion", completion)):
            self._tokens[label, kind] = self._tokens.get((label, kind), 0) + count

    def observe_probe(self, kind: str, seconds: float) -> None:
        """Records an answered probe."""
        self._probe_seconds.labels(kind).observe(seconds)

    def count_probe_failure(self, kind: str, reason: str) -> None:
        """Records a failed probe."""
        self._probe_failures.labels(kind, reason).inc()

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        """Records that the source was read just now as it should, or (False) that it could not be."""
        before = self.sources.get(source)
        read_at_s = self._clock() if is_connected else before.read_at_s if before is not None else None
        self.sources[source] = SourceState(is_connected, read_at_s, tuple(problems))

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """Requests so far by model label and outcome."""
        return self._requests

    def _model_label(self, model: str | None) -> str:
        if model is None:
            return NO_MODEL
        if model in self._model_labels:
            return model
        snapshot = self._knowledge.snapshot
        if model not in snapshot.models and model not in snapshot.aliases:
            return UNKNOWN_MODEL
        if len(self._model_labels) >= MODEL_LABELS:
            return OTHER_MODEL
        self._model_labels.add(model)
        return model

    def collect(self) -> Iterable[Metric]:
        """What was counted at requests, for the registry."""
        requests = CounterMetricFamily(
            "extproc_requests",
            "Requests by what became of them: routed, replied, an error code, answered_by_gateway, watched, aborted, "
            "cancelled, failed.",
            labels=["pool", "model", "outcome"],
        )
        for (model, outcome), count in self._requests.items():
            requests.add_metric([self._pool, model, outcome], count)
        yield requests
        messages = CounterMetricFamily("extproc_stream_messages", "ext_proc messages.", labels=["kind", "direction"])
        for labels, count in self._messages.items():
            messages.add_metric(labels, count)
        yield messages
        yield self._decisions.metric(
            "extproc_decision_seconds", "From the whole request to the decision, waiting for news included."
        )
        connected = GaugeMetricFamily(
            "extproc_source_connected",
            "1 while the last reading of the source was good, else 0: what was known before is kept.",
            labels=["source"],
        )
        ages = GaugeMetricFamily(
            "extproc_source_age_seconds", "Since the source was last read as it should.", labels=["source"]
        )
        for source, state in self.sources.items():
            connected.add_metric([source], float(state.is_connected))
            if state.read_at_s is not None:
                ages.add_metric([source], self._clock() - state.read_at_s)
        yield connected
        yield ages
        # What only streams that stay open can tell: without one these would stand at a zero that means nothing.
        if self._responses:
            responses = CounterMetricFamily(
                "extproc_responses", "Responses seen, by HTTP status.", labels=["pool", "model", "status"]
            )
            for (model, status), count in self._responses.items():
                responses.add_metric([self._pool, model, status], count)
            yield responses
            yield self._headers.metric(
                "extproc_time_to_headers_seconds", "From the decision to the head of the response."
            )
        if self._tokens:
            tokens = CounterMetricFamily(
                "extproc_tokens",
                "Tokens of streamed answers, as the engines count them.",
                labels=["pool", "model", "kind"],
            )
            for (model, kind), count in self._tokens.items():
                tokens.add_metric([self._pool, model, kind], count)
            yield tokens
        if self._first_tokens.count:
            yield self._first_tokens.metric(
                "extproc_time_to_first_token_seconds", "From the decision to the first event of a streamed answer."
            )


class _Durations:
    """A histogram in plain numbers."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.count = 0
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.count += 1
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def metric(self, name: str, documentation: str) -> Metric:
        bounds = [*(str(bound) for bound in self._bounds_s), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum_s)


_LOAD_GAUGES: tuple[tuple[str, str, Callable[[EngineLoad], float | None]], ...] = (
    ("waiting", "Requests in the engine's queue, when its metrics were last read.", lambda load: load.waiting),
    ("running", "Requests in the engine's batch, when its metrics were last read.", lambda load: load.running),
    (
        "kv_used_ratio",
        "Share of the engine's KV cache in use, when its metrics were last read.",
        lambda load: load.kv_used_ratio,
    ),
)


class _SnapshotCollector(Collector):
    """Gauges that are read off the current snapshot at each scrape."""

    def __init__(self, knowledge: Knowledge, in_flight: OpenRequests, loads: Loads, clock: Callable[[], float]) -> None:
        self._knowledge = knowledge
        self._in_flight = in_flight
        self._loads = loads
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        snapshot, now = self._knowledge.snapshot, self._clock()
        pool = str(snapshot.pool)
        yield GaugeMetricFamily("extproc_snapshot_version", "Version of the snapshot.", value=snapshot.version)
        yield GaugeMetricFamily(
            "extproc_snapshot_age_seconds", "Since something last changed.", value=now - snapshot.made_at_s
        )
        models = GaugeMetricFamily(
            "extproc_model_endpoints",
            "Ready and confirmed endpoints that serve a known model.",
            labels=["pool", "model"],
        )
        for id_, known in list(snapshot.models.items())[:MODEL_LABELS]:
            models.add_metric([pool, id_], known.routable_count)
        yield models
        ready = GaugeMetricFamily(
            "extproc_endpoint_ready", "1 while the endpoint is ready and confirmed.", labels=["pool", "endpoint"]
        )
        ages = GaugeMetricFamily(
            "extproc_probe_age_seconds", "Since the endpoint's last good answer.", labels=["kind", "endpoint"]
        )
        # Two endpoints have one name where a pod was made anew and the end of its predecessor is not known yet.
        is_routable: dict[str, bool] = {}
        answered_at_s: dict[str, float] = {}
        for id_, state in snapshot.endpoints.items():
            name = state.endpoint.name
            is_routable[name] = state.is_routable or is_routable.get(name, False)
            if (at_s := self._knowledge.answered_at_s(id_)) is not None:
                answered_at_s[name] = max(at_s, answered_at_s.get(name, at_s))
        for name, is_ in is_routable.items():
            ready.add_metric([pool, name], float(is_))
        for name, at_s in answered_at_s.items():
            ages.add_metric(["models", name], now - at_s)
        load_of = self._loads_by_name(snapshot)
        for name, load in load_of.items():
            ages.add_metric(["metrics", name], now - load.asked_at_s)
        yield ready
        yield ages
        for key, text, value_of in _LOAD_GAUGES:
            gauge = GaugeMetricFamily(f"extproc_endpoint_{key}", text, labels=["pool", "endpoint"])
            for name, load in load_of.items():
                if (value := value_of(load)) is not None:
                    gauge.add_metric([pool, name], value)
            yield gauge
        if self._in_flight.is_exact:
            open_requests = GaugeMetricFamily(
                "extproc_endpoint_inflight",
                "Requests that the endpoint is answering, of those whose streams stay open until the end.",
                labels=["pool", "endpoint"],
            )
            names = {id_: state.endpoint.name for id_, state in snapshot.endpoints.items()}
            for name, count in self._in_flight.by_name(names).items():
                open_requests.add_metric([pool, name], count)
            yield open_requests

    def _loads_by_name(self, snapshot: Snapshot) -> dict[str, EngineLoad]:
        """The newest reading for each name of an endpoint."""
        loads, result = self._loads(), dict[str, EngineLoad]()
        for id_, state in snapshot.endpoints.items():
            name, load = state.endpoint.name, loads.get(id_)
            if load is not None and (name not in result or result[name].asked_at_s < load.asked_at_s):
                result[name] = load
        return result
