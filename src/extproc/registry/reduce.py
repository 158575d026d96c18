"""The rules of the registry: a snapshot and a change make the next snapshot.

| change | what follows |
|---|---|
| pool listed or changed | endpoints that are gone are dropped, new ones start unconfirmed; others keep what is known |
| the source says not ready | not ready and unconfirmed; what it listed stays known |
| the source says ready anew, or of another incarnation | unconfirmed until its next good answer, no longer suspect |
| models listed | confirmed, no longer suspect; an empty list after a filled one must come twice |
| connection refused | where only probes tell, not ready and unconfirmed: what comes back may be another process |
| three connect failures in a second | suspect: the last choice; where only probes tell, not ready |
| other failures | the last good list stays; a server that answers at all is there, and not suspect |
| first answer overdue | nobody waits for this endpoint any more |
| round completed | nothing known is older than the start of the round |
| names listed | these aliases and objectives hold, and no others; no endpoint is touched |
"""

from collections.abc import Iterable

from msgspec.structs import replace

from extproc.registry.changes import (
    Change,
    Failure,
    FirstAnswerOverdue,
    Listing,
    ModelsListed,
    NamesListed,
    PoolChanged,
    PoolListed,
    ProbeFailed,
    RoundCompleted,
)
from extproc.registry.index import StateChange, rebuild, update
from extproc.values.model import ModelCard
from extproc.values.snapshot import EndpointState, Snapshot

SUSPECT_FAILURES = 3
SUSPECT_WINDOW_S = 1.0


def reduce(snapshot: Snapshot, change: Change, *, now: float) -> Snapshot:
    """The snapshot after `change`, or `snapshot` itself when the change tells nothing new.

    `now` is in monotonic seconds. A change about an endpoint that is gone tells nothing.
    """
    match change:
        case PoolListed(listings):
            return _list_pool(snapshot, listings, now)
        case PoolChanged(listings, gone):
            return update(snapshot, list(_find_differences(snapshot, listings, gone)), now=now)
        case RoundCompleted(started_at_s):
            if started_at_s <= snapshot.probed_since_s:
                return snapshot
            return replace(snapshot, version=snapshot.version + 1, probed_since_s=started_at_s)
        case NamesListed():
            return _list_names(snapshot, change, now)
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
            return update(snapshot, [] if after == before else [(before, after)], now=now)


def _list_names(snapshot: Snapshot, change: NamesListed, now: float) -> Snapshot:
    aliases = {alias.name: alias for alias in sorted(change.aliases, key=lambda alias: alias.name)}
    if aliases == snapshot.aliases and change.objectives == snapshot.objectives:
        return snapshot
    version = snapshot.version + 1
    return replace(snapshot, version=version, made_at_s=now, aliases=aliases, objectives=change.objectives)


def _list_pool(snapshot: Snapshot, listings: Iterable[Listing], now: float) -> Snapshot:
    states = {listing.endpoint.id: _after_listing(snapshot, listing) for listing in listings}
    if snapshot.is_synced and states == snapshot.endpoints and list(states) == list(snapshot.endpoints):
        return snapshot
    return rebuild(replace(snapshot, is_synced=True), states, now=now)


def _find_differences(snapshot: Snapshot, listings: Iterable[Listing], gone: Iterable[str]) -> Iterable[StateChange]:
    for id_ in gone:
        if (before := snapshot.endpoints.get(id_)) is not None:
            yield before, None
    for listing in listings:
        before, after = snapshot.endpoints.get(listing.endpoint.id), _after_listing(snapshot, listing)
        if after != before:
            yield before, after


def _after_listing(snapshot: Snapshot, listing: Listing) -> EndpointState:
    state = snapshot.endpoints.get(listing.endpoint.id)
    says_ready, incarnation = listing.is_ready, listing.incarnation
    if state is None:
        is_ready = says_ready is not False
        return EndpointState(listing.endpoint, source_says_ready=says_ready, incarnation=incarnation, is_ready=is_ready)
    state = replace(state, endpoint=listing.endpoint, source_says_ready=says_ready)
    if says_ready is False:
        return replace(state, incarnation=incarnation, is_ready=False, is_confirmed=False)
    if incarnation != state.incarnation or (says_ready and not state.is_ready):
        return replace(
            state,
            incarnation=incarnation,
            is_ready=True,
            is_confirmed=False,
            is_suspect=False,
            is_probed=False,
            is_settled=False,
            connect_failures_s=(),
            empty_answers=0,
        )
    return state


def _after_answer(state: EndpointState, cards: tuple[ModelCard, ...]) -> EndpointState:
    is_ready = state.source_says_ready is not False
    alive = replace(
        state,
        is_ready=is_ready,
        is_confirmed=is_ready,
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
    probes_say_ready = state.source_says_ready is None
    if change.failure.is_answer:
        is_ready = state.is_ready or probes_say_ready
        return replace(failed, is_ready=is_ready, is_suspect=False, connect_failures_s=())
    if not change.failure.is_connect_failure or state.is_suspect:
        return failed
    recent = (*(at for at in state.connect_failures_s if now - at <= SUSPECT_WINDOW_S), now)[-SUSPECT_FAILURES:]
    is_suspect = len(recent) == SUSPECT_FAILURES
    is_gone = probes_say_ready and (is_suspect or change.failure is Failure.REFUSED)
    return replace(
        failed,
        connect_failures_s=recent,
        is_suspect=is_suspect,
        is_ready=state.is_ready and not is_gone,
        is_confirmed=state.is_confirmed and not is_gone,
    )
