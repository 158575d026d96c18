"""The picker's own `GET /v1/models`: the union over the pool, in a stable order."""

from bisect import bisect_left
from collections.abc import Iterable
from difflib import SequenceMatcher

import msgspec

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
    """The JSON list of every known model, sorted by id, one entry each."""
    return msgspec.json.encode(_Listing([_entry(known) for known in snapshot.models.values()]))


def describe_model(known: KnownModel) -> bytes:
    """The JSON entry of one model."""
    return msgspec.json.encode(_entry(known))


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
