"""cli/doctor/pool: source, InferencePool, the picker that it names, and models."""

import json
from typing import Any

import msgspec
import pytest
from tests.api_objects import pool_v1alpha2
from tests.unit.cli.doctor.given import V1, V1ALPHA2, cluster, endpoint, evidence, pod, pool, rights, service, snapshot

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.objects import FullPod, FullPool
from extproc.cli.doctor.pool import check
from extproc.cli.doctor.verdict import Verdict
from extproc.sources.kubernetes.objects import Decoder

FILE = "{source: {endpointsFile: /e.yaml}}"
BOTH = snapshot(endpoint("phi-0"), endpoint("gemma-0", "gemma"))
PICKER_POD = pod("picker-1", {"app": "picker"})


def named_port(number: int) -> FullPod:
    """A pod of the picker whose port `grpc` has this number."""
    containers = [{"name": "extproc", "ports": [{"name": "grpc", "containerPort": number}]}]
    return pod("picker-1", {"app": "picker"}, spec__containers=containers)


def verdict_on(name: str, **given: Any) -> Verdict:
    [verdict] = [verdict for verdict in check(evidence(**given)) if verdict.check == name]
    return verdict


def source(**fields: Any) -> admin_pb2.Snapshot:
    return snapshot(sources=[admin_pb2.Source(name="pods", **fields)])


def absent(**answers: str) -> list[Any]:
    return rights(list_inferencepools_v1="absent", list_inferencepools_alpha="absent", **answers)


def test_of_a_pool_that_is_well_nothing_is_wrong() -> None:
    assert {verdict.state for verdict in check(evidence(cluster=cluster()))} == {"ok"}


def test_without_knowledge_there_is_nothing_to_say() -> None:
    assert list(check(evidence(snapshot=None))) == []


@pytest.mark.parametrize(
    ("given", "state", "words", "fix"),
    [
        pytest.param({"snapshot": source(is_connected=True, age_s=1)}, "ok", "pods of default/llm", "", id="read"),
        pytest.param(
            {"snapshot": source(is_connected=False, age_s=90, problems=["list of /pods: 403: no"])},
            "fault",
            "list of /pods: 403: no; pods was read 90 s ago. What was known is kept",
            "Role",
            id="forbidden",
        ),
        pytest.param({"snapshot": source(is_connected=False)}, "fault", "pods was never read.", "API", id="never"),
        pytest.param(
            {"snapshot": source(is_connected=True, age_s=1, problems=["there is no InferencePool x"])},
            "fault",
            "there is no InferencePool x",
            "see InferencePool",
            id="pool missing",
        ),
        pytest.param(
            {"snapshot": source(is_connected=False, problems=["bad"]), "config": FILE},
            "fault",
            "bad",
            "/e.yaml",
            id="file",
        ),
        pytest.param(
            {"snapshot": source(is_connected=False, problems=["x"]), "config": "{source: {dnsName: 'llm.ns:80'}}"},
            "fault",
            "x",
            "nslookup llm.ns",
            id="DNS",
        ),
        pytest.param({"snapshot": snapshot(sources=[])}, "fault", "nothing was heard", "again", id="nothing heard"),
    ],
)
def test_the_source(given: dict[str, Any], state: str, words: str, fix: str) -> None:
    verdict = verdict_on("source", **given)
    assert verdict.state == state
    assert words in verdict.evidence
    assert fix in verdict.fix


@pytest.mark.parametrize(
    ("facts", "group", "state", "words"),
    [
        pytest.param({}, None, "ok", f"default/llm of {V1}", id="there"),
        pytest.param({"pools": {V1: None, V1ALPHA2: None}}, None, "fault", "no such pool", id="missing"),
        pytest.param(
            {"pools": {V1: None, V1ALPHA2: None}, "other_pools": ["lmm"]}, None, "fault", "there are lmm", id="misspelt"
        ),
        pytest.param(
            {"pools": {V1: None, V1ALPHA2: None}, "rights": absent()}, None, "fault", "no API group", id="CRD"
        ),
        pytest.param(
            {"pools": {}, "rights": rights(list_inferencepools_v1="no")},
            None,
            "not checked",
            "not be read",
            id="forbidden",
        ),
        pytest.param({}, V1ALPHA2, "fault", f"is in {V1}, and source.poolGroup asks for {V1ALPHA2}", id="other group"),
        pytest.param({"pools": {V1: pool(), V1ALPHA2: pool()}}, None, "ok", V1, id="twice, and the same"),
    ],
)
def test_the_pool(facts: dict[str, Any], group: str | None, state: str, words: str) -> None:
    config = "{source: {poolName: llm, poolGroup: %s}}" % (group or "null")
    verdict = verdict_on("InferencePool", cluster=cluster(**facts), config=config)
    assert verdict.state == state
    assert words in verdict.evidence


