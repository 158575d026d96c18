"""Who opens ext_proc streams, and how: what `doctor` judges a data plane's filter by."""

from collections.abc import Callable, Iterator

from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Body, Plan
from extproc.values.admin import Caller


class _Tally:
    """Streams of one kind."""

    __slots__ = ("last_at_s", "left_after_s", "left_early", "streams")

    def __init__(self) -> None:
        self.streams = 0
        self.last_at_s = 0.0
        self.left_early = 0
        self.left_after_s: float | None = None


class Callers:
    """Counts streams by what their filter's modes made of them. There are a handful of kinds, whatever is sent."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tallies: dict[tuple[bool, Plan | None], _Tally] = {}

    def __repr__(self) -> str:
        return f"<Callers of {len(self._tallies)} kinds>"

    def note(self, plan: Plan | None, *, is_direct: bool, began_at_s: float, has_left_early: bool) -> None:
        """A stream is over. `plan` is None for one that showed no request; `has_left_early`: the caller ended it before
        it was answered.
        """
        key = (is_direct, plan)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
        tally.streams += 1
        tally.last_at_s = began_at_s
        if has_left_early:
            tally.left_early += 1
            lasted_s = self._clock() - began_at_s
            tally.left_after_s = lasted_s if tally.left_after_s is None else min(tally.left_after_s, lasted_s)

    def seen(self) -> Iterator[Caller]:
        """Each kind that was seen, the one seen last first."""
        now = self._clock()
        for (is_direct, plan), tally in sorted(self._tallies.items(), key=lambda item: -item[1].last_at_s):
            yield Caller(
                is_direct=is_direct,
                request_body_mode=plan.request_body.name if plan is not None else "",
                response_body_mode=plan.response_body.name if plan is not None else "",
                tells_modes=plan is not None and plan.tells_modes,
                answer=_answer(plan),
                streams=tally.streams,
                age_s=now - tally.last_at_s,
                left_early=tally.left_early,
                left_after_s=tally.left_after_s,
            )


def _answer(plan: Plan | None) -> str:
    """What becomes of the streams of a plan, in the words of `envoy.responsePhase`."""
    if plan is None:
        return "watch"
    if plan.body is Body.UNSUPPORTED:
        return "refuse"
    if not plan.stays:
        return "detach"
    return "track" if plan.response_body is BodyMode.NONE else "observe"
