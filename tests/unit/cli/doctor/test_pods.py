"""cli/doctor/pods: the selector, readiness and target ports."""

from typing import Any

import pytest
from tests.unit.cli.doctor.given import cluster, endpoint, evidence, pod, snapshot

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.pods import check
from extproc.cli.doctor.verdict import Verdict
from extproc.sources.kubernetes.pools import Selection

REFUSED = "refused: Connection refused"
NOT_READY = [{"type": "Ready", "status": "False"}]


def verdict_on(name: str, *, known: admin_pb2.Snapshot | None = None, **facts: Any) -> Verdict:
    verdicts = list(check(evidence(cluster=cluster(**facts), snapshot=known or snapshot())))
    [verdict] = [verdict for verdict in verdicts if verdict.check == name]
    return verdict


def conditions(**statuses: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": status} for kind, status in statuses.items()]


def test_of_pods_that_are_well_nothing_is_wrong() -> None:
    assert {verdict.state for verdict in check(evidence(cluster=cluster()))} == {"ok"}


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        pytest.param({"pods": [pod("a"), pod("b")]}, "ok", "app=llm matches 2 pods", id="matches"),
        pytest.param({"pods": [pod("a")], "has_more_pods": True}, "ok", "matches more than 1 pod", id="not all read"),
        pytest.param({"pods": None}, "not checked", "may not be read", id="may not be read"),
        pytest.param({"pods": [], "other_pods": []}, "fault", "there is no pod at all", id="empty namespace"),
        pytest.param({"pods": [], "other_pods": None}, "fault", "no pod of default has app=llm", id="not to be listed"),
        pytest.param(
            {"pods": [], "other_pods": [pod("a", {"app": "vllm"})]}, "fault", "of 1 other pod, app is vllm", id="value"
        ),
        pytest.param({"pods": [], "other_pods": [pod("a", {"x": "y"})]}, "fault", "none has a label app", id="key"),
    ],
)
def test_the_selector(facts: dict[str, Any], state: str, words: str) -> None:
    verdict = verdict_on("selector", **facts)
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("pods", "state", "words"),
    [
        pytest.param([pod("a"), pod("b")], "ok", "all 2", id="all"),
        pytest.param([pod("a"), pod("b", status__conditions=NOT_READY)], "warning", "1 of 2; not b", id="one is not"),
        pytest.param(
            [pod("a", status__conditions=conditions(PodScheduled="True", ContainersReady="False", Ready="False"))],
            "fault",
            "none of 1 pod: a (its readiness probe fails)",
            id="readiness",
        ),
        pytest.param(
            [pod("a", status__conditions=conditions(PodScheduled="False", Ready="False"))],
            "fault",
            "a (not scheduled)",
            id="not scheduled",
        ),
        pytest.param(
            [pod("a", status__conditions=conditions(Initialized="False", ContainersReady="False", Ready="False"))],
            "fault",
            "a (init containers run)",
            id="starts",
        ),
        pytest.param(
            [
                pod(
                    "a",
                    status__conditions=NOT_READY,
                    status__containerStatuses=[{"name": "e", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
                )
            ],
            "fault",
            "a (ImagePullBackOff)",
            id="waits",
        ),
        pytest.param(
            [pod("a", metadata__deletionTimestamp="2026-01-01T00:00:00Z")], "fault", "a (terminating)", id="ends"
        ),
        pytest.param([pod("a", status__podIP=None)], "fault", "a (no address)", id="no address"),
    ],
)
def test_readiness(pods: list[Any], state: str, words: str) -> None:
    verdict = verdict_on("ready pods", pods=pods)
    assert verdict.state == state
    assert words in verdict.evidence
    assert ("describe" in verdict.fix) == (state != "ok")


@pytest.mark.parametrize(
    ("known", "ports", "state", "words"),
    [
        pytest.param(snapshot(), (8000,), "ok", "8000: connections are taken", id="taken"),
        pytest.param(
            snapshot(endpoint(problem=REFUSED)),
            (8000,),
            "fault",
            "ready pods refuse connections on 8000; their containers declare 8000",
            id="refused",
        ),
        pytest.param(
            snapshot(endpoint(problem=REFUSED, address="10.0.0.1:80"), endpoint("b")),
            (80, 8000),
            "fault",
            "on 80; their containers declare 8000",
            id="one port of two",
        ),
        pytest.param(
            snapshot(endpoint(problem=REFUSED), endpoint("b")), (8000,), "ok", "8000", id="one pod of two refuses"
        ),
        pytest.param(snapshot(endpoint(problem="timeout: x")), (8000,), "ok", "8000", id="slow is open"),
    ],
)
def test_target_ports(known: admin_pb2.Snapshot, ports: tuple[int, ...], state: str, words: str) -> None:
    verdict = verdict_on("target ports", known=known, selection=Selection("app=llm", {"app": "llm"}, ports))
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("pods", "state", "words"),
    [
        pytest.param([pod("a"), pod("b")], "not checked", "all of the first 2; there are more", id="all"),
        pytest.param(
            [pod("a"), pod("b", status__conditions=NOT_READY)], "warning", "1 of the first 2; not b", id="one is not"
        ),
        pytest.param([pod("b", status__conditions=NOT_READY)], "warning", "0 of the first 1; not b", id="none"),
    ],
)
def test_readiness_where_there_are_more_than_were_read(pods: list[Any], state: str, words: str) -> None:
    verdict = verdict_on("ready pods", pods=pods, has_more_pods=True)
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        pytest.param([pod("a"), pod("b", status__conditions=NOT_READY)], "no picker has asked", id="one is ready"),
        pytest.param([pod("b", status__conditions=NOT_READY)], "no pod is ready", id="none is ready"),
    ],
)
def test_target_ports_where_no_picker_has_asked(pods: list[Any], words: str) -> None:
    verdicts = {each.check: each for each in check(evidence(cluster=cluster(pods=pods), snapshot=None))}
    assert verdicts["target ports"].state == "not checked"
    assert words in verdicts["target ports"].evidence


def test_of_another_source_there_is_nothing_to_say() -> None:
    assert list(check(evidence())) == []
