"""sources/watched: what stands in a file counts once two looks in a row have found it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from extproc.errors import ConfigError
from extproc.sources.watched import WatchedFile


def write(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def replace(text: str) -> Callable[[Path], object]:
    """As editors and `kubectl cp` do."""

    def act(path: Path) -> None:
        path.with_name("fresh").write_text(text)
        path.with_name("fresh").replace(path)

    return act


def nothing(path: Path) -> None:
    """Nobody touches it."""


def delete(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


GONE, FOLDER = "No such file", "Is a directory"


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        pytest.param([nothing], ["a"], id="nothing"),
        pytest.param([write("b"), nothing], ["a", "b"], id="written in place"),
        pytest.param([replace("b"), nothing], ["a", "b"], id="replaced"),
        pytest.param([write("b"), write("bc"), nothing], ["a", "a", "bc"], id="found half-written"),
        pytest.param([write("b"), write("a"), nothing], ["a", "a", "a"], id="and back before it settled"),
        pytest.param([delete, nothing, write("b"), nothing], ["a", GONE, GONE, "b"], id="gone and there again"),
        pytest.param([delete, write("b"), nothing], ["a", "a", "b"], id="gone for one look"),
        pytest.param([make_folder, nothing], ["a", FOLDER], id="a folder in its place"),
        pytest.param([write(""), nothing], ["a", ""], id="emptied"),
        pytest.param([write("x" * 9), nothing], ["a", "larger than"], id="too large"),
    ],
)
def test_looks(tmp_path: Path, steps: Sequence[Callable[[Path], object]], found: Sequence[str]) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    file = WatchedFile(str(path), "a", most_bytes=8)
    for step, expected in zip(steps, found, strict=True):
        step(path)
        settled = file.look()
        if isinstance(settled, ConfigError):
            assert expected in str(settled)
        else:
            assert settled == expected


def test_a_link_that_is_swapped_as_configmaps_swap_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "data").symlink_to("one")
    file = WatchedFile(str(tmp_path / "data" / "file"), "one")
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").replace(tmp_path / "data")
    assert [file.look(), file.look()] == ["one", "two"]


def test_it_gives_the_same_object_until_something_else_has_settled(tmp_path: Path) -> None:
    """Errors too, though each look meets a new one."""
    path = tmp_path / "file"
    file = WatchedFile(str(path), "a")
    assert file.look() == "a"
    gone = file.look()
    assert isinstance(gone, ConfigError)
    assert file.look() is gone


def test_a_text_is_not_taken_for_the_error_that_reads_like_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = WatchedFile(str(path), "a")
    file.look()
    text = str(file.look())
    path.write_text(text)
    assert isinstance(file.look(), ConfigError)
    assert file.look() == text
