"""telemetry/metrics/exposition: the text of a scrape, as prometheus_client itself would write it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from extproc.telemetry.metrics.exposition import PART_LINES, render, wants_openmetrics

ODD = ["", "plain", 'say "x"', "back\\slash", "two\nlines", "\\n", "ümlaut 模型", "a,b={}"]


class Given(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def gauges(*values: float) -> Metric:
    metric = GaugeMetricFamily("g", "A gauge.", labels=["z", "a"])
    for number, value in enumerate(values):
        metric.add_metric([str(number), "x"], value)
    return metric


def texts() -> Metric:
    metric = CounterMetricFamily("c", 'Help with "quotes", a \\ and\na line.', labels=["text"])
    for text in ODD:
        metric.add_metric([text], 1)
    return metric


def histogram() -> Metric:
    return HistogramMetricFamily("h_seconds", "A histogram.", buckets=[("0.5", 1), ("+Inf", 3)], sum_value=2.25)


@pytest.mark.parametrize("is_openmetrics", [False, True], ids=["text", "OpenMetrics"])
@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param([], id="none"),
        pytest.param([gauges()], id="without samples"),
        pytest.param([GaugeMetricFamily("g", "Text.", value=1)], id="without labels"),
        pytest.param([gauges(0, 1.0, 0.1, 1e-7, 123456789.0, 1e21, -3, math.inf, -math.inf, math.nan)], id="numbers"),
        pytest.param([texts()], id="odd texts"),
        pytest.param([histogram(), gauges(1), texts()], id="several"),
        pytest.param([gauges(*range(3 * PART_LINES)), histogram()], id="many"),
    ],
)
def test_it_is_what_the_library_writes(metrics: list[Metric], is_openmetrics: bool) -> None:
    write: Callable[[Any], bytes] = generate_openmetrics if is_openmetrics else generate_latest
    registry = CollectorRegistry()
    registry.register(Given(metrics))
    assert "".join(render(metrics, is_openmetrics=is_openmetrics)) == write(registry).decode()


def test_no_part_is_long() -> None:
    parts = list(render([gauges(*range(3 * PART_LINES))], is_openmetrics=False))
    assert len(parts) == 4
    assert all(part.count("\n") <= PART_LINES for part in parts)


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        pytest.param("", False, id="none"),
        pytest.param("*/*", False, id="a browser"),
        pytest.param("text/plain;version=0.0.4", False, id="text"),
        pytest.param("application/openmetrics-text", True, id="OpenMetrics"),
        pytest.param("Application/OpenMetrics-Text ; version=0.0.1", True, id="written otherwise"),
        pytest.param("application/openmetrics-textual", False, id="something like it"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            True,
            id="Prometheus 3",
        ),
    ],
)
def test_who_wants_which(accept: str, is_openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is is_openmetrics