def test_two_pools_that_differ() -> None:
    other = msgspec.structs.replace(pool(), spec=msgspec.structs.replace(pool().spec, selector={"app": "x"}))
    verdict = verdict_on("InferencePool", cluster=cluster(pools={V1: pool(), V1ALPHA2: other}))
    assert (verdict.state, V1 in verdict.evidence) == ("warning", True)


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        pytest.param({}, "ok", "Service picker, port 9002", id="right"),
        pytest.param({"service": service("grpc"), "own_pod": named_port(9002)}, "ok", "Service", id="named port"),
        pytest.param(
            {"service": service("grpc"), "own_pod": named_port(9003)}, "fault", "leads to port 9003", id="named another"
        ),
        pytest.param({"service": None, "service_answer": "absent"}, "fault", "no such Service", id="no Service"),
        pytest.param({"service": None, "service_answer": "no"}, "not checked", "may not be read", id="not readable"),
        pytest.param(
            {"service": None, "service_answer": "no", "pools": {V1: pool(picker_port=9003)}},
            "warning",
            "port 9003, and this picker serves on 9002",
            id="not readable, another port",
        ),
        pytest.param({"service": service(9002, number=80)}, "fault", "that Service has 80", id="no such port"),
        pytest.param({"service": service(9003)}, "fault", "leads to port 9003", id="another target port"),
        pytest.param({"own_pod": pod("picker-1", {"app": "other"})}, "fault", "does not select", id="another picker"),
        pytest.param({"own_pod": PICKER_POD}, "ok", "Service picker", id="selects this one"),
    ],
)
def test_the_picker_that_the_pool_names(facts: dict[str, Any], state: str, words: str) -> None:
    verdict = verdict_on("endpointPickerRef", cluster=cluster(**facts))
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("mode", "known", "state", "words"),
    [
        pytest.param("FailClose", BOTH, "ok", "FailClose", id="closed, two models"),
        pytest.param("FailOpen", snapshot(), "ok", "1 model", id="open, one model"),
        pytest.param("FailOpen", snapshot(models=[]), "not checked", "none is known yet", id="open, no model yet"),
        pytest.param("FailOpen", BOTH, "fault", "a pool of 2 models", id="open, two models"),
    ],
)
def test_the_failure_mode(mode: str, known: admin_pb2.Snapshot, state: str, words: str) -> None:
    verdict = verdict_on("failure mode", snapshot=known, cluster=cluster(pools={V1: pool(failure_mode=mode)}))
    assert verdict.state == state
    assert words in verdict.evidence
    assert ("FailClose" in verdict.fix) == (state == "fault")


def test_the_failure_mode_of_v1alpha2() -> None:
    manifest = pool_v1alpha2("llm", {"app": "llm"}, failure_mode="FailOpen")
    old = Decoder(FullPool).read(json.dumps(manifest).encode())
    verdict = verdict_on("failure mode", snapshot=BOTH, cluster=cluster(pools={V1: None, V1ALPHA2: old}))
    assert verdict.state == "fault"


@pytest.mark.parametrize(
    ("known", "state", "words"),
    [
        pytest.param(BOTH, "ok", "one list of 2: gemma on 1, phi on 1", id="all served"),
        pytest.param(
            snapshot(models=[admin_pb2.Model(id="phi"), admin_pb2.Model(id="gemma", endpoints=["g"])]),
            "fault",
            "phi: known, and on no endpoint",
            id="one on no endpoint",
        ),
    ],
)
def test_models(known: admin_pb2.Snapshot, state: str, words: str) -> None:
    verdict = verdict_on("models", snapshot=known)
    assert verdict.state == state
    assert words in verdict.evidence


OF_OBJECTS = [admin_pb2.Alias(name="old", targets=[admin_pb2.Target(model="gone"), admin_pb2.Target(model="lost")])]


@pytest.mark.parametrize(
    ("aliases", "known", "words"),
    [
        pytest.param("{small: phi}", snapshot(), "", id="to a model that is served"),
        pytest.param("{small: {targets: [{model: nosuch}, {model: phi}]}}", snapshot(), "", id="to one of two"),
        pytest.param(
            "{small: phi}",
            snapshot(models=[admin_pb2.Model(id="phi")]),
            "",
            id="to one that is known, and told of by itself",
        ),
        pytest.param("{phi: nosuch}", snapshot(), "", id="of the name of a model"),
        pytest.param("{small: nosuch}", snapshot(), "small is nosuch: no endpoint lists such a model", id="to nowhere"),
        pytest.param("{}", snapshot(aliases=OF_OBJECTS), "old is gone or lost: no endpoint", id="of the cluster"),
        pytest.param("{small: nosuch}", snapshot(models=[]), "", id="no model is known at all"),
    ],
)
def test_aliases(aliases: str, known: admin_pb2.Snapshot, words: str) -> None:
    config = f"{{source: {{endpointsFile: /e}}, requests: {{aliases: {aliases}}}}}"
    found = [each for each in check(evidence(snapshot=known, config=config)) if each.check == "aliases"]
    assert [each.state for each in found] == ["warning"] * bool(words)
    assert all(words in each.evidence and "phi" in each.fix for each in found)


def test_an_empty_file_has_no_endpoints() -> None:
    empty = snapshot(endpoints=[], models=[])
    assert verdict_on("endpoints", snapshot=empty, config=FILE).state == "fault"
    assert [verdict.check for verdict in check(evidence(snapshot=empty))] == ["source"]  # pods are looked at instead
