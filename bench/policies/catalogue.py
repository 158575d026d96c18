"""The policies by name, each made anew for a run."""

from collections.abc import Mapping

from bench.policies.oracle import Oracle
from bench.policies.picker import Picker
from bench.policies.policies import LeastRequest, RandomPick, RoundRobin
from bench.policies.prefix_only import PrefixOnly
from bench.policies.replay import MakePolicy
from extproc.settings.schema import Settings

WEIGHTED_SUM = [{"name": "queue", "weight": 2}, {"name": "kv-cache", "weight": 2}, {"name": "prefix", "weight": 3}]
"""As llm-d's router does by default. Source: Red Hat's documentation for queue and prefix, the examples of the Gateway
API Inference Extension (pull request 1888) for the KV cache."""

POLICIES: Mapping[str, MakePolicy] = {
    "random": lambda rng, engines: RandomPick(rng),
    "round robin": lambda rng, engines: RoundRobin(rng),
    "least request": lambda rng, engines: LeastRequest(rng),
    "prefix only": lambda rng, engines: PrefixOnly(rng),
    "weighted sum": lambda rng, engines: Picker(rng, _settings(WEIGHTED_SUM), tracks=False),
    "ours, detach": lambda rng, engines: Picker(rng, Settings(), tracks=False),
    "ours, track": lambda rng, engines: Picker(rng, Settings(), tracks=True),
    "oracle": Oracle,
}


def make_shedding(objectives: Mapping[str, int]) -> MakePolicy:
    """Ours in `detach`, with the priorities of these objectives."""
    settings = Settings.model_validate({"admission": {"objectives": dict(objectives)}})
    return lambda rng, engines: Picker(rng, settings, tracks=False)


def _settings(scorers: list[dict[str, object]]) -> Settings:
    return Settings.model_validate({"scheduling": {"scorers": scorers}})
