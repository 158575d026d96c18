"""admission/speed: what prefills take, learned from counters. The laws, not the constants."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.admission.speed import (
    LEAST_PACE,
    LEAST_REQUEST_S,
    LEAST_TOKEN_S,
    MOST_PACE,
    MOST_REQUEST_S,
    MOST_TOKEN_S,
    Speed,
)
from extproc.values.load import EngineLoad


def told(speed: Speed) -> tuple[float, float, float]:
    return speed.request_s, speed.token_s, speed.pace


def pages(*, request_s: float, token_s: float, lengths: list[float], count: int = 100) -> list[EngineLoad]:
    """What an engine says each second that does `count` prompts of each of these lengths in turn."""
    done = tokens = seconds = 0.0
    found = [EngineLoad(0.0, prefills=0.0, prefill_tokens=0.0, prefill_s=0.0)]
    for at_s, length in enumerate(lengths, start=1):
        done, tokens, seconds = done + count, tokens + count * length, seconds + count * (request_s + token_s * length)
        found.append(EngineLoad(float(at_s), prefills=done, prefill_tokens=tokens, prefill_s=seconds))
    return found


def learn(speed: Speed, readings: list[EngineLoad]) -> None:
    for before, after in pairwise(readings):
        speed.learn(before, after)


@pytest.mark.parametrize(("request_s", "token_s"), [(0.01, 0.0001), (0.05, 0.001), (0.2, 0.00002)])
def test_it_learns_what_requests_and_their_tokens_take(request_s: float, token_s: float) -> None:
    speed = Speed()
    learn(speed, pages(request_s=request_s, token_s=token_s, lengths=[100, 4000, 1000, 2000] * 10))
    for tokens in (500, 3000):
        assert speed.work_s(tokens) == pytest.approx(request_s + token_s * tokens, rel=0.15)


def test_what_it_has_not_seen_it_believes_of_its_pool() -> None:
    pool = Speed()
    one = Speed(pool)
    learn(one, pages(request_s=0.1, token_s=0.002, lengths=[100, 4000] * 20))
    assert pool.work_s(2000) == pytest.approx(one.work_s(2000), rel=0.2)
    new = Speed(pool)
    assert told(new)[:2] == told(pool)[:2]
    assert new.work_s(2000) > 2 * Speed().work_s(2000)


def test_what_changes_is_learned_anew() -> None:
    speed = Speed()
    slow = pages(request_s=0.1, token_s=0.002, lengths=[100, 4000] * 100)
    learn(speed, slow)
    before = speed.work_s(2000)
    learn(speed, pages(request_s=0.01, token_s=0.0001, lengths=[100, 4000] * 100))
    assert speed.work_s(2000) < before / 4


PAGE: dict[str, Any] = {"prefills": 100.0, "prefill_tokens": 1e5, "prefill_s": 50.0}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(EngineLoad(1.0), id="nothing is told"),
        pytest.param(EngineLoad(1.0, **PAGE), id="nothing was done"),
        pytest.param(EngineLoad(0.0, **{key: 2 * value for key, value in PAGE.items()}), id="no time has passed"),
        pytest.param(EngineLoad(1.0, prefills=1.0, prefill_tokens=1e3, prefill_s=0.1), id="all began anew"),
        *[
            pytest.param(
                EngineLoad(1.0, **({name: 2 * value for name, value in PAGE.items()} | {key: 1.0})),
                id=f"{key} began anew",
            )
            for key in PAGE
        ],
        *[
            pytest.param(
                EngineLoad(1.0, **({name: 2 * value for name, value in PAGE.items()} | {key: None})),
                id=f"{key} is not told",
            )
            for key in PAGE
        ],
        pytest.param(
            EngineLoad(1.0, **({name: 2 * value for name, value in PAGE.items()} | {"prefills": 100.0 + 1e-13})),
            id="less than one request",
        ),
        pytest.param(
            EngineLoad(1.0, **({name: 2 * value for name, value in PAGE.items()} | {"prefill_tokens": 1e200})),
            id="a leap that no engine makes",
        ),
    ],
)
def test_it_learns_nothing_where_nothing_is_told(after: EngineLoad) -> None:
    pool = Speed()
    speed = Speed(pool)
    before = told(speed), told(pool)
    speed.learn(EngineLoad(0.0, **PAGE), after)
    assert (told(speed), told(pool)) == before


def busy(at_s: float, done: float, *, waiting: float = 5.0) -> EngineLoad:
    return EngineLoad(at_s, waiting=waiting, first_tokens=done, prompt_tokens=1000 * done, cached_tokens=0.0)


@pytest.mark.parametrize(
    ("per_second", "waiting", "pace"),
    [
        pytest.param(100.0, 5.0, "faster", id="many in a step"),
        pytest.param(0.1, 5.0, "slower", id="held up"),
        pytest.param(100.0, 0.0, "as it was", id="nobody waits: not its full pace"),
    ],
)
def test_the_pace_at_which_a_queue_shrinks(per_second: float, waiting: float, pace: str) -> None:
    speed = Speed()
    learn(speed, [busy(float(at_s), per_second * at_s, waiting=waiting) for at_s in range(20)])
    assert ("faster" if speed.pace > 1.5 else "slower" if speed.pace < 0.5 else "as it was") == pace


def test_what_is_cached_is_no_work() -> None:
    all_, none = Speed(), Speed()
    learn(none, [busy(float(at_s), 100.0 * at_s) for at_s in range(20)])
    cached = [
        EngineLoad(float(n), waiting=5, first_tokens=100.0 * n, prompt_tokens=1e5 * n, cached_tokens=1e5 * n)
        for n in range(20)
    ]
    learn(all_, cached)
    assert all_.pace < none.pace


counters = st.none() | st.sampled_from([0.0, 1.0, 5e-324, 1e9, 1e308]) | st.floats(0, 1.7e308)
# Of a request that is next to none nothing can be told either.
SLIVER = [
    EngineLoad(at_s, prefills=5e-324 * at_s, prefill_tokens=1e9 * at_s, prefill_s=1e9 * at_s) for at_s in (0.0, 1.0)
]
readings = st.builds(
    EngineLoad,
    st.floats(0, 1e9),
    waiting=counters,
    first_tokens=counters,
    prompt_tokens=counters,
    cached_tokens=counters,
    prefills=counters,
    prefill_s=counters,
    prefill_tokens=counters,
)


@example(SLIVER)
@given(st.lists(readings, min_size=2, max_size=8))
def test_whatever_an_engine_says_it_stays_within_bounds(said: list[EngineLoad]) -> None:
    """And one that tells nonsense spoils nothing for the others of its pool."""
    pool = Speed()
    learn(Speed(pool), said)
    learn(pool, said)
    for speed in (pool, Speed(pool)):
        assert LEAST_REQUEST_S <= speed.request_s <= MOST_REQUEST_S
        assert LEAST_TOKEN_S <= speed.token_s <= MOST_TOKEN_S
        assert LEAST_PACE <= speed.pace <= MOST_PACE
        assert math.isfinite(speed.work_s(1e6))


def test_repr_tells_what_it_knows() -> None:
    assert repr(Speed()).startswith("<Speed ")


def test_prompts_of_one_length_tell_what_they_take() -> None:
    """Where a line would begin below nothing, the tokens alone take the time."""
    speed = Speed()
    learn(speed, pages(request_s=0.0, token_s=0.000025, lengths=[2000] * 10))
    assert speed.work_s(2000) == pytest.approx(0.05, rel=0.25)


def test_an_engine_that_did_nothing_yet_is_believed_to_be_like_the_others() -> None:
    pool = Speed()
    busy, idle = Speed(pool), Speed(pool)
    readings = pages(request_s=0.01, token_s=0.001, lengths=[100, 4000] * 10)
    learn(busy, readings)
    idle.learn(EngineLoad(0.0), EngineLoad(1.0))
    assert told(idle)[:2] == told(pool)[:2] != told(Speed())[:2]


def test_seconds_that_no_prefill_takes_spoil_no_line() -> None:
    pool = Speed()
    learn(
        Speed(pool),
        [
            EngineLoad(0.0, prefills=0.0, prefill_tokens=0.0, prefill_s=0.0),
            EngineLoad(1.0, prefills=1.0, prefill_tokens=10.0, prefill_s=1e9),
        ],
    )
    assert told(pool) == told(Speed())
