"""telemetry/logs: one line for each thing that happens."""

import json
import logging
import re
from collections.abc import Iterator, Sequence

import pytest
from tests.unit.known import answered, failed, known_after, listed, overdue, refused, round_of

from extproc.registry.changes import Change, Failure
from extproc.registry.reduce import reduce
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.logs import Log, configure_logs, log_changes


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger("extproc")
    before = root.handlers, root.propagate, root.level
    yield
    root.handlers, root.propagate, root.level = before


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged, without time and level."""
    return [re.sub(r"^\S+Z \w+ +", "", line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [(0, "ERROR"), (1, "ERROR WARNING"), (2, "ERROR WARNING INFO"), (3, "ERROR WARNING INFO"), (4, "all"), (10, "all")],
)
def test_verbosity(verbosity: int, levels: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=verbosity))
    log = Log("part")
    log.exception("x")
    log.warning("x")
    log.info("x")
    log.debug("x")
    written = re.findall(r"Z (\w+)", capsys.readouterr().err)
    assert written == (["ERROR", "WARNING", "INFO", "DEBUG"] if levels == "all" else levels.split())
    assert log.has_debug is (levels == "all")


def test_a_line_tells_when_how_grave_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    Log("part").info("done", a=1, b="x")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    extproc\.part done a=1 b=x\n", capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("plain", "plain", id="a word"),
        pytest.param("π", "π", id="a printable one"),
        pytest.param(1.5, "1.5", id="a number"),
        pytest.param(None, "None", id="nothing"),
        pytest.param("", '""', id="an empty text"),
        pytest.param("two words", '"two words"', id="a blank"),
        pytest.param("a=b", '"a=b"', id="an equals sign"),
        pytest.param('a"b', r'"a\"b"', id="a quotation mark"),
        pytest.param("a\nERROR forged", r'"a\nERROR forged"', id="a line break"),
        pytest.param("\x1b[31m", r'"\u001b[31m"', id="a terminal's control sequence"),
        pytest.param("\udcff", r'"\udcff"', id="a byte that is no UTF-8"),
        pytest.param("%s", "%s", id="a percent sign"),
    ],
)
def test_a_value_stays_one_value(value: object, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    Log("part").info("x", key=value)
    assert lines(capsys) == [f"extproc.part x key={written}"]
    if written.startswith('"'):
        assert json.loads(written) == value


def test_a_defect_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=0))
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        Log("part").exception("failed", a=1)
    written = lines(capsys)
    assert written[0] == "extproc.part failed a=1"
    assert written[-1] == "RuntimeError: boom"


def test_configured_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    configure_logs(TelemetrySettings(verbosity=2))
    Log("part").info("x")
    assert len(lines(capsys)) == 1


@pytest.mark.parametrize(
    ("change", "written"),
    [
        pytest.param(listed("ab"), ["endpoint new endpoint=b address=10.0.0.2:8000 version=3"], id="came"),
        pytest.param(listed(""), ["endpoint gone endpoint=a version=3"], id="went"),
        pytest.param(
            answered("a", "m", "n"),
            ["endpoint changed endpoint=a ready=True confirmed=True suspect=False models=m,n version=3"],
            id="another list",
        ),
        pytest.param(
            refused("a"),
            [
                "endpoint changed endpoint=a ready=False confirmed=False suspect=False models=m "
                'problem="refused by a" version=3'
            ],
            id="not ready",
        ),
        pytest.param(
            failed("a", Failure.TIMEOUT),
            ['endpoint probe failed endpoint=a problem="timeout by a" version=3'],
            id="slow",
        ),
        pytest.param(answered("a", "m"), [], id="the same again"),
        pytest.param(overdue("a"), [], id="nothing that bears on routing"),
        pytest.param(round_of(9.0), [], id="a round"),
    ],
)
def test_changes_of_what_is_known(change: Change, written: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    before = known_after(listed("a"), answered("a", "m"))
    after = reduce(before, change, now=9.0)
    log_changes(before, after, before.endpoints.keys() | after.endpoints.keys())
    assert lines(capsys) == [f"extproc.registry {line}" for line in written]
