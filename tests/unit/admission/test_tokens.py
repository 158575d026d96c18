"""admission/tokens: bytes per token, learned from what engines counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.admission.tokens import (
    BYTES_PER_TOKEN,
    LEAST_BYTES_PER_TOKEN,
    MOST_BYTES_PER_TOKEN,
    MOST_MODELS,
    TokenRatios,
)


def test_before_anything_was_seen_it_is_english() -> None:
    ratios = TokenRatios()
    assert ratios.bytes_per_token("m") == ratios.typical == BYTES_PER_TOKEN


@pytest.mark.parametrize("per_token", [1.5, 4.0, 12.0])
def test_it_learns_by_model(per_token: float) -> None:
    ratios = TokenRatios()
    for _ in range(500):
        ratios.learn("m", int(1000 * per_token), 1000)
    assert ratios.bytes_per_token("m") == pytest.approx(per_token, rel=0.02)
    assert ratios.typical == pytest.approx(per_token, rel=0.02)
    assert ratios.bytes_per_token("n") == BYTES_PER_TOKEN


def test_long_prompts_count_more_than_short_ones() -> None:
    ratios = TokenRatios()
    for _ in range(100):
        ratios.learn("m", 20, 2)
        ratios.learn("m", 20_000, 10_000)
    assert ratios.bytes_per_token("m") == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("size_bytes", "tokens"),
    [
        pytest.param(1000, 0, id="no tokens"),
        pytest.param(0, 1000, id="no bytes"),
        pytest.param(0, 0, id="neither"),
        pytest.param(1000, -1, id="less than no tokens"),
        pytest.param(-1000, -250, id="less than nothing"),
        pytest.param(10, 1 << 53, id="more tokens than bytes"),
        pytest.param(1 << 30, 1, id="a whole book in one"),
        pytest.param(1 << 30, 10**400, id="a number beyond all"),
    ],
)
def test_what_no_tokenizer_could_make_is_left_out(size_bytes: int, tokens: int) -> None:
    ratios = TokenRatios()
    ratios.learn("m", size_bytes, tokens)
    assert ratios.bytes_per_token("m") == ratios.typical == BYTES_PER_TOKEN


def test_models_are_bounded() -> None:
    ratios = TokenRatios()
    for number in range(MOST_MODELS + 5):
        ratios.learn(str(number), 8000, 1000)
    assert ratios.bytes_per_token(str(MOST_MODELS - 1)) > BYTES_PER_TOKEN
    assert ratios.bytes_per_token(str(MOST_MODELS)) == BYTES_PER_TOKEN
    before = ratios.bytes_per_token("0")
    ratios.learn("0", 8000, 1000)
    assert ratios.bytes_per_token("0") > before, "those that are known go on learning"


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(-(10**12), 1 << 53)), max_size=20))
def test_it_stays_within_bounds(learned: list[tuple[int, int]]) -> None:
    ratios = TokenRatios()
    for size_bytes, tokens in learned:
        ratios.learn("m", size_bytes, tokens)
    for each in (ratios.bytes_per_token("m"), ratios.typical):
        assert LEAST_BYTES_PER_TOKEN <= each <= MOST_BYTES_PER_TOKEN
