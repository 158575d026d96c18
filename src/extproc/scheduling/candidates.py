"""The candidates of a model as requests are chosen among them.

Of many candidates only a few are compared: those that know the prompt's beginning, those that every replica of the
picker would think of for it, and the rest at random. The best of eight drawn at random is on average among the best
ninth of all, and the work for a request does not grow with the pool; nor does that for a change of the pool, which of
thousands come hundreds a second.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_64_intdigest

from extproc.scheduling.interfaces import Candidate, Filter, Load
from extproc.scheduling.prefix import PrefixIndex, hash_text
from extproc.values.endpoint import Endpoint

if TYPE_CHECKING:
    from random import Random

MOST_COMPARED = 16
"""Up to so many candidates all are compared; of more, so many at most."""
MOST_KNOWING = 6
MOST_ALIKE = 2
PROBES = 4
DRAWS = 4
"""How often one is drawn for each that is wanted at random, where filters leave out what was drawn."""
KEY_BYTES = 8
RING_SIZE = 1 << 64
RING_AGE_S = 1.0
"""A ring of thousands takes milliseconds to make: while endpoints come and go, one of so long ago will do."""
VERDICT_AGE_S = 0.05
"""A tenth of the time between two readings."""

_id_of = attrgetter("id")


class Roster:
    """What is known of each endpoint, as a candidate of any model: made once for each, until it is forgotten."""

    def __init__(self, *, filters: Sequence[Filter], load_of: Callable[[str], Load], prefixes: PrefixIndex) -> None:
        self.prefixes = prefixes
        self.version = 0
        """Another one after each that was forgotten: candidates that were taken from here before may be out of date."""
        self._filters = tuple(filters)
        self._load_of = load_of
        self._known: dict[str, tuple[Endpoint, Candidate | None]] = {}

    def __repr__(self) -> str:
        return f"<Roster of {len(self._known)}>"

    def of(self, endpoint: Endpoint) -> Candidate | None:
        """The endpoint as a candidate; None for one that the filters leave out."""
        known = self._known.get(endpoint.id)
        if known is not None and known[0] is endpoint:
            return known[1]
        candidate = None
        if all(filter_.allows(endpoint) for filter_ in self._filters):
            id_ = endpoint.id
            candidate = Candidate(endpoint, self._load_of(id_), self.prefixes.of(id_), hash_text(endpoint.address))
        self._known[endpoint.id] = (endpoint, candidate)
        return candidate

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone or began anew: its load and prefixes are others from now on."""
        self._known.pop(endpoint_id, None)
        self.version += 1


class Ring(NamedTuple):
    """Candidates in the order of the hashes of their addresses, as of a moment."""

    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    made_at_s: float
    """Monotonic seconds."""


class _Found(dict[str, Candidate | None]):
    """Candidates by their ids, each as it is first asked for; None for one that is not among the endpoints, or left
    out by the filters. To find them anew each time takes 4% of a decision."""

    def __init__(self, roster: Roster, endpoints: Sequence[Endpoint]) -> None:
        self._roster, self._endpoints = roster, endpoints

    def __missing__(self, id_: str) -> Candidate | None:
        endpoints = self._endpoints
        at = bisect_left(endpoints, id_, key=_id_of)
        is_there = at < len(endpoints) and endpoints[at].id == id_
        found = self[id_] = self._roster.of(endpoints[at]) if is_there else None
        return found


