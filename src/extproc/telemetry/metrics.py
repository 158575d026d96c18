"""The picker's Prometheus metrics, all with the prefix `extproc_`."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from extproc.values.snapshot import Snapshot

MODEL_LABELS = 1000
"""Distinct model names used as label values; further ones are counted as `other`."""
NO_MODEL = "none"
UNKNOWN_MODEL = "unknown"
OTHER_MODEL = "other"

_DECISION_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)


class Knowledge(Protocol):
    """What the gauges read when they are scraped."""

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot."""

    def answered_at_s(self, endpoint_id: str) -> float | None:
        """Monotonic seconds of an endpoint's last good answer."""


class Metrics(Collector):
    """All metrics of one server, in a registry of their own."""

    def __init__(self, *, knowledge: Knowledge, clock: Callable[[], float], version: str) -> None:
        self.registry = CollectorRegistry()
        self._knowledge = knowledge
        self._model_labels: set[str] = set()
        self._pool = str(knowledge.snapshot.pool)
        self._requests: dict[tuple[str, str], int] = {}
        self._messages: dict[tuple[str, str], int] = {}
        self._decision_counts = [0] * (len(_DECISION_BUCKETS_S) + 1)
        self._decision_sum_s = 0.0
        self.streams = Gauge("extproc_streams", "Open ext_proc streams.", registry=self.registry)
        self._probe_seconds = Histogram(
            "extproc_probe_seconds", "Duration of answered probes.", ["kind"], registry=self.registry
        )
        self._probe_failures = Counter(
            "extproc_probe_failures", "Probes that failed.", ["kind", "reason"], registry=self.registry
        )
        self._source_connected = Gauge(
            "extproc_source_connected",
            "1 while the last reading of the source was good, else 0: what was known before is kept.",
            ["source"],
            registry=self.registry,
        )
        build_info = Gauge("extproc_build_info", "Always 1.", ["version"], registry=self.registry)
        build_info.labels(version).set(1)
        self.registry.register(self)
        self.registry.register(_SnapshotCollector(knowledge, clock))

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
        self._decision_counts[bisect_left(_DECISION_BUCKETS_S, seconds)] += 1
        self._decision_sum_s += seconds

    def observe_probe(self, kind: str, seconds: float) -> None:
        """Records an answered probe."""
        self._probe_seconds.labels(kind).observe(seconds)

    def count_probe_failure(self, kind: str, reason: str) -> None:
        """Records a failed probe."""
        self._probe_failures.labels(kind, reason).inc()

    def say_source_connected(self, source: str, is_connected: bool) -> None:
        """Records whether the last reading of the source was good."""
        self._source_connected.labels(source).set(is_connected)

    def _model_label(self, model: str | None) -> str:
        if model is None:
            return NO_MODEL
        if model in self._model_labels:
            return model
        if model not in self._knowledge.snapshot.models:
            return UNKNOWN_MODEL
        if len(self._model_labels) >= MODEL_LABELS:
            return OTHER_MODEL
        self._model_labels.add(model)
        return model

    def collect(self) -> Iterable[Metric]:
        """What was counted at requests, for the registry."""
        requests = CounterMetricFamily(
            "extproc_requests",
            "Requests by what became of them: routed, replied, an error code, aborted, cancelled, failed.",
            labels=["pool", "model", "outcome"],
        )
        for (model, outcome), count in self._requests.items():
            requests.add_metric([self._pool, model, outcome], count)
        yield requests
        messages = CounterMetricFamily("extproc_stream_messages", "ext_proc messages.", labels=["kind", "direction"])
        for labels, count in self._messages.items():
            messages.add_metric(labels, count)
        yield messages
        bounds = [*(str(bound) for bound in _DECISION_BUCKETS_S), "+Inf"]
        yield HistogramMetricFamily(
            "extproc_decision_seconds",
            "From the whole request to the decision, waiting for news included.",
            buckets=list(zip(bounds, accumulate(self._decision_counts), strict=True)),
            sum_value=self._decision_sum_s,
        )


class _SnapshotCollector(Collector):
    """Gauges that are read off the current snapshot at each scrape."""

    def __init__(self, knowledge: Knowledge, clock: Callable[[], float]) -> None:
        self._knowledge = knowledge
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
            models.add_metric([pool, id_], len(known.candidates))
        yield models
        ready = GaugeMetricFamily(
            "extproc_endpoint_ready", "1 while the endpoint is ready and confirmed.", labels=["pool", "endpoint"]
        )
        ages = GaugeMetricFamily(
            "extproc_probe_age_seconds", "Since the endpoint's last good answer.", labels=["kind", "endpoint"]
        )
        for id_, state in snapshot.endpoints.items():
            ready.add_metric([pool, state.endpoint.name], float(state.is_routable))
            answered_at_s = self._knowledge.answered_at_s(id_)
            if answered_at_s is not None:
                ages.add_metric(["models", state.endpoint.name], now - answered_at_s)
        yield ready
        yield ages
