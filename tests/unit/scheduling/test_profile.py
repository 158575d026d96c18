"""scheduling/profile: filters, scorers and picker, run in that order."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.known import endpoint
from tests.unit.scheduling.pool import Told, told

from extproc.scheduling.candidates import MOST_COMPARED
from extproc.scheduling.catalogue import SCORERS, build_profile
from extproc.scheduling.interfaces import Load, Need
from extproc.scheduling.pickers import MaxScorePicker
from extproc.scheduling.prefix import BLOCK_BYTES, PrefixIndex, hash_blocks
from extproc.scheduling.profile import Admission, Choice, Profile, WeightedScorer
from extproc.values.decision import NO_WORK, Scores, Work
from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest, Prompt, RouteToAny

POOL = [endpoint(letter) for letter in "abc"]
FLEET = [Endpoint(f"e{n:03}", f"e{n}", f"10.0.{n}.1:8000") for n in range(100)]
PER_TOKEN = 4.0


class Favour:
    """Scores 1 for the endpoints it names, else 0."""

    def __init__(self, name: str, favoured: str) -> None:
        self.name = name
        self._favoured = favoured

    def score(self, need: Need) -> Sequence[float]:
        return [float(each.endpoint.id in self._favoured) for each in need.candidates]


class Without:
    """Leaves out the endpoints it names."""

    def __init__(self, left_out: str) -> None:
        self.name = f"without {left_out}"
        self._left_out = left_out

    def allows(self, endpoint: Endpoint) -> bool:
        return endpoint.id not in self._left_out


class Loads:
    """Loads as told by id; of others, nothing is known."""

    def __init__(self, by_id: Mapping[str, Told] | None = None) -> None:
        self._by_id = dict(by_id or {})

    def of(self, endpoint_id: str) -> Told:
        return self._by_id.setdefault(endpoint_id, Told(is_read=False))


class Ratio:
    """The same for every model."""

    def __init__(self, per_token: float) -> None:
        self._per_token = per_token

    def bytes_per_token(self, model: str) -> float:
        return self._per_token


def asked(text: bytes | None = None, *, salt: str = "", **about: Any) -> InferenceRequest:
    prompt = None if text is None else Prompt(text, len(text), salt)
    return InferenceRequest(RouteToAny(), arrived_s=0.0, prompt=prompt, **about)


def favouring(
    favoured: dict[str, float],
    *,
    left_out: Sequence[str] = (),
    prefixes: PrefixIndex | None = None,
    per_token: float = PER_TOKEN,
) -> Profile:
    return Profile(
        filters=[Without(letters) for letters in left_out],
        scorers=[WeightedScorer(Favour(f"for {letters}", letters), w) for letters, w in favoured.items()],
        picker=MaxScorePicker(),
        loads=Loads(),
        tokens=Ratio(per_token),
        prefixes=PrefixIndex(100_000) if prefixes is None else prefixes,
    )


def real(
    weights: Mapping[str, float],
    *,
    loads: Mapping[str, Told] | None = None,
    picker: str = "max-score",
    prefixes: PrefixIndex | None = None,
) -> Profile:
    """A profile of the catalogue."""
    return build_profile(
        filters=[],
        scorer_weights=weights,
        picker=picker,
        loads=Loads(loads),
        tokens=Ratio(PER_TOKEN),
        prefixes=PrefixIndex(100_000) if prefixes is None else prefixes,
    )


def choose(
    profile: Profile,
    request: InferenceRequest | None = None,
    *,
    endpoints: Sequence[Endpoint] = POOL,
    count: int = 1,
    seed: int = 0,
    is_adapter: bool = False,
    admits: Admission | None = None,
) -> Choice:
    return profile.choose(
        request or asked(),
        endpoints,
        model="m",
        is_adapter=is_adapter,
        count=count,
        admits=admits,
        now=0.0,
        rng=Random(seed),
    )


def ids(choice: Choice) -> str:
    return "".join(each.id for each in choice.endpoints)


@pytest.mark.parametrize(
    ("favoured", "left_out", "count", "chosen"),
    [
        pytest.param({"b": 1.0}, [], 1, "b", id="the best score"),
        pytest.param({"b": 1.0, "c": 2.0}, [], 1, "c", id="the heavier scorer"),
        pytest.param({"b": 1.0, "c": 2.0}, [], 3, "cba", id="then the fallbacks"),
        pytest.param({"ab": 1.0, "bc": 1.0}, [], 1, "b", id="scores add up"),
        pytest.param({"b": 1.0, "c": 0.0}, [], 1, "b", id="weight 0 counts nothing"),
        pytest.param({"b": 1.0}, ["b", "c"], 1, "a", id="a score does not bring back what a filter left out"),
        pytest.param({"b": 1.0}, ["a", "b", "c"], 1, "", id="nothing is left"),
    ],
)
def test_chooses(favoured: dict[str, float], left_out: list[str], count: int, chosen: str) -> None:
    assert ids(choose(favouring(favoured, left_out=left_out), count=count)) == chosen


def test_tells_the_scores_of_those_that_the_filters_left() -> None:
    scores = choose(favouring({"b": 1.0, "c": 2.0}, left_out=["a"])).scores
    assert scores == Scores((endpoint("b"), endpoint("c")), {"for b": (1.0, 0.0), "for c": (0.0, 1.0)}, (1.0, 2.0))


def test_tells_nothing_where_nothing_was_left() -> None:
    assert choose(favouring({"b": 1.0}), asked(subset=())) == Choice((), Scores(), NO_WORK)


def test_only_the_subset_is_chosen_from() -> None:
    within = asked(subset=(endpoint("a").address, endpoint("c").address))
    assert ids(choose(favouring({"b": 2.0, "c": 1.0}), within, count=3)) == "ca"


@pytest.mark.parametrize(
    ("subset", "asked_of"),
    [
        pytest.param(None, 2, id="all that serve it and are not left out"),
        pytest.param((endpoint("a").address, endpoint("c").address), 1, id="those of the subset"),
    ],
)
def test_admission_is_asked_of_those_that_may_get_the_request(subset: tuple[str, ...] | None, asked_of: int) -> None:
    seen: list[int] = []

    def refuse(loads: Iterable[Load]) -> bool:
        seen.append(len(list(loads)))
        return False

    profile = favouring({}, left_out=["a"])
    assert choose(profile, asked(subset=subset), admits=refuse) == Choice((), is_full=True)
    assert seen == [asked_of]


def test_where_none_may_get_the_request_admission_is_not_asked() -> None:
    def fail(_: Iterable[Load]) -> bool:
        raise AssertionError

    assert choose(favouring({}), asked(subset=()), admits=fail) == Choice(())


def test_without_scorers_any_will_do() -> None:
    choice = choose(favouring({}), count=3)
    assert sorted(ids(choice)) == ["a", "b", "c"]
    assert choice.scores.totals == (0.0, 0.0, 0.0)


def test_repr_tells_what_is_run() -> None:
    assert repr(favouring({"kv": 2.5}, left_out=["x"])) == "<Profile without x ▸ for kv × 2.5 ▸ max-score>"


TEXT = bytes(range(256)) * 8


@pytest.mark.parametrize(
    ("known_blocks", "text", "cached_tokens"),
    [
        pytest.param(0, TEXT, 0.0, id="nothing is known"),
        pytest.param(3, TEXT, 3 * BLOCK_BYTES / PER_TOKEN, id="three blocks"),
        pytest.param(8, TEXT, 8 * BLOCK_BYTES / PER_TOKEN, id="all of it"),
        pytest.param(8, TEXT + b"and more", 8 * BLOCK_BYTES / PER_TOKEN, id="all but what is left over"),
    ],
)
def test_tells_the_work(known_blocks: int, text: bytes, cached_tokens: float) -> None:
    prefixes = PrefixIndex(100_000)
    hashes = hash_blocks(text, model="m")
    prefixes.add("b", hashes[:known_blocks])
    work = choose(favouring({"b": 1.0}, prefixes=prefixes), asked(text)).work
    assert work == Work(len(text), len(text) / PER_TOKEN, cached_tokens, hashes)


def test_of_a_prompt_that_is_longer_than_what_is_read_the_rest_is_not_cached() -> None:
    prefixes = PrefixIndex(100_000)
    prefixes.add("b", hash_blocks(TEXT, model="m"))
    request = replace(asked(), prompt=Prompt(TEXT, 10 * len(TEXT)))
    work = choose(favouring({"b": 1.0}, prefixes=prefixes), request).work
    assert (work.prompt_tokens, work.cached_tokens) == (10 * len(TEXT) / PER_TOKEN, len(TEXT) / PER_TOKEN)


@given(blocks=st.integers(0, 1024), more_bytes=st.integers(0, 300), per_token=st.floats(0.5, 100))
def test_never_more_is_cached_than_there_is(blocks: int, more_bytes: int, per_token: float) -> None:
    """Not even by the last bit of a fraction: less than nothing would be left to compute."""
    text = b"x" * (BLOCK_BYTES * blocks + more_bytes)
    prefixes = PrefixIndex(100_000)
    prefixes.add("a", hash_blocks(text, model="m"))
    profile = favouring({}, prefixes=prefixes, per_token=per_token)
    assert choose(profile, asked(text), endpoints=POOL[:1]).work.uncached_tokens >= 0.0


@pytest.mark.parametrize(
    ("known", "other", "is_known"),
    [
        pytest.param(asked(TEXT), asked(TEXT + b"more"), True, id="a prompt that goes on"),
        pytest.param(asked(TEXT), asked(b"-" + TEXT), False, id="another beginning"),
        pytest.param(asked(TEXT), asked(TEXT, salt="s"), False, id="another salt"),
        pytest.param(asked(TEXT, salt="s"), asked(TEXT, salt="s"), True, id="the same salt"),
    ],
)
def test_a_prompt_goes_where_its_beginning_is(known: InferenceRequest, other: InferenceRequest, is_known: bool) -> None:
    for holder in "abc":
        prefixes = PrefixIndex(100_000)
        profile = real({"prefix": 1.0}, prefixes=prefixes)
        prefixes.add(holder, choose(profile, known).work.blocks)
        found = choose(profile, other)
        assert (max(found.scores.totals) > 0.0) is is_known
        if is_known:
            assert ids(found) == holder


def test_another_model_shares_no_beginning() -> None:
    prefixes = PrefixIndex(100_000)
    prefixes.add("a", hash_blocks(TEXT, model="n"))
    assert choose(real({"prefix": 1.0}, prefixes=prefixes), asked(TEXT)).scores.totals == (0.0, 0.0, 0.0)


def prompts(count: int) -> list[InferenceRequest]:
    return [asked(b"%06d" % number * 100) for number in range(count)]


@pytest.mark.parametrize("size", [3, MOST_COMPARED, MOST_COMPARED + 2, 100])
@pytest.mark.parametrize("weights", [{}, {"ttft": 1.0, "lora-affinity": 1.0}, {"queue": 2.0, "prefix": 3.0}])
def test_replicas_that_know_nothing_choose_the_same(weights: dict[str, float], size: int) -> None:
    one, other = real(weights), real(weights)
    for number, request in enumerate(prompts(100)):
        first = choose(one, request, endpoints=FLEET[:size], seed=number)
        second = choose(other, request, endpoints=FLEET[:size], seed=-1 - number)
        assert first.endpoints == second.endpoints


@pytest.mark.parametrize("size", [3, MOST_COMPARED, 40, 100])
@pytest.mark.parametrize(
    ("weights", "requests"),
    [
        pytest.param({"ttft": 1.0}, prompts(400), id="prompts"),
        pytest.param({"session": 1.0}, [asked(session=str(n)) for n in range(400)], id="sessions"),
    ],
)
def test_an_endpoint_that_leaves_moves_only_what_it_had(
    weights: dict[str, float], requests: list[InferenceRequest], size: int
) -> None:
    profile = real(weights)
    gone, *left = FLEET[:size]
    both = tuple(FLEET[:size]), tuple(left)
    before, after = ([ids(choose(profile, each, endpoints=known)) for each in requests] for known in both)
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) <= {gone.id}
    assert len(set(before)) > size // 2, "they were shared out"


@pytest.mark.parametrize("size", [3, 100])
def test_a_session_stays_where_it_is_whatever_its_prompts(size: int) -> None:
    profile, endpoints = real({"session": 1.0}), FLEET[:size]
    chosen = {
        ids(choose(profile, replace(each, session="s"), endpoints=endpoints, seed=seed))
        for seed, each in enumerate(prompts(50))
    }
    assert len(chosen) == 1


@pytest.mark.parametrize("size", [3, 100])
def test_requests_that_belong_nowhere_are_spread_evenly(size: int) -> None:
    profile, rng = real({"ttft": 1.0}), Random(0)
    endpoints, times = FLEET[:size], 100 * size
    found = Counter(ids(profile.choose(asked(), endpoints, model="m", count=1, now=0.0, rng=rng)) for _ in range(times))
    assert len(found) == size
    assert max(found.values()) < 1.6 * times / size


named = st.lists(st.sampled_from(sorted(SCORERS)), min_size=1, max_size=4, unique=True)
weighted = named.flatmap(
    lambda names: st.fixed_dictionaries({name: st.just(0.0) | st.floats(0.001, 10) for name in names})
)
pools = st.lists(told, min_size=1, max_size=4)
requests = st.builds(asked, st.sampled_from([None, b"", TEXT, TEXT[:600]]), session=st.sampled_from([None, "s"]))


def built(loads: list[dict[str, Any]], weights: Mapping[str, float], picker: str) -> Profile:
    prefixes = PrefixIndex(100_000)
    prefixes.add("a", hash_blocks(TEXT[:1000], model="m"))
    by_id = {letter: Told(**load) for letter, load in zip("abcd", loads, strict=False)}
    return real(weights, loads=by_id, picker=picker, prefixes=prefixes)


@pytest.mark.parametrize("picker", ["max-score", "power-of-two"])
@given(loads=pools, weights=weighted, request_=requests, power=st.integers(-8, 8), seed=st.integers(0, 9))
def test_weights_that_are_all_multiplied_change_no_pick(
    picker: str,
    loads: list[dict[str, Any]],
    weights: dict[str, float],
    request_: InferenceRequest,
    power: int,
    seed: int,
) -> None:
    """By powers of two, which round nothing: others could part what is equal but for the last bit."""
    scaled = {name: weight * 2.0**power for name, weight in weights.items()}
    endpoints = [endpoint(letter) for letter in "abcd"[: len(loads)]]
    one, other = (
        choose(built(loads, each, picker), request_, endpoints=endpoints, count=4, seed=seed, is_adapter=True)
        for each in (weights, scaled)
    )
    assert one.endpoints == other.endpoints


@given(loads=pools, weights=weighted, request_=requests, factor=st.floats(1e-3, 1e3), seed=st.integers(0, 9))
def test_weights_that_are_all_multiplied_pick_none_that_is_worse(
    loads: list[dict[str, Any]],
    weights: dict[str, float],
    request_: InferenceRequest,
    factor: float,
    seed: int,
) -> None:
    scaled = {name: weight * factor for name, weight in weights.items()}
    endpoints = [endpoint(letter) for letter in "abcd"[: len(loads)]]
    one, other = (
        choose(built(loads, each, "max-score"), request_, endpoints=endpoints, seed=seed) for each in (weights, scaled)
    )
    assert one.scores.totals[endpoints.index(other.endpoints[0])] == pytest.approx(max(one.scores.totals))


@pytest.mark.parametrize("picker", ["max-score", "power-of-two"])
@given(
    loads=pools, weights=weighted, absent=st.sampled_from(sorted(SCORERS)), request_=requests, seed=st.integers(0, 9)
)
def test_a_weight_of_0_is_as_if_the_scorer_were_not_there(
    picker: str,
    loads: list[dict[str, Any]],
    weights: dict[str, float],
    absent: str,
    request_: InferenceRequest,
    seed: int,
) -> None:
    weights.pop(absent, None)
    endpoints = [endpoint(letter) for letter in "abcd"[: len(loads)]]
    one, other = (
        choose(built(loads, each, picker), request_, endpoints=endpoints, count=4, seed=seed)
        for each in (weights, {absent: 0.0, **weights})
    )
    assert (one.endpoints, one.scores.totals, one.work) == (other.endpoints, other.scores.totals, other.work)


def test_endpoints_that_come_and_go_are_taken_over() -> None:
    profile = favouring({"c": 2.0, "b": 1.0})
    assert ids(choose(profile, endpoints=POOL)) == "c"
    assert ids(choose(profile, endpoints=POOL[:2])) == "b"
    assert ids(choose(profile, endpoints=POOL)) == "c"
