"""What the goals' own runs count: requests around restarts, deaths and overload."""

import pytest
from bench.policies.churn import Churn
from bench.policies.goals import run_r6
from bench.policies.overload import run_overload
from bench.policies.recovery import find_recovery, run_recovery


def test_under_restarts_every_request_is_counted_once() -> None:
    count = Churn(200.0).run()
    outcomes = count.routed + count.refused + count.wrong_pods + count.lost + count.wrong_refusals + count.unanswered
    assert outcomes == count.requests > 10_000
    assert count.restarts > 10
    assert count.refused > 0, "the only pod of model b never was away"
    assert count.blind < 0.7 * count.requests


def test_under_restarts_the_right_pod_is_found() -> None:
    count = Churn(60.0).run()
    assert (count.wrong_pods, count.lost, count.wrong_refusals, count.unanswered) == (0, 0, 0, 0)


def test_the_judge_of_restarts_sees_a_wrong_pod_and_a_wrong_refusal() -> None:
    late = Churn(60.0, watch_took_s=(2.5, 3.0))
    count = late.run()
    assert count.lost > 0, "readiness that comes too late sends requests to pods that are gone"
    assert count.wrong_refusals > 0


@pytest.mark.parametrize(
    ("waits", "recovered_s"),
    [
        pytest.param([1, 1, 1, 1, 1, 1], 2.0, id="never disturbed"),
        pytest.param([9, 9, 1, 1, 1, 1, 1], 6.0, id="calm after two windows"),
        pytest.param([9, 1, 1, 9, 1, 1, 1, 1, 1], 10.0, id="disturbed again"),
        pytest.param([9, 1, 1, 1, 1], None, id="too few windows to tell"),
        pytest.param([9, 9, 9, 9, 9, 9], None, id="never calm"),
    ],
)
def test_recovered_is_who_stays_calm(waits: list[float], recovered_s: float | None) -> None:
    series = [(2.0 * (index + 1), float(wait)) for index, wait in enumerate(waits)]
    assert find_recovery(series, 2.0) == recovered_s


def test_a_death_loses_nothing_and_is_felt() -> None:
    recovery = run_recovery("oracle", size=6_000)
    assert recovery.lost == 0
    assert recovery.retried > 0
    assert recovery.worst_s > 2 * recovery.before_s
    assert recovery.recovered_s is not None


def test_only_what_may_be_shed_is_refused_and_with_a_429() -> None:
    alone, mixed = [run_overload("r3", size=1_500, with_sheddable=with_it) for with_it in (False, True)]
    assert (alone.sheddable, alone.shed, alone.rest_refused) == (0, 0, 0)
    assert 0 < mixed.shed <= mixed.sheddable
    assert (mixed.rest_refused, mixed.badly_refused) == (0, 0)


async def test_without_a_trace_r6_says_so() -> None:
    assert [line.figure async for line in run_r6()] == ["not run"]
