"""Alert rules, evaluated by Prometheus's own promtool on what real metrics show: when they fire, and when not."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.manifests.happenings import (
    b_broken_from,
    b_removed_at,
    b_silent_from,
    bad_config,
    bad_config_mended,
    counts,
    disconnected,
    down,
    from_minute,
    knows_nothing,
    late_loop,
    misses_one,
    once,
    serves,
    slow_decisions,
    waiting,
)
from tests.manifests.promtool import run_promtool
from tests.manifests.recording import STEP_S, Happening, record
from tests.manifests.render import find

from extproc.telemetry.metrics.reference import QUERIES

RULES: Mapping[str, Any] = {
    rule["alert"]: rule
    for group in find("monitoring", "PrometheusRule", "extproc")["spec"]["groups"]
    for rule in group["rules"]
}


class Fires(NamedTuple):
    """An alert, as it is shown."""

    labels: Mapping[str, str]
    summary: str


HERE = {"namespace": "extproc"}
IN_POOL = {**HERE, "pool": "default/demo"}
ONE = "extproc-0"
MODEL_WITHOUT, DISAGREE = "ExtprocModelWithoutEndpoint", "ExtprocReplicasDisagree"
NOBODY = "No picker answers. With FailClose every request of the pool is refused."
DIFFERENT = "The pickers of default/demo do not know the same endpoints: compare extproc_model_endpoints by pod."


@pytest.mark.parametrize(
    ("alert", "pickers", "minutes", "fires"),
    [
        pytest.param("ExtprocDown", {ONE: from_minute(5, down)}, 7, Fires(HERE, NOBODY), id="the only picker is down"),
        pytest.param("ExtprocDown", {}, 7, Fires({"job": "extproc-metrics"}, NOBODY), id="there is no picker"),
        pytest.param(
            "ExtprocModelWithoutEndpoint",
            {ONE: b_broken_from(5)},
            9,
            Fires({**IN_POOL, "model": "n"}, "Nothing serves n in default/demo: requests for it get 503."),
            id="the only endpoint of a model breaks",
        ),
        pytest.param(
            "ExtprocModelGone",
            {ONE: b_removed_at(20)},
            23,
            Fires(
                {**IN_POOL, "model": "n"}, "n is no longer known in default/demo, where it was served 15 minutes ago."
            ),
            id="the only endpoint of a model is removed",
        ),
        pytest.param(
            "ExtprocRefusals",
            {ONE: from_minute(5, counts(model_unavailable=25))},
            16,
            Fires(
                {**IN_POOL, "outcome": "model_unavailable"},
                "9.455% of the requests to default/demo end in model_unavailable.",
            ),
            id="a model is unavailable",
        ),
        pytest.param(
            "ExtprocRefusals",
            {ONE: from_minute(5, counts(unsupported_mode=25))},
            16,
            Fires(
                {**IN_POOL, "outcome": "unsupported_mode"},
                "9.091% of the requests to default/demo end in unsupported_mode.",
            ),
            id="a filter cannot work",
        ),
        pytest.param(
            "ExtprocSheds",
            {ONE: from_minute(5, counts(overloaded=50))},
            25,
            Fires(IN_POOL, "18.33% of the requests to default/demo are shed with 429: it is too small for them."),
            id="a good part is shed",
        ),
        pytest.param(
            "ExtprocQueuesLong",
            {ONE: from_minute(5, waiting(25.0))},
            17,
            Fires(
                {**HERE, "name": "demo"},
                "25 requests wait at each engine of demo, on average: it is too small for them.",
            ),
            id="requests wait for long",
        ),
        pytest.param(
            "ExtprocSourceDisconnected",
            {ONE: from_minute(5, disconnected), "extproc-1": serves},
            8,
            Fires({**HERE, "pod": ONE, "source": "pods"}, "extproc-0 cannot read pods: it goes on with what it knew."),
            id="one picker cannot read its source",
        ),
        pytest.param(
            "ExtprocConfigBad",
            {ONE: once(bad_config), "extproc-1": serves},
            16,
            Fires(
                {**HERE, "pod": ONE},
                "The config file of extproc-0 is bad: it goes on with the last good one, and would not start again.",
            ),
            id="a bad edit stays",
        ),
        pytest.param(
            "ExtprocProbesFail",
            {ONE: b_silent_from(5)},
            8,
            Fires({**HERE, "endpoint": "b"}, "b has not listed its models to any picker for a minute."),
            id="an endpoint answers no picker",
        ),
        pytest.param(
            "ExtprocEndpointNotReady",
            {ONE: b_broken_from(5)},
            40,
            Fires({**IN_POOL, "endpoint": "b"}, "b of default/demo has not been ready and confirmed for half an hour."),
            id="an endpoint stays broken",
        ),
        pytest.param(
            "ExtprocReplicasDisagree",
            {ONE: b_broken_from(5), "extproc-1": serves},
            17,
            Fires(IN_POOL, DIFFERENT),
            id="one picker does not reach an endpoint",
        ),
        pytest.param(
            "ExtprocReplicasDisagree",
            {ONE: knows_nothing, "extproc-1": serves},
            17,
            Fires(IN_POOL, DIFFERENT),
            id="one picker knows no model",
        ),
        pytest.param(
            DISAGREE,
            {ONE: misses_one, "extproc-1": serves},
            17,
            Fires(IN_POOL, DIFFERENT),
            id="one picker misses one model of one endpoint",
        ),
        pytest.param(
            "ExtprocDecisionsSlow",
            {ONE: from_minute(5, slow_decisions)},
            16,
            Fires(
                HERE,
                "1 in 100 decisions takes longer than 947.5ms: the pickers want CPU, or endpoints are slow to answer.",
            ),
            id="decisions take long",
        ),
        pytest.param(
            "ExtprocStarved",
            {ONE: from_minute(5, late_loop), "extproc-1": serves},
            21,
            Fires({**HERE, "pod": ONE}, "extproc-0 wants CPU: everything that it serves waits up to 239.5ms."),
            id="one picker is late",
        ),
    ],
)
def test_it_fires(alert: str, pickers: Mapping[str, Happening], minutes: int, fires: Fires, tmp_path: Path) -> None:
    labels, annotations = {**fires.labels, **RULES[alert]["labels"]}, {"summary": fires.summary}
    evaluate(alert, pickers, minutes, [{"exp_labels": labels, "exp_annotations": annotations}], tmp_path)


@pytest.mark.parametrize(
    ("alert", "pickers", "minutes"),
    [
        pytest.param("ExtprocDown", {ONE: from_minute(5, down), "extproc-1": serves}, 9, id="one of two is down"),
        pytest.param("ExtprocDown", {ONE: from_minute(6, down)}, 6, id="it is down since a moment"),
        pytest.param(MODEL_WITHOUT, {ONE: b_broken_from(5), "extproc-1": serves}, 9, id="another picker reaches it"),
        pytest.param(MODEL_WITHOUT, {ONE: b_broken_from(5)}, 6, id="nothing serves it since a minute"),
        pytest.param("ExtprocModelGone", {ONE: b_removed_at(20)}, 20, id="it is gone since a moment"),
        pytest.param("ExtprocModelGone", {ONE: b_removed_at(20)}, 45, id="it was removed long ago"),
        pytest.param("ExtprocModelGone", {ONE: from_minute(20, down)}, 30, id="the picker is gone, not the model"),
        pytest.param("ExtprocModelGone", {ONE: b_broken_from(20)}, 30, id="it is broken, but still there"),
        pytest.param("ExtprocRefusals", {ONE: from_minute(5, counts(failed=25))}, 9, id="refusals since minutes"),
        pytest.param("ExtprocRefusals", {ONE: from_minute(5, counts(failed=25), until=8)}, 25, id="they are over"),
        pytest.param("ExtprocRefusals", {ONE: from_minute(5, counts(model_not_found=50))}, 25, id="wrong models"),
        pytest.param("ExtprocSheds", {ONE: from_minute(5, counts(overloaded=50))}, 13, id="shed since minutes"),
        pytest.param("ExtprocSheds", {ONE: from_minute(5, counts(overloaded=5))}, 25, id="a little is shed"),
        pytest.param("ExtprocQueuesLong", {ONE: from_minute(5, waiting(25.0))}, 14, id="they wait since minutes"),
        pytest.param("ExtprocQueuesLong", {ONE: from_minute(5, waiting(9.0))}, 17, id="a few wait"),
        pytest.param("ExtprocSourceDisconnected", {ONE: from_minute(5, disconnected)}, 6, id="away since a minute"),
        pytest.param("ExtprocSourceDisconnected", {ONE: from_minute(5, disconnected, until=8)}, 8, id="back again"),
        pytest.param("ExtprocConfigBad", {ONE: once(bad_config)}, 14, id="a bad edit of a few minutes ago"),
        pytest.param("ExtprocConfigBad", {ONE: bad_config_mended}, 25, id="a bad edit was mended"),
        pytest.param("ExtprocProbesFail", {ONE: b_silent_from(5)}, 6, id="it is silent since a minute"),
        pytest.param("ExtprocProbesFail", {ONE: b_silent_from(5), "extproc-1": serves}, 20, id="it answers another"),
        pytest.param("ExtprocEndpointNotReady", {ONE: b_broken_from(5)}, 34, id="it takes long to load"),
        pytest.param("ExtprocEndpointNotReady", {ONE: b_broken_from(5, until=39)}, 40, id="it is back"),
        pytest.param(DISAGREE, {ONE: b_broken_from(5), "extproc-1": serves}, 14, id="they disagree since minutes"),
        pytest.param(DISAGREE, {ONE: b_broken_from(5), "extproc-1": b_broken_from(5)}, 17, id="neither reaches it"),
        pytest.param("ExtprocDecisionsSlow", {ONE: serves}, 16, id="decisions take as long as usual"),
        pytest.param("ExtprocDecisionsSlow", {ONE: from_minute(5, slow_decisions)}, 8, id="slow since minutes"),
        pytest.param("ExtprocStarved", {ONE: from_minute(5, late_loop)}, 13, id="late since minutes"),
        pytest.param("ExtprocStarved", {ONE: serves}, 21, id="in time"),
    ],
)
def test_it_does_not_fire(alert: str, pickers: Mapping[str, Happening], minutes: int, tmp_path: Path) -> None:
    evaluate(alert, pickers, minutes, [], tmp_path)


def evaluate(
    alert: str, pickers: Mapping[str, Happening], minutes: int, expected: Sequence[object], folder: Path
) -> None:
    """Has promtool evaluate the rule over what the pickers show in so many minutes."""
    rule = RULES[alert]
    names = frozenset(re.findall(r"\w+", rule["expr"]))
    test = {
        "interval": f"{STEP_S}s",
        "input_series": [each._asdict() for each in record(pickers, minutes=minutes, names=names)],
        "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": expected}],
    }
    assert test["input_series"] or not pickers
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{STEP_S}s", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    said = run_promtool("test", "rules", str(folder / "test.yaml"))
    assert not said, said


def test_each_is_seen_to_fire_and_not_to() -> None:
    for test in (test_it_fires, test_it_does_not_fire):
        [mark] = test.pytestmark  # type: ignore[union-attr]
        assert {case.values[0] for case in mark.args[1]} == set(RULES)


def test_the_queries_of_the_document_are_ones(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(QUERIES)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert run_promtool("check", "rules", str(tmp_path / "rules.yaml")) == ""
