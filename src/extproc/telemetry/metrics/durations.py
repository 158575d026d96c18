"""A histogram of seconds in plain numbers."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from extproc.telemetry.metrics.catalogue import Definition


class Durations:
    """How many observations were at most how long."""

    __slots__ = ("_bounds_s", "_counts", "_sum_s", "count")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        """`bounds_s`: upper bounds of the buckets, ascending; beyond them is one more."""
        self.count = 0
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def __repr__(self) -> str:
        return f"<Durations {self.count} of {self._sum_s} s>"

    def observe(self, seconds: float) -> None:
        """Counts one of so many seconds."""
        self.count += 1
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def samples(self, name: str, labels: dict[str, str]) -> Iterable[Sample]:
        """As Prometheus has them: cumulative buckets, count and sum."""
        bounds = [*map(str, self._bounds_s), "+Inf"]
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            yield Sample(f"{name}_bucket", {**labels, "le": bound}, count)
        yield Sample(f"{name}_count", labels, self.count)
        yield Sample(f"{name}_sum", labels, self._sum_s)


def histogram(definition: Definition, rows: Iterable[tuple[Sequence[str], Durations]]) -> Metric:
    """The metric with its samples: the values of the labels, and what was observed."""
    metric = definition.metric(())
    for values, durations in rows:
        labels = dict(zip(definition.labels, values, strict=True))
        metric.samples.extend(durations.samples(definition.name, labels))
    return metric
