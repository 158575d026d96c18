"""One time limit for many tasks that begin one after another, at the cost of one timer for all of them."""

import asyncio
from typing import Any


class Deadlines:
    """Cancels tasks that have not ended within a limit of their beginning.

    As the limit is the same for all, they expire in the order in which they began: a dict in that order and a timer for
    its first entry do what a timer per task does, at a tenth of its price on a path that thousands of tasks a second
    take. Source: docs/performance.md, "What was tried".
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._due_s: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Deadlines {self.limit_s:g} s for {len(self._due_s)} tasks>"

    def begin(self) -> asyncio.Task[Any]:
        """Starts the time of the current task, and returns it. `end` must follow, whatever happens."""
        loop = self._loop
        if loop is None:  # asked once: Python 3.11 makes a system call of it, and of `current_task` without a loop
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - only coroutines of a task call this
        self._due_s[task] = loop.time() + self.limit_s
        if self._timer is None:
            self._timer = loop.call_later(self.limit_s, self._expire)
        return task

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Ends the time of `task`. True where it had expired: then the task was cancelled once, by this limit."""
        return self._due_s.pop(task, None) is None

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._due_s:
            task, due_s = next(iter(self._due_s.items()))
            if due_s > now:
                self._timer = loop.call_at(due_s, self._expire)
                return
            del self._due_s[task]
            task.cancel()
