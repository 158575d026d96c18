"""servers/admin/access: who may ask."""

import base64
import logging
import os
from pathlib import Path

import pytest

from extproc.servers.admin.access import LONGEST_TOKEN_BYTES, Access


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("se:cret\n")
    return path


def test_without_a_token_file_everybody_may_ask() -> None:
    access = Access(None)
    assert not access.needs_token
    assert access.allows("")


@pytest.mark.parametrize(
    ("shown", "allows"),
    [
        ("Bearer se:cret", True),
        ("bearer   se:cret ", True),
        (basic("any:se:cret"), True),
        (basic(":se:cret"), True),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("se:cret", False),
        ("Token se:cret", False),
        ("Bearer se:cre", False),
        ("Bearer se:cret2", False),
        (basic("se"), False),
        (basic("se:cre"), False),
        ("Basic se:cret", False),
        ("Basic ü", False),
        pytest.param("Bearer \ud800", False, id="half a character"),
    ],
)
def test_what_is_shown(file: Path, shown: str, allows: bool) -> None:
    assert Access(str(file)).allows(shown) is allows


def test_the_token_can_be_rotated_and_the_file_go_and_come(file: Path) -> None:
    access = Access(str(file))
    assert access.allows("Bearer se:cret")
    file.write_text("new")
    assert (access.allows("Bearer se:cret"), access.allows("Bearer new")) == (False, True)
    file.unlink()
    assert not access.allows("Bearer new")
    file.write_text("new")
    assert access.allows("Bearer new")


@pytest.mark.parametrize("shown", ["Bearer x", "Bearer ", "Bearer", "", basic("a:")])
@pytest.mark.parametrize("kind", ["empty", "blank", "missing", "folder", "endless", "pipe", "too long", "no path"])
def test_without_a_token_in_the_file_nobody_may_ask(kind: str, shown: str, tmp_path: Path) -> None:
    """And nothing waits, or reads for ever."""
    path = tmp_path / "token"
    match kind:
        case "empty":
            path.write_text("")
        case "blank":
            path.write_text(" \n")
        case "folder":
            path.mkdir()
        case "endless":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case "too long":
            path.write_text("x" * (LONGEST_TOKEN_BYTES + 1))
        case "no path":
            path = Path("a\0b")
    assert not Access(str(path)).allows(shown)


def test_a_file_that_cannot_be_read_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("extproc"), "propagate", True)
    caplog.set_level(logging.WARNING, "extproc")
    path = tmp_path / "token"
    access = Access(str(path))
    for text in (None, None, "t", None):
        if text is not None:
            path.write_text(text)
        else:
            path.unlink(missing_ok=True)
        assert access.allows("Bearer t") is (text is not None)
    lines = [record for record in caplog.records if record.name == "extproc.servers.admin"]
    assert len(lines) == 2
    assert "No such file" in str(vars(lines[0])["fields"])


def test_the_beginning_of_a_file_that_is_too_long_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for size, allows in ((LONGEST_TOKEN_BYTES, True), (LONGEST_TOKEN_BYTES + 1, False), (10_000, False)):
        path.write_text("x" * size)
        assert Access(str(path)).allows("Bearer " + "x" * min(size, LONGEST_TOKEN_BYTES + 1)) is allows