class Candidates:
    """The candidates among one set of endpoints, those that the filters leave out not among them."""

    def __init__(self, endpoints: Sequence[Endpoint], roster: Roster, *, ring: Ring | None = None) -> None:
        """`endpoints` stand in the order of their ids. `ring`: of an earlier set of the same model's."""
        self.endpoints = endpoints
        """As they were given."""
        self.ring = ring
        self._ring_version = -1
        """That of the roster when the ring was made of these endpoints; -1 where it was made of others."""
        self._is_admitted, self._admitted_until_s = True, -inf
        self.is_ordered = len(endpoints) > MOST_COMPARED
        """A shortlist is not all, and tells by its order who is the one for a key; else `rendezvous` does."""
        self._roster = roster
        self._all: list[Candidate] | None = None
        self._by_id = _Found(roster, endpoints)
        self._version = roster.version

    def __repr__(self) -> str:
        return f"<Candidates of {len(self.endpoints)}>"

    @property
    def all(self) -> Sequence[Candidate]:
        """Every candidate."""
        self._refresh()
        if self._all is None:
            found = map(self._roster.of, self.endpoints)
            self._all = [each for each in found if each is not None]
        return self._all

    def _refresh(self) -> None:
        """Forgets what was found before one of the endpoints was forgotten."""
        if self._version != self._roster.version:
            self._all = None
            self._by_id.clear()
            self._version = self._roster.version

    @cached_property
    def _by_address(self) -> dict[str, Endpoint]:
        return {each.address: each for each in self.endpoints}

    def is_admitted(self, admits: Callable[[Iterable[Load]], bool], now: float) -> bool:
        """What `admits` says of the loads of all. Of many it is asked a few times a second: that costs their number."""
        if not self.is_ordered:
            return admits(each.load for each in self.all)
        if now >= self._admitted_until_s:
            self._is_admitted = admits(each.load for each in self.all)
            self._admitted_until_s = now + VERDICT_AGE_S
        return self._is_admitted

    def within(self, subset: Iterable[str]) -> list[Candidate]:
        """The candidates at these addresses."""
        found = (self._by_address.get(address) for address in dict.fromkeys(subset))
        candidates = (self._roster.of(each) for each in found if each is not None)
        return [each for each in candidates if each is not None]

    def shortlist(self, hashes: Sequence[int], key: int | None, rng: "Random", *, now: float) -> Sequence[Candidate]:
        """The candidates to compare for a prompt with these blocks. `key` stands for who should stay together.

        Where they are not all, those that every replica thinks of for `key` stand before the others, the first of them
        first: see `is_ordered`.
        """
        if not self.is_ordered:
            return self.all
        self._refresh()
        chosen: dict[Candidate | None, None] = {}
        if key is not None:
            chosen.update(dict.fromkeys(self._alike(key, now)))
        if hashes:
            holders = self._roster.prefixes.find_holders(hashes, MOST_KNOWING)
            chosen.update(dict.fromkeys(map(self._by_id.__getitem__, holders)))
            chosen.pop(None, None)  # of another model, or gone
        of, endpoints, size, random = self._roster.of, self.endpoints, len(self.endpoints), rng.random
        missing = MOST_COMPARED - len(chosen)
        for _ in range(DRAWS):
            drawn = [of(endpoints[int(random() * size)]) for _ in range(missing)]
            chosen.update(dict.fromkeys(drawn))
            chosen.pop(None, None)  # left out by the filters
            missing = MOST_COMPARED // 2 - len(chosen)
            if missing <= 0:
                break
        return [each for each in chosen if each is not None] or self.all

    def _alike(self, key: int, now: float) -> list[Candidate]:
        """Those that every replica thinks of for `key`, the first choice first. One that comes or goes moves only what
        it had or gets.

        The candidates stand on a ring, and `key` at several places of it: those that follow are meant, the nearest
        first. With one place alone some would get six times the mean of a hundred.
        Source: Appleton and O'Reilly, "Multi-probe consistent hashing", 2015.
        """
        ring = self.ring
        is_current = self._ring_version == self._roster.version
        if ring is None or (not is_current and now - ring.made_at_s > RING_AGE_S):
            ring = self.ring = self._make_ring(now)
            self._ring_version, is_current = self._roster.version, True
        seeds, size, key_bytes = ring.seeds, len(ring.seeds), key.to_bytes(KEY_BYTES, "little")
        found: list[tuple[int, int, Candidate]] = []
        for number in range(PROBES if size else 0):
            place = xxh3_64_intdigest(key_bytes, number)
            at = bisect_left(seeds, place) % size
            candidate: Candidate | None = ring.candidates[at]
            if not is_current:
                at, candidate = self._pass_over_lost(ring, at)
            if candidate is not None:
                found.append(((seeds[at] - place) % RING_SIZE, number, candidate))
        found.sort()
        return list(dict.fromkeys([candidate for _, _, candidate in found]))[:MOST_ALIKE]

    def _pass_over_lost(self, ring: Ring, at: int) -> tuple[int, Candidate | None]:
        """The first on the ring, from there on, that still is a candidate."""
        for _ in ring.seeds:
            candidate = self._by_id[ring.candidates[at].endpoint.id]
            if candidate is not None:
                return at, candidate
            at = (at + 1) % len(ring.seeds)
        return at, None

    def _make_ring(self, now: float) -> Ring:
        placed = sorted(self.all, key=attrgetter("seed"))
        return Ring(tuple([each.seed for each in placed]), tuple(placed), now)


def rendezvous(key: int, candidate: Candidate) -> int:
    """How much `candidate` is the one for `key`: whoever has the highest of these is, at every replica alike.

    Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
    """
    return xxh3_64_intdigest(key.to_bytes(KEY_BYTES, "little"), candidate.seed)
