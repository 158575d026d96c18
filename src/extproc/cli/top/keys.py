"""Single keys from a terminal, which is left as it was."""

import os
import select
import sys
import termios
import time
import tty
from typing import Any


class Keys:
    """Within `with`, keys are read one by one and not shown. Where standard input is no terminal there are none."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> "Keys":
        if sys.stdin is not None and sys.stdin.isatty():
            self._descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def wait(self, most_s: float) -> str:
        """The keys that are pressed within `most_s`, as soon as there are any; "q" where the terminal is gone."""
        if self._descriptor is None:
            time.sleep(most_s)
            return ""
        if not select.select([self._descriptor], [], [], most_s)[0]:
            return ""
        try:
            return os.read(self._descriptor, 64).decode(errors="replace") or "q"
        except OSError:
            return "q"
