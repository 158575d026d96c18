"""What a snapshot says by model and by place, kept up with the states of its endpoints.

`rebuild` reads every state; `update` does what a few changed ones need, since a pool of thousands changes hundreds of
times a second. Both give the same. Endpoints stand in the order of their ids: so one is found among thousands without a
look at each. Source: docs/performance.md, "What was tried".
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from msgspec.structs import replace

from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.snapshot import EndpointState, KnownModel, Snapshot

WITNESSES = 8
"""Endpoints that are asked whether they say the same of a model as one that is lost. Most often the first does."""

_id_of = attrgetter("id")

StateChange = tuple[EndpointState | None, EndpointState | None]
"""An endpoint's state before and after; None where there is none. Not both, and of the same endpoint."""


def rebuild(snapshot: Snapshot, states: dict[str, EndpointState], *, now: float) -> Snapshot:
    """The next snapshot, with these states. `now` is in monotonic seconds."""
    listing: dict[str, list[EndpointState]] = {}
    for state in states.values():
        for card in state.cards:
            listing.setdefault(card.id, []).append(state)
    models = {}
    for id_ in sorted(listing):
        cards = [card for state in listing[id_] for card in state.cards if card.id == id_]
        models[id_] = KnownModel(_merge(cards), _candidates(listing[id_]), _suspects(listing[id_]))
    return replace(
        snapshot,
        version=snapshot.version + 1,
        made_at_s=now,
        endpoints=states,
        models=models,
        routable=_candidates(states.values()),
        suspects=_suspects(states.values()),
    )


def update(snapshot: Snapshot, changes: Sequence[StateChange], *, now: float) -> Snapshot:
    """The next snapshot, with these states changed, each endpoint's at most once; `snapshot` where nothing is.

    `now` is in monotonic seconds.
    """
    if not changes:
        return snapshot
    states = dict(snapshot.endpoints)
    for before, after in changes:
        if after is not None:
            states[after.endpoint.id] = after
        elif before is not None:
            del states[before.endpoint.id]
    bearing = [change for change in changes if _bears_on_routing(*change)]
    if not bearing:
        return replace(snapshot, version=snapshot.version + 1, made_at_s=now, endpoints=states)
    models = dict(snapshot.models)
    for model, moves in _moves_by_model(bearing).items():
        _update_model(models, model, moves, states)
    return replace(
        snapshot,
        version=snapshot.version + 1,
        made_at_s=now,
        endpoints=states,
        models=models if models.keys() == snapshot.models.keys() else dict(sorted(models.items())),
        routable=_move(snapshot.routable, bearing, _is_candidate),
        suspects=_move(snapshot.suspects, bearing, _is_suspect),
    )


def _bears_on_routing(before: EndpointState | None, after: EndpointState | None) -> bool:
    return _bearing(before) != _bearing(after)


def _bearing(state: EndpointState | None) -> tuple[object, ...] | None:
    """What of a state stands in the index; None where nothing does."""
    if state is None or not (state.cards or state.is_routable):
        return None
    return state.endpoint, state.cards, state.is_routable, state.is_suspect


def _moves_by_model(changes: Iterable[StateChange]) -> dict[str, list[StateChange]]:
    """The changes that bear on each model. A state that does not list it stands as None."""
    moves: dict[str, list[StateChange]] = {}
    for before, after in changes:
        old = {} if before is None else {card.id: before for card in before.cards}
        new = {} if after is None else {card.id: after for card in after.cards}
        for id_ in old | new:
            moves.setdefault(id_, []).append((old.get(id_), new.get(id_)))
    return moves


def _update_model(
    models: dict[str, KnownModel], id_: str, moves: list[StateChange], states: dict[str, EndpointState]
) -> None:
    known = models.get(id_) or KnownModel(ModelCard(id_), ())
    lost = [
        _card(before, id_) for before, after in moves if before is not None and not _lists_the_same(before, after, id_)
    ]
    gained = [_card(after, id_) for _, after in moves if after is not None]
    candidates = _move(known.candidates, moves, _is_candidate)
    if id_ in models and _stands_without(known.card, lost, candidates, states):
        cards = [known.card, *gained]
    else:
        cards = [card for state in states.values() for card in state.cards if card.id == id_]
    if cards:
        models[id_] = KnownModel(_merge(cards), candidates, _move(known.suspects, moves, _is_suspect))
    else:
        models.pop(id_, None)


def _stands_without(
    merged: ModelCard, lost: list[ModelCard], candidates: tuple[Endpoint, ...], states: dict[str, EndpointState]
) -> bool:
    """True when `merged` is surely what the cards make that are left: reading them all costs their number.

    It is when nothing was lost, or nothing of the earliest `created`, and another endpoint says all else that it says.
    """
    if not lost:
        return True
    if any(card.created <= merged.created for card in lost):
        return False
    witnesses = (_card(states[endpoint.id], merged.id) for endpoint in candidates[:WITNESSES])
    return any(card.says_the_same_as(merged) for card in witnesses)


def _card(state: EndpointState, id_: str) -> ModelCard:
    return next(card for card in state.cards if card.id == id_)


def _lists_the_same(before: EndpointState, after: EndpointState | None, id_: str) -> bool:
    return after is not None and _card(before, id_) == _card(after, id_)


def _is_candidate(state: EndpointState) -> bool:
    return state.is_routable and not state.is_suspect


def _is_suspect(state: EndpointState) -> bool:
    return state.is_routable and state.is_suspect


def _candidates(states: Iterable[EndpointState]) -> tuple[Endpoint, ...]:
    return _in_order(state.endpoint for state in states if _is_candidate(state))


def _suspects(states: Iterable[EndpointState]) -> tuple[Endpoint, ...]:
    return _in_order(state.endpoint for state in states if _is_suspect(state))


def _in_order(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(sorted(endpoints, key=_id_of))


def _move(
    endpoints: tuple[Endpoint, ...], changes: Iterable[StateChange], belongs: Callable[[EndpointState], bool]
) -> tuple[Endpoint, ...]:
    """`endpoints`, those left out that no longer belong there, and those added that now do."""
    moved: list[Endpoint] | None = None
    for before, after in changes:
        was = before.endpoint if before is not None and belongs(before) else None
        is_ = after.endpoint if after is not None and belongs(after) else None
        if was == is_:
            continue
        moved = list(endpoints) if moved is None else moved
        if was is not None:
            del moved[bisect_left(moved, was.id, key=_id_of)]
        if is_ is not None:
            moved.insert(bisect_left(moved, is_.id, key=_id_of), is_)
    return endpoints if moved is None else tuple(moved)


def _merge(cards: list[ModelCard]) -> ModelCard:
    """The endpoints' cards of one model in one. Whose `root` it has does not hang on the order of the endpoints."""
    lengths = [card.max_model_len for card in cards if card.max_model_len is not None]
    return replace(
        min(cards, key=lambda card: (card.root or "", card.parent or "", card.owned_by)),
        created=min(card.created for card in cards),
        max_model_len=min(lengths) if lengths else None,
    )
