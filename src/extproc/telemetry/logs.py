"""Structured logs on standard error, and what is told there of decisions and of what is known."""

import logging
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.changes import LONGEST_NAME, EndpointChange
from extproc.telemetry.decided import Decided
from extproc.telemetry.log_lines import FORMATTERS
from extproc.values.decision import Reply, Route
from extproc.values.refusal import Reject
from extproc.values.snapshot import Snapshot

ROOT = "extproc"
LEVELS = {0: logging.ERROR, 1: logging.WARNING}
DEBUG_VERBOSITY = 4
"""From here on every decision is logged. Source: the verbosity levels of klog as today's pickers use them."""
QUIET = ("python_multipart", "aiohttp.server")
"""They tell of each bad form and of each client that is no HTTP, and quote them."""


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
        """A defect, with its traceback but without the exceptions' texts: they may quote what was sent to us."""
        self._logger.error(text, extra={"fields": fields, "is_reticent": True}, exc_info=True)


def configure_logs(settings: TelemetrySettings) -> None:
    """Sends all logs to standard error in the form that `settings` say: the package's as verbose as they say, those of
    libraries from warnings on.
    """
    verbosity = settings.verbosity
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[settings.log_format]())
    level = logging.DEBUG if verbosity >= DEBUG_VERBOSITY else LEVELS.get(verbosity, logging.INFO)
    for name, least in ((ROOT, level), (None, max(level, logging.WARNING))):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
    logging.getLogger(ROOT).propagate = False
    logging.captureWarnings(True)
    for library in QUIET:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    sys.excepthook = _log_crash


def _log_crash(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    """Tells of what ends the process in the form of the log, and all of it: nothing of it was told before."""
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger(ROOT).critical("crashed", exc_info=(kind, exc, trace))


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
    if decided.held_s:
        fields["held_us"] = round(decided.held_s * 1e6)
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


def log_changes(_before: Snapshot, after: Snapshot, changes: Iterable[EndpointChange]) -> None:
    """One line per endpoint that came, went or changed in a way that bears on routing."""
    for change in changes:
        say = _registry_log.warning if change.is_loss else _registry_log.info
        say(change.what, endpoint=change.endpoint, **change.fields, version=after.version)
