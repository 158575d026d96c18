"""Envoy's cluster of the pool: whether it heeds the pick, and knows whom the picker may name."""

from dataclasses import replace

import pytest
from tests.unit.cli.doctor.gateway_facts import (
    DEFAULT_LIMITS,
    ENDPOINTS,
    POOL,
    STATS,
    assert_says,
    caller,
    evidence,
    gateway,
    snapshot,
    with_passage,
    with_pool,
)

from extproc.cli.doctor.envoy_facts import DESTINATION, EnvoyFacts, Member, Pick
from extproc.cli.doctor.envoy_pool import check
from extproc.cli.doctor.evidence import Evidence
from extproc.settings.schema import Settings

HEEDS, ENDPOINTS_CHECK = "Envoy: the pool's cluster heeds the pick", "Envoy: endpoints of the pool"
HEALTH, LIMITS = "Envoy: health of the pool", "Envoy: limits of the pool"
FIRST, SECOND = POOL.members
EJECTED = replace(SECOND, problems=("failed_outlier_check",))
ORIGINAL_DST = Pick(sources=(("header", DESTINATION),), takes_list=False)


def reads(*sources: tuple[str, str]) -> EnvoyFacts:
    return with_pool(pick=Pick(sources=sources, takes_list=True))  # type: ignore[arg-type]


CASES: dict[str, tuple[EnvoyFacts, tuple[str, str, str] | None]] = {
    "good": (gateway(), None),
    "balances by itself": (with_pool(pick=None), (HEEDS, "fault", "pool balances by itself")),
    "another header": (reads(("header", "x-other")), (HEEDS, "fault", "reads header x-other, which")),
    "no source at all": (reads(), (HEEDS, "fault", "reads nothing, which")),
    "metadata": (reads(("metadata", f"envoy.lb/{DESTINATION}")), None),
    "metadata of another namespace": (
        reads(("metadata", f"lb/{DESTINATION}")),
        (HEEDS, "fault", f"reads metadata lb/{DESTINATION}"),
    ),
    "the header after another": (reads(("header", "x-other"), ("header", DESTINATION)), None),
    "a member missing": (
        with_pool(members=(FIRST,)),
        (ENDPOINTS_CHECK, "fault", "1 of 2 endpoints that the picker may name are not in the cluster pool: gemma-0"),
    ),
    "every member missing": (with_pool(members=()), (ENDPOINTS_CHECK, "fault", "2 of 2 endpoints")),
    "a member at another port": (
        with_pool(members=(FIRST, Member(address="10.0.0.2:8001"))),
        (ENDPOINTS_CHECK, "fault", "gemma-0 (10.0.0.2:8000)"),
    ),
    "more members": (with_pool(members=(FIRST, SECOND, Member(address="10.0.0.3:8000"))), None),
    "members made by the requests": (with_pool(pick=ORIGINAL_DST, members=()), None),
    "a member ejected": (
        with_pool(members=(FIRST, EJECTED)),
        (HEALTH, "warning", "1 of 2 are unfit for Envoy, which does not send there what is picked for them: 10.0.0.2"),
    ),
    "outlier detection": (with_pool(ejects=True), (HEALTH, "warning", "outlier_detection")),
    "default limits": (
        with_pool(limits=DEFAULT_LIMITS),
        (LIMITS, "warning", "at 1024 requests at a time, the default"),
    ),
    "lower limits": (
        with_pool(limits=dict(POOL.limits or {}, max_connections=10)),
        (LIMITS, "warning", "at 10 requests at a time:"),
    ),
    "fewer connections of HTTP/2": (
        with_pool(limits=dict(POOL.limits or {}, max_connections=10), protocol="HTTP/2"),
        None,
    ),
    "limits reached": (
        with_pool(stats=STATS | {"cluster.pool.upstream_rq_pending_overflow": 3}, limits=DEFAULT_LIMITS),
        (LIMITS, "fault", "3 refused"),
    ),
    "limits not told": (with_pool(limits=None), None),
    "cluster not told": (with_passage(cluster=""), None),
}


@pytest.mark.parametrize(("facts", "want"), CASES.values(), ids=CASES)
def test_one_cluster(facts: EnvoyFacts, want: tuple[str, str, str] | None) -> None:
    assert_says(check, evidence(facts), want)


def test_endpoints_that_are_not_ready_need_not_be_there() -> None:
    seen = snapshot(endpoints=ENDPOINTS | {"late": "10.0.0.7:8000"})
    assert_says(check, evidence(seen=seen), (ENDPOINTS_CHECK, "fault", "late"))
    seen.endpoints[-1].is_ready = False
    assert_says(check, evidence(seen=seen), None)


def test_default_limits_are_a_fault_where_answers_are_followed() -> None:
    facts = with_pool(limits=DEFAULT_LIMITS)
    assert_says(check, evidence(facts, seen=snapshot(caller(answer="track"))), (LIMITS, "fault", "1024"))


def test_without_a_look_at_envoy_nothing_is_said() -> None:
    [verdict] = check(Evidence(settings=Settings()))
    assert verdict.state == "not checked"
