"""Why a request goes where it goes, or is refused, in one sentence."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from extproc.director.decide import SHOWN_MODEL_CHARACTERS, Director, DirectorPolicy
from extproc.director.models_reply import known_names, nearest_names
from extproc.director.verdicts import RESERVATIONS, Judged
from extproc.scheduling.pickers import PowerOfTwoPicker
from extproc.scheduling.profile import Profile
from extproc.values.admin import Candidate
from extproc.values.decision import Reply, Route
from extproc.values.duration import format_duration
from extproc.values.refusal import Reason, Reject
from extproc.values.request import DescribeModel, InferenceRequest
from extproc.values.snapshot import EndpointState, Snapshot

SHOWN_NAMES = 3
OBSTACLES = {
    "ready": "not ready",
    "confirmed": "not confirmed",
    "model": "without it in their list",
    "subset": "not among those that the data plane allows",
    "role": "of a role that answers no client",
}


class Case(NamedTuple):
    """A request, and what becomes of it."""

    snapshot: Snapshot
    outcome: Route | Reject | Reply
    request: InferenceRequest | None = None
    """None for one that cannot be read."""
    model: str = ""
    """What it is routed by; empty where it names none."""
    route: Route | None = None
    """Where it would have gone: also where the outcome is a refusal, as the body cannot be made to name the model."""
    held_s: float = 0.0

    @property
    def named(self) -> str:
        """The model that the request names, empty for none."""
        return (self.request.model or "") if self.request is not None else ""

    @property
    def is_passed_through(self) -> bool:
        """The model is unknown, and the request goes anywhere."""
        return bool(self.model) and self.route is not None and self.model not in self.snapshot.models


def shorten(name: str) -> str:
    """A model's name as it stands in a sentence."""
    return name if len(name) <= SHOWN_MODEL_CHARACTERS else f"{name[:SHOWN_MODEL_CHARACTERS]}…"


def is_shed(case: Case) -> bool:
    """It is refused for how much there is to do."""
    return isinstance(case.outcome, Reject) and case.outcome.reason in (Reason.MODEL_SATURATED, Reason.POOL_SATURATED)


def tell_why(
    case: Case, judged: Sequence[Judged], rows: Sequence[Candidate], director: Director, *, is_keyed: bool
) -> str:
    """The sentence. `rows`: those of `judged`, compared; `is_keyed`: as `Estimate.is_keyed`."""
    match case.outcome:
        case Reply():
            why = _tell_reply(case)
        case Reject() if is_shed(case):
            why = tell_saturation(case, director.policy)
        case Reject():
            why = f"{case.outcome.refusal.code}: {_tell_refusal(case.outcome, case, judged)}"
        case Route():
            why = _tell_choice(case, judged, rows, director.profile, is_keyed=is_keyed)
            why += "".join(f"; {verdict.why}" for verdict in rows[0].verdicts if verdict in RESERVATIONS)
    if case.held_s:
        why += f"; before that it waits up to {format_duration(case.held_s)} for what fresh probes say"
    return _tell_renaming(case) + why


def _tell_renaming(case: Case) -> str:
    if case.request is None or case.model == case.named:
        return ""
    named, model = shorten(case.named), shorten(case.model)
    if case.request.rewrite:
        return f"a header asks for {model} in place of {named}; "
    alias = case.snapshot.aliases.get(case.named)
    drawn = f", drawn out of {len(alias.targets)}" if alias is not None and len(alias.targets) > 1 else ""
    return f"{named} stands for {model}{drawn}; "


def _tell_reply(case: Case) -> str:
    if case.request is not None and isinstance(case.request.intent, DescribeModel):
        return f"the picker answers itself what the pool's endpoints say of {shorten(case.named)}"
    count = sum(1 for _ in known_names(case.snapshot))
    return f"the picker answers itself: {_count(count, 'model')}, those of all endpoints of the pool together"


def _tell_choice(
    case: Case, judged: Sequence[Judged], rows: Sequence[Candidate], profile: Profile, *, is_keyed: bool
) -> str:
    compared = [each for each in rows if each.total is not None]
    chosen, *others = compared
    lead = f"nobody lists {shorten(case.model)}, and unknown models are passed on; " if case.is_passed_through else ""
    lead += chosen.name
    if not others:
        return f"{lead} {_tell_only(case, judged)}"
    total, best = chosen.total or 0.0, max(others, key=lambda each: each.total or 0.0)
    second = best.total or 0.0
    of = f"{_figure(total)} of {_figure(sum(weight for _, weight in profile.scorers))}"
    draws = profile.picker.name == PowerOfTwoPicker.name
    if second > total:
        return f"{lead}, with {of}, is the better of two drawn at random; the most has {best.name}, {_figure(second)}"
    if second < total:
        return f"{lead} has the highest sum, {of}; next is {best.name} with {_figure(second)}"
    equals = sum(1 for each in compared if each.total == total)
    how = "the session or the prompt's beginning tells which" if is_keyed and not draws else "one is drawn at random"
    return f"{lead} is one of {equals} with the highest sum, {of}: {how}"


