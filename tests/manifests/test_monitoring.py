"""Alert rules and the dashboard name metrics and labels that a picker has."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.manifests.render import find, matches
from tests.unit.known import POOL, answered, listed

from extproc.admission.inflight import InFlight
from extproc.registry.store import Store
from extproc.telemetry.metrics import Metrics
from extproc.values.refusal import REFUSALS

SERIES = re.compile(r"\b(extproc_\w+)(?:\{([^}]*)\})?")
FROM_PROMETHEUS = {"namespace", "pod", "le"}
"""Labels that Prometheus adds to what it scrapes, and that of buckets."""
OUTCOMES = {"routed", "replied", "failed", "cancelled", "aborted"}


def scraped() -> Mapping[str, set[str]]:
    """Each sample's name with its labels, of a picker that has seen a bit of everything."""
    store = Store(POOL)
    store.apply(listed("a"), now=0.0)
    store.apply(answered("a", "m"), now=1.0)
    in_flight = InFlight()
    in_flight.is_exact = True
    metrics = Metrics(knowledge=store, in_flight=in_flight, clock=lambda: 2.0, version="1")
    metrics.count_request("m", "routed")
    metrics.count_message("request_headers", "in")
    metrics.observe_headers("m", 200, 0.1)
    metrics.observe_probe("models", 0.1)
    metrics.count_probe_failure("models", "timeout")
    metrics.say_source("kubernetes", is_connected=True)
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def expressions() -> Iterator[tuple[str, str]]:
    for group in find("monitoring", "PrometheusRule", "extproc")["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard = json.loads(find("monitoring", "ConfigMap", "extproc-dashboard")["data"]["extproc.json"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "expression"), [pytest.param(*each, id=each[0]) for each in expressions()])
def test_every_metric_and_label_exists(title: str, expression: str) -> None:
    metrics = scraped()
    used: set[str] = set()
    for name, matchers in SERIES.findall(expression):
        assert name in metrics, (title, name)
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers or ""))
        assert labels <= metrics[name] | FROM_PROMETHEUS, (title, labels)
        used |= metrics[name]
    grouped = {
        label.strip()
        for group in re.findall(r"\b(?:by|ignoring) ?\(([^)]*)\)", expression)
        for label in group.split(",")
    }
    assert grouped <= used | FROM_PROMETHEUS, title
    assert expression.count("(") == expression.count(")")


def test_every_outcome_that_is_alerted_on_exists() -> None:
    [expression] = [expression for title, expression in expressions() if title == "ExtprocRefusals"]
    [outcomes] = re.findall(r'outcome=~"([^"]*)"', expression)
    assert set(outcomes.split("|")) <= OUTCOMES | {refusal.code for refusal in REFUSALS.values()}


def test_the_monitor_finds_the_pickers() -> None:
    service = find("monitoring", "Service", "extproc-metrics")
    spec = find("monitoring", "ServiceMonitor", "extproc")["spec"]
    assert matches(spec["selector"]["matchLabels"], service["metadata"]["labels"])
    assert not matches(spec["selector"]["matchLabels"], find("base", "Service", "extproc")["metadata"]["labels"])
    assert [each["port"] for each in spec["endpoints"]] == [port["name"] for port in service["spec"]["ports"]]
    jobs = {job for _, expression in expressions() for job in re.findall(r'job="([^"]*)"', expression)}
    assert jobs == {service["metadata"]["name"]}  # the operator calls a job by its Service


def test_the_dashboard_stands_on_a_grid_and_asks_one_namespace() -> None:
    found = find("monitoring", "ConfigMap", "extproc-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    panels = json.loads(found["data"]["extproc.json"])["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
    assert all('namespace="$namespace"' in target["expr"] for panel in panels for target in panel["targets"])
