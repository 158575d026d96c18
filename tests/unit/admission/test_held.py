"""admission/held: the bound on bytes held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.admission.held import HeldBytes


@pytest.mark.parametrize(
    ("taken", "granted", "held"),
    [
        pytest.param([99], [True], 99, id="under the limit"),
        pytest.param([100], [True], 100, id="at the limit"),
        pytest.param([101], [False], 0, id="over it: nothing is taken"),
        pytest.param([60, 60, 40], [True, False, True], 100, id="a refusal leaves room for the next"),
        pytest.param([100, 0], [True, True], 100, id="nothing can always be taken"),
    ],
)
def test_takes_up_to_the_limit(taken: list[int], granted: list[bool], held: int) -> None:
    budget = HeldBytes(100)
    assert [budget.take(size) for size in taken] == granted
    assert budget.held_bytes == held


@given(st.lists(st.integers(0, 150)))
def test_what_is_given_back_can_be_taken_again(sizes: list[int]) -> None:
    budget = HeldBytes(100)
    granted = [size for size in sizes if budget.take(size)]
    assert budget.held_bytes == sum(granted) <= 100
    for size in granted:
        budget.give_back(size)
    assert budget.held_bytes == 0
    assert budget.take(100)
