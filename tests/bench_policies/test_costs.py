"""Sums of steps are what the steps add up to."""

import pytest
from bench.policies.costs import Costs


@pytest.mark.parametrize("speed", [1.0, 0.5, 3.1])
def test_steps_in_a_row_cost_what_each_of_them_costs(speed: float) -> None:
    costs = Costs(speed=speed)
    each = [costs.decode_s(1, 7, 1_000 + 7 * step) for step in range(50)]
    assert costs.decode_s(50, 7, 1_000) == pytest.approx(sum(each))


def test_a_step_costs_what_is_in_it() -> None:
    costs = Costs(step_s=1.0, sequence_s=0.1, context_token_s=0.001)
    assert costs.decode_s(1, 7, 500) == pytest.approx(1.0 + 0.7 + 0.5)


@pytest.mark.parametrize("chunk", [1, 100, 2_048])
def test_a_prompt_in_chunks_costs_the_same_as_in_one(chunk: int) -> None:
    costs = Costs()
    chunks = [costs.prefill_s(start, min(chunk, 5_000 - start)) for start in range(0, 5_000, chunk)]
    assert sum(chunks) == pytest.approx(costs.prefill_s(0, 5_000))


@pytest.mark.parametrize("least_s", [-1.0, 0.0, 0.001, 0.0135, 0.5, 3.0])
@pytest.mark.parametrize("sequences", [1, 30])
def test_the_fewest_steps_are_enough_and_one_less_is_not(least_s: float, sequences: int) -> None:
    costs = Costs()
    steps = costs.fewest_steps(least_s, sequences, 4_000, most=10_000)
    assert steps >= 1
    assert costs.decode_s(steps, sequences, 4_000) >= least_s
    assert steps == 1 or costs.decode_s(steps - 1, sequences, 4_000) < least_s


def test_no_more_than_the_most_steps() -> None:
    assert Costs().fewest_steps(float("inf"), 3, 100, most=17) == 17


@pytest.mark.parametrize(
    ("tokens", "measured_s", "within"),
    [
        pytest.param(50_000, 7.5, 0.1, id="50,000 tokens on an A100"),
        pytest.param(300_000, 180.0, 0.2, id="300,000 tokens on an A100"),
    ],
)
def test_prefill_is_near_what_was_measured(tokens: int, measured_s: float, within: float) -> None:
    assert Costs().prefill_s(0, tokens) == pytest.approx(measured_s, rel=within)


def test_one_request_decodes_at_the_measured_speed() -> None:
    assert 1 / Costs().decode_s(1, 1, 1_088) == pytest.approx(75.0, rel=0.01)
