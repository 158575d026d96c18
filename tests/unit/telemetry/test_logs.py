"""telemetry/logs: one line for each thing that happens."""

import json
import logging
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
from tests.unit.known import answered, failed, known_after, listed, overdue, refused, round_of

from extproc.registry.changes import Change, Failure
from extproc.registry.reduce import reduce
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.changes import telling
from extproc.telemetry.decided import Decided
from extproc.telemetry.logs import Log, configure_logs, log_changes, log_decision
from extproc.values.decision import Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead

Form = Literal["console", "json"]
FORMS: tuple[Form, ...] = ("console", "json")


def configure(verbosity: int = 2, log_format: Form = "console") -> None:
    configure_logs(TelemetrySettings.model_validate({"verbosity": verbosity, "logFormat": log_format}))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged, without time and level."""
    return [re.sub(r"^\S+Z \w+ +", "", line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [(0, "ERROR"), (1, "ERROR WARNING"), (2, "ERROR WARNING INFO"), (3, "ERROR WARNING INFO"), (4, "all"), (10, "all")],
)
def test_verbosity(verbosity: int, levels: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbosity=verbosity)
    log = Log("part")
    log.exception("x")
    log.warning("x")
    log.info("x")
    log.debug("x")
    written = re.findall(r"Z (\w+)", capsys.readouterr().err)
    assert written == (["ERROR", "WARNING", "INFO", "DEBUG"] if levels == "all" else levels.split())
    assert log.has_debug is (levels == "all")


def test_a_line_tells_when_how_grave_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbosity=2)
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
    configure(verbosity=2)
    Log("part").info("x", key=value)
    assert lines(capsys) == [f"extproc.part x key={written}"]
    if written.startswith('"'):
        assert json.loads(written) == value


def fail_over_data() -> None:
    """Logs a defect whose exceptions quote what was sent."""
    try:
        try:
            raise KeyError("a prompt")
        except KeyError as exc:
            raise ValueError("a prompt") from exc
    except ValueError:
        Log("part").exception("failed", a=1)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_defect_comes_with_its_traceback_and_without_what_was_sent(
    form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(verbosity=0, log_format=form)
    fail_over_data()
    written = capsys.readouterr().err
    trace = json.loads(written)["exception"] if form == "json" else written.partition("\n")[2]
    assert re.fullmatch(
        r"  File .*, in fail_over_data\n.*KeyError\nwhich led to\n  File .*, in fail_over_data\n.*ValueError\n?",
        trace,
        re.DOTALL,
    )
    assert "test_logs.py" in trace
    assert "a prompt" not in re.sub(r"raise \w+\(.*", "", written)  # a line of the source is none of the data


@pytest.mark.parametrize("has_cause", [True, False], ids=["an exception of its own", "one raised from None"])
def test_what_led_to_a_defect_is_told(has_cause: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        try:
            raise KeyError
        except KeyError as exc:
            error = ValueError()
            error.__suppress_context__ = not has_cause
            error.__context__ = exc
            raise error  # noqa: B904 - that is the case
    except ValueError:
        Log("part").exception("failed")
    assert ("KeyError\nwhich led to" in capsys.readouterr().err) is has_cause


def test_no_exception_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    Log("part").exception("failed")
    assert lines(capsys) == ["extproc.part failed"]


def test_configured_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbosity=2)
    configure(verbosity=2)
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
    configure(verbosity=2)
    before = known_after(listed("a"), answered("a", "m"))
    after = reduce(before, change, now=9.0)
    telling(log_changes)(before, after, before.endpoints.keys() | after.endpoints.keys())
    assert lines(capsys) == [f"extproc.registry {line}" for line in written]


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"key": "two words"}, {"key": "two words"}, id="a text"),
        pytest.param({"key": 3}, {"key": 3}, id="a number"),
        pytest.param({"key": 2.5}, {"key": 2.5}, id="a fraction"),
        pytest.param({"key": True}, {"key": True}, id="yes"),
        pytest.param({"key": None}, {"key": None}, id="nothing"),
        pytest.param({"key": float("nan")}, {"key": "nan"}, id="no number"),
        pytest.param({"key": float("inf")}, {"key": "inf"}, id="infinity"),
        pytest.param({"key": Reason.MODEL_UNKNOWN}, {"key": "model_unknown"}, id="a word of ours"),
        pytest.param({"key": ["a"]}, {"key": "['a']"}, id="something else"),
        pytest.param({"key": "π\u2028"}, {"key": "π\u2028"}, id="beyond ASCII"),
        pytest.param({"key": "\udcff"}, {"key": "\\udcff"}, id="half a character"),
        pytest.param({"message": 1}, {"field_message": 1}, id="the message's name"),
        pytest.param({"time": 1}, {"field_time": 1}, id="the time's name"),
        pytest.param({"level": 1}, {"field_level": 1}, id="the level's name"),
        pytest.param({"logger": 1}, {"field_logger": 1}, id="the logger's name"),
        pytest.param({"exception": 1}, {"field_exception": 1}, id="the exception's name"),
    ],
)
def test_json(fields: Mapping[str, Any], written: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")
    Log("part").warning("done\n\udcff", **fields)
    line = capsys.readouterr().err
    assert line.endswith("}\n")
    assert line.isascii()
    assert line[:-1].isprintable()
    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {"level": "warning", "logger": "extproc.part", "message": "done\n\\udcff", **written}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("level", "verbosity", "is_told"),
    [
        pytest.param(logging.ERROR, 0, True, id="an error"),
        pytest.param(logging.WARNING, 2, True, id="a warning"),
        pytest.param(logging.WARNING, 0, False, id="a warning where errors are wanted"),
        pytest.param(logging.INFO, 10, False, id="news"),
    ],
)
def test_libraries_tell_of_trouble_in_the_same_form(
    level: int, verbosity: int, is_told: bool, form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(verbosity=verbosity, log_format=form)
    logging.getLogger("asyncio").log(level, "a task\nof %s", "theirs\x1b[31m")
    written = capsys.readouterr().err
    assert bool(written) is is_told
    if is_told and form == "json":
        assert json.loads(written)["logger"] == "asyncio"
        assert json.loads(written)["message"] == "a task\nof theirs\x1b[31m"
    elif is_told:
        assert re.sub(r"^\S+Z \w+ +", "", written) == "asyncio a task\\nof theirs\\u001b[31m\n"


@pytest.mark.parametrize("form", FORMS)
def test_a_librarys_defect_keeps_its_text(form: Form, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format=form)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    written = capsys.readouterr().err
    assert (json.loads(written)["exception"] if form == "json" else written.rstrip()).endswith("ValueError: why")


@pytest.mark.parametrize("form", FORMS)
def test_a_crash_is_told_in_the_same_form(form: Form, capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbosity=0, log_format=form)
    try:
        raise ExceptionGroup("tasks", [RuntimeError("the task 'source' ended")])
    except ExceptionGroup as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    written = capsys.readouterr().err
    assert "the task 'source' ended" in (json.loads(written)["exception"] if form == "json" else written)
    assert re.match(r'\{"time"|\S+Z CRITICAL', written)


def test_an_interrupt_is_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == ""


def test_what_quotes_clients_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbosity=10)
    for name in ("aiohttp.server", "python_multipart.multipart"):
        logging.getLogger(name).error("bad request: GET /secret")
    assert capsys.readouterr().err == ""


def test_warnings_are_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(log_format="json")
        warnings.warn("old", UserWarning, stacklevel=1)
    assert json.loads(capsys.readouterr().err)["logger"] == "py.warnings"


A = Endpoint("id-a", "a", "10.0.0.1:8000")
B = Endpoint("id-b", "b", "10.0.0.2:8000")


@pytest.mark.parametrize(
    ("outcome", "more", "written"),
    [
        pytest.param(Route((A,), Scores()), {}, "endpoint=a destination=10.0.0.1:8000", id="routed"),
        pytest.param(
            Route((A, B), Scores()), {}, "endpoint=a destination=10.0.0.1:8000,10.0.0.2:8000", id="with a fallback"
        ),
        pytest.param(Reject(Reason.MODEL_UNKNOWN), {}, "code=model_not_found refused=model_unknown", id="refused"),
        pytest.param(Reply(200, b"a list"), {}, "status=200", id="replied"),
        pytest.param(Reply(200, b""), {"held_s": 0.00002}, "held_us=20 status=200", id="held"),
        pytest.param(Reply(200, b""), {"named": "alias"}, "named=alias status=200", id="another name"),
        pytest.param(Reply(200, b""), {"model": None}, 'model="" snapshot=7 us=40 named=m status=200', id="no model"),
    ],
)
def test_a_decision(
    outcome: Route | Reject | Reply, more: Mapping[str, Any], written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(verbosity=4)
    head = RequestHead("POST", "/v1/x?key=secret", {"x-request-id": "r-1", "authorization": "secret"})
    given: dict[str, Any] = {"named": "m", "model": "m", **more}
    log_decision(Decided(head, outcome=outcome, began_at_s=1.0, seconds=0.00004, snapshot_version=7, **given))
    start = "extproc.decisions decided request_id=r-1 path=/v1/x"
    known = "" if written.startswith("model=") else "model=m snapshot=7 us=40 "
    assert lines(capsys) == [f"{start} {known}{written}"]


def test_a_decision_where_nobody_wants_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbosity=3)
    log_decision(Decided(RequestHead("GET", "/", {}), None, None, Reply(200, b""), 1.0, 0.1, 7))
    assert capsys.readouterr().err == ""
