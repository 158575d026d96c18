"""A record of the log as a line: for people, or a JSON object."""

import json
import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any


class ConsoleFormatter(logging.Formatter):
    """Time, level, where, what, key=value; a traceback on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        line = f"{_stamp(record)} {record.levelname:<7} {record.name} {_flatten(record.getMessage())}"
        line += "".join(f" {key}={_quote(value)}" for key, value in fields.items())
        trace = _trace(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, the fields, and `exception` where there was one; ASCII only.

    A field that has the name of one of these is called `field_…`.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _whole(record.getMessage()),
        }
        own = {*entry, "exception"}
        entry |= {f"field_{key}" if key in own else key: _value(value) for key, value in _fields(record).items()}
        if trace := _trace(record):
            entry["exception"] = _whole(trace)
        return json.dumps(entry, allow_nan=False)


FORMATTERS: Mapping[str, Callable[[], logging.Formatter]] = {"console": ConsoleFormatter, "json": JsonFormatter}
"""By the value of `telemetry.logFormat`."""


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _stamp(record: logging.LogRecord) -> str:
    """RFC 3339 with milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _trace(record: logging.LogRecord) -> str:
    """The traceback of the exception that goes with the record, empty where none does."""
    if not record.exc_info or (exc := record.exc_info[1]) is None:
        return ""
    return _outline(exc) if getattr(record, "is_reticent", False) else "".join(traceback.format_exception(exc)).rstrip()


def _outline(exc: BaseException | None) -> str:
    """Where an exception was raised, and those that led to it before it; nothing of their texts."""
    parts: list[str] = []
    while exc is not None:
        parts.append("".join([*traceback.format_tb(exc.__traceback__), type(exc).__name__]))
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return "\nwhich led to\n".join(reversed(parts))


def _quote(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


def _flatten(text: str) -> str:
    """The text of a library in one line, without what a terminal would obey."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _value(value: object) -> object:
    """The value as JSON has it, else as text."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _whole(str(value))


def _whole(text: str) -> str:
    """The text without halves of characters, which many readers of JSON refuse: they are written out (`\\udcff`)."""
    return text.encode("utf-8", "backslashreplace").decode()