def _tell_only(case: Case, judged: Sequence[Judged]) -> str:
    if not case.model or case.is_passed_through:
        return "is the only endpoint that may get it"
    listing = [each for each in judged if _lists(each.state, case.model)]
    if len(listing) == 1:
        return f"is the only endpoint that serves {shorten(case.model)}"
    return f"is the only one that may get it, of {len(listing)} that list {shorten(case.model)}"


def _tell_refusal(refusal: Reject, case: Case, judged: Sequence[Judged]) -> str:
    model, snapshot = shorten(case.model), case.snapshot
    match refusal.reason:
        case Reason.MODEL_UNKNOWN:
            known = nearest_names(case.model[:SHOWN_MODEL_CHARACTERS], known_names(snapshot))
            return f"no endpoint of the pool lists {model}; known are {known}"
        case Reason.MODEL_UNAVAILABLE:
            listing = [each for each in judged if _lists(each.state, case.model)]
            return f"{model} is known, but {_tally(listing, 'that lists it', 'that list it')}"
        case Reason.NO_READY_ENDPOINTS if not judged:
            return "the pool has no endpoint"
        case Reason.NO_READY_ENDPOINTS:
            return _tally(judged, "in the pool", "in the pool")
        case Reason.NOTHING_ANSWERED_YET:
            return _tell_missing_answers(snapshot)
        case _:
            return refusal.message


def tell_saturation(case: Case, policy: DirectorPolicy) -> str:
    """Why a request is shed."""
    objective = case.request.objective if case.request is not None else None
    priority = case.snapshot.objectives.get(objective or "", 0)
    limits = policy.limits
    said = [("queueDepth", limits.queue_depth), ("kvUsedRatio", limits.kv_used_ratio), ("inFlight", limits.in_flight)]
    shown = ", ".join(f"{key} {limit:g}" for key, limit in said if limit is not None)
    of = f"the endpoints of {shorten(case.model)}" if case.model else "the endpoints"
    return f"shed: {of} have on average reached a limit ({shown}), and {objective} has the priority {priority}"


def _tell_missing_answers(snapshot: Snapshot) -> str:
    awaited = [state for state in snapshot.endpoints.values() if state.is_awaited]
    if not snapshot.is_synced and not awaited:
        return "the source of the pool's endpoints has not been read yet"
    if awaited:
        return (
            f"{_names(awaited)} may still answer which models it serves: {awaited[0].problem or 'no probe ended yet'}"
        )
    ready = [state for state in snapshot.endpoints.values() if state.is_ready]
    problem = next((state.problem for state in ready if state.problem), "")
    return "no ready endpoint has answered which models it serves" + (f": {problem}" if problem else "")


def _tally(judged: Sequence[Judged], that: str, those: str) -> str:
    """What keeps endpoints from the request, such as `of 3 endpoints in the pool 2 are not ready, 1 is not confirmed`.

    `that` and `those` say which endpoints they are, one and several.
    """
    if len(judged) == 1:
        return f"the only endpoint {that}, {judged[0].state.endpoint.name}, is {_tell_obstacle(judged[0].obstacle)}"
    counts = Counter(each.obstacle for each in judged)
    told = [f"{count} {'is' if count == 1 else 'are'} {_tell_obstacle(name)}" for name, count in counts.items()]
    return f"of {len(judged):,} endpoints {those} {', '.join(told)}"


def _tell_obstacle(name: str) -> str:
    return OBSTACLES.get(name, f"left out by the filter {name}")


def _lists(state: EndpointState, model: str) -> bool:
    return any(card.id == model for card in state.cards)


def _names(states: Sequence[EndpointState]) -> str:
    shown = ", ".join(state.endpoint.name for state in states[:SHOWN_NAMES])
    left = len(states) - SHOWN_NAMES
    return f"{shown} and {left} more" if left > 0 else shown


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _figure(value: float) -> str:
    """With at most three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
