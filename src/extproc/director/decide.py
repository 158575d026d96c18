"""Where a request goes, as a function of the request, a snapshot, the time and a source of randomness.

A refusal is only given on fresh evidence: unless every endpoint was probed within the last `EVIDENCE_AGE_S` before the
request came, the request is held for an extra round of probes. So a model is not refused that a ready endpoint had
begun to list between two regular probes.
"""

from itertools import cycle, islice
from typing import TYPE_CHECKING, Literal

import msgspec

from extproc.admission.saturation import Limits, is_saturated
from extproc.director.models_reply import describe_model, known_names, list_models, nearest_names
from extproc.director.names import resolve
from extproc.scheduling.profile import Admission, Profile
from extproc.values.decision import Decision, Hold, Reply, Route
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.refusal import Reason, Reject
from extproc.values.request import DescribeModel, InferenceRequest, ListModels, RouteToAny, RouteToModel
from extproc.values.snapshot import Snapshot

if TYPE_CHECKING:
    from random import Random

EVIDENCE_AGE_S = 0.25
"""A refusal may rest on a round of probes that began at most this long before the request came."""

SHOWN_MODEL_CHARACTERS = 200
"""A model name from a client is shown back to it up to this length."""


class DirectorPolicy(msgspec.Struct, frozen=True):
    """The settings that bear on a decision."""

    hold_s: float = 1.0
    """How long a request may wait for news that could spare it a refusal."""
    fallback_endpoints: int = 0
    """How many further addresses follow the first. Where fewer endpoints serve the model they stand repeatedly: past
    the end of the list a gateway's retry would go to any endpoint of the pool. Source: docs/decisions/007."""
    unknown_model: Literal["reject", "passthrough"] = "reject"
    limits: Limits = Limits()
    """What an endpoint may have before requests that can be shed no longer go there."""


