"""The rules of the registry: a snapshot and a change make the next snapshot.

| change | what follows |
|---|---|
| pool listed | endpoints that are gone are dropped, new ones start unconfirmed; equal ids keep all that is known |
| models listed | confirmed, ready, no longer suspect; an empty list after a filled one must come twice |
| connection refused | not ready and unconfirmed: nothing listens, and what comes back may be another process |
| three connect failures in a second | suspect; a file says nothing of readiness, so suspect is not ready here |
| other failures | the last good list stays; a server that answers at all is there: not suspect, ready |
| first answer overdue | nobody waits for this endpoint any more |
| round completed | nothing known is older than the start of the round |
"""

from collections.abc import Iterable

from msgspec.structs import replace

from extproc.registry.changes import (
    Change,
    Failure,
    FirstAnswerOverdue,
    ModelsListed,
    PoolListed,
    ProbeFailed,
    RoundCompleted,
)
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.snapshot import EndpointState, KnownModel, Snapshot

SUSPECT_FAILURES = 3
SUSPECT_WINDOW_S = 1.0


def reduce(snapshot: Snapshot, change: Change, *, now: float) -> Snapshot:
    """The snapshot after `change`, or `snapshot` itself when the change tells nothing new.

    `now` is in monotonic seconds. A change about an endpoint that is gone tells nothing.
    """
    match change:
        case PoolListed(endpoints):
            return _list_pool(snapshot, endpoints, now)
        case RoundCompleted(started_at_s):
            if started_at_s <= snapshot.probed_since_s:
                return snapshot
            return replace(snapshot, version=snapshot.version + 1, probed_since_s=started_at_s)
        case _:
            before = snapshot.endpoints.get(change.endpoint_id)
            if before is None:
                return snapshot
            match change:
                case ModelsListed():
                    after = _after_answer(before, change.cards)
                case ProbeFailed():
                    after = _after_failure(before, change, now)
                case FirstAnswerOverdue():
                    after = replace(before, is_settled=True)
            if after == before:
                return snapshot
            return _replace_state(snapshot, before, after, now)


def _list_pool(snapshot: Snapshot, endpoints: Iterable[Endpoint], now: float) -> Snapshot:
    states = {}
    for endpoint in endpoints:
        known = snapshot.endpoints.get(endpoint.id)
        states[endpoint.id] = EndpointState(endpoint) if known is None else replace(known, endpoint=endpoint)
    if snapshot.is_synced and states == snapshot.endpoints and list(states) == list(snapshot.endpoints):
        return snapshot
    return _rebuild(replace(snapshot, is_synced=True), states, now)


def _after_answer(state: EndpointState, cards: tuple[ModelCard, ...]) -> EndpointState:
    alive = replace(
        state,
        is_ready=True,
        is_confirmed=True,
        is_suspect=False,
        is_probed=True,
        is_settled=True,
        has_answered=True,
        connect_failures_s=(),
        empty_answers=0,
        problem="",
    )
    if not cards and state.cards and not state.empty_answers:
        return replace(alive, is_confirmed=state.is_confirmed, empty_answers=1, problem="answered with an empty list")
    return replace(alive, cards=_keep_first_seen(state.cards, cards))


def _keep_first_seen(old: tuple[ModelCard, ...], new: tuple[ModelCard, ...]) -> tuple[ModelCard, ...]:
    """`new`, each card that says the same as an old one replaced by the old one; one card an id, the first."""
    known = {card.id: card for card in old}
    cards: dict[str, ModelCard] = {}
    for card in new:
        before = known.get(card.id)
        cards.setdefault(card.id, before if before is not None and card.says_the_same_as(before) else card)
    return tuple(cards.values())


def _after_failure(state: EndpointState, change: ProbeFailed, now: float) -> EndpointState:
    failed = replace(state, is_probed=True, problem=change.detail)
    if change.failure.is_answer:
        return replace(failed, is_ready=True, is_suspect=False, connect_failures_s=())
    if not change.failure.is_connect_failure:
        return failed
    if state.is_suspect:
        return failed
    recent = (*(at for at in state.connect_failures_s if now - at <= SUSPECT_WINDOW_S), now)[-SUSPECT_FAILURES:]
    is_suspect = state.is_suspect or len(recent) == SUSPECT_FAILURES
    is_gone = is_suspect or change.failure is Failure.REFUSED
    return replace(
        failed,
        connect_failures_s=recent,
        is_suspect=is_suspect,
        is_ready=state.is_ready and not is_gone,
        is_confirmed=state.is_confirmed and not is_gone,
    )


def _replace_state(snapshot: Snapshot, before: EndpointState, after: EndpointState, now: float) -> Snapshot:
    """The snapshot with one endpoint's state replaced. What does not bear on routing costs no new index, and what only
    adds to it no new reading of the other endpoints: a thousand of them start one after another.
    """
    states = {**snapshot.endpoints, after.endpoint.id: after}
    if after.cards == before.cards and after.is_routable == before.is_routable:
        return replace(snapshot, version=snapshot.version + 1, made_at_s=now, endpoints=states)
    held = {card.id: card for card in before.cards}
    listed = {card.id: card for card in after.cards}
    if any(listed.get(id_) is not card for id_, card in held.items()):
        return _rebuild(snapshot, states, now)
    models = dict(snapshot.models)
    endpoint, was, is_ = after.endpoint, before.is_routable, after.is_routable
    for card in after.cards:
        known = models.get(card.id)
        if known is None:
            models[card.id] = KnownModel(card, (endpoint,) if is_ else ())
        elif card.id in held:
            models[card.id] = KnownModel(known.card, _change(known.candidates, endpoint, was, is_))
        else:
            models[card.id] = KnownModel(_merge([known.card, card]), _change(known.candidates, endpoint, False, is_))
    return replace(
        snapshot,
        version=snapshot.version + 1,
        made_at_s=now,
        endpoints=states,
        models=models if len(models) == len(snapshot.models) else dict(sorted(models.items())),
        routable=_change(snapshot.routable, endpoint, was, is_),
    )


def _change(endpoints: tuple[Endpoint, ...], endpoint: Endpoint, was: bool, is_: bool) -> tuple[Endpoint, ...]:
    """`endpoints` with or without one that was among them or was not."""
    if was == is_:
        return endpoints
    return (*endpoints, endpoint) if is_ else tuple(other for other in endpoints if other.id != endpoint.id)


def _rebuild(snapshot: Snapshot, states: dict[str, EndpointState], now: float) -> Snapshot:
    cards: dict[str, list[ModelCard]] = {}
    candidates: dict[str, list[Endpoint]] = {}
    for state in states.values():
        for card in state.cards:
            cards.setdefault(card.id, []).append(card)
            if state.is_routable:
                candidates.setdefault(card.id, []).append(state.endpoint)
    return replace(
        snapshot,
        version=snapshot.version + 1,
        made_at_s=now,
        endpoints=states,
        models={id_: KnownModel(_merge(cards[id_]), tuple(candidates.get(id_, ()))) for id_ in sorted(cards)},
        routable=tuple(state.endpoint for state in states.values() if state.is_routable),
    )


def _merge(cards: list[ModelCard]) -> ModelCard:
    """The endpoints' cards of one model in one. Whose `root` it has does not hang on the order of the endpoints."""
    lengths = [card.max_model_len for card in cards if card.max_model_len is not None]
    return replace(
        min(cards, key=lambda card: (card.root or "", card.parent or "", card.owned_by)),
        created=min(card.created for card in cards),
        max_model_len=min(lengths) if lengths else None,
    )
