"""cli/top/view: a pool's head, its warnings, and what is shown when nobody answers."""

import io
from typing import Any

import pytest
from rich.console import Console
from tests.unit.cli.top.shown import MIXED, endpoint, row, show, snapshot

from extproc.cli.top.view import Frame, render


@pytest.mark.parametrize("width", [80, 120])
def test_a_mixed_pool(width: int) -> None:
    lines = show(MIXED, width=width, decisions_per_s=12.34)
    assert lines[:4] == [
        "default/demo   ready   endpoints 2/5 ready   models 2   up 5m",
        "snapshot 12, 3s old   5 streams   12.3 decisions/s",
        "refused: overloaded 7, model_not_found 1",
        "no ready endpoint for: gone",
    ]
    assert lines[5].split() == ["ENDPOINT", "MODELS", "STATE", "WAIT", "RUN", "KV", "AGE"]
    assert row(lines, "phi-0") == ["phi-0", "phi", "ready", "2", "3", "47%", "1.5s"]
    assert row(lines, "sql-0") == ["sql-0", "phi,", "sql", "ready", "-", "0", "-", "1.5s"]
    assert row(lines, "old-0") == ["old-0", "phi", "not", "ready", "-", "-", "-", "1.5s"]
    assert [line.split()[1:] for line in lines if line.endswith("0.4")] == [["fast", "routed", "phi-0", "0.4"]]
    [refused] = [line for line in lines if "nope" in line]
    assert refused.split()[1:] == ["nope", "model_not_found", "model_unknown", "0.0"]
    [replied] = [line for line in lines if "/v1/models" in line]
    assert replied.split()[1:] == ["-", "replied", "/v1/models", "0.0"]


@pytest.mark.parametrize("width", [80, 120])
def test_an_empty_pool_of_a_picker_that_is_not_ready(width: int) -> None:
    lines = show(snapshot(is_ready=False, is_synced=False, uptime_s=0.4), width=width)
    assert lines[0] == "default/demo   not ready   endpoints 0/0 ready   models 0   up 0.4s"
    assert lines[1].endswith("0 decisions since its start")
    assert lines[2] == "refused: none"
    assert {"the pool has not been read yet", "the pool has no endpoints", "no decisions yet"} <= set(lines)


