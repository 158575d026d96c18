"""One way to choose: filters, weighted scorers and a picker, run in that order."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from extproc.scheduling.candidates import Candidates, Roster, rendezvous
from extproc.scheduling.interfaces import Candidate, Filter, Load, Need, Picker, Scorer
from extproc.scheduling.prefix import BLOCK_BYTES, PrefixIndex, hash_blocks, hash_text
from extproc.values.decision import NO_WORK, Scores, Work
from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest

if TYPE_CHECKING:
    from random import Random

FIRST_BLOCKS = 4
"""Blocks at the beginning of a prompt that say where it belongs as long as nobody knows it."""
MOST_KEPT = 4096
"""Sets of candidates kept, one for each model. Of more models they are made again now and then."""


Admission = Callable[[Iterable[Load]], bool]
"""Says whether a request may go to any of the endpoints with these loads."""


class WeightedScorer(NamedTuple):
    """A scorer and how much it counts."""

    scorer: Scorer
    weight: float


class Loads(Protocol):
    """What is known of the endpoints' loads."""

    def of(self, endpoint_id: str) -> Load:
        """The load of an endpoint: the same object as long as the endpoint is the same."""


class Tokens(Protocol):
    """Tells tokens from bytes."""

    def bytes_per_token(self, model: str) -> float:
        """Of the prompts of `model`."""


class Choice(NamedTuple):
    """What was chosen and why."""

    endpoints: tuple[Endpoint, ...]
    """The choice first, then the fallbacks; empty where nothing may get the request."""
    scores: Scores = Scores()
    work: Work = NO_WORK
    """What the request costs the first of them."""
    is_full: bool = False
    """Some could serve the request, but it was not admitted."""


class Estimate(NamedTuple):
    """What can be told of a request's prompt."""

    prompt_tokens: float
    cached_tokens: Sequence[float]
    """Those of them that each endpoint is thought to have in its prefix cache."""
    is_keyed: bool
    """It belongs somewhere, by its session or its prompt: endpoints that are equal are not chosen at random."""


