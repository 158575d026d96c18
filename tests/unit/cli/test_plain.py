"""cli/plain: nothing that a terminal would obey, on one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.cli.plain import plain


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
