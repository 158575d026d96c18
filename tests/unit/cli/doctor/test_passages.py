"""Which ways through a gateway are this picker's, who is a picker on them, and how findings are put together."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cli.doctor.gateway_facts import FILTER, PASSAGE, POOL, evidence, gateway, not_ok, snapshot

from extproc.cli.doctor.envoy_facts import DESTINATION, Cluster, Filter, Member, Pick
from extproc.cli.doctor.envoy_routes import check
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import ways
from extproc.settings.schema import Settings

ONE, TIME, RETRIES = "Envoy: one picker on each route", "Envoy: time for an answer", "Envoy: retries"
READER = Filter(name="body-reader", cluster="reader")
OTHER_POOL = Cluster(name="other", members=(Member(address="10.1.0.1:8000"),), pick=POOL.pick)
ORIGINAL_DST = Cluster(name="original", pick=Pick(sources=(("header", DESTINATION),), takes_list=False))


def test_other_pools_of_the_gateway_are_passed_over() -> None:
    """A pool with a picker of its own and everything else wrong."""
    other = replace(PASSAGE, cluster="other", filters=(FILTER, FILTER), timeout_s=15.0, retries=9)
    assert not_ok(check, evidence(gateway(PASSAGE, other, more=[OTHER_POOL]))) == {}
    assert not_ok(check, evidence(gateway(other, more=[OTHER_POOL]))).keys() == {ONE, TIME, RETRIES}


def test_each_kind_of_fault_is_told_once_with_its_routes() -> None:
    routes = [replace(PASSAGE, where=f"r{number}", filters=()) for number in range(5)]
    twice = replace(PASSAGE, where="twice", filters=(FILTER, FILTER))
    found = [verdict for verdict in check(evidence(gateway(PASSAGE, *routes, twice))) if verdict.check == ONE]
    assert [(verdict.state, verdict.evidence.rpartition(" (")[2]) for verdict in found] == [
        ("warning", "r0, r1, r2, r3 and 1 more)"),
        ("fault", "twice)"),
    ]


@pytest.mark.parametrize(
    ("filters", "picker"),
    [
        ([replace(FILTER, receives=()), READER], "ext_proc"),
        ([READER, replace(FILTER, receives=())], "ext_proc"),
        ([replace(READER, receives=("envoy.lb",))], "body-reader"),
    ],
    ids=["by the picker's port, first", "by the picker's port, last", "by its metadata"],
)
def test_who_is_a_picker(filters: list[Any], picker: str) -> None:
    facts = gateway(
        replace(PASSAGE, filters=tuple(filters)),
        more=[Cluster(name="reader", members=(Member(address="10.0.0.8:9092"),))],
    )
    [verdict] = [verdict for verdict in check(evidence(facts)) if verdict.check == ONE]
    assert verdict.state == "ok"
    assert verdict.evidence.startswith(f"{picker} asks")


@pytest.mark.parametrize(
    ("clusters", "endpoints", "want"),
    [
        (["pool", "other"], {"a": "10.0.0.1:8000"}, ["pool"]),
        (["pool", "other"], {"a": "10.1.0.1:8000"}, ["other"]),
        (["pool", "other"], {"a": "10.0.0.1:8000", "b": "10.1.0.1:8000"}, ["pool", "other"]),
        (["pool", "other"], {"a": "10.9.0.1:8000"}, ["pool", "other"]),
        (["pool", "other"], {}, ["pool", "other"]),
        (["pool", "original", "other"], {"a": "10.0.0.1:8000"}, ["pool", "original"]),
        (["pool", "nowhere"], {"a": "10.0.0.1:8000"}, ["pool"]),
        (["nowhere"], {"a": "10.0.0.1:8000"}, ["nowhere"]),
    ],
    ids=[
        "one of two",
        "the other of two",
        "both",
        "none known",
        "no endpoints",
        "hosts made by requests",
        "one that is not told",
        "none that is told",
    ],
)
def test_which_ways_are_its_own(clusters: list[str], endpoints: dict[str, str], want: list[str]) -> None:
    passages = [replace(PASSAGE, cluster=name) for name in clusters]
    facts = gateway(*passages, more=[OTHER_POOL, ORIGINAL_DST])
    found = ways(evidence(facts, seen=snapshot(endpoints=endpoints)))
    assert [way.passage.cluster for way in found] == want


def test_no_envoy_has_no_ways() -> None:
    assert list(ways(Evidence(settings=Settings()))) == []
