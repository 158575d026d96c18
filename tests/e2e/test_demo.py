"""cli/demo: the run as a user starts it, what it judges wrong, and that nothing is left of it."""

import asyncio
import os
import re
import signal
import socket
import sys
import sysconfig
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.cli.demo.client import TOKENS, Outcome, complete, is_whole_reply, is_whole_stream, open_session
from extproc.cli.demo.disruption import Disruption
from extproc.cli.demo.figures import Measured, Part, is_all_right, judge
from extproc.cli.demo.fleet import GEMMA, MODELS, PHI
from extproc.cli.demo.measure import Routing, Unknown
from extproc.cli.demo.ports import choose_ports
from extproc.sim.engine import EngineSettings
from extproc.sim.failures import Failures
from extproc.sim.server import SimServer


class Demo:
    """`extproc demo` as a process, with temporary files in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.temp = directory / "temp"
        self.temp.mkdir()
        self._mark = f"EXTPROC_TEST={uuid.uuid4()}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, python: str = sys.executable, **environment: str) -> None:
        name, _, value = self._mark.partition("=")
        self._process = await asyncio.create_subprocess_exec(
            *(python, "-m", "extproc", "demo", "--ports", "free", *arguments),
            env={**os.environ, "TMPDIR": str(self.temp), "COLUMNS": "80", name: value, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def read_until(self, part: str) -> str:
        """What it writes, up to the line with `part`."""
        assert self._process is not None
        assert self._process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(90):
            while not lines or part not in lines[-1]:
                lines.append((await self._process.stdout.readline()).decode())
                assert lines[-1], f"it ended before it wrote {part!r}"
        return "".join(lines)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self) -> tuple[int, str, str]:
        """Its exit code and what it wrote (and nobody read before)."""
        assert self._process is not None
        async with asyncio.timeout(90):
            out, err = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, out.decode(), err.decode()

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.communicate()

    def processes(self) -> dict[int, str]:
        """Pid and command line of what lives of it, itself included, by the environment that all inherit."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (path / "environ").read_bytes():
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # gone, or not ours
                continue
        return found


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    await demo.close()


async def test_every_number_is_right_and_nothing_is_left(demo: Demo) -> None:
    await demo.start("--keep")
    out = await demo.read_until("/clusters")
    (gateway,) = re.findall(r"^curl -s (http\S+/v1/models)$", out, re.MULTILINE)
    async with open_session() as session, session.get(gateway) as response:
        assert [entry["id"] for entry in (await response.json())["data"]] == list(MODELS)
    demo.send(signal.SIGINT)
    code, _, err = await demo.end()

    assert (code, err) == (0, ""), out
    assert "✓ every number is right" in out
    assert "✗" not in out
    head = out[: out.index("Everything stays up")]
    assert max(map(len, head.splitlines())) <= 80
    figures = {
        label: (alone, picked)
        for label, alone, picked in re.findall(
            r"^ +(\S.*?) {2,}(?:(\S+) {2,}\S.*? {2,})?(\S+(?: ms)?) ✓ .*$", head, re.MULTILINE
        )
    }
    assert figures["first attempts that succeed"][1] == "100%"
    assert figures["attempts per request, most"][1] == "1"
    assert int(figures["wrong server, by its own count"][0]) > 0
    assert figures["wrong server, by its own count"][1] == "0"
    assert figures["status for an unknown model"] == ("", "404")
    assert figures["failed"] == ("", "0")
    assert figures["serves again, once it listens, in"][1].endswith(" ms")
    assert (demo.processes(), list(demo.temp.iterdir())) == ({}, [])


@pytest.mark.parametrize(
    ("after", "number"),
    [
        pytest.param("four simulated servers", signal.SIGINT, id="int-at-the-start"),
        pytest.param("Envoy, once without", signal.SIGINT, id="int-under-load"),
        pytest.param("Envoy, once without", signal.SIGTERM, id="term"),
        pytest.param("Envoy, once without", signal.SIGHUP, id="hup"),
    ],
)
async def test_a_signal_ends_it_without_a_trace(demo: Demo, after: str, number: signal.Signals) -> None:
    await demo.start()
    await demo.read_until(after)
    demo.send(number)
    code, _, err = await demo.end()

    assert (code, err) == (1, "interrupted\n")
    assert (demo.processes(), list(demo.temp.iterdir())) == ({}, [])


