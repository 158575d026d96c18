"""Structured logs on standard error: time, level, where, what, key=value."""

import json
import logging
import time
from collections.abc import Collection
from typing import Any

from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.changes import LONGEST_NAME, find_changes
from extproc.telemetry.decided import Decided
from extproc.values.decision import Reply, Route
from extproc.values.refusal import Reject
from extproc.values.snapshot import Snapshot

ROOT = "extproc"
LEVELS = {0: logging.ERROR, 1: logging.WARNING}
DEBUG_VERBOSITY = 4
"""From here on every decision is logged. Source: the verbosity levels of klog as today's pickers use them."""


class Log:
    """A logger of one part of the picker, whose methods take the fields of the line as keywords."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{part}")

    @property
    def has_debug(self) -> bool:
        """True when `debug` writes anything, for callers on the hot path."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def debug(self, text: str, **fields: Any) -> None:
        """One line per decision."""
        self._logger.debug(text, extra={"fields": fields})

    def info(self, text: str, **fields: Any) -> None:
        """One line per change of what is known."""
        self._logger.info(text, extra={"fields": fields})

    def warning(self, text: str, **fields: Any) -> None:
        """Something that a person should look at; the picker goes on."""
        self._logger.warning(text, extra={"fields": fields})

    def exception(self, text: str, **fields: Any) -> None:
        """A defect, with its traceback."""
        self._logger.error(text, extra={"fields": fields}, exc_info=True)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = getattr(record, "fields", {})
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname:<7} {record.name} {record.getMessage()}"
        line += "".join(f" {key}={_quote(value)}" for key, value in fields.items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quote(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


def configure_logs(settings: TelemetrySettings) -> None:
    """Sends the package's logs to standard error, as verbose as `settings` say."""
    verbosity = settings.verbosity
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    root = logging.getLogger(ROOT)
    root.handlers = [handler]
    root.propagate = False
    for library in ("python_multipart", "aiohttp.server"):  # they tell of each bad form and each client that is no HTTP
        logging.getLogger(library).setLevel(logging.CRITICAL)
    root.setLevel(logging.DEBUG if verbosity >= DEBUG_VERBOSITY else LEVELS.get(verbosity, logging.INFO))


_decision_log = Log("decisions")
_registry_log = Log("registry")


def log_decision(decided: Decided) -> None:
    """One line for a decision, at debug. An observer of decisions."""
    if not _decision_log.has_debug:
        return
    head, outcome = decided.head, decided.outcome
    fields: dict[str, object] = {
        "request_id": head.headers.get("x-request-id", "")[:LONGEST_NAME],
        "path": head.path.partition("?")[0][:LONGEST_NAME],
        "model": (decided.model or "")[:LONGEST_NAME],
        "snapshot": decided.snapshot_version,
        "us": round(decided.seconds * 1e6),
    }
    if decided.named != decided.model:
        fields["named"] = (decided.named or "")[:LONGEST_NAME]
    match outcome:
        case Route():
            fields["endpoint"] = outcome.endpoints[0].name
            fields["destination"] = outcome.destination
        case Reject(reason):
            fields["code"] = outcome.refusal.code
            fields["refused"] = reason.value
        case Reply(status):
            fields["status"] = status
    _decision_log.debug("decided", **fields)


def log_changes(before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
    """One line per endpoint that came, went or changed in a way that bears on routing. A listener of the registry."""
    for change in find_changes(before, after, ids):
        say = _registry_log.warning if change.is_loss else _registry_log.info
        say(change.what, endpoint=change.endpoint, **change.fields, version=after.version)
