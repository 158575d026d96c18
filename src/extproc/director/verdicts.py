"""What keeps each endpoint from a request: the conditions that routing looks candidates up by, asked one by one."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from extproc.scheduling.interfaces import Filter
from extproc.values.admin import Verdict
from extproc.values.endpoint import Endpoint
from extproc.values.snapshot import EndpointState

SHOWN_MODELS = 3

_READY = Verdict("ready", True, "its source says so")
_REACHED = Verdict("ready", True, "nothing says that it is not")
_NOT_READY = Verdict("ready", False, "its source says that it is not")
_CONFIRMED = Verdict("confirmed", True, "it has listed its models since it became ready")
_UNCONFIRMED = "it has not listed its models since it became ready"
_LAST_RESORT = Verdict("confirmed", True, f"{_UNCONFIRMED}, but no confirmed endpoint may get the request")
_IN_SUBSET = Verdict("subset", True, "the data plane allows it")
_NOT_IN_SUBSET = Verdict("subset", False, "the data plane does not allow it")
_NOT_SUSPECT = Verdict("suspect", True, "it can be reached")
_SUSPECT = Verdict("suspect", False, "connections to it fail: the last choice, and others may get the request")
_SUSPECT_CHOICE = Verdict("suspect", True, "connections to it fail, but no other may get the request")

RESERVATIONS = (_LAST_RESORT, _SUSPECT_CHOICE)
"""What is said of endpoints that get the request only because there are no better ones."""


class Wanted(NamedTuple):
    """What an endpoint must have to get a request."""

    model: str | None
    """None where any will do: then also one that is ready alone, while none is confirmed."""
    subset: Sequence[str] | None
    filters: Sequence[Filter]


class Judged(NamedTuple):
    """An endpoint, and what each condition says of it up to the first that is not met."""

    state: EndpointState
    verdicts: tuple[Verdict, ...] = ()

    @property
    def is_eligible(self) -> bool:
        """It may get the request."""
        return bool(self.verdicts) and self.verdicts[-1].allows

    @property
    def obstacle(self) -> str:
        """The name of the condition that is not met, empty where all are."""
        return "" if self.is_eligible or not self.verdicts else self.verdicts[-1].filter


def judge(states: Iterable[EndpointState], wanted: Wanted) -> list[Judged]:
    """Every endpoint, in the order given."""
    states = list(states)
    subset = None if wanted.subset is None else frozenset(wanted.subset)
    model = wanted.model
    lists_it = None if model is None else Verdict("model", True, f"it lists {model}")
    confirmed = [_judge(state, wanted, lists_it, subset, needs_confirmed=True) for state in states]
    if model is None and not any(each.is_eligible for each in confirmed):
        ready = [_judge(state, wanted, lists_it, subset, needs_confirmed=False) for state in states]
        return [_judge_suspicion(each, has_others=False) for each in ready]
    has_others = any(each.is_eligible and not each.state.is_suspect for each in confirmed)
    return [_judge_suspicion(each, has_others=has_others) for each in confirmed]


def _judge(
    state: EndpointState,
    wanted: Wanted,
    lists_it: Verdict | None,
    subset: frozenset[str] | None,
    *,
    needs_confirmed: bool,
) -> Judged:
    verdicts = [_judge_readiness(state)]
    if verdicts[-1].allows:
        verdicts.append(_judge_confirmation(state, needs_confirmed))
    if verdicts[-1].allows and lists_it is not None:
        lists = any(card.id == wanted.model for card in state.cards)
        verdicts.append(lists_it if lists else Verdict("model", False, _tell_models(state)))
    if verdicts[-1].allows and subset is not None:
        verdicts.append(_IN_SUBSET if state.endpoint.address in subset else _NOT_IN_SUBSET)
    for filter_ in wanted.filters:
        if not verdicts[-1].allows:
            break
        verdicts.append(Verdict(filter_.name, filter_.allows(state.endpoint), _tell_role(state.endpoint)))
    return Judged(state, tuple(verdicts))


def _judge_readiness(state: EndpointState) -> Verdict:
    if state.is_ready:
        return _READY if state.source_says_ready else _REACHED
    if state.source_says_ready is False:
        return _NOT_READY
    return Verdict("ready", False, f"its probes fail: {state.problem}")


def _judge_confirmation(state: EndpointState, is_needed: bool) -> Verdict:
    if state.is_confirmed:
        return _CONFIRMED
    if not is_needed:
        return _LAST_RESORT
    return Verdict("confirmed", False, f"{_UNCONFIRMED}: {state.problem}" if state.problem else _UNCONFIRMED)


def _judge_suspicion(judged: Judged, *, has_others: bool) -> Judged:
    if not judged.is_eligible:
        return judged
    verdict = _NOT_SUSPECT
    if judged.state.is_suspect:
        verdict = _SUSPECT if has_others else _SUSPECT_CHOICE
    return Judged(judged.state, (*judged.verdicts, verdict))


def _tell_models(state: EndpointState) -> str:
    names = [card.id for card in state.cards]
    if not names:
        return "it lists no model"
    shown = ", ".join(names[:SHOWN_MODELS])
    left = len(names) - SHOWN_MODELS
    return f"it lists {shown} and {left} more" if left > 0 else f"it lists {shown}"


def _tell_role(endpoint: Endpoint) -> str:
    return f"its role is {endpoint.role}" if endpoint.role else "it has no role"
