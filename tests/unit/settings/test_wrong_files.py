"""A hundred wrong config files and more: each is refused with every problem, by the server's own command."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from tests.unit.settings.wrong_files import NO_TEXTS, OUT_OF_RANGE, REFUSED, WrongFile, generate

from extproc.cli.check import check
from extproc.cli.serve import serve
from extproc.settings.keys import all_keys

COUNT = 80
SEED = 5
NOBODY = 65534

FILES = (*generate(COUNT, SEED), *NO_TEXTS)


@contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def run(command: click.Command, *arguments: str, is_nobody: bool = False) -> Result:
    """Any exception is raised here."""
    with as_nobody() if is_nobody else nullcontext():
        return CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.mark.parametrize("wrong", FILES, ids=lambda wrong: wrong.id)
def test_each_tells_every_problem(wrong: WrongFile, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    wrong.make(path)
    expected = sorted(str(path) if where == "FILE" else where for where in wrong.where)
    as_json = run(check, "--json", str(path), is_nobody=wrong.for_nobody)
    assert as_json.exit_code == 2
    assert sorted(problem["where"] for problem in json.loads(as_json.stdout)["problems"]) == expected
    started = run(serve, f"--config-file={path}", is_nobody=wrong.for_nobody)
    assert (started.exit_code, started.stdout) == (2, "")
    headline, *lines = started.stderr.splitlines()
    assert headline == f"{path}: {len(expected)} problem{'s' if len(expected) > 1 else ''}"
    assert len(lines) == len(expected)
    assert len(started.stderr) < 1_000 * len(expected)


def test_every_key_is_spoilt() -> None:
    told = {where for wrong in FILES for where in wrong.where}
    names = [str(key) for key in all_keys()]
    assert OUT_OF_RANGE.keys() | REFUSED.keys() <= set(names)
    assert [name for name in names if not any(where.startswith(name) for where in told)] == []
    assert len(FILES) >= 100
