"""What the tests of the pure modules start from: short spellings of endpoints, changes and what is known after them.

An endpoint is told by one letter, which is its id and its name; `a` is 10.0.0.1:8000, `b` is 10.0.0.2:8000 and so on.
"""

from msgspec.structs import replace

from extproc.registry.changes import (
    Change,
    Failure,
    FirstAnswerOverdue,
    Listing,
    ModelsListed,
    PoolChanged,
    PoolListed,
    ProbeFailed,
    RoundCompleted,
)
from extproc.registry.reduce import reduce
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.pool import Pool
from extproc.values.snapshot import Snapshot

POOL = Pool("demo")


def endpoint(letter: str) -> Endpoint:
    return Endpoint(letter, letter, f"10.0.0.{ord(letter) - ord('a') + 1}:8000")


def listed(letters: str) -> PoolListed:
    return PoolListed.of(endpoint(letter) for letter in letters)


def said(letter: str, *, ready: bool | None = True, life: str = "1", at: str = "") -> PoolChanged:
    """What Kubernetes says of one endpoint, at another's address where `at` names one."""
    address = endpoint(at or letter).address
    return PoolChanged((Listing(replace(endpoint(letter), address=address), ready, life),), ())


def gone(*letters: str) -> PoolChanged:
    return PoolChanged((), letters)


def answered(letter: str, *models: str, asked_at_s: float = 0.0) -> ModelsListed:
    return ModelsListed(letter, asked_at_s, tuple(ModelCard(model) for model in models))


def failed(letter: str, failure: Failure, *, asked_at_s: float = 0.0) -> ProbeFailed:
    return ProbeFailed(letter, asked_at_s, failure, f"{failure.value} by {letter}")


def refused(letter: str) -> ProbeFailed:
    return failed(letter, Failure.REFUSED)


def overdue(letter: str) -> FirstAnswerOverdue:
    return FirstAnswerOverdue(letter)


def round_of(started_at_s: float) -> RoundCompleted:
    return RoundCompleted(started_at_s)


def known_after(*changes: Change, now: float = 0.0) -> Snapshot:
    """The snapshot after `changes`, all of which happen at `now`."""
    snapshot = Snapshot(POOL)
    for change in changes:
        snapshot = reduce(snapshot, change, now=now)
    return snapshot


def with_cards(letter: str, *cards: ModelCard) -> ModelsListed:
    return replace(answered(letter), cards=cards)
