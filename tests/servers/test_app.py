"""The composition root: what listens to the registry."""

import time
from pathlib import Path
from random import Random

import pytest

from extproc.app import build
from extproc.errors import ConfigError
from extproc.registry.changes import ModelsListed, PoolListed
from extproc.settings.load import load
from extproc.values.decision import Route, Scores, Work
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard

A, B = (Endpoint(name, name, f"10.0.0.{number}:8000") for number, name in enumerate("ab", start=1))


async def test_nothing_is_kept_of_an_endpoint_that_is_gone(tmp_path: Path) -> None:
    """Neither what was routed to it nor when it was probed: endpoints come and go for as long as a server runs."""
    (tmp_path / "pool.yaml").write_text("pools: [{name: test}]")
    flags = {"endpoints-file": str(tmp_path / "pool.yaml"), "secure-serving": "false"}
    app = build(load(flag_values=flags), environ={}, clock=time.monotonic, wall_clock=time.time, rng=Random(1))
    app._report(PoolListed.of((A, B)))
    for endpoint in (A, B):
        app._report(ModelsListed(endpoint.id, 1.0, (ModelCard("m"),)))
        app._decider.record(Route((endpoint,), Scores(), Work(1024, 256.0, 0.0, (1, 2, 3, 4))), now=1.0)
    app._report(PoolListed.of((B,)))
    loads, prefixes = app._decider.loads, app._decider.prefixes  # no other way to see a leak
    assert loads._loads.keys() == loads._recent._counts.keys() == prefixes._endpoints.keys() == {"b"}
    assert len(prefixes) == 4
    assert app._store._settled_at_s.keys() == app._store._answered_at_s.keys() == {"b"}


def test_everything_that_keeps_it_from_starting_is_told_at_once() -> None:
    loaded = load(text="{probes: {bearerTokenFile: /nowhere}, server: {certPath: /no}}", flag_values={})
    with pytest.raises(ConfigError) as error:
        build(loaded, environ={}, clock=time.monotonic, wall_clock=time.time, rng=Random(1))
    assert [problem.where for problem in error.value.problems] == [
        "--pool-name",
        "probes.bearerTokenFile",
        "/no/tls.crt",
        "/no/tls.key",
    ]
