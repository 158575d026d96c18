"""Alert rules, the dashboard and the documented queries name metrics and labels that a picker has."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest
from tests.manifests.recording import families
from tests.manifests.render import find, matches

from extproc.telemetry.metrics.reference import QUERIES
from extproc.values.refusal import REFUSALS

SERIES = re.compile(r"\b((?:extproc|inference_pool|process|python)_\w+)(?:\{([^}]*)\})?")
FROM_PROMETHEUS = {"namespace", "pod", "le"}
"""Labels that Prometheus adds to what it scrapes, and that of buckets."""
OUTCOMES = {"routed", "replied", "failed", "cancelled", "aborted"}


def scraped() -> Mapping[str, set[str]]:
    """Each sample's name with its labels, of a picker that has seen a bit of everything."""
    return {sample.name: set(sample.labels) for family in families() for sample in family.samples}


def expressions() -> Iterator[tuple[str, str]]:
    for group in find("monitoring", "PrometheusRule", "extproc")["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard = json.loads(find("monitoring", "ConfigMap", "extproc-dashboard")["data"]["extproc.json"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    yield from QUERIES  # of docs/metrics.md


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
        for group in re.findall(r"\b(?:by|ignoring|on) ?\(([^)]*)\)", expression)
        for label in group.split(",")
    }
    assert grouped <= used | FROM_PROMETHEUS, title
    assert expression.count("(") == expression.count(")")


def test_every_outcome_that_is_alerted_on_exists() -> None:
    used = {
        outcome
        for _, expression in expressions()
        for outcomes in re.findall(r'outcome[=!]~?"([^"]*)"', expression)
        for outcome in outcomes.split("|")
    }
    assert {"model_unavailable", "overloaded", "cancelled"} < used
    assert used <= OUTCOMES | {refusal.code for refusal in REFUSALS.values()}


def test_every_end_that_is_no_clients_fault_is_alerted_on() -> None:
    [expression] = [expression for title, expression in expressions() if title == "ExtprocRefusals"]
    [outcomes] = re.findall(r'outcome=~"([^"]*)"', expression)
    ours = {refusal.code for refusal in REFUSALS.values() if refusal.status >= 500}
    assert set(outcomes.split("|")) == ours | {"failed", "aborted"}


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
