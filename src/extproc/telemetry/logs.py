"""Structured logs on standard error: time, level, where, what, key=value."""

import json
import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

from extproc.values.snapshot import EndpointState, Snapshot

ROOT = "extproc"
LEVELS = {0: logging.ERROR, 1: logging.WARNING}
SHOWN_NAMES = 10
LONGEST_NAME = 200
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


def configure_logs(verbosity: int) -> None:
    """Sends the package's logs to standard error: 0 errors, 1 warnings, 2 and 3 info, 4 and more debug."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    root = logging.getLogger(ROOT)
    root.handlers = [handler]
    root.propagate = False
    for library in ("python_multipart", "aiohttp.server"):  # they tell of each bad form and each client that is no HTTP
        logging.getLogger(library).setLevel(logging.CRITICAL)
    root.setLevel(logging.DEBUG if verbosity >= DEBUG_VERBOSITY else LEVELS.get(verbosity, logging.INFO))


_registry_log = Log("registry")


def log_changes(before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
    """One line per endpoint that came, went or changed in a way that bears on routing. A listener of the registry."""
    for id_ in ids:
        old, state = before.endpoints.get(id_), after.endpoints.get(id_)
        if state is None:
            if old is not None:
                _registry_log.info("endpoint gone", endpoint=old.endpoint.name, version=after.version)
            continue
        if old is state:
            continue
        name, address = state.endpoint.name, state.endpoint.address
        if old is None:
            _registry_log.info("endpoint new", endpoint=name, address=address, version=after.version)
        elif _outline(old) != _outline(state):
            say = _registry_log.warning if old.is_routable and not state.is_routable else _registry_log.info
            fields = _outline(state) | ({"problem": state.problem} if state.problem else {})
            say("endpoint changed", endpoint=name, **fields, version=after.version)
        elif old.problem != state.problem and state.problem:
            _registry_log.info("endpoint probe failed", endpoint=name, problem=state.problem, version=after.version)


def _outline(state: EndpointState) -> dict[str, object]:
    return {
        "ready": state.is_ready,
        "confirmed": state.is_confirmed,
        "suspect": state.is_suspect,
        "models": join_names([card.id for card in state.cards]),
    }


def join_names(names: Sequence[str]) -> str:
    """The names for a line of the log, no more than a few of them."""
    shown = ",".join(name[:LONGEST_NAME] for name in names[:SHOWN_NAMES])
    return f"{shown} and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else shown
