"""Counts of requests in flight."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.admission.inflight import InFlight
from extproc.values.decision import Work
from extproc.values.endpoint import Endpoint

A, B = Endpoint("a/1", "a", "10.0.0.1:80"), Endpoint("b/1", "b", "10.0.0.2:80")
MOVED = Endpoint("a/2", "a", "10.0.0.3:80")


def test_what_was_begun_and_not_ended_is_in_flight() -> None:
    in_flight = InFlight()
    for endpoint in (A, A, B):
        in_flight.begin(endpoint)
    in_flight.end(A)
    assert (in_flight.count(A.id), in_flight.count(B.id), in_flight.count("?"), in_flight.total) == (1, 1, 0, 2)
    assert repr(in_flight) == "<InFlight 2 at 2 endpoints>"


def test_by_name_has_a_zero_for_each_endpoint_and_those_gone_that_still_answer() -> None:
    in_flight = InFlight()
    in_flight.begin(B)
    assert in_flight.by_name({A.id: "a"}) == {"a": 0, "b": 1}
    in_flight.end(B)
    assert in_flight.by_name({A.id: "a"}) == {"a": 0}


def test_an_endpoint_and_its_predecessor_of_the_same_name_are_one_series() -> None:
    in_flight = InFlight()
    for endpoint in (A, MOVED, MOVED):
        in_flight.begin(endpoint)
    assert in_flight.by_name({MOVED.id: "a"}) == {"a": 3}


@given(st.lists(st.sampled_from([A, B, MOVED])))
def test_nothing_is_left_when_all_have_ended(endpoints: list[Endpoint]) -> None:
    in_flight = InFlight()
    for endpoint in endpoints:
        in_flight.begin(endpoint)
    for endpoint in endpoints:
        in_flight.end(endpoint)
    assert repr(in_flight) == "<InFlight 0 at 0 endpoints>"


@given(st.lists(st.floats(0, 1e6), min_size=1), st.randoms(use_true_random=False))
def test_tokens_are_those_of_the_requests_there_and_never_less_than_none(tokens: list[float], order: Random) -> None:
    """Whatever the order of their ends: sums of fractions leave a little over, or take a little too much."""
    in_flight = InFlight()
    for each in tokens:
        in_flight.begin(A, Work(prompt_tokens=each + 10, cached_tokens=10))
    assert in_flight.tokens(A.id) == pytest.approx(sum(tokens))
    ends = order.sample(tokens, len(tokens))
    for number, each in enumerate(ends, start=1):
        in_flight.end(A, Work(prompt_tokens=each + 10, cached_tokens=10))
        assert in_flight.tokens(A.id) == pytest.approx(sum(ends[number:]), abs=1e-3)
        assert in_flight.tokens(A.id) >= 0.0
    assert in_flight.tokens(A.id) == in_flight.tokens("?") == 0.0


def test_until_ends_are_seen_counts_say_nothing() -> None:
    assert InFlight().is_exact is False


@pytest.mark.parametrize(
    ("events", "is_exact"),
    [
        pytest.param(["see"], True, id="all ends are seen"),
        pytest.param(["see", "miss"], False, id="one will not be"),
        pytest.param(["miss", "see"], False, id="nor would it be later"),
        pytest.param(["miss"], False, id="none"),
    ],
)
def test_counts_of_a_part_are_not_exact(events: list[str], is_exact: bool) -> None:
    in_flight = InFlight()
    for event in events:
        getattr(in_flight, event)()
    assert in_flight.is_exact is is_exact
