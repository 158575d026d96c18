"""Who opens ext_proc streams, and how: what `doctor` judges a data plane's filter by."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Body, Plan
from extproc.values.admin import Caller


class _Tally:
    """Streams of one kind."""

    __slots__ = (
        "first_at_s",
        "last_at_s",
        "left_after_s",
        "left_at_s",
        "left_early",
        "refused",
        "refused_at_s",
        "streams",
    )

    def __init__(self) -> None:
        self.streams = 0
        self.first_at_s = float("inf")
        self.last_at_s = float("-inf")
        self.left_early = 0
        self.left_after_s: float | None = None
        self.left_at_s = float("-inf")
        self.refused = 0
        self.refused_at_s = float("-inf")

    def add(self, other: "_Tally") -> None:
        """Counts those of another too."""
        self.streams += other.streams
        self.first_at_s = min(self.first_at_s, other.first_at_s)
        self.last_at_s = max(self.last_at_s, other.last_at_s)
        self.left_early += other.left_early
        if other.left_after_s is not None:
            self.leave(other.left_after_s, began_at_s=other.left_at_s)
        self.refused += other.refused
        self.refused_at_s = max(self.refused_at_s, other.refused_at_s)

    def leave(self, after_s: float, *, began_at_s: float) -> None:
        """One was left after so long."""
        self.left_after_s = after_s if self.left_after_s is None else min(self.left_after_s, after_s)
        self.left_at_s = max(self.left_at_s, began_at_s)


class Callers:
    """Counts streams by what their filter's modes made of them. There are a handful of kinds, whatever is sent."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tallies: dict[tuple[bool, Plan | None], _Tally] = {}

    def __repr__(self) -> str:
        return f"<Callers of {len(self._tallies)} kinds>"

    def note(
        self,
        plan: Plan | None,
        *,
        is_direct: bool,
        began_at_s: float,
        has_left_early: bool = False,
        is_refused: bool = False,
    ) -> None:
        """A stream is over. `plan` is None for one that showed no request; `has_left_early`: the caller ended it before
        it was answered; `is_refused`: its answer was that the filter's mode cannot work.
        """
        key = (is_direct, plan)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
        tally.streams += 1
        if began_at_s < tally.first_at_s:
            tally.first_at_s = began_at_s
        if began_at_s > tally.last_at_s:
            tally.last_at_s = began_at_s
        if has_left_early:
            tally.left_early += 1
            tally.leave(self._clock() - began_at_s, began_at_s=began_at_s)
        if is_refused:
            tally.refused += 1
            tally.refused_at_s = max(tally.refused_at_s, began_at_s)

    def seen(self) -> Iterator[Caller]:
        """Each kind that was seen, the one seen last first. Plans that look alike from outside are one kind: those of
        requests with and without a body.
        """
        kinds: dict[_Kind, _Tally] = {}
        for (is_direct, plan), tally in self._tallies.items():
            kinds.setdefault(_kind_of(plan, is_direct=is_direct), _Tally()).add(tally)
        now = self._clock()
        for kind, tally in sorted(kinds.items(), key=lambda item: -item[1].last_at_s):
            yield Caller(
                *kind,
                streams=tally.streams,
                age_s=now - tally.last_at_s,
                left_early=tally.left_early,
                left_after_s=tally.left_after_s,
                left_early_age_s=now - tally.left_at_s if tally.left_early else None,
                refused=tally.refused,
                refused_age_s=now - tally.refused_at_s if tally.refused else None,
                first_age_s=now - tally.first_at_s,
            )


class _Kind(NamedTuple):
    """What tells streams apart, as the first fields of `Caller`."""

    is_direct: bool
    request_body_mode: str
    response_body_mode: str
    tells_modes: bool
    answer: str


def _kind_of(plan: Plan | None, *, is_direct: bool) -> _Kind:
    if plan is None:
        return _Kind(is_direct, "", "", False, _answer(plan))
    return _Kind(is_direct, plan.request_body.name, plan.response_body.name, plan.tells_modes, _answer(plan))


def _answer(plan: Plan | None) -> str:
    """What becomes of the streams of a plan, in the words of `envoy.responsePhase`."""
    if plan is None:
        return "watch"
    if plan.body is Body.UNSUPPORTED:
        return "refuse"
    if not plan.stays:
        return "detach"
    return "track" if plan.response_body is BodyMode.NONE else "observe"
