"""The last decisions and changes, kept for whoever looks: the admin service and its page.

A decision costs one short entry while nobody looks. Nothing of a prompt is kept.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from heapq import nlargest

import msgspec

from extproc.telemetry.changes import LONGEST_NAME, find_changes
from extproc.telemetry.decided import Decided
from extproc.values.admin import Change, DecisionEvent, Ranked
from extproc.values.decision import Reply, Route, Scores
from extproc.values.refusal import Reject
from extproc.values.snapshot import Snapshot

MOST_CHANGES = 200
MOST_DECISIONS = 200
MOST_UNREAD = 1000
"""Decisions that wait for one watcher; of more, the oldest are left out."""
MOST_BEST = 5
DEFAULT_PER_S = 20
MOST_PER_S = 1000


class _Entry(msgspec.Struct, frozen=True):
    """What is kept of a decision: little, and nothing that holds a body."""

    at_s: float
    request_id: str
    path: str
    named: str
    model: str
    outcome: str
    reason: str
    status: int
    endpoint: str
    destination: str
    scores: Scores | None
    seconds: float
    snapshot_version: int


class Watch:
    """The decisions that one watcher is shown, as they come."""

    def __init__(self, journal: "Journal", *, model: str, refusals_only: bool, most_per_s: int) -> None:
        self._journal = journal
        self._model = model
        self._refusals_only = refusals_only
        self._most_per_s = most_per_s
        self._left = float(most_per_s)
        self._filled_at_s = float("-inf")
        self._unread: deque[_Entry] = deque()
        self._left_out = 0
        self._has_more = asyncio.Event()

    def take(self, entry: _Entry) -> None:
        """Takes in a decision, if it is wanted and not one too many."""
        if (self._refusals_only and entry.endpoint) or (self._model and self._model not in (entry.named, entry.model)):
            return
        if self._left < 1.0:
            waited_s = entry.at_s - self._filled_at_s
            self._left = min(float(self._most_per_s), self._left + waited_s * self._most_per_s)
            self._filled_at_s = entry.at_s
        if self._left < 1.0 or len(self._unread) >= MOST_UNREAD:
            self._left_out += 1
            return
        self._left -= 1.0
        self._unread.append(entry)
        self._has_more.set()

    async def next(self) -> DecisionEvent:
        """The next decision, waited for."""
        while not self._unread:
            self._has_more.clear()
            await self._has_more.wait()
        left_out, self._left_out = self._left_out, 0
        return self._journal.tell(self._unread.popleft(), left_out=left_out)


class Journal:
    """Keeps the last decisions and changes."""

    def __init__(self, *, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._decisions: deque[_Entry] = deque(maxlen=MOST_DECISIONS)
        self._watches: set[Watch] = set()

    def __repr__(self) -> str:
        return f"<Journal {len(self._changes)} changes, {len(self._watches)} watches>"

    def note_decision(self, decided: Decided) -> None:
        """An observer of decisions."""
        entry = _shorten(decided)
        self._decisions.append(entry)
        for watch in self._watches:
            watch.take(entry)

    def note_changes(self, before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        """A listener of the registry."""
        for change in find_changes(before, after, ids):
            detail = ", ".join(f"{key} {_show(value)}" for key, value in change.fields.items())
            self.note(change.what, endpoint=change.endpoint, detail=detail)

    def note(self, what: str, *, endpoint: str = "", detail: str = "") -> None:
        """Something changed now."""
        self._changes.append(Change(self._wall_clock(), what, endpoint[:LONGEST_NAME], detail))

    def changes(self) -> tuple[Change, ...]:
        """The last changes, the newest first."""
        return tuple(reversed(self._changes))

    def decisions(self) -> tuple[DecisionEvent, ...]:
        """The last decisions, the newest first."""
        return tuple([self.tell(entry) for entry in reversed(self._decisions)])

    @contextmanager
    def watch(self, *, model: str = "", refusals_only: bool = False, most_per_s: int = 0) -> Iterator[Watch]:
        """The decisions from now on, at most `most_per_s` (0: `DEFAULT_PER_S`) each second."""
        per_s = min(most_per_s or DEFAULT_PER_S, MOST_PER_S)
        watch = Watch(self, model=model, refusals_only=refusals_only, most_per_s=per_s)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def tell(self, entry: _Entry, *, left_out: int = 0) -> DecisionEvent:
        """An entry in full."""
        return DecisionEvent(
            at_unix_s=self._wall_clock() - (self._clock() - entry.at_s),
            request_id=entry.request_id,
            path=entry.path,
            named_model=entry.named,
            model=entry.model,
            outcome=entry.outcome,
            reason=entry.reason,
            status=entry.status,
            endpoint=entry.endpoint,
            destination=entry.destination,
            seconds=entry.seconds,
            snapshot_version=entry.snapshot_version,
            best=_rank(entry.scores) if entry.scores is not None else (),
            left_out=left_out,
        )


def _shorten(decided: Decided) -> _Entry:
    head, outcome = decided.head, decided.outcome
    reason, status, endpoint, destination, scores = "", 0, "", "", None
    match outcome:
        case Route():
            name, endpoint, scores = "routed", outcome.endpoints[0].name, outcome.scores
            destination = outcome.destination
        case Reject():
            name, reason, status = outcome.refusal.code, outcome.reason.name.lower(), outcome.refusal.status
        case Reply():
            name, status = "replied", outcome.status
    return _Entry(
        decided.began_at_s + decided.seconds,
        head.headers.get("x-request-id", "")[:LONGEST_NAME],
        head.path.partition("?")[0][:LONGEST_NAME],
        (decided.named or "")[:LONGEST_NAME],
        (decided.model or "")[:LONGEST_NAME],
        name,
        reason,
        status,
        endpoint,
        destination,
        scores,
        decided.seconds,
        decided.snapshot_version,
    )


def _rank(scores: Scores) -> tuple[Ranked, ...]:
    best = nlargest(MOST_BEST, zip(scores.totals, scores.candidates, strict=True), key=lambda pair: pair[0])
    return tuple([Ranked(endpoint.name, total) for total, endpoint in best])


def _show(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
