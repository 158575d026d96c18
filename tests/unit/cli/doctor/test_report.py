"""cli/doctor/report: what is printed."""

import io
import json

import pytest
from rich.console import Console
from tests.unit.cli.doctor.given import evidence

from extproc.cli.doctor.report import judge, print_json, print_report, sum_up
from extproc.cli.doctor.verdict import Verdict

OK = Verdict("ports", "ok", "9002 speaks TLS")
FAULT = Verdict("RBAC", "fault", "may not list pods", "add a rule:\n- verbs: [list]")
WARNING = Verdict("models", "warning", "phi on none", "see pods")
OPEN = Verdict("gateway", "not checked", "give --envoy-admin")


def show(*verdicts: Verdict, width: int = 80) -> str:
    file = io.StringIO()
    print_report(verdicts, console=Console(file=file, width=width, highlight=False))
    return file.getvalue()


def test_a_line_for_each_check_with_evidence_and_fix() -> None:
    lines = [line.rstrip() for line in show(OK, FAULT, WARNING, OPEN).splitlines()]
    assert lines == [
        "ok           ports: 9002 speaks TLS",
        "FAULT        RBAC: may not list pods",
        "             fix: add a rule:",
        "             - verbs: [list]",
        "warning      models: phi on none",
        "             fix: see pods",
        "not checked  gateway: give --envoy-admin",
        "1 ok, 1 fault, 1 warning, 1 not checked",
    ]


def test_who_was_not_asked_is_told_of_once() -> None:
    assert [verdict.check for verdict in judge(evidence())][-1] == "Envoy"
    names = [verdict.check for verdict in judge(evidence(snapshot=None))]
    assert names == ["picker", "Kubernetes", "Envoy"]


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        pytest.param([OK], "No fault found: 1 ok, 0 faults, 0 warnings, 0 not checked", id="well"),
        pytest.param([OK, FAULT, FAULT], "1 ok, 2 faults, 0 warnings, 0 not checked", id="faults"),
    ],
)
def test_the_last_line_counts(verdicts: list[Verdict], said: str) -> None:
    assert sum_up(verdicts) == said


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_texts_are_folded_and_nothing_is_lost(width: int) -> None:
    words = [f"word{number}" for number in range(60)]
    shown = show(Verdict("a" * 30, "fault", " ".join(words), "z" * 100), width=width)
    assert max(map(len, shown.splitlines())) <= max(width, 60)
    assert [word for word in shown.split() if word.startswith("word")] == words
    assert shown.count("z") == 100


def test_what_engines_say_neither_steers_the_terminal_nor_is_markup() -> None:
    shown = show(Verdict("models", "ok", "[red]phi\x1b[31m\r"))
    assert "[red]phi�[31m�" in shown


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([OK, FAULT])
    document = json.loads(capsys.readouterr().out)
    assert document["summary"] == {"ok": 1, "fault": 1, "warning": 0, "not_checked": 0}
    assert document["verdicts"][1] == FAULT._asdict()
