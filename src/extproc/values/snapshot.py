"""What is known of a pool at one moment: the only thing that a decision is made from."""

import msgspec

from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.names import Alias
from extproc.values.pool import Pool


class EndpointState(msgspec.Struct, frozen=True):
    """One endpoint and what is known of it."""

    endpoint: Endpoint
    source_says_ready: bool | None = None
    """What its source says; None where it says nothing, and the probes do: a refused connection, or being suspect."""
    incarnation: str = ""
    """Tells its lives apart, in words of its source."""
    is_ready: bool = True
    """Nobody says that it isn't."""
    is_confirmed: bool = False
    """`cards` was answered since the endpoint last became ready. Only then is anything routed by it."""
    is_suspect: bool = False
    """Three connect failures within a second, and no success since."""
    is_probed: bool = False
    """At least one probe came to an end, whatever its outcome."""
    is_settled: bool = False
    """It has answered since it became ready, or the time for its first answer is over: no longer a reason to wait."""
    has_answered: bool = False
    cards: tuple[ModelCard, ...] = ()
    """The last good list of models. It outlives failed probes."""
    empty_answers: int = 0
    """Empty lists in a row that were not believed yet."""
    connect_failures_s: tuple[float, ...] = ()
    """Monotonic seconds of the connect failures of the last second, oldest first."""
    problem: str = ""
    """How the last probe failed, empty when it did not."""

    @property
    def is_routable(self) -> bool:
        """True when a request for one of `cards` may go there."""
        return self.is_ready and self.is_confirmed

    @property
    def is_awaited(self) -> bool:
        """True while its first answer since it became ready can still be expected."""
        return self.is_ready and not self.is_settled


class KnownModel(msgspec.Struct, frozen=True):
    """A model that at least one endpoint of the pool lists, ready or not."""

    card: ModelCard
    """The endpoints' cards in one: the smallest `max_model_len`, the earliest `created`."""
    candidates: tuple[Endpoint, ...]
    """The routable endpoints that list it, those that are suspect left out."""
    suspects: tuple[Endpoint, ...] = ()
    """Routable ones that list it and are suspect: the last choice."""

    @property
    def routable_count(self) -> int:
        """How many ready and confirmed endpoints list it."""
        return len(self.candidates) + len(self.suspects)


class Snapshot(msgspec.Struct, frozen=True):
    """The pool at one moment. Immutable; each change that can be seen makes a new one with the next version."""

    pool: Pool
    version: int = 0
    made_at_s: float = 0.0
    """Monotonic seconds."""
    is_synced: bool = False
    """The source has been read at least once."""
    probed_since_s: float = float("-inf")
    """Start of the last round of probes that reached every endpoint: no list is older news than this."""
    endpoints: dict[str, EndpointState] = {}
    """By endpoint id."""
    models: dict[str, KnownModel] = {}
    """The known models, sorted by id."""
    routable: tuple[Endpoint, ...] = ()
    """Those that are suspect left out."""
    suspects: tuple[Endpoint, ...] = ()
    """The suspect ones among the routable."""
    aliases: dict[str, Alias] = {}
    """By name, sorted."""
    objectives: dict[str, int] = {}
    """Priorities by the name of the InferenceObjective; negative is sheddable."""

    @property
    def has_answer(self) -> bool:
        """True once a ready endpoint of the pool has answered."""
        return any(state.has_answered and state.is_ready for state in self.endpoints.values())

    @property
    def has_answer_due(self) -> bool:
        """True while a ready endpoint can still be expected to give its first answer."""
        return any(state.is_awaited for state in self.endpoints.values())

    @property
    def is_complete(self) -> bool:
        """True once the source is read and every ready endpoint was probed: the picker can say that it is ready."""
        return self.is_synced and all(state.is_probed or not state.is_awaited for state in self.endpoints.values())
