"""What Prometheus would have of pickers over time: the scrapes of real `Metrics`, whose hours pass in no time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from tests.unit.known import POOL, answered, listed

from extproc.admission.held import HeldBytes
from extproc.admission.inflight import InFlight
from extproc.registry.store import Store
from extproc.scheduling.prefix import PrefixIndex
from extproc.telemetry.metrics import Metrics
from extproc.values.decision import Work
from extproc.values.load import EngineLoad

STEP_S = 30


class Site:
    """One picker: what it knows, and what it counts. `a` and `b` serve `m`, `b` serves `n`."""

    staleness_s = 10.0

    def __init__(self) -> None:
        self.now = 0.0
        self.is_up = True
        self.loads: dict[str, EngineLoad] = {}
        self.in_flight = InFlight()
        self.store = Store(POOL)
        self.store.apply(listed("ab"), now=0.0)
        self.answer(a=["m"], b=["m", "n"])
        self.metrics = Metrics(
            knowledge=self.store,
            in_flight=self.in_flight,
            clock=lambda: self.now,
            version="1",
            loads=self,
            held=HeldBytes(1),
            prefixes=PrefixIndex(1),
        )
        self.metrics.say_source("pods", is_connected=True)

    def readings(self) -> Mapping[str, EngineLoad]:
        return self.loads

    def answer(self, **models: list[str]) -> None:
        """Endpoints list their models."""
        for letter, names in models.items():
            self.store.apply(answered(letter, *names, asked_at_s=self.now), now=self.now)

    def count(self, **outcomes: int) -> None:
        """Requests for `m` come to these ends."""
        for outcome, count in outcomes.items():
            for _ in range(count):
                self.metrics.count_request("m", outcome)

    def read(self, waiting: float) -> None:
        """Both engines say how many wait."""
        for letter in "ab":
            self.loads[letter] = EngineLoad(self.now, waiting=waiting, running=1.0, kv_used_ratio=0.5)


def see_everything(site: Site) -> None:
    """Something of every kind happens, so that a scrape has every metric."""
    metrics = site.metrics
    site.in_flight.is_exact = True
    site.count(routed=1)
    site.read(waiting=1.0)
    metrics.count_prompt("m", Work(100, 25.0, 10.0))
    metrics.received["request_headers"] += 1
    metrics.observe_decision(0.1)
    metrics.observe_headers("m", 200, 0.1)
    metrics.observe_first_token(0.1)
    metrics.count_tokens("m", prompt=2, cached_prompt=1, completion=1)
    metrics.observe_probe("models", 0.1)
    metrics.count_probe_failure("models", "timeout")
    metrics.observe_loop_delay(0.1)
    metrics.spans_dropped = lambda: 0


def families() -> list[Metric]:
    """A scrape of a picker that has seen everything."""
    site = Site()
    see_everything(site)
    return list(site.metrics.registry.collect())


Happening = Callable[[Site, int], object]
"""Is told the picker and the number of minutes that have passed, at each scrape."""


class Series(NamedTuple):
    """One series, in promtool's notation."""

    series: str
    values: str


def record(pickers: Mapping[str, Happening], *, minutes: int, names: frozenset[str]) -> Iterator[Series]:
    """The series of these names that Prometheus has after so many minutes. `pickers`: by the names of their pods."""
    steps = minutes * 60 // STEP_S + 1
    for pod, happening in pickers.items():
        site = Site()
        recorded: dict[str, list[str]] = {}
        for step in range(steps):
            site.now = float(step * STEP_S)
            happening(site, step * STEP_S // 60)
            for series, value in _scrape(site, pod):
                if series.partition("{")[0] in names:
                    recorded.setdefault(series, ["_"] * steps)[step] = repr(value)
        yield from (Series(series, _ended(values)) for series, values in recorded.items())


def _ended(values: Sequence[str]) -> str:
    """With a mark where the series was no longer there, as Prometheus sets it."""
    before = ["_", *values]
    return " ".join("stale" if now == "_" != last else now for last, now in zip(before, values, strict=False))


def _scrape(site: Site, pod: str) -> Iterator[tuple[str, float]]:
    target = {"namespace": "extproc", "job": "extproc-metrics", "pod": pod, "instance": f"{pod}:9090"}
    yield _series("up", target), float(site.is_up)
    if site.is_up:
        for family in site.metrics.registry.collect():
            for sample in family.samples:
                yield _series(sample.name, {**sample.labels, **target}), float(sample.value)


def _series(name: str, labels: Mapping[str, str]) -> str:
    pairs = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{name}{{{','.join(pairs)}}}"