@pytest.mark.parametrize(
    ("fields", "warnings"),
    [
        pytest.param(
            {"sources": [{"name": "pods", "is_connected": False, "age_s": 12.0, "problems": ["may not list pods"]}]},
            ["source pods is not connected, last read 12s ago", "source pods: may not list pods"],
            id="a source that is away",
        ),
        pytest.param(
            {"sources": [{"name": "pods", "is_connected": False}], "is_synced": False},
            ["source pods is not connected"],
            id="one that never was there",
        ),
        pytest.param({"sources": [{"name": "pods", "is_connected": True, "age_s": 1.0}]}, [], id="a good one"),
        pytest.param(
            {"config_file": {"path": "/etc/x.yaml", "problems": ["line 1", "line 2"]}},
            ["/etc/x.yaml: line 1", "/etc/x.yaml: line 2"],
            id="a bad config file",
        ),
        pytest.param(
            {"config_file": {"path": "x", "problems": [str(number) for number in range(9)]}},
            ["x: 0", "x: 1", "x: 2", "… and 6 more problems: see extproc doctor"],
            id="many problems",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_pool(fields: dict[str, Any], warnings: list[str]) -> None:
    lines = show(snapshot(endpoint(), **fields))
    assert lines[3 : lines.index("")] == warnings


def long(name: str, words: int) -> str:
    return " ".join(f"{name}{number:03}" for number in range(words))


@pytest.mark.parametrize(
    ("problems", "height", "lines_each", "cut"),
    [
        pytest.param([long("a", 30)], 24, [3], "", id="whole"),
        pytest.param([long("a", 30), long("b", 60)], 24, [3, 5], "", id="two"),
        pytest.param([long("a", 190)], 24, [8], "a", id="cut after a third of the lines"),
        pytest.param([long("a", 190)], 60, [13], "", id="a tall terminal"),
        pytest.param([long("a", 99), long("b", 90), "c"], 24, [6, 1, 1], "ab", id="each has a line"),
        pytest.param([long("a", 30), long("b", 30), "c", "d"], 10, [1, 1, 1, 1], "ab", id="a low terminal"),
        pytest.param(["x" * 200], 24, [4], "", id="one long word"),
    ],
)
def test_what_is_wrong_is_wrapped(problems: list[str], height: int, lines_each: list[int], cut: str) -> None:
    shown = snapshot(endpoint(), config_file={"path": "/etc/x.yaml", "problems": problems})
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(render(Frame("host:9004", shown), width=80, height=height))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("phi-0") for line in lines) == 1
    left = lines[3 : lines.index("")]
    for problem, count in zip(problems, lines_each, strict=True):
        own, left = left[:count], left[count:]
        assert [line.startswith("  ") for line in own] == [False] + [True] * (count - 1)
        told, whole = ("".join(text.split()) for text in (" ".join(own), f"/etc/x.yaml: {problem}"))
        assert whole.startswith(told.removesuffix("…"))
        assert told.endswith("…") is (told != whole) is (problem[0] in cut)
    assert left == []


def test_why_nobody_answers_is_wrapped_above_what_was_known_last() -> None:
    lines = show(MIXED, error=long("e", 30), silent_s=3.0)
    assert " ".join(line.strip() for line in lines[:3]) == f"no answer since 3s: {long('e', 30)}"
    assert lines[3].startswith("default/demo")


def test_why_nobody_answers_and_what_is_wrong_share_a_third_of_the_lines() -> None:
    shown = snapshot(endpoint(), config_file={"path": "/etc/x.yaml", "problems": [long("a", 190)]})
    lines = show(shown, error=long("e", 30), silent_s=3.0)
    assert [line for line in lines if line.endswith("…")] == [lines[3 + 3 + 5 - 1]]
    assert lines[3 + 3 + 5] == ""


def test_a_picker_that_does_not_answer() -> None:
    """What was known last stays; who never answered is told with what to do about it."""
    lines = show(MIXED, error="no picker answers at host:9004", silent_s=3.0)
    assert lines[0] == "no answer since 3s: no picker answers at host:9004"
    assert lines[1].startswith("default/demo")
    text = " ".join(show(None, error="no picker answers at host:9004: " + "x " * 50 + "end", silent_s=0.0))
    assert text.startswith("no answer since 0s")
    assert text.endswith("end")
    assert show(None) == ["asking host:9004 …"]


EVIL = "a\x1b[31m\x1b]0;t\x07\r\n\x9b\u202e[bold]"


def test_nothing_that_is_named_is_obeyed_by_the_terminal_or_by_rich() -> None:
    shown = snapshot(
        endpoint(EVIL, models=[EVIL], problem=EVIL, load_problem=EVIL, is_confirmed=False),
        pool=EVIL,
        models=[{"id": EVIL}],
        sources=[{"name": EVIL, "problems": [EVIL]}],
        config_file={"path": EVIL, "problems": [EVIL]},
        outcomes=[{"model": EVIL, "outcome": EVIL, "requests": 1}],
        decisions=[
            {"named_model": EVIL, "outcome": EVIL, "endpoint": EVIL},
            {"model": EVIL, "outcome": EVIL, "reason": EVIL},
            {"outcome": EVIL, "path": EVIL},
        ],
    )
    file = io.StringIO()
    console = Console(width=300, file=file, force_terminal=True, color_system=None)
    console.print(render(Frame(EVIL, shown, error=EVIL), width=300, height=40))
    console.print(render(Frame(EVIL, None), width=300, height=40))
    console.print(render(Frame(EVIL, None, error=EVIL), width=300, height=40))
    text = file.getvalue().replace("\n", "")
    assert text.isprintable()
    assert text.count("[31m") > 10
    assert "[bold]" in text
