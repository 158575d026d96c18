"""cli/doctor/rights: what may be read, by which verb, and the Role that mends it."""

from typing import Any

import pytest
import yaml
from tests.unit.cli.doctor.given import V1, cluster, evidence, rights

from extproc.cli.doctor.rights import check
from extproc.cli.doctor.verdict import Verdict


def verdicts_on(**given: Any) -> dict[str, Verdict]:
    return {verdict.check: verdict for verdict in check(evidence(**given))}


def test_what_is_allowed_is_well() -> None:
    verdicts = verdicts_on(cluster=cluster())
    assert {name: verdict.state for name, verdict in verdicts.items()} == {"Kubernetes": "ok", "RBAC": "ok"}
    assert verdicts["RBAC"].evidence.startswith(f"may list and watch pods, list and watch inferencepools.{V1}")


@pytest.mark.parametrize(
    ("answers", "state", "words"),
    [
        pytest.param({"list_pods_core": "no"}, "fault", "may not list pods in default", id="list of pods"),
        pytest.param({"watch_pods_core": "no"}, "fault", "may not watch pods in default", id="watch of pods"),
        pytest.param(
            {"list_pods_core": "no", "watch_pods_core": "no"}, "fault", "may not list and watch pods", id="both verbs"
        ),
        pytest.param({"watch_inferencepools_v1": "no"}, "fault", f"watch inferencepools.{V1}", id="watch of the pool"),
        pytest.param({"list_inferencepools_alpha": "no"}, "ok", "", id="the group without the pool"),
        pytest.param({"list_inferencepools_alpha": "absent"}, "ok", "", id="a group that is not served"),
    ],
)
def test_rights(answers: dict[str, str], state: str, words: str) -> None:
    verdict = verdicts_on(cluster=cluster(rights=rights(**answers)))["RBAC"]
    assert verdict.state == state
    assert words in verdict.evidence


def test_while_no_group_has_the_pool_any_may_hide_it() -> None:
    facts = cluster(rights=rights(list_inferencepools_alpha="no"), pools={V1: None})
    assert verdicts_on(cluster=facts)["RBAC"].state == "fault"


def test_the_fix_is_a_rule_of_a_role() -> None:
    verdict = verdicts_on(cluster=cluster(rights=rights(list_pods_core="no", watch_inferencepools_v1="no")))["RBAC"]
    assert yaml.safe_load(verdict.fix.partition(":\n")[2]) == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [V1], "resources": ["inferencepools"], "verbs": ["get", "list", "watch"]},
    ]


def test_optional_resources_are_a_warning() -> None:
    verdicts = verdicts_on(cluster=cluster(rights=rights(list_inferenceobjectives_alpha="no")))
    assert (verdicts["RBAC"].state, verdicts["RBAC, optional"].state) == ("ok", "warning")
    assert "list inferenceobjectives" in verdicts["RBAC, optional"].evidence


def test_the_rights_of_somebody_else_are_no_evidence() -> None:
    verdicts = verdicts_on(cluster=cluster(rights=rights(list_pods_core="no"), is_pickers=False))
    assert verdicts["RBAC"].state == "not checked"


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        pytest.param({"cluster": cluster(rights=rights(list_pods_core="TLS: no"))}, "fault", "TLS: no", id="broken"),
        pytest.param(
            {"cluster": cluster(rights=rights(list_pods_core="x"), is_pickers=False)},
            "warning",
            "x",
            id="not the picker's",
        ),
        pytest.param(
            {"cluster": cluster(rights=rights(list_pods_core="absent"))}, "fault", "no API server", id="something else"
        ),
        pytest.param({"cluster_problem": "no kubeconfig"}, "not checked", "no kubeconfig", id="not from here"),
        pytest.param({"cluster_problem": "bad", "snapshot": None}, "fault", "bad", id="by these flags"),
    ],
)
def test_kubernetes(given: dict[str, Any], state: str, words: str) -> None:
    verdict = verdicts_on(**given)["Kubernetes"]
    assert verdict.state == state
    assert words in verdict.evidence


def test_of_another_source_there_is_nothing_to_say() -> None:
    assert verdicts_on(config="{source: {endpointsFile: /e}}") == {}
