"""Asks a picker again and again, in a thread, so that the terminal never waits for it."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import click

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import AdminClient, AdminError
from extproc.cli.top.view import Frame, count_decided

MOST_DECISIONS = 50
LONGEST_GOODBYE_S = 0.5
"""A question that nobody answers is not waited for at the end."""

Open = Callable[[], AbstractContextManager[AdminClient]]
"""Opens a client. A new one after each failure: gRPC would wait ever longer before it connects again, and the token may
have been rotated."""


class Feed:
    """The last answer of a picker. Within `with` it is asked every `interval_s`."""

    def __init__(self, open_client: Open, *, target: str, interval_s: float, clock: Callable[[], float]) -> None:
        self._open_client = open_client
        self._interval_s = interval_s
        self._clock = clock
        self._answered_at_s = clock()
        self._frame = Frame(target, None)
        self._defect: Exception | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def __repr__(self) -> str:
        return f"<Feed of {self._frame.target}>"

    def __enter__(self) -> "Feed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LONGEST_GOODBYE_S)

    def frame(self) -> Frame:
        """What is to be shown now. Raises what ended the thread, if anything did."""
        with self._lock:
            if self._defect is not None:
                raise self._defect
            return self._frame._replace(silent_s=self._clock() - self._answered_at_s)

    def _run(self) -> None:
        try:
            self._ask()
        except Exception as exc:  # noqa: BLE001 - it is raised again where somebody sees it
            with self._lock:
                self._defect = exc

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                with self._open_client() as client:
                    while not self._stop.is_set():
                        self._take(client.snapshot(most_decisions=MOST_DECISIONS))
                        self._stop.wait(self._interval_s)
            except (AdminError, click.UsageError) as exc:
                with self._lock:
                    self._frame = self._frame._replace(error=str(exc))
            self._stop.wait(self._interval_s)

    def _take(self, snapshot: admin_pb2.Snapshot) -> None:
        with self._lock:
            per_s = find_rate(self._frame.snapshot, snapshot)
            self._frame = self._frame._replace(snapshot=snapshot, decisions_per_s=per_s, error="")
            self._answered_at_s = self._clock()


def find_rate(before: admin_pb2.Snapshot | None, after: admin_pb2.Snapshot) -> float | None:
    """Decisions per second between two snapshots, by the picker's own clock. None where they are not of one process."""
    if before is None or after.uptime_s <= before.uptime_s:
        return None
    decided = count_decided(after) - count_decided(before)
    return decided / (after.uptime_s - before.uptime_s) if decided >= 0 else None
