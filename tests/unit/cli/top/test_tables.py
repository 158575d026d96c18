"""cli/top/tables: which endpoints are shown, in which order and state."""

import pytest
from tests.unit.cli.top.shown import MIXED, endpoint, row, show, snapshot

NAME = "vllm-llama-7d9c8b6f5-"


def test_problems_come_first_each_below_its_endpoint() -> None:
    lines = show(MIXED)
    first = lines.index(next(line for line in lines if line.startswith("ENDPOINT"))) + 1
    names = [line.split()[0] for line in lines[first : first + 7]]
    assert names == ["old-0", "sus-0", "metrics:", "new-0", "connection", "phi-0", "sql-0"]
    assert "unconfirmed" in " ".join(row(lines, "new-0"))
    assert "suspect" in " ".join(row(lines, "sus-0"))


@pytest.mark.parametrize("width", [80, 120])
def test_500_endpoints_the_worst_and_the_busiest_are_shown(width: int) -> None:
    endpoints = [endpoint(f"{NAME}{number:03}", load={"waiting": number}) for number in range(500)]
    endpoints[123].is_suspect, endpoints[123].problem = True, "timed out"
    lines = show(snapshot(*endpoints, decisions=MIXED.decisions), width=width)
    assert len(lines) == 24
    shown = [line.split()[0][-3:] for line in lines if line.startswith("vllm-llama")]
    assert shown[:4] == ["123", "499", "498", "497"]
    assert f"… and {500 - len(shown)} more endpoints" in lines
    assert lines[-1].split()[1] == "-"  # the last decision has its line
    assert (f"{NAME}123" in "\n".join(lines)) is (width == 120)


def test_endpoints_that_all_fit_stand_by_name_however_busy() -> None:
    endpoints = [endpoint(f"e{number}", load={"waiting": number}) for number in (2, 0, 1)]
    assert [line[:2] for line in show(snapshot(*endpoints)) if line[:2] in ("e0", "e1", "e2")] == ["e0", "e1", "e2"]


@pytest.mark.parametrize(
    ("height", "count", "shown"),
    [
        pytest.param(24, 16, 16, id="all fit"),
        pytest.param(24, 17, 15, id="one too many"),
        pytest.param(24, 500, 15, id="many"),
        pytest.param(50, 42, 42, id="a tall terminal"),
        pytest.param(10, 5, 1, id="a low one"),
    ],
)
def test_no_more_lines_than_there_are(height: int, count: int, shown: int) -> None:
    lines = show(snapshot(*[endpoint(f"e{number:03}") for number in range(count)]), height=height)
    assert sum(line.startswith("e") for line in lines) == shown
    more = [f"… and {count - shown} more endpoints"] if shown < count else []
    assert [line for line in lines if line.startswith("…")] == more


def test_a_problem_takes_a_line_too() -> None:
    lines = show(snapshot(*[endpoint(f"e{number:03}", problem="p") for number in range(9)]))
    assert [sum(line == mark for line in lines) for mark in ("  p", "… and 2 more endpoints")] == [7, 1]
    assert sum(line == "  p" for line in show(snapshot(*[endpoint(f"e{n}", problem="p") for n in range(8)]))) == 8


@pytest.mark.parametrize(
    ("problem", "load_problem", "line"),
    [
        ("refused", "status 404", "  refused; metrics: status 404"),
        ("refused", "refused", "  refused"),
        ("refused", "", "  refused"),
        ("", "status 404", "  metrics: status 404"),
    ],
)
def test_what_is_wrong_with_an_endpoint(problem: str, load_problem: str, line: str) -> None:
    lines = show(snapshot(endpoint(problem=problem, load_problem=load_problem)))
    assert lines[lines.index(next(each for each in lines if each.startswith("phi-0"))) + 1] == line


def test_requests_in_flight_only_where_somebody_knows_them() -> None:
    lines = show(snapshot(endpoint("a", in_flight=0), endpoint("b")))
    assert "OPEN" in " ".join(lines)
    assert row(lines, "a ")[-2:] == ["0", "1.5s"]
    assert row(lines, "b ")[-2:] == ["-", "1.5s"]


@pytest.mark.parametrize(
    ("is_ready", "is_confirmed", "is_suspect", "state"),
    [
        pytest.param(True, True, False, "ready", id="well"),
        pytest.param(True, True, True, "suspect", id="suspect"),
        pytest.param(True, False, False, "unconfirmed", id="unconfirmed"),
        pytest.param(True, False, True, "unconfirmed", id="unconfirmed and suspect: it gets nothing"),
        pytest.param(False, False, True, "not ready", id="all of it"),
    ],
)
def test_the_state_of_an_endpoint_is_what_keeps_most_from_it(
    is_ready: bool, is_confirmed: bool, is_suspect: bool, state: str
) -> None:
    given = endpoint(is_ready=is_ready, is_confirmed=is_confirmed, is_suspect=is_suspect)
    assert " ".join(row(show(snapshot(given)), "phi-0")[2:-4]) == state


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        pytest.param({}, "no models", id="well else"),
        pytest.param({"is_suspect": True}, "no models", id="suspect: it is not even the last choice"),
        pytest.param({"is_confirmed": False}, "unconfirmed", id="unconfirmed: they may come"),
        pytest.param({"is_ready": False}, "not ready", id="not ready"),
    ],
)
def test_an_endpoint_that_lists_no_models_serves_none(fields: dict[str, bool], state: str) -> None:
    lines = show(snapshot(endpoint("idle-0", models=[], **fields), endpoint("a")))
    assert " ".join(row(lines, "idle-0")[2:-4]) == state
    assert "endpoints 1/2 ready" in lines[0]
    names = [line.split()[0] for line in lines if line.startswith(("idle-0", "a "))]
    assert names == ["idle-0", "a"], "what is wrong comes first"


LONG = "refused: " + " ".join(f"word{number:02}" for number in range(26))


@pytest.mark.parametrize(
    ("count", "height", "lines_each"),
    [
        pytest.param(1, 24, 3, id="one"),
        pytest.param(4, 24, 3, id="as many as there is room for"),
        pytest.param(5, 24, 1, id="one more: a line each"),
    ],
)
def test_a_long_problem_is_wrapped_where_there_is_room(count: int, height: int, lines_each: int) -> None:
    lines = show(snapshot(*[endpoint(f"e{number}", problem=LONG) for number in range(count)]), height=height)
    at = next(index for index, line in enumerate(lines) if line.startswith("ENDPOINT"))
    below = lines[at + 1 : lines.index("", at)]
    assert [line.startswith("e") for line in below] == [True, *[False] * lines_each] * count
    assert all(line.startswith("  ") for line in below if not line.startswith("e"))
    told = " ".join(line.strip() for line in below[1 : 1 + lines_each])
    assert (told == LONG) is (lines_each == 3)
    assert told.endswith("…") is (lines_each == 1)
