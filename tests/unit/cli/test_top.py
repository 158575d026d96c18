"""`extproc top`: what it shows, as text, and what it does when nobody answers."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc_testing
import pytest
from rich.cells import cell_len
from rich.console import Console

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import AdminClient
from extproc.cli.top_feed import Feed, find_rate
from extproc.cli.top_tables import clean, show_age
from extproc.cli.top_view import Frame, render

NAME = "vllm-llama-7d9c8b6f5-"


def endpoint(name: str = "phi-0", **fields: Any) -> admin_pb2.Endpoint:
    given: dict[str, Any] = {"id": name, "name": name, "is_ready": True, "is_confirmed": True, "models": ["phi"]}
    return admin_pb2.Endpoint(**given | {"probe_age_s": 1.5} | fields)


def snapshot(*endpoints: admin_pb2.Endpoint, **fields: Any) -> admin_pb2.Snapshot:
    given: dict[str, Any] = {"pool": "default/demo", "is_synced": True, "is_ready": True, "uptime_s": 300.0}
    return admin_pb2.Snapshot(**given | {"version": 12, "age_s": 3.0} | fields, endpoints=endpoints)


def show(shown: admin_pb2.Snapshot | None, *, width: int = 80, height: int = 24, **frame: Any) -> list[str]:
    """The lines of a frame."""
    console = Console(width=width, height=height, record=True, file=io.StringIO(), color_system=None)
    console.print(render(Frame("host:9004", shown, **frame), width=width, height=height))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    return lines


def row(lines: list[str], name: str) -> list[str]:
    """The words of the line of one endpoint."""
    [line] = [line for line in lines if line.startswith(name)]
    return line.split()


MIXED = snapshot(
    endpoint("phi-0", load={"waiting": 2, "running": 3, "kv_used_ratio": 0.473}),
    endpoint("sql-0", models=["phi", "sql"], load={"running": 0}),
    endpoint("new-0", is_confirmed=False, models=[], problem="connection refused"),
    endpoint("old-0", is_ready=False),
    endpoint("sus-0", is_suspect=True, load_problem="status 404"),
    models=[{"id": "phi", "endpoints": ["phi-0", "sql-0", "sus-0"]}, {"id": "gone"}],
    open_streams=5,
    outcomes=[
        {"model": "phi", "outcome": "routed", "requests": 40},
        {"model": "sql", "outcome": "routed", "requests": 2},
        {"model": "unknown", "outcome": "model_not_found", "requests": 1},
        {"model": "phi", "outcome": "overloaded", "requests": 7},
        {"model": "none", "outcome": "replied", "requests": 1},
        {"model": "none", "outcome": "cancelled", "requests": 100},
    ],
    decisions=[
        {"at_unix_s": 1.0, "named_model": "fast", "model": "phi", "outcome": "routed", "endpoint": "phi-0",
         "seconds": 0.0004},
        {"at_unix_s": 1.0, "named_model": "nope", "outcome": "model_not_found", "reason": "model_unknown"},
        {"at_unix_s": 1.0, "outcome": "replied", "path": "/v1/models", "status": 200},
    ],
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_a_mixed_pool(width: int) -> None:
    lines = show(MIXED, width=width, decisions_per_s=12.34)
    assert lines[:4] == [
        "default/demo   ready   endpoints 2/5 ready   models 2   up 5m",
        "snapshot 12, 3.0s old   5 streams   12.3 decisions/s",
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


def test_problems_come_first_each_below_its_endpoint() -> None:
    lines = show(MIXED)
    first = lines.index(next(line for line in lines if line.startswith("ENDPOINT"))) + 1
    names = [line.split()[0] for line in lines[first : first + 7]]
    assert names == ["old-0", "sus-0", "metrics:", "new-0", "connection", "phi-0", "sql-0"]
    assert "unconfirmed" in " ".join(row(lines, "new-0"))
    assert "suspect" in " ".join(row(lines, "sus-0"))


@pytest.mark.parametrize("width", [80, 120])
def test_an_empty_pool_of_a_picker_that_is_not_ready(width: int) -> None:
    lines = show(snapshot(is_ready=False, is_synced=False, uptime_s=0.4), width=width)
    assert lines[0] == "default/demo   not ready   endpoints 0/0 ready   models 0   up 0.4s"
    assert lines[1].endswith("0 decisions since its start")
    assert lines[2] == "refused: none"
    assert {"the pool has not been read yet", "the pool has no endpoints", "no decisions yet"} <= set(lines)


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


def test_a_picker_that_does_not_answer() -> None:
    """What was known last stays; who never answered is told with what to do about it."""
    lines = show(MIXED, error="no picker answers at host:9004", silent_s=3.0)
    assert lines[0] == "no answer since 3.0s: no picker answers at host:9004"
    assert lines[1].startswith("default/demo")
    text = " ".join(show(None, error="no picker answers at host:9004: " + "x " * 50 + "end", silent_s=0.0))
    assert text.startswith("no answer since 0.0s")
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("φ 模型", "φ 模型"), ("a\x1bb", "a\ufffdb"), ("a\nb\ud800", "a\ufffdb\ufffd")],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1.0, "0.0s"), (0.04, "0.0s"), (9.94, "9.9s"), (9.95, "10s"), (99.4, "99s"), (100.0, "2m"), (5940.0, "99m"),
     (6000.0, "2h"), (172000.0, "48h"), (172800.0, "2d")],
)  # fmt: skip
def test_ages(seconds: float, shown: str) -> None:
    assert show_age(seconds) == shown


def counted(requests: int, uptime_s: float) -> admin_pb2.Snapshot:
    outcomes = [{"outcome": "routed", "requests": requests}, {"outcome": "cancelled", "requests": 10 * requests}]
    return snapshot(uptime_s=uptime_s, outcomes=outcomes)


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        pytest.param(None, counted(10, 5.0), None, id="the first"),
        pytest.param(counted(10, 5.0), counted(30, 7.0), 10.0, id="two of one process"),
        pytest.param(counted(10, 5.0), counted(10, 6.0), 0.0, id="a quiet one"),
        pytest.param(counted(10, 5.0), counted(3, 1.0), None, id="a new process"),
        pytest.param(counted(10, 5.0), counted(3, 6.0), None, id="a new process that is as old"),
        pytest.param(counted(10, 5.0), counted(90, 1.0), None, id="a new process that is busier"),
        pytest.param(counted(10, 5.0), counted(10, 5.0), None, id="the same answer"),
    ],
)
def test_decisions_per_second(before: admin_pb2.Snapshot | None, after: admin_pb2.Snapshot, rate: float | None) -> None:
    assert find_rate(before, after) == rate


class Picker:
    """The other end of a feed's channel. The test answers each question."""

    METHOD = admin_pb2.DESCRIPTOR.services_by_name["Admin"].methods_by_name["GetSnapshot"]

    def __init__(self) -> None:
        self.channel = grpc_testing.channel(
            admin_pb2.DESCRIPTOR.services_by_name.values(), grpc_testing.strict_real_time()
        )
        self.opened = 0

    @contextmanager
    def open(self) -> Iterator[AdminClient]:
        self.opened += 1
        yield AdminClient(self.channel, target="host:9004", token="t")

    def answer(self, shown: admin_pb2.Snapshot | None) -> Any:
        """Answers the next question, with UNAVAILABLE for None, and returns what was asked."""
        metadata, request, call = self.channel.take_unary_unary(self.METHOD)
        code = grpc.StatusCode.OK if shown is not None else grpc.StatusCode.UNAVAILABLE
        call.terminate(shown, (), code, "refused" if shown is None else "")
        assert ("authorization", "Bearer t") in list(metadata)
        return request


