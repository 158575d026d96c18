"""What the picker counts: requests, messages, probes, sources, edits of its config.

What is counted at every request is kept in plain numbers and rendered when it is scraped: a locked counter object costs
ten times as much, and everything here runs in one thread. Source: docs/performance.md, "What was tried".
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from extproc.telemetry.metrics import catalogue
from extproc.telemetry.metrics.catalogue import Definition
from extproc.telemetry.metrics.durations import Durations, histogram
from extproc.telemetry.metrics.labels import ModelLabels
from extproc.telemetry.metrics.pool import PoolCollector
from extproc.telemetry.metrics.watched import Held, Knowledge, OpenRequests, Prefixes, Readings, Watched
from extproc.values.decision import Work

_DECISION_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)
_WAIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PROBE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DELAY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_Counts = defaultdict[tuple[str, str], float]


class SourceState(NamedTuple):
    """How a source fares."""

    is_connected: bool
    """The last reading was good."""
    read_at_s: float | None
    """Monotonic seconds of the last good one; None if there never was one."""
    problems: tuple[str, ...] = ()


class Metrics(Collector):
    """All metrics of one server, in a registry of their own."""

    def __init__(
        self,
        *,
        knowledge: Knowledge,
        in_flight: OpenRequests,
        clock: Callable[[], float],
        version: str,
        loads: Readings | None = None,
        held: Held | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        self._clock = clock
        self._version = version
        self._pool = str(knowledge.snapshot.pool)
        self._watched = Watched(knowledge, in_flight, loads, held, prefixes)
        self._labels = ModelLabels(lambda: knowledge.snapshot, forget=self._forget)
        self._requests: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._prompt_tokens: _Counts = defaultdict(float)
        self.received: defaultdict[str, int] = defaultdict(int)
        """Messages from the data plane, by kind. Who reads them counts them here, without a call for each."""
        self.sent: defaultdict[str, int] = defaultdict(int)
        """Messages to it."""
        self._responses: _Counts = defaultdict(float)
        self._tokens: _Counts = defaultdict(float)
        self._decisions = Durations(_DECISION_BUCKETS_S)
        self._headers = Durations(_WAIT_BUCKETS_S)
        self._first_tokens = Durations(_WAIT_BUCKETS_S)
        self._loop_delays = Durations(_DELAY_BUCKETS_S)
        self._probes: dict[str, Durations] = {}
        self._probe_failures: _Counts = defaultdict(float)
        self._reloads = {"good": 0, "bad": 0}
        self._is_config_good = True
        self.open_streams: Callable[[], int] = lambda: 0
        """Asked at each scrape."""
        self.spans_dropped: Callable[[], int] | None = None
        """Asked at each scrape; None where nothing is traced."""
        self.sources: dict[str, SourceState] = {}
        """By name."""
        self.registry = CollectorRegistry()
        for collector in (self, PoolCollector(self._watched, clock)):
            self.registry.register(collector)
        for build in (ProcessCollector, PlatformCollector, GCCollector):
            build(registry=self.registry)

    def count_request(self, model: str | None, outcome: str) -> None:
        """Counts a request. Model names that the pool does not know are all counted as `unknown`."""
        self._requests[self._labels.label(model), outcome] += 1

    def count_prompt(self, model: str | None, work: Work) -> None:
        """Counts the tokens of a routed request's prompt, as they are estimated."""
        if work.prompt_tokens:
            label = self._labels.label(model)
            self._prompt_tokens[label, "cached"] += work.cached_tokens
            self._prompt_tokens[label, "new"] += work.uncached_tokens

    def observe_decision(self, seconds: float) -> None:
        """Records the time from a whole request to its decision, waiting for news included."""
        self._decisions.observe(seconds)

    def observe_headers(self, model: str | None, status: int, seconds: float) -> None:
        """Records the head of a response, and the time from the decision to it. `status` 0: it could not be read."""
        self._responses[self._labels.label(model), str(status) if status else "unknown"] += 1
        self._headers.observe(seconds)

    def observe_first_token(self, seconds: float) -> None:
        """Records the time from the decision to the first event of a streamed answer."""
        self._first_tokens.observe(seconds)

    def count_tokens(self, model: str | None, *, prompt: int, cached_prompt: int, completion: int) -> None:
        """Counts the tokens that an engine says it read and wrote for one request."""
        label = self._labels.label(model)
        for kind, count in (("prompt", prompt), ("cached_prompt", cached_prompt), ("completion", completion)):
            self._tokens[label, kind] += count

    def observe_probe(self, kind: str, seconds: float) -> None:
        """Records an answered probe."""
        if kind not in self._probes:
            self._probes[kind] = Durations(_PROBE_BUCKETS_S)
        self._probes[kind].observe(seconds)

    def count_probe_failure(self, kind: str, reason: str) -> None:
        """Records a failed probe."""
        self._probe_failures[kind, reason] += 1

    def observe_loop_delay(self, seconds: float) -> None:
        """Records how late a timer of the event loop rang."""
        self._loop_delays.observe(seconds)

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        """Records that the source was read just now as it should, or (False) that it could not be."""
        before = self.sources.get(source)
        read_at_s = self._clock() if is_connected else before.read_at_s if before is not None else None
        self.sources[source] = SourceState(is_connected, read_at_s, tuple(problems))

    def say_config(self, is_good: bool) -> None:
        """Records an edit of the config file: taken over, or (False) bad, so that what was read before is kept."""
        self._is_config_good = is_good
        self._reloads["good" if is_good else "bad"] += 1

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """Requests so far by model label and outcome."""
        return self._requests

    def _forget(self, labels: Set[str]) -> None:
        for counts in (self._requests, self._prompt_tokens, self._responses, self._tokens):
            for key in [key for key in counts if key[0] in labels]:
                del counts[key]

    def collect(self) -> Iterable[Metric]:
        """What was counted, and what the process holds, for the registry."""
        yield self._by_model(catalogue.REQUESTS, self._requests)
        yield histogram(catalogue.DECISIONS, [((), self._decisions)])
        yield self._by_model(catalogue.PROMPT_TOKENS, self._prompt_tokens)
        yield catalogue.STREAMS.value(self.open_streams())
        directions = (("in", self.received), ("out", self.sent))
        rows = [((kind, direction), count) for direction, counts in directions for kind, count in counts.items()]
        yield catalogue.MESSAGES.metric(rows)
        yield from self._collect_responses()
        yield histogram(catalogue.PROBE_SECONDS, [((kind,), each) for kind, each in self._probes.items()])
        yield catalogue.PROBE_FAILURES.metric(self._probe_failures.items())
        yield from self._collect_sources()
        yield catalogue.CONFIG_GOOD.value(self._is_config_good)
        yield catalogue.CONFIG_RELOADS.metric(((outcome,), count) for outcome, count in self._reloads.items())
        yield from self._collect_memory()
        yield histogram(catalogue.LOOP_DELAY, [((), self._loop_delays)])
        if self.spans_dropped is not None:
            yield catalogue.SPANS_DROPPED.value(self.spans_dropped())
        yield catalogue.BUILD_INFO.metric([((self._version,), 1)])

    def _by_model(self, definition: Definition, counts: Mapping[tuple[str, str], float]) -> Metric:
        return definition.metric(((self._pool, model, other), count) for (model, other), count in counts.items())

    def _collect_responses(self) -> Iterable[Metric]:
        """What only streams that stay open can tell: without one these would stand at a zero that means nothing."""
        if self._responses:
            yield self._by_model(catalogue.RESPONSES, self._responses)
            yield histogram(catalogue.HEADERS, [((), self._headers)])
        if self._tokens:
            yield self._by_model(catalogue.TOKENS, self._tokens)
        if self._first_tokens.count:
            yield histogram(catalogue.FIRST_TOKENS, [((), self._first_tokens)])

    def _collect_sources(self) -> Iterable[Metric]:
        now, sources = self._clock(), self.sources.items()
        yield catalogue.SOURCE_CONNECTED.metric(((name,), float(state.is_connected)) for name, state in sources)
        yield catalogue.SOURCE_AGE.metric(
            ((name,), now - state.read_at_s) for name, state in sources if state.read_at_s is not None
        )

    def _collect_memory(self) -> Iterable[Metric]:
        held, prefixes = self._watched.held, self._watched.prefixes
        if held is not None:
            yield catalogue.HELD_BYTES.value(held.held_bytes)
            yield catalogue.HELD_LIMIT.value(held.limit_bytes)
        if prefixes is not None:
            yield catalogue.PREFIX_BLOCKS.value(len(prefixes))
            yield catalogue.PREFIX_LIMIT.value(prefixes.most_blocks)
