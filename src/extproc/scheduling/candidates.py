"""The candidates of a model as requests are chosen among them: made once for each set of endpoints, not each request.

Of many candidates only a few are compared: those that know the prompt's beginning, those that every replica of the
picker would think of for it, and the rest at random. The best of eight drawn at random is on average among the best
ninth of all, and the work for a request does not grow with the pool.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

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
KEY_BYTES = 8
RING_SIZE = 1 << 64


class Candidates:
    """The candidates among one set of endpoints, those that the filters leave out not among them."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        filters: Sequence[Filter],
        load_of: Callable[[str], Load],
        prefixes: PrefixIndex,
    ) -> None:
        self.endpoints = endpoints
        """As they were given."""
        allowed = [each for each in endpoints if all(filter_.allows(each) for filter_ in filters)]
        self.all = [
            Candidate(each, load_of(each.id), prefixes.of(each.id), hash_text(each.address)) for each in allowed
        ]
        self.is_ordered = len(self.all) > MOST_COMPARED
        """A shortlist is not all, and tells by its order who is the one for a key; else `rendezvous` does."""
        self._prefixes = prefixes
        self._by_id: dict[str, int] | None = None
        self._by_address: dict[str, Candidate] | None = None
        self._ring: list[tuple[int, int]] | None = None

    def __repr__(self) -> str:
        return f"<Candidates of {len(self.all)}/{len(self.endpoints)}>"

    def within(self, subset: Iterable[str]) -> list[Candidate]:
        """The candidates at these addresses."""
        if self._by_address is None:
            self._by_address = {each.endpoint.address: each for each in self.all}
        found = (self._by_address.get(address) for address in dict.fromkeys(subset))
        return [each for each in found if each is not None]

    def shortlist(self, hashes: Sequence[int], key: int | None, rng: "Random") -> Sequence[Candidate]:
        """The candidates to compare for a prompt with these blocks. `key` stands for who should stay together.

        Where they are not all, those that every replica thinks of for `key` stand before the others, the first of them
        first: see `is_ordered`.
        """
        candidates = self.all
        if not self.is_ordered:
            return candidates
        chosen = dict.fromkeys(self._alike(key)) if key is not None else {}
        if hashes:
            chosen.update(dict.fromkeys(self._knowing(hashes)))
        missing, size = MOST_COMPARED - len(chosen), len(candidates)
        chosen.update(dict.fromkeys([int(rng.random() * size) for _ in range(missing)]))
        return [candidates[index] for index in chosen]

    def _knowing(self, hashes: Sequence[int]) -> list[int]:
        if self._by_id is None:
            self._by_id = {each.endpoint.id: index for index, each in enumerate(self.all)}
        found = (self._by_id.get(id_) for id_ in self._prefixes.find_holders(hashes, MOST_KNOWING))
        return [index for index in found if index is not None]

    def _alike(self, key: int) -> list[int]:
        """Indexes of those that every replica thinks of for `key`, the first choice first. One that comes or goes moves
        only what it had or gets.

        The candidates stand on a ring, and `key` at several places of it: those that follow are meant, the nearest
        first. With one place alone some would get six times the mean of a hundred.
        Source: Appleton and O'Reilly, "Multi-probe consistent hashing", 2015.
        """
        if self._ring is None:
            self._ring = sorted((each.seed, index) for index, each in enumerate(self.all))
        ring, found = self._ring, []
        for number in range(PROBES):
            place = xxh3_64_intdigest(key.to_bytes(KEY_BYTES, "little"), number)
            seed, index = ring[bisect_left(ring, (place, -1)) % len(ring)]
            found.append(((seed - place) % RING_SIZE, index))
        return [index for _, index in sorted(found)[:MOST_ALIKE]]


def rendezvous(key: int, candidate: Candidate) -> int:
    """How much `candidate` is the one for `key`: whoever has the highest of these is, at every replica alike.

    Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
    """
    return xxh3_64_intdigest(key.to_bytes(KEY_BYTES, "little"), candidate.seed)