class Director:
    """Decides. It changes nothing: the same call explains a decision without making it."""

    def __init__(self, *, profile: Profile, policy: DirectorPolicy) -> None:
        self._profile = profile
        self._policy = policy

    @property
    def profile(self) -> Profile:
        """By which it chooses among endpoints."""
        return self._profile

    @property
    def policy(self) -> DirectorPolicy:
        """By which it decides."""
        return self._policy

    def decide(self, request: InferenceRequest, snapshot: Snapshot, *, now: float, rng: "Random") -> Decision:
        """The answer to `request` by what `snapshot` knows. `now` is in monotonic seconds.

        `Hold` is returned at most until `request.arrived_s` + the policy's `hold_s`, or + the request's `may_wait_s`
        where that is less; after that, never.
        """
        match request.intent:
            case RouteToModel():
                return self.decide_for(resolve(request, snapshot, rng), request, snapshot, now=now, rng=rng)
            case RouteToAny():
                admits = self._admission(request, snapshot, now)
                if answer := self._route(request, snapshot.routable, snapshot.suspects, now, rng, admits=admits):
                    return answer
                return self._hold_for_evidence(request, snapshot, now) or self._route_anywhere(
                    request, snapshot, now, rng
                )
            case DescribeModel(model):
                if (entry := describe_model(model, snapshot)) is not None:
                    return Reply(200, entry)
                return self._hold_for_evidence(request, snapshot, now) or _refusal(model, model, snapshot)
            case ListModels():
                if snapshot.is_complete and not snapshot.has_answer_due:
                    return _list_so_far(snapshot)
                return self._hold(request, now, probe=False) or _list_so_far(snapshot)

    def decide_for(
        self, model: str, request: InferenceRequest, snapshot: Snapshot, *, now: float, rng: "Random"
    ) -> Decision:
        """As `decide`, of a request that names a model, which `names.resolve` found to stand for `model`."""
        known = snapshot.models.get(model)
        if known is not None:
            admits = self._admission(request, snapshot, now)
            answer = self._route(request, known.candidates, known.suspects, now, rng, known.card, admits)
            if answer is not None:
                return answer
        if hold := self._hold_for_evidence(request, snapshot, now):
            return hold
        if known is None and self._policy.unknown_model == "passthrough":
            answer = self._route_anywhere(request, snapshot, now, rng)
            return msgspec.structs.replace(answer, model=model) if isinstance(answer, Route) else answer
        return _refusal(request.rewrite or request.model or "", model, snapshot)

    def _hold_for_evidence(self, request: InferenceRequest, snapshot: Snapshot, now: float) -> Hold | None:
        """None where a refusal may be given: on fresh evidence, because none could change it (an empty subset allows no
        endpoint at all), or because there is no time left to wait for it.
        """
        if request.subset == ():
            return None
        if snapshot.probed_since_s >= request.arrived_s - EVIDENCE_AGE_S and snapshot.is_complete:
            return None
        return self._hold(request, now, probe=True)

    def _hold(self, request: InferenceRequest, now: float, *, probe: bool) -> Hold | None:
        until_s = request.arrived_s + min(self._policy.hold_s, request.may_wait_s)
        return Hold(until_s, probe) if now < until_s else None

    def _admission(self, request: InferenceRequest, snapshot: Snapshot, now: float) -> Admission | None:
        """What says no to a request that can be shed, by the loads of all that could serve it. None for all others,
        which are always sent on.
        """
        if request.objective is None or snapshot.objectives.get(request.objective, 0) >= 0:
            return None
        limits = self._policy.limits
        return lambda loads: not is_saturated(loads, limits, now=now)

    def _route(
        self,
        request: InferenceRequest,
        candidates: tuple[Endpoint, ...],
        suspects: tuple[Endpoint, ...],
        now: float,
        rng: "Random",
        card: ModelCard | None = None,
        admits: Admission | None = None,
    ) -> Route | Reject | None:
        """A route to one of `candidates`; only where none of them may get the request, to one of `suspects`.

        A refusal where some may, but `admits` says no.
        """
        count = 1 + self._policy.fallback_endpoints
        model, is_adapter = (None, False) if card is None else (card.id, card.parent is not None)
        for choice in (candidates, suspects):
            if not choice:
                continue
            endpoints, scores, work, is_full = self._profile.choose(
                request, choice, model=model, is_adapter=is_adapter, count=count, admits=admits, now=now, rng=rng
            )
            if endpoints:
                if len(endpoints) < count:
                    endpoints = tuple(islice(cycle(endpoints), count))
                return Route(endpoints, scores, work, model or "")
            if is_full:
                return _saturation(model)
        return None

    def _route_anywhere(
        self, request: InferenceRequest, snapshot: Snapshot, now: float, rng: "Random"
    ) -> Route | Reject:
        """A route to an endpoint that is ready, confirmed ones first: for requests whose model decides nothing."""
        if route := self._route(request, snapshot.routable, snapshot.suspects, now, rng):
            return route
        ready = tuple(state.endpoint for state in snapshot.endpoints.values() if state.is_ready)
        return self._route(request, ready, (), now, rng) or Reject(Reason.NO_READY_ENDPOINTS)


def _saturation(model: str | None) -> Reject:
    if model is None:
        return Reject(Reason.POOL_SATURATED)
    return Reject(Reason.MODEL_SATURATED, {"model": model[:SHOWN_MODEL_CHARACTERS]})


def _refusal(named: str, model: str, snapshot: Snapshot) -> Reject:
    """Why `model` cannot be served, told of the name that it was asked for by."""
    shown = named[:SHOWN_MODEL_CHARACTERS]
    if not any(state.is_ready for state in snapshot.endpoints.values()):
        return Reject(Reason.NO_READY_ENDPOINTS)
    if model in snapshot.models:
        return Reject(Reason.MODEL_UNAVAILABLE, {"model": shown})
    if not snapshot.has_answer or snapshot.has_answer_due:
        return Reject(Reason.NOTHING_ANSWERED_YET)
    return Reject(Reason.MODEL_UNKNOWN, {"model": shown, "available": nearest_names(shown, known_names(snapshot))})


def _list_so_far(snapshot: Snapshot) -> Reply | Reject:
    if snapshot.models or snapshot.has_answer:
        return Reply(200, list_models(snapshot))
    if snapshot.is_synced and not any(state.is_ready for state in snapshot.endpoints.values()):
        return Reject(Reason.NO_READY_ENDPOINTS)
    return Reject(Reason.NOTHING_ANSWERED_YET)
