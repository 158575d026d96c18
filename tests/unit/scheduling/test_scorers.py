"""scheduling/scorers: scores in [0, 1], 1 is best; one that is better off never gets less."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scheduling.pool import Told, need, told

from extproc.scheduling.catalogue import SCORERS
from extproc.scheduling.interfaces import Scorer
from extproc.scheduling.scorers import (
    InFlightScorer,
    KvCacheScorer,
    LoraAffinityScorer,
    PrefixScorer,
    QueueScorer,
    RunningScorer,
    SessionScorer,
)
from extproc.values.load import Adapters

UNREAD = {"is_read": False}
IDLE, BUSY, BUSIEST = {"waiting": 0.0}, {"waiting": 5.0}, {"waiting": 10.0}
HALF_FADED, FADED = {"confidence": 0.5}, {"confidence": 0.0}


def scores(scorer: Scorer, loads: Sequence[Mapping[str, Any]], **about: Any) -> list[float]:
    return list(scorer.score(need([Told(**load) for load in loads], **about)))


@pytest.mark.parametrize(("scorer", "count"), [(QueueScorer(), "waiting"), (RunningScorer(), "running")])
@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        pytest.param([IDLE, BUSIEST, BUSY], [1.0, 0.0, 0.5], id="from the least to the most"),
        pytest.param([{"waiting": 7.0}, {"waiting": 9.0}], [1.0, 0.0], id="the least need not be none"),
        pytest.param([IDLE], [1.0], id="alone and idle"),
        pytest.param([IDLE, IDLE], [1.0, 1.0], id="all idle"),
        pytest.param([BUSY, BUSY], [0.5, 0.5], id="all as busy"),
        pytest.param([BUSY, UNREAD], [0.5, 0.5], id="busy and unknown: nobody can tell"),
        pytest.param([UNREAD, UNREAD], [0.5, 0.5], id="nothing is known"),
        pytest.param([{}, IDLE], [0.5, 1.0], id="a page that does not say"),
        pytest.param([UNREAD, IDLE, BUSIEST], [0.5, 1.0, 0.0], id="unknown is neither idle nor full"),
        pytest.param([IDLE | HALF_FADED, BUSIEST | HALF_FADED, BUSY], [0.75, 0.25, 0.5], id="half faded"),
        pytest.param([IDLE | FADED, BUSIEST, BUSY | FADED], [0.5, 0.0, 0.5], id="faded is as unknown"),
    ],
)
def test_queue_and_running(scorer: Scorer, count: str, loads: list[dict[str, Any]], expected: list[float]) -> None:
    renamed = [{count if key == "waiting" else key: value for key, value in load.items()} for load in loads]
    assert scores(scorer, renamed) == expected


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        pytest.param([0.0, 4.0, 1.0], [1.0, 0.0, 0.75], id="from the fewest to the most"),
        pytest.param([3.0], [1.0], id="alone"),
        pytest.param([3.0, 3.0], [1.0, 1.0], id="all as many"),
    ],
)
def test_inflight(requests: list[float], expected: list[float]) -> None:
    assert scores(InFlightScorer(), [{"requests": each} for each in requests]) == expected


@pytest.mark.parametrize(
    ("load", "score"),
    [
        pytest.param({"kv_used_ratio": 0.0}, 1.0, id="empty"),
        pytest.param({"kv_used_ratio": 0.25}, 0.75, id="a quarter used"),
        pytest.param({"kv_used_ratio": 1.0}, 0.0, id="full"),
        pytest.param({}, 0.5, id="a page that does not say"),
        pytest.param(UNREAD, 0.5, id="never read"),
        pytest.param({"kv_used_ratio": 0.0, **HALF_FADED}, 0.75, id="empty, half faded"),
        pytest.param({"kv_used_ratio": 1.0, **HALF_FADED}, 0.25, id="full, half faded"),
        pytest.param({"kv_used_ratio": 1.0, **FADED}, 0.5, id="full, faded"),
    ],
)
def test_kv_cache(load: dict[str, Any], score: float) -> None:
    assert scores(KvCacheScorer(), [load]) == [score]


@pytest.mark.parametrize(
    ("prompt_tokens", "cached_tokens", "expected"),
    [
        pytest.param(100.0, [0.0, 50.0, 100.0], [0.0, 0.5, 1.0], id="the cached share"),
        pytest.param(100.0, [101.0], [1.0], id="never more than all"),
        pytest.param(0.0, [0.0, 0.0], [0.0, 0.0], id="no prompt"),
    ],
)
def test_prefix(prompt_tokens: float, cached_tokens: list[float], expected: list[float]) -> None:
    loads: list[dict[str, Any]] = [{} for _ in cached_tokens]
    assert scores(PrefixScorer(), loads, prompt_tokens=prompt_tokens, cached_tokens=cached_tokens) == expected


def having(*running: str, waiting: Sequence[str] = (), most: int = 2) -> dict[str, Any]:
    return {"adapters": Adapters(frozenset(running), frozenset(waiting), most)}


@pytest.mark.parametrize(
    ("load", "score"),
    [
        pytest.param(having("m"), 1.0, id="running"),
        pytest.param(having("m", "n"), 1.0, id="running, no more room"),
        pytest.param(having("m", waiting="m"), 1.0, id="running, and waited for too"),
        pytest.param(having(), 0.75, id="room for two"),
        pytest.param(having("n"), 0.75, id="room for one"),
        pytest.param(having("n", waiting="n"), 0.75, id="another that runs and waits is one"),
        pytest.param(having(waiting="m"), 0.5, id="waited for"),
        pytest.param(having("n", "o", waiting="m"), 0.5, id="waited for, where others run"),
        pytest.param({}, 0.5, id="a page that does not say"),
        pytest.param(UNREAD, 0.5, id="never read"),
        pytest.param(having("n", "o"), 0.0, id="another one must go"),
        pytest.param(having("n", waiting="o"), 0.0, id="the room is spoken for"),
        pytest.param(having(most=0), 0.0, id="no room for any"),
        pytest.param(having("m") | HALF_FADED, 0.75, id="running, half faded"),
        pytest.param(having("n", "o") | FADED, 0.5, id="another one had to go, faded"),
    ],
)
def test_lora_affinity(load: dict[str, Any], score: float) -> None:
    assert scores(LoraAffinityScorer(), [load], is_adapter=True) == [score]
    assert scores(LoraAffinityScorer(), [load], is_adapter=False) == [1.0]


def test_a_session_is_at_home_at_one_endpoint() -> None:
    homes = {str(n): scores(SessionScorer(), [{}] * 4, session=str(n)) for n in range(64)}
    assert all(sorted(each) == [0.0, 0.0, 0.0, 1.0] for each in homes.values())
    assert {each.index(1.0) for each in homes.values()} == {0, 1, 2, 3}
    assert scores(SessionScorer(), [{}] * 4, session="7") == homes["7"], "at every replica alike"


def test_a_session_does_not_ask_for_the_load() -> None:
    busy: dict[str, Any] = {"waiting": 99.0, "requests": 99.0}
    assert scores(SessionScorer(), [{}, {}], session="s") == scores(SessionScorer(), [busy, {}], session="s")


def test_without_a_session_all_are_alike() -> None:
    assert scores(SessionScorer(), [{}, {}]) == [1.0, 1.0]


pools = st.lists(told, min_size=1, max_size=4)
prompts = st.sampled_from([0.0, 1.0, 1e5]) | st.floats(0, 1e6)


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=40)
@given(
    pool=pools, prompt_tokens=prompts, shares=st.data(), is_adapter=st.booleans(), session=st.sampled_from([None, "s"])
)
def test_one_score_in_0_to_1_for_each_candidate_in_their_order(
    name: str,
    pool: list[dict[str, Any]],
    prompt_tokens: float,
    shares: st.DataObject,
    is_adapter: bool,
    session: str | None,
) -> None:
    cached = [prompt_tokens * shares.draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in pool]
    about: dict[str, Any] = {"prompt_tokens": prompt_tokens, "is_adapter": is_adapter, "session": session}
    found = scores(SCORERS[name](), pool, cached_tokens=cached, **about)
    assert len(found) == len(pool)
    assert all(0.0 <= score <= 1.0 for score in found)
    if name != "session":  # which goes by addresses
        order = list(reversed(range(len(pool))))
        turned = scores(
            SCORERS[name](), [pool[at] for at in order], cached_tokens=[cached[at] for at in order], **about
        )
        assert turned == list(reversed(found))


AFFINITIES = [having("m"), having("n"), having(waiting="m"), having("n", "o")]
"""The best first."""


def better(draw: st.DrawFn, worse: dict[str, Any], key: str) -> dict[str, Any]:
    """An endpoint that is as good or better off in `key`, and the same in all else."""
    if key == "adapters":
        at = draw(st.integers(0, len(AFFINITIES) - 1))
        worse.update(AFFINITIES[at])
        return worse | AFFINITIES[draw(st.integers(0, at))]
    worse[key] = draw(st.floats(0, 1)) if worse[key] is None else worse[key]
    return worse | {key: draw(st.floats(0, worse[key]))}


@st.composite
def pairs(draw: st.DrawFn, key: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A pool, and what its first endpoint is in a better state."""
    first, *others = draw(pools)
    improved = better(draw, first, key)
    return [first, *others], improved


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param("queue", "waiting", id="queue: fewer waiting"),
        pytest.param("running", "running", id="running: fewer running"),
        pytest.param("inflight", "requests", id="inflight: fewer requests"),
        pytest.param("kv-cache", "kv_used_ratio", id="kv-cache: less of it used"),
        pytest.param("lora-affinity", "adapters", id="lora-affinity: nearer to running it"),
        pytest.param("ttft", "requests", id="ttft: fewer requests"),
        pytest.param("ttft", "backlog_s", id="ttft: less to wait for"),
        pytest.param("ttft", "kv_used_ratio", id="ttft: less of the cache used"),
        pytest.param("ttft", "request_s", id="ttft: less time for each prompt"),
        pytest.param("ttft", "token_s", id="ttft: less time for each token"),
    ],
)
@settings(max_examples=40)
@given(data=st.data(), prompt_tokens=prompts)
def test_one_that_is_better_off_never_scores_worse(
    name: str, key: str, data: st.DataObject, prompt_tokens: float
) -> None:
    """Neither than it did before, all else being the same, nor than another in its former state beside it."""
    pool, improved = data.draw(pairs(key))
    scorer, about = SCORERS[name](), {"prompt_tokens": prompt_tokens, "is_adapter": True}
    before = scores(scorer, pool, **about)[0]
    after = scores(scorer, [improved, *pool[1:]], **about)[0]
    assert after >= before
    beside = scores(scorer, [improved, *pool[1:], pool[0]], **about)
    assert beside[0] >= beside[-1]