@pytest.mark.parametrize(
    ("command", "name"),
    [(" serve ", "picker"), (" sim --name gemma-1 ", "gemma-1"), ("envoy.json", "Envoy with")],
)
async def test_a_child_that_dies_is_named_and_its_log_kept(demo: Demo, command: str, name: str) -> None:
    await demo.start()
    await demo.read_until("Envoy, round robin")
    for pid, line in demo.processes().items():
        if command in line:
            os.kill(pid, signal.SIGKILL)
    code, _, err = await demo.end()

    assert code == 1
    first, *_, last = err.splitlines()
    assert re.fullmatch(rf"{name}.* ended by SIGKILL", first)
    logs = Path(last.removeprefix("logs: "))
    assert logs.parent == demo.temp
    assert {"picker.log", "phi-0.log", "envoy.log"} <= {path.name for path in logs.iterdir()}
    assert "Traceback" not in err
    assert (demo.processes(), list(demo.temp.iterdir())) == ({}, [logs])


async def test_without_an_envoy_it_names_the_extra(demo: Demo) -> None:
    python = demo.directory / "python"  # outside of any environment, so that no `envoy` lies beside it
    python.symlink_to(Path(sys.executable).resolve())
    (demo.directory / "envoy.py").touch()  # stands before the package's `envoy`, and has no binary
    source = Path(__file__).parents[2] / "src"
    paths = f"{demo.directory}:{source}:{sysconfig.get_path('purelib')}"
    await demo.start(python=str(python), PYTHONPATH=paths, PATH=str(demo.directory))
    code, out, err = await demo.end()

    assert (code, out) == (2, "")
    assert "extproc[demo]" in err
    assert list(demo.temp.iterdir()) == []


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        taken = server.getsockname()[1]
        ports = choose_ports({"one": taken, "two": taken, "three": taken})
    assert len({taken, *ports.values()}) == 4
    assert choose_ports(ports) == ports
    assert not set(choose_ports(ports, anywhere=True).values()) & set(ports.values())


GOOD = Outcome(model=PHI, sent_at_s=1.0, head_at_s=1.1, ended_at_s=1.2, status=200, served_by="phi-1", is_whole=True)
WRONG = Outcome(model=PHI, sent_at_s=1.0, head_at_s=1.1, ended_at_s=1.2, status=404, served_by="gemma-0")
CUT = replace(GOOD, is_whole=False)
CUT_BY_DEATH = Outcome(model=PHI, sent_at_s=1.9, head_at_s=2.05, ended_at_s=2.1, status=200, served_by="phi-0")
BACK = replace(GOOD, sent_at_s=6.2, head_at_s=6.25, ended_at_s=6.4, served_by="phi-0")

ALONE = Routing(requests=[[GOOD]] * 5 + [[WRONG, GOOD]] * 5, listings=[(PHI,), (GEMMA,)] * 5, wrong_counted=5)
PICKED = Routing(requests=[[GOOD]] * 10, listings=[MODELS] * 10, wrong_counted=0)
KILLED = Disruption(
    victim="phi-0",
    outcomes=[*[GOOD] * 100, CUT_BY_DEATH, BACK],
    killed_at_s=2.0,
    gone_at_s=2.02,
    listened_at_s=6.0,
)
MEASURED = Measured(alone=ALONE, picked=PICKED, unknown=Unknown(status=404, named=2), disruption=KILLED)


def picked(*requests: list[Outcome], **changes: Any) -> Measured:
    routing = replace(PICKED, requests=[*PICKED.requests, *requests], **changes)
    return replace(MEASURED, picked=routing)


def killed(*outcomes: Outcome, **changes: Any) -> Measured:
    disruption = replace(KILLED, outcomes=[*KILLED.outcomes, *outcomes], **changes)
    return replace(MEASURED, disruption=disruption)


def wrong_labels(parts: list[Part]) -> set[str]:
    return {
        row.label
        for part in parts
        for row in part.rows
        for figure in (row.alone, row.picked)
        if figure is not None and not figure.is_right
    }


SUCCEED, AVERAGE, MOST = "first attempts that succeed", "attempts per request, average", "attempts per request, most"
BY_REPLY, BY_COUNT = "wrong server, by its reply", "wrong server, by its own count"
BACK_IN = "serves again, once it listens, in"


