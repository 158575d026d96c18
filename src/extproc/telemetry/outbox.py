"""What waits to be sent to somewhere slow: in bounded number, in batches, from a thread of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from extproc.telemetry.logs import Log

MOST_WAITING = 2048
BATCH = 32
"""Encoding a span takes 60 µs (measured), for which the event loop can have to wait: 2 ms for a batch."""
SEND_EVERY_S = 1.0
CLOSE_TIMEOUT_S = 1.5
LAST_CALL_TIMEOUT_S = 0.3

_log = Log("telemetry.outbox")

T = TypeVar("T")


class Outbox(Generic[T]):
    """Sends what is put into it. What cannot be sent is dropped and counted: nobody ever waits for it.

    Use as an async context manager; leaving it sends what still waits, within `close_timeout_s`.
    """

    def __init__(
        self,
        *,
        send: Callable[[Sequence[T]], bool],
        cut: Callable[[], None],
        to: str,
        batch: int = BATCH,
        send_every_s: float = SEND_EVERY_S,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        """`send` is called in the thread with at most `batch` of them, at once when there are as many and else every
        `send_every_s`, and gives False where they were not taken. `cut` makes one that waits return. `to` is where
        things go, for the log.
        """
        self._send = send
        self._cut = cut
        self._to = to
        self._batch = batch
        self._send_every_s = send_every_s
        self._close_timeout_s = close_timeout_s
        self._waiting: deque[T] = deque()
        self._overflown = 0  # written by the event loop
        self._not_taken = 0  # written by the thread
        self._is_failing = False
        self._is_closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def __repr__(self) -> str:
        return f"<Outbox to {self._to}, {len(self._waiting)} waiting, {self.dropped} dropped>"

    @property
    def dropped(self) -> int:
        """What was put in and not delivered, so far."""
        return self._overflown + self._not_taken

    def put(self, item: T) -> None:
        """Has `item` sent soon, or drops it where too many wait."""
        if len(self._waiting) >= MOST_WAITING or self._is_closing:
            self._overflown += 1
            return
        self._waiting.append(item)
        if len(self._waiting) >= self._batch and not self._wake.is_set():
            self._wake.set()

    async def __aenter__(self) -> "Outbox[T]":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, self._close_timeout_s)
        self._overflown += len(self._waiting)
        self._waiting.clear()
        self._cut()
        await asyncio.to_thread(self._thread.join, LAST_CALL_TIMEOUT_S)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(self._send_every_s)
            self._wake.clear()
            is_last = self._is_closing  # asked before what waits is sent: what came before the end goes too
            while batch := self._take():
                self._deliver(batch)

    def _take(self) -> list[T]:
        batch: list[T] = []
        try:
            while len(batch) < self._batch:
                batch.append(self._waiting.popleft())
        except IndexError:
            pass
        return batch

    def _deliver(self, batch: Sequence[T]) -> None:
        try:
            is_taken = self._send(batch)
        except Exception:  # noqa: BLE001 - what one batch does to the library must not end the thread
            _log.exception("a batch could not be sent, in an unforeseen way", to=self._to)
            is_taken = False
        if not is_taken:
            self._not_taken += len(batch)
        if is_taken is self._is_failing:
            self._is_failing = not is_taken
            if is_taken:
                _log.info("spans are taken again", to=self._to, dropped=self.dropped)
            else:
                _log.warning("spans are not taken, they are dropped", to=self._to)
