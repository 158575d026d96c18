"""The changes that sources and probes report to the registry. Plain values, so that they can be logged and replayed."""

import enum
from collections.abc import Iterable

import msgspec

from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.names import Alias


class Failure(enum.StrEnum):
    """How a probe failed."""

    REFUSED = enum.auto()
    """The connection was refused: nothing listens."""
    CONNECT = enum.auto()
    """No connection came about: time-out, no route."""
    TIMEOUT = enum.auto()
    """Connected, but no whole answer in time. The engine may be busy and well."""
    DROPPED = enum.auto()
    """Connected, and the connection ended before the answer."""
    UNAUTHORIZED = enum.auto()
    STATUS = enum.auto()
    """Another status than 200."""
    INVALID = enum.auto()
    """Status 200 and a body that is no list of models."""

    @property
    def is_connect_failure(self) -> bool:
        """True when nobody was there to talk to."""
        return self in (Failure.REFUSED, Failure.CONNECT)

    @property
    def is_answer(self) -> bool:
        """True when a server answered, if not with what was asked for."""
        return self in (Failure.UNAUTHORIZED, Failure.STATUS, Failure.INVALID)


class Listing(msgspec.Struct, frozen=True):
    """An endpoint as its source describes it."""

    endpoint: Endpoint
    is_ready: bool | None = None
    """What the source says of its readiness; None where it says nothing, and the probes must."""
    incarnation: str = ""
    """Tells its lives apart: another one became ready anew, or is another process, of which nothing is confirmed."""


class PoolListed(msgspec.Struct, frozen=True, tag=True):
    """The source has read the whole pool: this is in it, and nothing else."""

    listings: tuple[Listing, ...]

    @classmethod
    def of(cls, endpoints: Iterable[Endpoint]) -> "PoolListed":
        """The pool of a source that says nothing of readiness."""
        return cls(tuple(Listing(endpoint) for endpoint in endpoints))


class PoolChanged(msgspec.Struct, frozen=True, tag=True):
    """The source has heard of some endpoints of the pool: these are new or changed, those are gone."""

    listings: tuple[Listing, ...]
    gone: tuple[str, ...]
    """Endpoint ids, none of them among `listings`."""


class NamesListed(msgspec.Struct, frozen=True, tag=True):
    """The source has read names that stand for models, and objectives: these are stated there, and no others."""

    aliases: tuple[Alias, ...] = ()
    """Each name once."""
    objectives: dict[str, int] = {}
    """Priorities by the objective's name."""


class ModelsListed(msgspec.Struct, frozen=True, tag=True):
    """An endpoint answered `GET /v1/models`."""

    endpoint_id: str
    asked_at_s: float
    cards: tuple[ModelCard, ...]


class ProbeFailed(msgspec.Struct, frozen=True, tag=True):
    """A probe of an endpoint's `/v1/models` failed."""

    endpoint_id: str
    asked_at_s: float
    failure: Failure
    detail: str


class FirstAnswerOverdue(msgspec.Struct, frozen=True, tag=True):
    """A new endpoint has not given a good answer within its first-probe budget."""

    endpoint_id: str


class RoundCompleted(msgspec.Struct, frozen=True, tag=True):
    """Every endpoint has been probed once by probes that were sent at `started_at_s` or later."""

    started_at_s: float


Change = PoolListed | PoolChanged | NamesListed | ModelsListed | ProbeFailed | FirstAnswerOverdue | RoundCompleted
