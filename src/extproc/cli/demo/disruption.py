"""What clients see of a server that is killed and comes back while requests run."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from extproc.cli.demo.client import Outcome, complete
from extproc.cli.demo.fleet import MODELS, Fleet
from extproc.cli.demo.measure import AT_ONCE, is_wrong

VICTIM = "phi-0"
LOAD_S = 10.0
_BEFORE_S = 1.0
_DOWN_S = 6.0
"""Longer than the interval of probes (5 s and its jitter): the picker learns in any case that the server is gone."""
AFTER_S = 3.0
"""The load goes on this long at least after the server listens; probes of one that is away are up to 2.2 s apart."""


@dataclass(frozen=True, kw_only=True)
class Disruption:
    """The attempts of clients that never retry, and when the server died and came back, in monotonic seconds."""

    victim: str
    outcomes: Sequence[Outcome]
    killed_at_s: float
    """Just before the signal was sent."""
    gone_at_s: float
    """When its process was seen to be gone."""
    listened_at_s: float

    @property
    def died_with_it(self) -> Sequence[Outcome]:
        """Answers whose head the server had sent before it died: nobody can finish them, and no gateway may retry."""
        return [outcome for outcome in self.outcomes if self._died_with_it(outcome)]

    @property
    def failed(self) -> Sequence[Outcome]:
        """All others that are not good."""
        return [outcome for outcome in self.outcomes if not outcome.is_good and not self._died_with_it(outcome)]

    @property
    def not_found(self) -> int:
        """Answers with status 404."""
        return sum(outcome.status == 404 for outcome in self.outcomes)

    @property
    def wrong_seen(self) -> int:
        """Answers of a server that does not serve the model."""
        return sum(is_wrong(outcome) for outcome in self.outcomes)

    @property
    def back_after_s(self) -> float | None:
        """From the moment it listened again to the head of its first good answer; None: it gave none."""
        heads = [
            outcome.head_at_s
            for outcome in self.outcomes
            if outcome.head_at_s is not None
            and outcome.is_good
            and outcome.served_by == self.victim
            and outcome.sent_at_s > self.gone_at_s
        ]
        return max(0.0, min(heads) - self.listened_at_s) if heads else None

    def _died_with_it(self, outcome: Outcome) -> bool:
        # Its name in a head is proof enough that the head left before it died, whenever we came to read it.
        return (
            outcome.is_cut
            and outcome.served_by == self.victim
            and outcome.sent_at_s < self.gone_at_s
            and outcome.ended_at_s > self.killed_at_s
        )


async def measure_disruption(
    session: aiohttp.ClientSession, fleet: Fleet, url: str, *, advance: Callable[[], None]
) -> Disruption:
    """Eight clients ask one after another for ten seconds; meanwhile one server is killed and, later, started again.

    `advance` is called after each answer. Raises ChildError when the server cannot be started again.
    """
    outcomes: list[Outcome] = []
    is_over = asyncio.Event()

    async def work(index: int) -> None:
        streams = index % 2 == 0
        model = MODELS[index // 2 % len(MODELS)]
        while not is_over.is_set():
            outcomes.append(await complete(session, url, model=model, streams=streams))
            advance()

    began_at_s = time.monotonic()
    load = asyncio.gather(*(work(index) for index in range(AT_ONCE)))
    try:
        await asyncio.sleep(_BEFORE_S)
        killed_at_s = time.monotonic()
        await fleet.kill_server(VICTIM)
        gone_at_s = time.monotonic()
        await asyncio.sleep(_DOWN_S)
        await fleet.restart_server(VICTIM)
        listened_at_s = time.monotonic()
        await asyncio.sleep(max(began_at_s + LOAD_S, listened_at_s + AFTER_S) - time.monotonic())
        is_over.set()
        await load
    finally:
        load.cancel()
    return Disruption(
        victim=VICTIM,
        outcomes=outcomes,
        killed_at_s=killed_at_s,
        gone_at_s=gone_at_s,
        listened_at_s=listened_at_s,
    )
