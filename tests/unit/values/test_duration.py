"""values/duration: Go's durations read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.values.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("1ns", 1e-9),
        ("1us", 1e-6),
        ("1µs", 1e-6),  # U+00B5
        ("1μs", 1e-6),  # U+03BC
        ("50ms", 0.05),
        ("35ms", 0.035),  # 35 * 0.001 is not
        ("2s", 2.0),
        ("1m", 60.0),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("1h0m0.5s", 3600.5),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1.s", 1.0),
    ],
)
def test_reads_what_go_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("5", "has no unit: write 5s or 5ms"),
        ("1.5", "has no unit"),
        ("0.0", "has no unit"),
        ("-1s", "is negative"),
        ("", "is no duration"),
        ("s", "is no duration"),
        ("1 s", "is no duration"),
        ("1s ", "is no duration"),
        ("1d", "is no duration"),
        ("1S", "is no duration"),
        ("1s5", "is no duration"),
        (".s", "is no duration"),
        ("1e3s", "is no duration"),
        ("١s", "is no duration"),  # an Arabic digit
        ("300y", "is no duration"),
        ("2562048h", "longer than 292 years"),
        (f"{'9' * 400}s", "longer than 292 years"),
    ],
)
def test_refuses_anything_else_and_says_why(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (1e-10, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5µs"),
        (0.05, "50ms"),
        (0.9995, "999.5ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (60.0, "1m"),
        (90.0, "1m30s"),
        (3600.0, "1h"),
        (3600.5, "1h0.5s"),
    ],
)
def test_writes_the_shortest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_does_not_write_what_is_no_duration(seconds: float) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        format_duration(seconds)


@given(st.integers(min_value=0, max_value=10**15))
def test_reads_back_what_it_writes(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)
