"""scheduling/first_token: the expected time to the first token as a score. Its laws, not its constants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scheduling.pool import Told, need

from extproc.scheduling.first_token import FirstTokenScorer

PROMPT_TOKENS = 8000.0
IDLE: dict[str, Any] = {}
AS_FOR_HALF = {"backlog_s": 0.001 * PROMPT_TOKENS / 2}
AS_FOR_MANY = {"backlog_s": 0.001 * PROMPT_TOKENS * 50}


def scores(*loads: dict[str, Any], cached: tuple[float, ...] = ()) -> list[float]:
    """Of endpoints that have the given shares of a prompt cached."""
    shares = cached or (0.0,) * len(loads)
    tokens = [PROMPT_TOKENS * share for share in shares]
    told = [Told(**load) for load in loads]
    return list(FirstTokenScorer().score(need(told, prompt_tokens=PROMPT_TOKENS, cached_tokens=tokens)))


@pytest.mark.parametrize(
    ("better", "worse", "cached"),
    [
        pytest.param(IDLE, AS_FOR_MANY, (0.0, 0.0), id="an empty queue before a long one"),
        pytest.param(IDLE, IDLE, (1.0, 0.0), id="cached before not cached"),
        pytest.param(IDLE, {"token_s": 0.002}, (0.0, 0.0), id="a fast engine before a slow one"),
        pytest.param(IDLE, {"request_s": 60.0}, (0.0, 0.0), id="quick steps before slow ones"),
        pytest.param(IDLE, {"kv_used_ratio": 1.0}, (0.0, 0.0), id="a cache with room before a full one"),
        pytest.param({"kv_used_ratio": 0.95}, {"kv_used_ratio": 1.0}, (0.0, 0.0), id="some room before none"),
        pytest.param(IDLE, {"requests": 10_000.0}, (0.0, 0.0), id="a small batch before a large one"),
        pytest.param(AS_FOR_HALF, IDLE, (1.0, 0.0), id="cached and a short queue before not cached and idle"),
        pytest.param(IDLE, AS_FOR_MANY, (0.0, 1.0), id="not cached and idle before cached and a long queue"),
        pytest.param(IDLE, {"token_s": 0.01}, (0.0, 0.5), id="not cached and fast before half cached and slow"),
    ],
)
def test_what_comes_sooner_scores_better(
    better: dict[str, Any], worse: dict[str, Any], cached: tuple[float, float]
) -> None:
    first, second = scores(better, worse, cached=cached)
    assert first > second
    assert scores(worse, better, cached=(cached[1], cached[0])) == [second, first]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"requests": 1.0}, id="a request"),
        pytest.param({"kv_used_ratio": 0.5}, id="a cache that is half used"),
        pytest.param({"backlog_s": 0.004}, id="a few milliseconds"),
        pytest.param({"backlog_s": 0.00001 * PROMPT_TOKENS}, id="a small share of the time for the prompt"),
    ],
)
def test_a_difference_that_is_none_to_speak_of_makes_none(other: dict[str, Any]) -> None:
    assert scores(IDLE, other) == [scores(IDLE)[0]] * 2


@given(times_s=st.lists(st.floats(0, 1e6), min_size=1, max_size=4))
def test_the_order_of_the_scores_is_that_of_the_times(times_s: list[float]) -> None:
    found = scores(*[{"backlog_s": each} for each in times_s])
    pairs = sorted(zip(times_s, found, strict=True))
    assert [score for _, score in pairs] == sorted(found, reverse=True)


def test_without_a_prompt_the_queue_decides() -> None:
    loads = [Told(), Told(backlog_s=1.0)]
    first, second = FirstTokenScorer().score(need(loads, prompt_tokens=0.0))
    assert first > second


@pytest.mark.parametrize(
    ("unread", "known_s", "is_taken"),
    [
        pytest.param({"is_read": False}, 20.0, False, id="never read: as busy as the others"),
        pytest.param({"confidence": 0.0}, 20.0, False, id="read too long ago"),
        pytest.param({}, 20.0, True, id="read as idle"),
        pytest.param({"is_read": False, "backlog_s": 1e6}, 20.0, False, id="what was sent there counts all the same"),
    ],
)
def test_unknown_is_not_idle(unread: dict[str, Any], known_s: float, is_taken: bool) -> None:
    first, second, third = scores(unread, {"backlog_s": known_s}, {"backlog_s": known_s * 3})
    assert (first > second) is is_taken
    assert second > third


def test_speeds_within_a_quarter_are_equal() -> None:
    own_s = {"request_s": 1.0}
    near, far = scores(own_s, {"request_s": 1.2}), scores(own_s, {"request_s": 1.5})
    assert near[0] == near[1]
    assert far[0] > far[1]
