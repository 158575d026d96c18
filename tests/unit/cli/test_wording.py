"""cli/wording: nothing that a terminal would obey, on one line; lists, counts and ages as they are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.cli.wording import count, name_some, plain, show_age, tell_age


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Phi-3 – größer", "Phi-3 – größer", id="letters"),
        pytest.param("a\x1b[2Jb\x07", "a\\x1b[2Jb\\x07", id="commands"),
        pytest.param("a\r\nb\tc", "a\\r\\nb\\tc", id="ends of lines"),
        pytest.param("a\u202eb\u200b", "a\\u202eb\\u200b", id="what turns or hides text"),
        pytest.param("a\x9bb", "a\\x9bb", id="commands of one character"),
        pytest.param("a\ud83d", "a\\ud83d", id="half a character"),
        pytest.param("x" * 11, "x" * 10 + "…", id="one too many"),
        pytest.param("x" * 10, "x" * 10, id="as many as may be"),
    ],
)
def test_how_a_text_is_shown(text: str, shown: str) -> None:
    assert plain(text, 30 if len(shown) > 11 else 10) == shown


@given(st.text())
def test_whatever_it_is_it_can_be_printed(text: str) -> None:
    assert plain(text).isprintable()
    plain(text).encode()


def test_long_lists_are_cut() -> None:
    told = [name_some("abcdef"[:number]) for number in range(7)]
    some = "a, b, c, d"
    assert told == ["", "a", "a, b", "a, b, c", some, f"{some} and 1 more", f"{some} and 2 more"]


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 pods"), (1, "1 pod"), (2, "2 pods"), (999, "999 pods"), (12_000, "12,000 pods")]
)
def test_counts(number: int, said: str) -> None:
    assert count(number, "pod") == said


@pytest.mark.parametrize(
    ("seconds", "said", "shown"),
    [
        (-1.0, "0 s", "0s"),
        (0.04, "0 s", "0s"),
        (1.5, "1.5 s", "1.5s"),
        (3.0, "3 s", "3s"),
        (9.94, "9.9 s", "9.9s"),
        (9.95, "10 s", "10s"),
        (119.0, "119 s", "119s"),
        (120.0, "2 min", "2m"),
        (7140.0, "119 min", "119m"),
        (7200.0, "2 h", "2h"),
        (172799.0, "48 h", "48h"),
        (172800.0, "2 d", "2d"),
    ],
)
def test_ages(seconds: float, said: str, shown: str) -> None:
    assert (tell_age(seconds), show_age(seconds)) == (said, shown)