@pytest.mark.parametrize(
    ("measured", "labels"),
    [
        pytest.param(MEASURED, set(), id="all-right"),
        pytest.param(picked([WRONG, GOOD]), {SUCCEED, AVERAGE, MOST, BY_REPLY}, id="one-wrong-server"),
        pytest.param(picked(wrong_counted=1), {BY_COUNT}, id="one-wrong-server-by-count-only"),
        pytest.param(picked([CUT]), {SUCCEED, "responses cut short"}, id="one-cut"),
        pytest.param(picked([replace(GOOD, status=503, is_whole=False)]), {SUCCEED}, id="one-refused"),
        pytest.param(picked([replace(GOOD, is_altered=True)]), {"request bodies altered"}, id="one-altered"),
        pytest.param(
            picked(listings=[MODELS] * 9 + [(PHI,)]),
            {"different lists, 10 × /v1/models", "models that each list names"},
            id="one-short-list",
        ),
        pytest.param(picked(listings=[()] * 10), {"models that each list names"}, id="no-lists"),
        pytest.param(
            replace(MEASURED, unknown=Unknown(status=503, named=2)), {"status for an unknown model"}, id="unknown-503"
        ),
        pytest.param(
            replace(MEASURED, unknown=Unknown(status=404, named=1)),
            {"models that its text offers"},
            id="one-name-left-out",
        ),
        pytest.param(
            replace(MEASURED, alone=PICKED),
            {
                SUCCEED,
                AVERAGE,
                MOST,
                BY_REPLY,
                BY_COUNT,
                "different lists, 10 × /v1/models",
                "models that each list names",
            },
            id="round-robin-without-a-fault-shows-nothing",
        ),
        pytest.param(killed(replace(GOOD, status=503, is_whole=False)), {"failed"}, id="refused-while-away"),
        pytest.param(killed(replace(GOOD, status=0, error="reset")), {"failed"}, id="no-answer"),
        pytest.param(killed(WRONG), {"failed", "answered 404", BY_REPLY}, id="a-404"),
        pytest.param(killed(replace(CUT_BY_DEATH, served_by="phi-1")), {"failed"}, id="cut-of-the-other-server"),
        pytest.param(killed(replace(CUT_BY_DEATH, sent_at_s=2.03)), {"failed"}, id="cut-of-a-later-request"),
        pytest.param(killed(replace(CUT_BY_DEATH, ended_at_s=1.99)), {"failed"}, id="cut-before-the-kill"),
        pytest.param(killed(*[CUT_BY_DEATH] * 8), {"begun answers that died with it"}, id="more-cut-than-in-flight"),
        pytest.param(
            replace(MEASURED, disruption=replace(KILLED, outcomes=[GOOD] * 100)), {BACK_IN}, id="never-served-again"
        ),
        pytest.param(killed(listened_at_s=3.0), {BACK_IN}, id="served-late"),
        pytest.param(
            replace(MEASURED, disruption=replace(KILLED, outcomes=[GOOD, BACK])),
            {"requests, clients never retry"},
            id="no-load",
        ),
    ],
)
def test_judging(measured: Measured, labels: set[str]) -> None:
    parts = judge(measured)
    assert wrong_labels(parts) == labels
    assert is_all_right(parts) == (not labels)


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("failures", "is_right"),
    [
        pytest.param((), lambda o: o.is_good and not o.is_cut and not o.is_altered, id="good"),
        pytest.param(("drop",), lambda o: not o.is_good and o.error and o.status in (0, 200), id="dropped"),
        pytest.param(("500",), lambda o: (o.status, o.is_good, o.is_cut) == (500, False, False), id="refused"),
    ],
)
async def test_what_the_client_sees(
    failures: tuple[str, ...], is_right: Callable[[Outcome], bool], streams: bool
) -> None:
    async with SimServer(EngineSettings(models=(PHI,), name="phi-0", failures=Failures.parse(failures))) as server:
        async with open_session() as session:
            outcome = await complete(session, f"http://{server.address}", model=PHI, streams=streams)
    assert is_right(outcome), outcome
    assert outcome.is_cut == (failures == ("drop",) and streams)


def stream(tokens: int, end: str = "data: [DONE]\n\n") -> bytes:
    return ('data: {"choices": [{"delta": {"content": "x"}}]}\n\n' * tokens + end).encode()


def reply(tokens: int) -> bytes:
    return ('{"choices": [{"message": {"content": "' + " x" * tokens + '"}}]}').encode()


@pytest.mark.parametrize(
    ("is_whole", "want"),
    [
        pytest.param(is_whole_stream(stream(TOKENS)), True, id="stream"),
        pytest.param(is_whole_stream(stream(TOKENS - 1)), False, id="stream-short-of-a-token"),
        pytest.param(is_whole_stream(stream(TOKENS, end="")), False, id="stream-without-done"),
        pytest.param(is_whole_stream(stream(TOKENS, end="data: [DONE]\n")), False, id="stream-short-of-a-byte"),
        pytest.param(is_whole_stream(stream(TOKENS)[1:]), False, id="stream-without-its-first-byte"),
        pytest.param(is_whole_stream(b""), False, id="empty-stream"),
        pytest.param(is_whole_reply(reply(TOKENS)), True, id="reply"),
        pytest.param(is_whole_reply(reply(TOKENS - 1)), False, id="reply-short-of-a-token"),
        pytest.param(is_whole_reply(reply(TOKENS)[:-1]), False, id="reply-short-of-a-byte"),
        pytest.param(is_whole_reply(b""), False, id="empty-reply"),
    ],
)
def test_whole_or_not(is_whole: bool, want: bool) -> None:
    assert is_whole is want
