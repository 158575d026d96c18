"""`extproc` as it is, but on SIGUSR1 it prints how many asyncio tasks it has: `python -m bench.counted_picker`."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

from bench.processes import Picker

_SAID = "asyncio tasks: "


class CountedPicker(Picker):
    """A picker that can be asked for the number of its tasks."""

    def __init__(self, *source: str, config: Mapping[str, object] | None = None) -> None:
        super().__init__(*source, config=config, program="bench.counted_picker")
        self._answer: asyncio.Future[int] | None = None

    async def tasks(self) -> int:
        """How many there are now. Errors: TimeoutError where it does not say."""
        self._answer = asyncio.get_running_loop().create_future()
        os.kill(self.pid, signal.SIGUSR1)
        async with asyncio.timeout(5):
            return await self._answer

    def _hear(self, line: str) -> None:
        super()._hear(line)
        if line.startswith(_SAID) and self._answer is not None and not self._answer.done():
            self._answer.set_result(int(line.removeprefix(_SAID)))


def _main() -> None:
    from extproc.cli import main

    signal.signal(signal.SIGUSR1, lambda *_: print(f"{_SAID}{len(asyncio.all_tasks())}", flush=True))
    sys.argv[0] = "extproc"
    main()


if __name__ == "__main__":
    _main()
