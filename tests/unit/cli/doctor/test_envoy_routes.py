"""The routes as Envoy has them: who is asked on each, and what its limits do to answers and retries."""

from dataclasses import replace

import pytest
from tests.unit.cli.doctor.gateway_facts import (
    FILTER,
    POOL,
    assert_says,
    evidence,
    gateway,
    with_passage,
    with_pool,
)

from extproc.cli.doctor.envoy_facts import DESTINATION, Cluster, EnvoyFacts, Filter, Member, Pick
from extproc.cli.doctor.envoy_routes import check
from extproc.cli.doctor.evidence import Evidence
from extproc.settings.schema import Settings

ONE, TIME, RETRIES, BUFFER = (
    "Envoy: one picker on each route",
    "Envoy: time for an answer",
    "Envoy: retries",
    "Envoy: buffer of the listener",
)
READER = Filter(name="body-reader", cluster="reader")
BUFFERED = (replace(FILTER, request_body="BUFFERED"),)
ONE_ADDRESS = Pick(sources=(("header", DESTINATION),), takes_list=False)
OTHER_POOL = Cluster(name="other", members=(Member(address="10.1.0.1:8000"),), pick=POOL.pick)

CASES: dict[str, tuple[EnvoyFacts, int, tuple[str, str, str] | None]] = {
    "good": (gateway(), 0, None),
    "no picker": (with_passage(filters=()), 0, (ONE, "fault", "go to pool with no picker asked")),
    "two of one name": (with_passage(filters=(FILTER, FILTER)), 0, (ONE, "fault", "2 pickers are asked")),
    "two of two names": (
        with_passage(filters=(FILTER, replace(FILTER, name="second", cluster="picker-2"))),
        0,
        (ONE, "fault", "second asks picker-2"),
    ),
    "another processor before": (with_passage(filters=(READER, FILTER)), 0, None),
    "another processor after": (with_passage(filters=(FILTER, READER)), 0, None),
    "no limit of time": (with_passage(timeout_s=0.0), 0, None),
    "the default limit of time": (
        with_passage(timeout_s=15.0, sets_timeout=False),
        0,
        (TIME, "warning", "after 15 s, the default;"),
    ),
    "the same limit of time, set": (with_passage(timeout_s=15.0), 0, (TIME, "warning", "after 15 s;")),
    "a short limit of time": (with_passage(timeout_s=59.0), 0, (TIME, "warning", "after 59 s;")),
    "a long limit of time": (with_passage(timeout_s=60.0), 0, None),
    "as many retries as fallbacks": (with_passage(retries=2), 2, None),
    "fewer retries than fallbacks": (with_passage(retries=1), 2, None),
    "more retries than fallbacks": (
        with_passage(retries=3),
        2,
        (RETRIES, "warning", "up to 3 times more, and the picker lists 2"),
    ),
    "one retry, one fallback short": (
        with_passage(retries=1),
        0,
        (RETRIES, "warning", "up to 1 time more, and the picker lists 0 further endpoints:"),
    ),
    "two retries, one fallback short": (
        with_passage(retries=2),
        1,
        (RETRIES, "warning", "up to 2 times more, and the picker lists 1 further endpoint:"),
    ),
    "a list for a cluster that takes one": (
        with_pool(pick=ONE_ADDRESS),
        1,
        (RETRIES, "fault", "envoy.fallbackEndpoints is 1, and the cluster pool"),
    ),
    "one for a cluster that takes one": (with_pool(pick=ONE_ADDRESS), 0, None),
    "the default buffer": (with_passage(buffer_limit_bytes=1 << 20), 0, None),
    "the default buffer, retried": (
        with_passage(buffer_limit_bytes=1 << 20, retries=1),
        1,
        (BUFFER, "warning", "is 1 MiB: a request with a longer body is not tried again"),
    ),
    "a small buffer, buffered": (
        with_passage(buffer_limit_bytes=32 << 10, filters=BUFFERED),
        0,
        (BUFFER, "warning", "is 32 KiB: a request with a longer body is a 413"),
    ),
    "a large buffer, buffered": (with_passage(buffer_limit_bytes=2 << 20, filters=BUFFERED), 0, None),
}


@pytest.mark.parametrize(("facts", "fallbacks", "want"), CASES.values(), ids=CASES)
def test_one_route(facts: EnvoyFacts, fallbacks: int, want: tuple[str, str, str] | None) -> None:
    assert_says(check, evidence(facts, envoy={"fallbackEndpoints": fallbacks}), want)


@pytest.mark.parametrize(("listeners", "told"), [(1, "1 listener"), (3, "3 listeners")])
def test_an_envoy_without_a_filter(listeners: int, told: str) -> None:
    facts = replace(gateway(), passages=(), listeners=listeners)
    [verdict] = check(evidence(facts))
    assert (verdict.check, verdict.state) == (ONE, "fault")
    assert verdict.evidence.endswith(f"no ext_proc filter in force on any route of its {told}")


def test_other_processors_are_named() -> None:
    [verdict] = [each for each in check(evidence(with_passage(filters=(READER, FILTER)))) if each.check == ONE]
    assert verdict.evidence == "ext_proc asks picker, beside other processors: body-reader"
    assert "beside" not in next(each.evidence for each in check(evidence()) if each.check == ONE)


def test_without_a_look_at_envoy_nothing_is_said() -> None:
    [verdict] = check(Evidence(settings=Settings()))
    assert (verdict.state, "--envoy-admin" in verdict.evidence) == ("not checked", True)


def test_nothing_is_compared_with_settings_that_nobody_told() -> None:
    found = list(check(replace(evidence(with_passage(retries=3)), knows_settings=False)))
    assert [each.check for each in found if each.state != "ok"] == [RETRIES]
    assert [each.state for each in found if each.check == RETRIES] == ["not checked"]
