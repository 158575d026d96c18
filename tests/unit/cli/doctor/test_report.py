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
    """What is wrong stands first, and no line ends with blanks."""
    assert show(OK, WARNING, OPEN, FAULT, OK._replace(check="ALPN")).splitlines() == [
        "FAULT        RBAC: may not list pods",
        "             fix: add a rule:",
        "             - verbs: [list]",
        "warning      models: phi on none",
        "             fix: see pods",
        "ok           ports: 9002 speaks TLS",
        "not checked  gateway: give --envoy-admin",
        "ok           ALPN: 9002 speaks TLS",
        "1 fault: RBAC; 1 warning: models; 2 ok, 1 not checked",
    ]


def test_a_last_line_that_is_broken_leaves_no_blanks_either() -> None:
    *_, first, second = show(*(FAULT._replace(check=f"check {number}") for number in range(8))).splitlines()
    assert first == "8 faults: check 0, check 1, check 2, check 3, check 4, check 5, check 6, check"
    assert second == "7; 0 ok, 0 not checked"


def test_colours_of_a_terminal_are_kept() -> None:
    file = io.StringIO()
    print_report([OK, FAULT], console=Console(file=file, width=80, force_terminal=True, color_system="standard"))
    assert "\x1b[1;31mFAULT\x1b[0m" in file.getvalue()
    assert not [line for line in file.getvalue().splitlines() if line.endswith((" ", " \x1b[0m"))]


def test_who_was_not_asked_is_told_of_once() -> None:
    assert [verdict.check for verdict in judge(evidence())][-1] == "Envoy"
    names = [verdict.check for verdict in judge(evidence(snapshot=None))]
    assert names == ["picker", "Kubernetes", "Envoy"]


def test_an_envoy_that_was_named_and_is_not_there_is_warned_of() -> None:
    away = judge(evidence(wants_envoy=True, envoy_problem="nothing listens"))[-1]
    assert (away.check, away.state, away.evidence) == ("Envoy", "warning", "nothing listens")
    assert "admin" in away.fix


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        pytest.param([OK], "No fault found; 1 ok, 0 not checked", id="well"),
        pytest.param([OK, FAULT, FAULT], "2 faults: RBAC; 1 ok, 0 not checked", id="faults of one check"),
        pytest.param(
            [FAULT, FAULT._replace(check="source"), WARNING],
            "2 faults: RBAC, source; 1 warning: models; 0 ok, 0 not checked",
            id="faults and a warning",
        ),
        pytest.param([OPEN, WARNING], "No fault; 1 warning: models; 0 ok, 1 not checked", id="a warning"),
        pytest.param(
            [WARNING, WARNING._replace(check="aliases")],
            "No fault; 2 warnings: models, aliases; 0 ok, 0 not checked",
            id="warnings",
        ),
    ],
)
def test_the_last_line_counts(verdicts: list[Verdict], said: str) -> None:
    assert sum_up(verdicts) == said


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_texts_are_folded_and_nothing_is_lost(width: int) -> None:
    words = [f"word{number}" for number in range(60)]
    shown = show(Verdict("a" * 30, "fault", " ".join(words), "z" * 1000), width=width)
    assert max(map(len, shown.splitlines())) <= max(width, 60)
    assert [word for word in shown.split() if word.startswith("word")] == words
    assert shown.count("z") == 1000


def test_what_engines_say_neither_steers_the_terminal_nor_is_markup() -> None:
    shown = show(Verdict("models", "ok", "[red]phi\x1b[31m\r"))
    assert "[red]phi\\x1b[31m\\r" in shown


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("phi\nFAULT        ports: nothing", id="a line"),
        pytest.param("phi\r\nFAULT", id="a line, as HTTP ends them"),
        pytest.param("phi\n  FAULT: x", id="a line that is set in"),
        pytest.param("phi\n- FAULT: x", id="an item"),
        pytest.param("phi\x85FAULT\u2028FAULT\x0bFAULT", id="other ends of lines"),
    ],
)
def test_no_name_forges_a_verdict(text: str) -> None:
    alone = show(Verdict("models", "warning", "phi", "see phi"), width=200).splitlines()
    told = show(Verdict("models", "warning", text, f"see {text}"), width=200).splitlines()
    assert len(told) == len(alone) == 3
    assert not [line for line in told if line.strip(" -").startswith("FAULT")]


def test_a_fix_goes_on_with_the_rules_of_a_role_alone() -> None:
    role = 'add:\n- apiGroups: [""]\n  resources: [pods]\n  verbs: [get]'
    shown = show(Verdict("RBAC", "fault", "may not list pods\n  verbs: [get]", f"{role}\nphi"))
    assert [line.strip() for line in shown.splitlines()][:-1] == [
        "FAULT  RBAC: may not list pods\\n  verbs: [get]",
        "fix: add:",
        '- apiGroups: [""]',
        "resources: [pods]",
        "verbs: [get]\\nphi",
    ]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([OK, FAULT, Verdict("models", "ok", "phi\x9b\u202e\ud83d\n")])
    written = capsys.readouterr().out
    assert {each for each in written if not each.isprintable()} == {"\n"}
    document = json.loads(written)
    assert document["summary"] == {"ok": 2, "fault": 1, "warning": 0, "not_checked": 0}
    assert document["verdicts"][1] == FAULT._asdict()
