"""A child process of the demo: its output goes to a log file, its end is always noticed.

ChildError (an ExtprocError)
 ├── ChildEndedError      it ended although nobody asked it to
 └── ChildNotReadyError   it runs, and is not ready in time
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from extproc.errors import ExtprocError

_STOP_TIMEOUT_S = 5.0
_TAIL_LINES = 15
_LONGEST_LINE_BYTES = 1 << 20


class ChildError(ExtprocError):
    """A child is not as it should be; `tail` are the last lines of its log."""

    def __init__(self, name: str, tail: str) -> None:
        super().__init__(name, tail)
        self.name = name
        self.tail = tail


class ChildEndedError(ChildError):
    """A child ended although nobody asked it to. `code` is negative when a signal ended it."""

    def __init__(self, name: str, tail: str, code: int) -> None:
        super().__init__(name, tail)
        self.code = code

    def __str__(self) -> str:
        how = f"by {signal.Signals(-self.code).name}" if self.code < 0 else f"with exit code {self.code}"
        return f"{self.name} ended {how}\n{self.tail}".rstrip()


class ChildNotReadyError(ChildError):
    """A child runs, and is not ready in time."""

    def __str__(self) -> str:
        return f"{self.name} is not ready in time\n{self.tail}".rstrip()


class Child:
    """One process, started once. `on_end` is called if it ends without having been asked to."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, on_end: Callable[[ChildEndedError], object]
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._copying: asyncio.Task[None] | None = None
        self._is_asked_to_end = False
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def __repr__(self) -> str:
        return f"<Child {self.name} pid={self._process.pid if self._process is not None else None}>"

    async def start(self) -> None:
        """Starts it. Ctrl-C does not reach it: it ends when we say so."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE_BYTES,
            process_group=0,
        )
        self._copying = asyncio.create_task(self._copy(self._process), name=f"log of {self.name}")

    async def wait_for_line(self, part: str) -> str:
        """The next line of its output that holds `part`. Waits for ever: bound it, and race it with `on_end`."""
        while part not in (line := await self._lines.get()):
            pass
        return line

    async def kill(self) -> None:
        """Ends it by SIGKILL, and returns when it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Asks it to end, and kills it if it takes too long. Safe to repeat, and on one that never started."""
        await self._end(signal.SIGTERM)

    def tail(self) -> str:
        """The last lines of its log."""
        try:
            return last_lines(self._log.read_text(errors="replace"))
        except FileNotFoundError:
            return ""

    async def _end(self, number: signal.Signals) -> None:
        self._is_asked_to_end = True
        if self._process is not None:
            await end_process(self._process, number)
        if self._copying is not None:
            await self._copying

    async def _copy(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe, by `start`
        async for line in process.stdout:
            self._append(line)
            self._lines.put_nowait(line.decode(errors="replace"))
        code = await process.wait()
        if not self._is_asked_to_end:
            self._on_end(ChildEndedError(self.name, self.tail(), code))

    def _append(self, line: bytes) -> None:
        with self._log.open("ab") as log:
            log.write(line)


def last_lines(log: str) -> str:
    """As much of a log as fits into an error's text."""
    return "\n".join(log.splitlines()[-_TAIL_LINES:])


async def end_process(process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Sends it the signal and waits; kills it when it takes too long, or when we are cancelled meanwhile."""
    if process.returncode is not None:
        return
    _signal(process, number)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
    finally:  # too slow, or we are being cancelled: it must not outlive us
        if process.returncode is None:
            _signal(process, signal.SIGKILL)
            await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not `process.send_signal`: it polls first, which takes the exit code of a process that has just died away from
    # asyncio, which then warns and says 255 (measured).
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
