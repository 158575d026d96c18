"""The composition root: what listens to the registry."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from extproc.app import App, build
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


class Edited:
    """A server, not started, and the config file that it follows."""

    def __init__(self, folder: Path) -> None:
        (folder / "pool.yaml").write_text("pools: [{name: test}]")
        self.file = folder / "config.yaml"
        self.file.write_text("")
        flags = {"endpoints-file": str(folder / "pool.yaml"), "secure-serving": "false"}
        loaded = load(file=str(self.file), flag_values=flags)
        self.app = build(loaded, environ={}, clock=time.monotonic, wall_clock=time.time, rng=Random(1))

    async def edit(self, text: str) -> None:
        self.file.write_text(text)
        for _ in range(2):
            await self.app._config.look()

    @property
    def problems(self) -> list[str]:
        file = self.app._config.file()
        assert file is not None
        return [problem.partition(": ")[0] for problem in file.problems]


@pytest.mark.parametrize(
    ("text", "now"),
    [
        pytest.param("requests: {maxHeldBytes: 7}", lambda app: app._budget.limit_bytes == 7, id="held bytes"),
        pytest.param(
            "envoy: {allowModeOverride: true}",
            lambda app: app._terms.policy.allows_mode_override,
            id="how streams are served",
        ),
        pytest.param(
            "requests: {aliases: {fast: phi}}", lambda app: "fast" in app._store.snapshot.aliases, id="aliases"
        ),
        pytest.param(
            "admission: {objectives: {batch: -1}}",
            lambda app: app._store.snapshot.objectives == {"batch": -1},
            id="objectives",
        ),
        pytest.param(
            "envoy: {fallbackEndpoints: 3}",
            lambda app: app._terms.director is app._decider.director and app._decider.settings.envoy.fallback_endpoints,
            id="what decides",
        ),
        pytest.param(
            "probes: {scheme: https}",
            lambda app: app._client._manner.ssl_context is not None,
            id="how engines are asked",
        ),
        pytest.param(
            "probes: {models: {interval: 9s}}", lambda app: app._prober._settings.interval_s == 9, id="probes"
        ),
        pytest.param("probes: {metrics: {interval: 9s}}", lambda app: app._load_prober.interval_s == 9, id="readings"),
        pytest.param(
            "telemetry: {verbosity: 1}", lambda _: logging.getLogger("extproc").level == logging.WARNING, id="the log"
        ),
        pytest.param(
            "server: {drainDelay: 9s}",
            lambda app: app._config.loaded.settings.server.drain_delay_s == 9,
            id="how it leaves",
        ),
    ],
)
async def test_an_edit_reaches_whoever_goes_by_it(tmp_path: Path, text: str, now: Callable[[App], object]) -> None:
    edited = Edited(tmp_path)
    assert not now(edited.app)
    await edited.edit(text)
    assert now(edited.app), edited.problems
    await edited.edit("")
    assert not now(edited.app)


async def test_an_edit_of_how_models_are_asked_for_starts_no_reading_anew(tmp_path: Path) -> None:
    edited = Edited(tmp_path)
    app = edited.app
    app._report(PoolListed.of((A, B)))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(app._prober.run()), tasks.create_task(app._load_prober.run())]
        await asyncio.sleep(0)
        before = dict(app._load_prober._pauses)
        await edited.edit("probes: {models: {interval: 9s}}")
        assert before.keys() == {"a", "b"}
        assert app._load_prober._pauses == before
        await edited.edit("probes: {bearerTokenFile: " + str(edited.file) + "}")
        assert not set(app._load_prober._pauses.values()) & set(before.values())
        for task in running:
            task.cancel()


async def test_an_edit_forgets_nothing_that_is_known_or_was_learned(tmp_path: Path) -> None:
    edited = Edited(tmp_path)
    app = edited.app
    app._report(PoolListed.of((A, B)))
    for endpoint in (A, B):
        app._report(ModelsListed(endpoint.id, 1.0, (ModelCard("m"),)))
    app._decider.record(Route((A,), Scores(), Work(1024, 256.0, 0.0, (1, 2, 3, 4))), now=1.0)
    app._decider.in_flight.begin(A)
    models, loads, prefixes = app._store.snapshot.models, app._decider.loads, app._decider.prefixes
    load, states = loads.of("a"), app._store.snapshot.endpoints
    await edited.edit(
        "scheduling: {scorers: [{name: queue}]}\nprobes: {models: {interval: 1s}}\nenvoy: {readUsage: true}"
    )
    assert app._config.loaded.settings.envoy.read_usage
    assert (app._store.snapshot.models, app._store.snapshot.endpoints) == (models, states)
    assert app._decider.loads is loads
    assert loads.of("a") is load
    assert (len(prefixes), app._decider.in_flight.count("a")) == (4, 1)


async def test_whoever_is_served_by_the_terms_of_before_sees_the_names_of_before(tmp_path: Path) -> None:
    edited = Edited(tmp_path)
    app = edited.app
    before = app._terms
    await edited.edit("requests: {aliases: {fast: phi}}")
    assert "fast" not in before.view(app._store.snapshot).aliases
    assert "fast" in app._terms.view(app._store.snapshot).aliases


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param("probes: {bearerTokenFile: /nowhere}", ["probes.bearerTokenFile"], id="a key that is not there"),
        pytest.param("probes: {scheme: https, caFile: /nowhere}", ["probes.caFile"], id="a CA that is not there"),
        pytest.param(
            "server: {secureServing: true, certPath: /no}\nprobes: {bearerTokenFile: /nowhere}",
            ["probes.bearerTokenFile", "/no/tls.crt", "/no/tls.key"],
            id="also what counts at the next start",
        ),
        pytest.param("telemetry: {tracing: {endpoint: x}}", ["telemetry.tracing.endpoint"], id="a collector"),
    ],
)
async def test_what_an_edit_names_must_be_good(tmp_path: Path, text: str, problems: list[str]) -> None:
    edited = Edited(tmp_path)
    edited.app._config.loaded.command_line.flag_values.pop("secure-serving")  # type: ignore[attr-defined]
    await edited.edit(f"{text}\nrequests: {{hold: 9s}}")
    assert edited.problems == problems
    assert edited.app._config.loaded.settings.requests.hold_s == 1.0


async def test_the_source_is_not_opened_again_for_an_edit_of_something_else(tmp_path: Path) -> None:
    edited = Edited(tmp_path)
    (tmp_path / "pool.yaml").unlink()
    await edited.edit("requests: {hold: 9s}")
    assert (edited.problems, edited.app._config.loaded.settings.requests.hold_s) == ([], 9.0)


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
