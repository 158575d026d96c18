"""What each policy chooses, by what it was told."""

from random import Random

import pytest
from bench.policies.costs import A100
from bench.policies.engine import Engine
from bench.policies.jobs import Chains, Job
from bench.policies.oracle import Oracle
from bench.policies.picker import Picker
from bench.policies.policies import LeastRequest, Policy, RandomPick, RoundRobin
from bench.policies.prefix_only import PrefixOnly
from tests.bench_policies.jobs import make_job

from extproc.settings.schema import Settings
from extproc.values.load import EngineLoad

CHAINS = Chains()


def joined(policy: Policy, engines: int) -> Policy:
    for engine in range(engines):
        policy.join(engine, now=0.0)
    return policy


def picker(*, tracks: bool = False, **weights: float) -> Policy:
    scorers = [{"name": name.replace("_", "-"), "weight": weight} for name, weight in weights.items()]
    settings = Settings.model_validate({"scheduling": {"scorers": scorers}})
    return joined(Picker(Random(1), settings, tracks=tracks), 2)


def load(*, waiting: int, at_s: float = 1.0) -> EngineLoad:
    return EngineLoad(at_s, waiting=waiting, running=1, kv_used_ratio=0.1, block_tokens=16, blocks=A100.blocks)


def said_again(index: int) -> Job:
    return Job(index, 0.0, CHAINS.pieces([(1, 2_000), (100 + index, 5)]), 2_000, 5)


def test_round_robin_takes_one_after_another() -> None:
    policy = joined(RoundRobin(Random(0)), 3)
    assert [policy.choose(make_job(index, 9, 9), now=0.0) for index in range(4)] == [0, 1, 2, 0]


def test_random_takes_any() -> None:
    policy = joined(RandomPick(Random(0)), 3)
    assert {policy.choose(make_job(index, 9, 9), now=0.0) for index in range(50)} == {0, 1, 2}


def test_least_request_counts_what_began_and_what_ended() -> None:
    policy = joined(LeastRequest(Random(0)), 3)
    assert {policy.choose(make_job(index, 9, 9), now=0.0) for index in range(3)} == {0, 1, 2}
    for engine in (1, 0, 2, 2, 0, 1):
        policy.end(engine, make_job(engine, 9, 9), now=1.0)
        assert policy.choose(make_job(3, 9, 9), now=1.0) == engine


def test_prefix_only_goes_where_the_prompt_is_and_else_to_who_got_the_fewest() -> None:
    policy = joined(PrefixOnly(Random(0)), 3)
    first = policy.choose(said_again(0), now=0.0)
    assert [policy.choose(said_again(index), now=0.0) for index in (1, 2)] == [first, first]
    others = [policy.choose(make_job(index, 500, 9), now=0.0) for index in range(10, 15)]
    assert first not in others[:4]
    assert set(others[:2]) == {0, 1, 2} - {first}


def test_the_oracle_knows_caches_and_queues() -> None:
    engines = [Engine(A100), Engine(A100)]
    policy = joined(Oracle(Random(0), engines), 2)
    engines[1].send(said_again(0), now=0.0)
    for engine in engines:
        engine.advance(100.0)
    assert policy.choose(said_again(1), now=100.0) == 1
    for index in range(10):
        engines[1].send(make_job(index, 4_000, 9), now=100.0)
    assert policy.choose(said_again(2), now=100.0) == 0


def test_the_picker_hears_of_loads() -> None:
    policy = picker(queue=1.0)
    policy.read(0, load(waiting=0), now=1.0)
    policy.read(1, load(waiting=9), now=1.0)
    assert {policy.choose(make_job(index, 999, 9), now=1.0) for index in range(5)} == {0}


@pytest.mark.parametrize(
    ("returns", "same"),
    [pytest.param(False, True, id="an engine that stays"), pytest.param(True, False, id="an engine that began anew")],
)
def test_the_picker_keeps_in_mind_what_it_sent(returns: bool, same: bool) -> None:
    policy = picker(prefix=1.0, queue=0.1)
    first = policy.choose(said_again(0), now=0.5)
    assert isinstance(first, int)
    if returns:
        policy.leave(first, now=0.6)
        policy.join(first, now=0.7)
    policy.read(first, load(waiting=9), now=1.0)
    policy.read(1 - first, load(waiting=0), now=1.0)
    assert (policy.choose(said_again(1), now=1.0) == first) == same


def test_a_picker_that_tracks_counts_what_is_open() -> None:
    policy = picker(tracks=True, inflight=1.0)
    busy = policy.choose(make_job(0, 99, 9), now=0.0)
    assert isinstance(busy, int)
    for index in range(1, 7):
        assert policy.choose(make_job(index, 99, 9), now=0.0) == 1 - busy
        policy.end(1 - busy, make_job(index, 99, 9), now=0.0)
