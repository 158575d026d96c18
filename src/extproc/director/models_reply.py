"""The picker's own `GET /v1/models`: the union over the pool, in a stable order."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

import msgspec

from extproc.values.names import Alias
from extproc.values.snapshot import KnownModel, Snapshot

SHOWN_NAMES = 20
WINDOW_NAMES = 1000
COMPARED_NAMES = 60
"""Names compared letter by letter, the costly way, after a cheap first choice among thousands."""


class _Entry(msgspec.Struct, frozen=True):
    """One model as a client sees it, in vLLM's shape plus `endpoints`."""

    id: str
    created: int
    owned_by: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    endpoints: int
    """Ready and confirmed ones, may be 0."""
    object: str = "model"


class _Listing(msgspec.Struct, frozen=True):
    data: list[_Entry]
    object: str = "list"


def list_models(snapshot: Snapshot) -> bytes:
    """The JSON list of every known model and alias, sorted by id, one entry each."""
    entries = (_find_entry(name, snapshot) for name in known_names(snapshot))
    return msgspec.json.encode(_Listing([entry for entry in entries if entry is not None]))


def describe_model(name: str, snapshot: Snapshot) -> bytes | None:
    """The JSON entry of one known model or alias; None of any other."""
    entry = _find_entry(name, snapshot)
    return None if entry is None else msgspec.json.encode(entry)


def known_names(snapshot: Snapshot) -> Iterable[str]:
    """What a client may ask for, sorted: the known models, and the aliases of which a target is known."""
    if not snapshot.aliases:
        return snapshot.models
    aliases = {name for name, alias in snapshot.aliases.items() if _known_targets(alias, snapshot.models)}
    return sorted((snapshot.models.keys() - snapshot.aliases.keys()) | aliases)


def _known_targets(alias: Alias, models: Mapping[str, KnownModel]) -> list[KnownModel]:
    names = dict.fromkeys(target.model for target in alias.targets)
    return [models[name] for name in names if name in models]


def _find_entry(name: str, snapshot: Snapshot) -> _Entry | None:
    """An alias hides a model of its name: what it stands for is what a client gets."""
    if (alias := snapshot.aliases.get(name)) is not None:
        return _alias_entry(alias, _known_targets(alias, snapshot.models))
    known = snapshot.models.get(name)
    return None if known is None else _entry(known)


def _alias_entry(alias: Alias, targets: list[KnownModel]) -> _Entry | None:
    """`endpoints` counts those of all known targets, each once; `max_model_len` is the smallest of them."""
    if not targets:
        return None
    if len(targets) == 1:
        count = targets[0].routable_count
    else:
        count = len({each.id for target in targets for each in (*target.candidates, *target.suspects)})
    cards = [target.card for target in targets]
    return _Entry(
        id=alias.name,
        created=min(card.created for card in cards),
        owned_by=cards[0].owned_by,
        root=alias.targets[0].model if len(alias.targets) == 1 else None,
        parent=None,
        max_model_len=min((card.max_model_len for card in cards if card.max_model_len is not None), default=None),
        endpoints=count,
    )


def _entry(known: KnownModel) -> _Entry:
    card = known.card
    return _Entry(
        id=card.id,
        created=card.created,
        owned_by=card.owned_by,
        root=card.root,
        parent=card.parent,
        max_model_len=card.max_model_len,
        endpoints=known.routable_count,
    )


def nearest_names(model: str, known: Iterable[str]) -> str:
    """At most 20 of the known names (sorted), the most alike first, for the text of a 404."""
    names = list(known)
    if len(names) > WINDOW_NAMES:  # they are sorted: those that begin alike stand around the place of this one
        place = bisect_left(names, model)
        names = names[max(0, place - WINDOW_NAMES // 2) : place + WINDOW_NAMES // 2]
    wanted = model.casefold()
    tail = wanted.rpartition("/")[2]

    def shared_letters(name: str) -> int:
        folded = name.casefold()
        return max(_shared(folded, wanted), _shared(folded.rpartition("/")[2], tail))

    compared = sorted(names, key=shared_letters, reverse=True)[:COMPARED_NAMES]
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)

    def likeness(name: str) -> float:
        matcher.set_seq1(name.casefold())
        return matcher.quick_ratio()

    nearest = sorted(compared, key=lambda name: (-likeness(name), name))[:SHOWN_NAMES]
    return ", ".join(nearest) or "none"


def _shared(one: str, other: str) -> int:
    """How many letters two names begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