@pytest.mark.parametrize("name", ["prefix", "ttft"])
@settings(max_examples=40)
@given(
    pool=st.lists(told, min_size=1, max_size=4),
    prompt_tokens=st.floats(1, 1e6),
    shares=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    more=st.floats(0, 1),
)
def test_one_that_has_more_cached_never_scores_worse(
    name: str, pool: list[dict[str, Any]], prompt_tokens: float, shares: list[float], more: float
) -> None:
    scorer = SCORERS[name]()
    cached = [prompt_tokens * share for share in shares[: len(pool)]]
    improved = [max(cached[0], prompt_tokens * more), *cached[1:]]
    before = scores(scorer, pool, prompt_tokens=prompt_tokens, cached_tokens=cached)[0]
    assert scores(scorer, pool, prompt_tokens=prompt_tokens, cached_tokens=improved)[0] >= before
    beside = scores(scorer, [*pool, pool[0]], prompt_tokens=prompt_tokens, cached_tokens=[*improved, cached[0]])
    assert beside[0] >= beside[-1]


@pytest.mark.parametrize(
    ("name", "best", "worst"),
    [
        ("queue", {"waiting": 0.0}, {"waiting": 1e9}),
        ("running", {"running": 0.0}, {"running": 1e9}),
        ("kv-cache", {"kv_used_ratio": 0.0}, {"kv_used_ratio": 1.0}),
        ("lora-affinity", having("m"), having("n", "o")),
    ],
)
@settings(max_examples=40)
@given(pool=pools, fresher=st.floats(0, 1), staler=st.floats(0, 1))
def test_what_is_known_fades_to_unknown_which_is_neither_best_nor_worst(
    name: str,
    best: dict[str, Any],
    worst: dict[str, Any],
    pool: list[dict[str, Any]],
    fresher: float,
    staler: float,
) -> None:
    staler, fresher = sorted((staler, fresher))
    read = [best | {"confidence": fresher}, best | {"confidence": staler}]
    read += [worst | {"confidence": staler}, worst | {"confidence": fresher}]
    found = scores(SCORERS[name](), [*read, UNREAD, *pool[:3]], is_adapter=True)
    good, faded_good, faded_bad, bad, unknown = found[:5]
    assert good >= faded_good >= unknown >= faded_bad >= bad
    assert unknown == 0.5


@pytest.mark.parametrize(("name", "key"), [("queue", "waiting"), ("running", "running"), ("kv-cache", "kv_used_ratio")])
@settings(max_examples=40)
@given(pool=pools, confidence=st.floats(0, 1), step=st.floats(0, 0.01))
def test_fading_makes_no_jump(name: str, key: str, pool: list[dict[str, Any]], confidence: float, step: float) -> None:
    before, after = (
        scores(SCORERS[name](), [load | {"confidence": max(0.0, confidence - late)} for load in pool])
        for late in (0.0, step)
    )
    assert all(abs(one - other) <= step + 1e-9 for one, other in zip(before, after, strict=True))
