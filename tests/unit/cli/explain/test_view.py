"""cli/explain/view: how an answer reads on 80 columns, and that nothing in it steers the terminal."""

import io

import pytest
from rich.console import Console

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.explain.view import SHOWN_OTHERS, show_explanation

HOSTILE = "evil\x1b]0;title\x07\u202e[red]\n"


def shown(told: admin_pb2.Explanation, *, is_terminal: bool = True) -> str:
    """On a terminal of 80 columns without colours, or in a file."""
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=is_terminal, color_system=None, highlight=False, emoji=False)
    show_explanation(told, asked=f"GET {HOSTILE}", console=console)
    return file.getvalue()


def verdicts(*, no: str = "") -> list[admin_pb2.Verdict]:
    said = [admin_pb2.Verdict(filter="ready", allows=True)]
    return [*said, admin_pb2.Verdict(filter=no, allows=False, why=f"{HOSTILE} that is so")] if no else said


def large() -> admin_pb2.Explanation:
    """Many scorers, long names, 500 endpoints of which 16 are compared."""
    scorers = [admin_pb2.Scorer(name=name, weight=2.5) for name in ("first-token", "kv-cache", "lora-affinity") * 2]
    pods = [f"vllm-llama-3-70b-instruct-awq-7f9c8d5b64-x2{number:03}" for number in range(500)]
    rows = [
        admin_pb2.Candidate(
            name=name,
            address=f"192.168.100.200:{8000 + number}",
            verdicts=verdicts(),
            scores=[0.123456] * len(scorers),
            total=12.3456,
            choice=1 if number == 0 else 0,
            cached_tokens=123456.0,
        )
        for number, name in enumerate(pods[:16])
    ]
    rows += [
        admin_pb2.Candidate(name=name, address="192.168.100.200:8000", verdicts=verdicts(no="compared"))
        for name in pods[16:100]
    ]
    rows += [
        admin_pb2.Candidate(name=name, address="192.168.100.200:8000", verdicts=verdicts(no="model"))
        for name in pods[100:]
    ]
    return admin_pb2.Explanation(
        pool="a-namespace/a-pool",
        named_model="a-model",
        outcome="routed",
        why="why " * 99,
        destination="192.168.100.200:8000",
        endpoint=pods[0],
        scorers=scorers,
        picker="max-score",
        compared=16,
        candidates=rows,
        prompt_tokens=1234.5,
        snapshot_age_s=400.0,
    )


def test_a_large_pool_stays_within_80_columns() -> None:
    text = shown(large())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text.partition("not compared")[0], "nothing is cut"
    assert "16 of 500 endpoints compared, by max-score" in text
    assert "484 of 500 endpoints not compared" in text
    assert lines[-1] == f"… and {484 - SHOWN_OTHERS} more: model 400, compared {84 - SHOWN_OTHERS}"
    assert len(lines) < 120
    assert "snapshot 0, 7 min old · prompt of about 1,234 tokens" in text


@pytest.mark.parametrize(
    "field", ["named_model", "model", "why", "endpoint", "destination", "pool", "picker", "outcome"]
)
def test_nothing_in_a_text_reaches_the_terminal_as_a_command(field: str) -> None:
    told = large()
    if field == "outcome":
        told.answer.SetInParent()
    setattr(told, field, HOSTILE)
    text = shown(told)
    assert not {each for each in text if not each.isprintable()} - {"\n"}
    assert "evil\\x1b]0;title\\x07\\u202e[red]\\n" in text.replace("\n", "")


SENTENCE = "why " * 99
REASON = "because " * 30 + "so"
BODY = '{"error":{"message":"' + "The model has no ready endpoint. " * 9 + '","code":"model_unavailable"}}'


def refused() -> admin_pb2.Explanation:
    told = large()
    told.outcome, told.why = "model_unavailable", SENTENCE.strip()
    told.answer.CopyFrom(admin_pb2.Answer(status=503, headers={"x-extproc-reason": "r" * 99}, body=BODY.encode()))
    for row in told.candidates[16:]:
        row.verdicts[-1].why = REASON
    return told


def test_nothing_is_wrapped_where_no_terminal_shows_it() -> None:
    lines = shown(refused(), is_terminal=False).split("\n")
    assert {SENTENCE.strip(), BODY, f"x-extproc-reason: {'r' * 99}"} <= set(lines)
    assert sum(line.endswith(REASON) for line in lines) == SHOWN_OTHERS
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[-1] == "", "one line break at the end"
    assert lines[-2].startswith("… and")


def test_the_body_is_not_wrapped_on_a_terminal_either() -> None:
    lines = shown(refused()).splitlines()
    assert BODY in lines
    assert SENTENCE.strip() not in lines


def test_nothing_in_a_row_or_an_answer_reaches_the_terminal_as_a_command() -> None:
    rows = [
        admin_pb2.Candidate(name=HOSTILE, address=HOSTILE, verdicts=verdicts(), scores=[1.0], total=1.0),
        admin_pb2.Candidate(name=HOSTILE, address=HOSTILE, verdicts=verdicts(no=HOSTILE)),
    ]
    answer = admin_pb2.Answer(status=404, headers={HOSTILE: HOSTILE}, body=HOSTILE.encode() + b"\xff" + b"x" * 9999)
    told = admin_pb2.Explanation(
        outcome="x", candidates=rows, answer=answer, scorers=[admin_pb2.Scorer(name=HOSTILE, weight=1.0)]
    )
    text = shown(told, is_terminal=False)
    assert not {each for each in text if not each.isprintable()} - {"\n"}
    assert text.count("[red]") == 10, "where it stands in the request, the rows, the scorer and the answer"
    assert text.count("x" * 100) < 30, "a long body is cut"
    assert "GET evil\\x1b" in text
