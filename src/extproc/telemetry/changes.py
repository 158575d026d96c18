"""What changed between two snapshots, in words: for the log and for the journal."""

from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from extproc.registry.store import Listener
from extproc.values.snapshot import EndpointState, Snapshot

SHOWN_NAMES = 10
LONGEST_NAME = 200


class EndpointChange(msgspec.Struct, frozen=True):
    """One endpoint came, went or changed in a way that bears on routing."""

    what: str
    endpoint: str
    """Its name."""
    fields: dict[str, object] = {}
    """What is known of it now."""
    is_loss: bool = False
    """It served requests, and serves none now."""


def find_changes(before: Snapshot, after: Snapshot, ids: Collection[str]) -> Iterator[EndpointChange]:
    """The changes of the endpoints with these ids."""
    for id_ in ids:
        old, state = before.endpoints.get(id_), after.endpoints.get(id_)
        if state is None:
            if old is not None:
                yield EndpointChange("endpoint gone", old.endpoint.name)
            continue
        if old is state:
            continue
        name = state.endpoint.name
        if old is None:
            yield EndpointChange("endpoint new", name, {"address": state.endpoint.address})
        elif _bearing(old) != _bearing(state):
            fields = _outline(state) | ({"problem": state.problem} if state.problem else {})
            yield EndpointChange("endpoint changed", name, fields, is_loss=old.is_routable and not state.is_routable)
        elif old.problem != state.problem and state.problem:
            yield EndpointChange("endpoint probe failed", name, {"problem": state.problem})


def telling(*tellers: Callable[[Snapshot, Snapshot, Sequence[EndpointChange]], None]) -> Listener:
    """A listener of the registry that finds the changes once for all who tell of them."""

    def tell(before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        changes = tuple(find_changes(before, after, ids))
        for teller in tellers:
            teller(before, after, changes)

    return tell


def _bearing(state: EndpointState) -> tuple[object, ...]:
    """What bears on routing, every model included: lines show the first of them."""
    return state.is_ready, state.is_confirmed, state.is_suspect, [card.id for card in state.cards]


def _outline(state: EndpointState) -> dict[str, object]:
    return {
        "ready": state.is_ready,
        "confirmed": state.is_confirmed,
        "suspect": state.is_suspect,
        "models": join_names([card.id for card in state.cards]),
    }


def join_names(names: Sequence[str]) -> str:
    """The names for a line, no more than a few of them."""
    shown = ",".join(name[:LONGEST_NAME] for name in names[:SHOWN_NAMES])
    return f"{shown} and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else shown