def wait_for(condition: Any) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        threading.Event().wait(0.001)


def test_a_feed_survives_the_pickers_restart() -> None:
    picker, now = Picker(), [10.0]
    with Feed(picker.open, target="host:9004", interval_s=0.0, clock=lambda: now[0]) as feed:
        assert feed.frame().snapshot is None
        assert picker.answer(counted(10, 5.0)).most_decisions > 0
        wait_for(lambda: feed.frame().snapshot is not None)
        assert (feed.frame().error, feed.frame().decisions_per_s) == ("", None)
        picker.answer(counted(30, 7.0))
        wait_for(lambda: feed.frame().decisions_per_s == 10.0)
        now[0] = 14.0
        picker.answer(None)
        wait_for(lambda: feed.frame().error != "")
        frame = feed.frame()
        assert frame.error.startswith("no picker answers at host:9004")
        assert (frame.silent_s, frame.snapshot is not None) == (4.0, True)
        picker.answer(counted(1, 0.5))
        wait_for(lambda: feed.frame().error == "")
        assert (feed.frame().silent_s, feed.frame().decisions_per_s, picker.opened) == (0.0, None, 2)
        feed._stop.set()  # or it would ask once more, and nobody answers
        picker.answer(None)


def test_what_ends_a_feed_is_not_lost() -> None:
    @contextmanager
    def fail() -> Iterator[AdminClient]:
        raise RuntimeError("a defect")
        yield

    with Feed(fail, target="host:9004", interval_s=0.0, clock=lambda: 0.0) as feed:
        feed._thread.join(10)
        with pytest.raises(RuntimeError, match="a defect"):
            feed.frame()
