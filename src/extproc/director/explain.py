"""Why a request goes where it goes: what the director decides on it, with the reasons beside."""

from typing import TYPE_CHECKING

import msgspec

from extproc.director.decide import Director
from extproc.director.decider import Decider
from extproc.director.edits import rename
from extproc.director.names import resolve
from extproc.director.reasons import Case, tell_why
from extproc.director.rows import list_rows
from extproc.director.verdicts import Judged, Wanted, judge
from extproc.parsers.request import parse_request
from extproc.protocol.commands import Immediate
from extproc.scheduling.profile import Estimate, Profile
from extproc.settings.schema import Settings
from extproc.values.admin import Answer, Explanation, Scorer
from extproc.values.decision import Decision, Hold, Reply, Route
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, InferenceRequest, RequestHead, RouteToAny, RouteToModel
from extproc.values.snapshot import Snapshot

if TYPE_CHECKING:
    from random import Random

NO_PROMPT = Estimate(0.0, (), False)


class Explainer:
    """Explains by deciding, with the decider that real requests are decided by. Nothing is changed."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    def __repr__(self) -> str:
        return f"<Explainer {self._decider!r}>"

    def read(self, head: RequestHead, body: bytes, *, now: float) -> InferenceRequest | Reject:
        """What this request asks for. A compressed body can take long, and can be read in a thread."""
        return _parse(head, body, self._decider.settings, now=now)

    def explain(
        self,
        head: RequestHead,
        body: bytes,
        snapshot: Snapshot,
        *,
        now: float,
        rng: "Random",
        parsed: InferenceRequest | Reject | None = None,
    ) -> Explanation:
        """What would become of this request, of which the whole body is here. `now` is in monotonic seconds.

        `parsed` is what `read` made of it, where that was asked before.

        It is decided as a real one would be, at this moment; one that would be held for fresh probes as it would be at
        the end of that time, had they nothing new to say.
        """
        director = self._decider.director
        if parsed is None:
            parsed = self.read(head, body, now=now)
        if isinstance(parsed, Reject):
            case = Case(snapshot, parsed)
        else:
            case = _settle(director, parsed, head, body, snapshot, now=now, rng=rng)
        return _tell(case, director, now=now)


def _parse(head: RequestHead, body: bytes, settings: Settings, *, now: float) -> InferenceRequest | Reject:
    limit = settings.requests.max_body_bytes
    if len(body) > limit:
        return Reject(Reason.BODY_TOO_LARGE, {"limit": str(limit)})
    session_header = settings.scheduling.session_header
    return parse_request(head, body, max_body_bytes=limit, now=now, session_header=session_header)


def _settle(
    director: Director,
    request: InferenceRequest,
    head: RequestHead,
    body: bytes,
    snapshot: Snapshot,
    *,
    now: float,
    rng: "Random",
) -> Case:
    """What becomes of the request in the end."""
    model, decision, held_s = *_decide(director, request, snapshot, now=now, rng=rng), 0.0
    if isinstance(decision, Hold):
        held_s = round(decision.until_s - now, 3)
        hurried = msgspec.structs.replace(request, may_wait_s=0.0)
        model, decision = _decide(director, hurried, snapshot, now=now, rng=rng)
    assert not isinstance(decision, Hold)  # noqa: S101 - there was no time left to wait
    if not isinstance(decision, Route):
        return Case(snapshot, decision, request, model, None, held_s)
    outcome = rename(decision, request, head=head, body=body, extent=BodyExtent.WHOLE)
    return Case(snapshot, outcome, request, model, decision, held_s)


def _decide(
    director: Director, request: InferenceRequest, snapshot: Snapshot, *, now: float, rng: "Random"
) -> tuple[str, Decision]:
    """The model that the request is routed by, and the decision."""
    if isinstance(request.intent, RouteToModel):
        model = resolve(request, snapshot, rng)
        return model, director.decide_for(model, request, snapshot, now=now, rng=rng)
    return request.model or "", director.decide(request, snapshot, now=now, rng=rng)


def _tell(case: Case, director: Director, *, now: float) -> Explanation:
    profile, snapshot, route, outcome = director.profile, case.snapshot, case.route, case.outcome
    estimate = _estimate(case, profile)
    judged = _judge(case, director)
    rows = list_rows(case, judged, estimate.cached_tokens, profile, director.policy)
    return Explanation(
        pool=str(snapshot.pool),
        snapshot_version=snapshot.version,
        snapshot_age_s=now - snapshot.made_at_s,
        named_model=_encodable(case.named),
        model=_encodable(case.model),
        outcome=_name_outcome(outcome),
        why=_encodable(tell_why(case, judged, rows, director, is_keyed=estimate.is_keyed)),
        destination=outcome.destination if isinstance(outcome, Route) else "",
        endpoint=outcome.endpoints[0].name if isinstance(outcome, Route) else "",
        answer=None if isinstance(outcome, Route) else _answer(Immediate(outcome)),
        held_s=case.held_s,
        scorers=tuple([Scorer(scorer.name, weight) for scorer, weight in profile.scorers]),
        picker=profile.picker.name,
        compared=len(route.scores.candidates) if route is not None else 0,
        candidates=rows,
        prompt_tokens=estimate.prompt_tokens,
    )


def _judge(case: Case, director: Director) -> list[Judged]:
    """What keeps each endpoint from the request; nothing where none is asked."""
    states, request = case.snapshot.endpoints.values(), case.request
    if request is None or not isinstance(request.intent, RouteToModel | RouteToAny):
        return [Judged(state) for state in states]
    is_any = case.model not in case.snapshot.models and director.policy.unknown_model == "passthrough"
    model = None if is_any or isinstance(request.intent, RouteToAny) else case.model
    return judge(states, Wanted(model, request.subset, director.profile.filters))


def _estimate(case: Case, profile: Profile) -> Estimate:
    if case.request is None:
        return NO_PROMPT
    compared = case.route.scores.candidates if case.route is not None else ()
    return profile.estimate(case.request, compared, model=case.model if case.model in case.snapshot.models else None)


def _name_outcome(outcome: Route | Reject | Reply) -> str:
    match outcome:
        case Route():
            return "routed"
        case Reply():
            return "replied"
        case Reject():
            return outcome.refusal.code


def _answer(immediate: Immediate) -> Answer:
    return Answer(immediate.status, immediate.headers, immediate.body)


def _encodable(text: str) -> str:
    """What a client names may hold half a character: that becomes `?`."""
    return text.encode("utf-8", "replace").decode()
