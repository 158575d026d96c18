"""The last decisions and changes, kept for whoever looks: the admin service and its page.

A decision costs one short entry while nobody looks. Nothing of a prompt is kept.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from extproc.errors import ExtprocError
from extproc.telemetry.changes import LONGEST_NAME, EndpointChange, join_names
from extproc.telemetry.decided import Decided
from extproc.telemetry.entries import Entry, replace_halves, shorten, tell
from extproc.values.admin import Change, DecisionEvent
from extproc.values.snapshot import Snapshot

MOST_CHANGES = 200
MOST_DECISIONS = 200
MOST_WATCHES = 16
MOST_UNREAD = 1000
"""Decisions that wait for one watcher; of more, the oldest are left out."""
DEFAULT_PER_S = 20
MOST_PER_S = 100
"""To tell one watcher of one decision takes 50 µs: all of them together can take a tenth of a core."""
LONGEST_DETAIL = 1000


class TooManyWatchesError(ExtprocError):
    """Nobody else can watch at the moment."""

    def __str__(self) -> str:
        return f"{MOST_WATCHES} watch already"


class Watch:
    """The decisions that one watcher is shown, as they come."""

    def __init__(self, journal: "Journal", *, model: str, refusals_only: bool, most_per_s: int) -> None:
        self._journal = journal
        self._model = model[:LONGEST_NAME]
        self._refusals_only = refusals_only
        self._most_per_s = most_per_s
        self._second_began_at_s = float("-inf")
        self._second_count = 0
        self._unread: deque[tuple[Entry, int]] = deque()
        """Each with how many were left out before it."""
        self._left_out = 0
        """Since the last that was taken in."""
        self._has_more = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Watch {len(self._unread)} unread>"

    def take(self, entry: Entry) -> None:
        """Takes in a decision, if it is wanted and not one too many."""
        if (self._refusals_only and entry.reason is None) or (
            self._model and self._model != entry.named and self._model != entry.model
        ):
            return
        at_s = entry.made_at_s
        if at_s - self._second_began_at_s >= 1.0:
            self._second_began_at_s, self._second_count = at_s, 0
        if self._second_count >= self._most_per_s:
            self._left_out += 1
            return
        self._second_count += 1
        self._unread.append((entry, self._left_out))
        self._left_out = 0
        if len(self._unread) > MOST_UNREAD:
            _, left_out = self._unread.popleft()
            oldest, left_out_too = self._unread[0]
            self._unread[0] = oldest, left_out + 1 + left_out_too
        self._has_more.set()

    async def next(self) -> DecisionEvent:
        """The next decision, waited for."""
        while not self._unread:
            self._has_more.clear()
            await self._has_more.wait()
        entry, left_out = self._unread.popleft()
        return tell(entry, at_unix_s=self._journal.unix_s(entry), left_out=left_out)


class Journal:
    """Keeps the last decisions and changes."""

    def __init__(self, *, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._decisions: deque[Entry] = deque(maxlen=MOST_DECISIONS)
        self.decided = 0
        """Decisions so far."""
        self._watches: set[Watch] = set()

    def __repr__(self) -> str:
        return f"<Journal {len(self._changes)} changes, {len(self._watches)} watches>"

    def note_decision(self, decided: Decided) -> None:
        """An observer of decisions."""
        entry = shorten(decided)
        self.decided += 1
        self._decisions.append(entry)
        for watch in self._watches:
            watch.take(entry)

    def note_changes(self, before: Snapshot, after: Snapshot, changes: Iterable[EndpointChange]) -> None:
        """What is known has changed: these endpoints, and what else differs between the snapshots."""
        for change in changes:
            detail = ", ".join(f"{key} {_show(value)}" for key, value in change.fields.items())
            self.note(change.what, endpoint=change.endpoint, detail=detail)
        if after.is_synced and not before.is_synced:
            self.note("source read", detail=f"endpoints {len(after.endpoints)}")
        for what, old, new in (
            ("aliases changed", before.aliases, after.aliases),
            ("objectives changed", before.objectives, after.objectives),
        ):
            if old is not new and old != new:
                self.note(what, detail=join_names(list(new)))

    def note(self, what: str, *, endpoint: str = "", detail: str = "") -> None:
        """Something changed now."""
        endpoint, detail = replace_halves(endpoint[:LONGEST_NAME]), replace_halves(detail[:LONGEST_DETAIL])
        self._changes.append(Change(self._wall_clock(), what, endpoint, detail))

    def changes(self) -> tuple[Change, ...]:
        """The last changes, the newest first."""
        return tuple(reversed(self._changes))

    def decisions(self, *, after: int = 0, most: int = MOST_DECISIONS) -> tuple[DecisionEvent, ...]:
        """The last decisions, the newest first: of those that came once `decided` was `after`, at most `most`."""
        count = min(max(0, self.decided - after), most)
        return tuple([tell(entry, at_unix_s=self.unix_s(entry)) for entry in islice(reversed(self._decisions), count)])

    @contextmanager
    def watch(self, *, model: str = "", refusals_only: bool = False, most_per_s: int = 0) -> Iterator[Watch]:
        """The decisions from now on, at most `most_per_s` (0: `DEFAULT_PER_S`) each second.

        Errors: TooManyWatchesError.
        """
        if len(self._watches) >= MOST_WATCHES:
            raise TooManyWatchesError
        per_s = min(most_per_s or DEFAULT_PER_S, MOST_PER_S)
        watch = Watch(self, model=model, refusals_only=refusals_only, most_per_s=per_s)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def unix_s(self, entry: Entry) -> float:
        """When a decision was made, in seconds since 1970."""
        return self._wall_clock() - (self._clock() - entry.made_at_s)


def _show(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