class Profile:
    """Filters ▸ scorers ▸ picker."""

    def __init__(
        self,
        *,
        filters: Sequence[Filter],
        scorers: Sequence[WeightedScorer],
        picker: Picker,
        loads: Loads,
        tokens: Tokens,
        prefixes: PrefixIndex,
    ) -> None:
        self._roster = Roster(filters=filters, load_of=loads.of, prefixes=prefixes)
        self._filters = tuple(filters)
        self._scorers = tuple(scorers)
        self._picker = picker
        self._tokens = tokens
        self._prefixes = prefixes
        self._candidates: dict[str | None, Candidates] = {}

    def __repr__(self) -> str:
        scorers = ", ".join(f"{scorer.name} × {weight:g}" for scorer, weight in self._scorers)
        return f"<Profile {', '.join(f.name for f in self._filters)} ▸ {scorers} ▸ {self._picker.name}>"

    @property
    def filters(self) -> Sequence[Filter]:
        """In the order in which they are asked."""
        return self._filters

    @property
    def scorers(self) -> Sequence[WeightedScorer]:
        """In the order of a choice's columns of scores."""
        return self._scorers

    @property
    def picker(self) -> Picker:
        """What chooses by the sums."""
        return self._picker

    def choose(
        self,
        request: InferenceRequest,
        endpoints: Sequence[Endpoint],
        *,
        model: str | None,
        is_adapter: bool = False,
        count: int,
        admits: Admission | None = None,
        now: float,
        rng: "Random",
    ) -> Choice:
        """At most `count` of `endpoints`, which all serve `model` (None: it does not matter); none where `admits` says
        no to the loads of all of them that may get the request.

        `now` is in monotonic seconds. Nothing that is kept here changes a choice: the same call explains it.
        """
        name = model or ""
        hashes, size_bytes = _read_prompt(request, name)
        key = self._key(request, hashes)
        known = self._know(endpoints, model)
        is_open = request.subset is None
        beginning = hashes[: self._prefixes.count_known(hashes)]
        candidates = known.shortlist(beginning, key, rng, now=now) if is_open else known.within(request.subset or ())
        if not candidates:
            return Choice(())
        if admits is not None:
            is_admitted = known.is_admitted(admits, now) if is_open else admits(each.load for each in candidates)
            if not is_admitted:
                return Choice((), is_full=True)
        rank = _ranking(key, candidates, rng, is_ordered=is_open and known.is_ordered)
        prompt_tokens, block_tokens = self._measure(size_bytes, name)
        cached = _cached_tokens(beginning, candidates, block_tokens)
        need = Need(
            candidates,
            model=model,
            is_adapter=is_adapter,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached,
            session=request.session,
            rank=rank,
            now=now,
        )
        by_scorer, totals = self._score(need)
        picked = self._picker.pick(totals, count, rank=rank, rng=rng)
        return Choice(
            tuple([candidates[index].endpoint for index in picked]),
            Scores(tuple([each.endpoint for each in candidates]), by_scorer, totals),
            Work(size_bytes, prompt_tokens, cached[picked[0]], hashes),
        )

    def estimate(self, request: InferenceRequest, endpoints: Sequence[Endpoint], *, model: str | None) -> Estimate:
        """What `choose` finds of the prompt for these endpoints, none of which the filters leave out."""
        name = model or ""
        hashes, size_bytes = _read_prompt(request, name)
        prompt_tokens, block_tokens = self._measure(size_bytes, name)
        beginning = hashes[: self._prefixes.count_known(hashes)]
        candidates = [each for each in map(self._roster.of, endpoints) if each is not None]
        cached = _cached_tokens(beginning, candidates, block_tokens)
        return Estimate(prompt_tokens, cached, self._key(request, hashes) is not None)

    def _measure(self, size_bytes: int, model: str) -> tuple[float, float]:
        """Tokens of a prompt of so many bytes, and of one block."""
        block_tokens = BLOCK_BYTES / self._tokens.bytes_per_token(model)
        return size_bytes / BLOCK_BYTES * block_tokens, block_tokens  # by one factor: never less than those cached

    def _score(self, need: Need) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
        """The columns of scores by scorer, and their weighted sums."""
        by_scorer: dict[str, tuple[float, ...]] = {}
        weighted = []
        for scorer, weight in self._scorers:
            scores = by_scorer[scorer.name] = tuple(scorer.score(need))
            weighted.append(scores if weight == 1.0 else [weight * score for score in scores])
        # Added up in C, row by row: a fifth of what it takes column by column.
        return by_scorer, tuple(map(sum, zip(*weighted, strict=True))) or (0.0,) * len(need.candidates)

    def _key(self, request: InferenceRequest, hashes: Sequence[int]) -> int | None:
        """What stands for who should stay together; None for a request that belongs nowhere."""
        if request.session is not None:
            return hash_text(request.session)
        return hashes[min(len(hashes), FIRST_BLOCKS) - 1] if hashes else None

    def _know(self, endpoints: Sequence[Endpoint], model: str | None) -> Candidates:
        known = self._candidates.get(model)
        if known is None or known.endpoints is not endpoints:
            ring = known.ring if known is not None else None
            if len(self._candidates) >= MOST_KEPT:
                self._candidates.clear()
            known = self._candidates[model] = Candidates(endpoints, self._roster, ring=ring)
        return known

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone or began anew."""
        self._roster.forget(endpoint_id)


def _read_prompt(request: InferenceRequest, model: str) -> tuple[tuple[int, ...], int]:
    """The hashes of the prompt's blocks, and the bytes of all of it."""
    prompt = request.prompt
    if prompt is None:
        return (), 0
    return hash_blocks(prompt.text, model=model, salt=prompt.salt), prompt.size_bytes


def _cached_tokens(hashes: Sequence[int], candidates: Sequence[Candidate], block_tokens: float) -> Sequence[float]:
    """Tokens that each candidate is thought to have of blocks that at least one endpoint has."""
    if not hashes:
        return [0.0] * len(candidates)
    first, last, all_tokens = hashes[0], hashes[-1], len(hashes) * block_tokens
    cached = []
    for candidate in candidates:
        blocks = candidate.prefixes.blocks
        if last in blocks:  # most have all of it or nothing: that is seen without a call
            cached.append(all_tokens)
        elif first in blocks:
            cached.append(candidate.prefixes.count_known(hashes) * block_tokens)
        else:
            cached.append(0.0)
    return cached


def _ranking(
    key: int | None, candidates: Sequence[Candidate], rng: "Random", *, is_ordered: bool
) -> Callable[[int], float]:
    """Orders candidates that are equal: alike at every replica for who belongs together, else at random."""
    if key is None:
        return lambda _: rng.random()
    if is_ordered:
        return lambda index: -index
    return lambda index: rendezvous(key, candidates[index])
