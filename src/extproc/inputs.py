"""What the settings name outside of themselves, all of it read at once: the source of endpoints, certificates, keys."""

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from extproc.errors import ConfigError, MissingError, Problem
from extproc.probes.client import Manner, prepare
from extproc.servers.tls import Certificate, load_certificate
from extproc.settings.schema import Settings
from extproc.sources.choice import Source, open_source
from extproc.telemetry.collector import Collector, open_collector


def _find_missing(settings: Settings) -> list[Problem]:
    """What a server must still be told before it can start."""
    source = settings.source
    if source.endpoints_file or source.pool_name or source.endpoint_selector or source.dns_name:
        return []
    what = "is required, or --endpoint-selector, --dns-name or --endpoints-file: where the pool's endpoints are"
    return [Problem("--pool-name", what)]


class Inputs(NamedTuple):
    """What the settings name, and everything wrong with it."""

    manner: Manner | None
    """How endpoints are asked; None where something is wrong with it."""
    source: Source | None
    """None where none is named, or it is wrong."""
    certificate: Certificate | None
    """None for plaintext, or where it is wrong."""
    collector: Collector | None
    """None where nothing is traced, or it is wrong."""
    problems: list[Problem]
    missing: list[Problem]
    """What a server must still be told, or be given, before it can start."""
    waived: list[Problem]
    """What the environment asks for and cannot be had: the server goes without."""


def read_inputs(
    settings: Settings,
    *,
    started: Settings | None = None,
    environ: Mapping[str, str],
    clock: Callable[[], float],
    rng: Random,
) -> Inputs:
    """Reads what the settings name. `environ` is the process's environment.

    With `started`, the settings are an edit of those that a server was started with: what counts at its next start, and
    is stated as before, is not read again.
    """
    problems: list[Problem] = []
    missing: list[Problem] = []
    waived: list[Problem] = []
    manner, source, certificate, collector = None, None, None, None
    try:
        manner = prepare(settings.probes)
    except ConfigError as exc:
        problems.extend(exc.problems)
    try:
        if started is None or settings.server != started.server:
            certificate = load_certificate(settings.server)
    except ConfigError as exc:
        problems.extend(exc.problems)
    try:
        if started is None or settings.telemetry.tracing != started.telemetry.tracing:
            collector = open_collector(settings.telemetry.tracing, environ=environ)
    except ConfigError as exc:
        # Variables that are meant for every program of a pod keep none of them from starting.
        (problems if settings.telemetry.tracing.endpoint else waived).extend(exc.problems)
    try:
        if started is None or settings.source != started.source:
            missing.extend(_find_missing(settings))
            source = open_source(settings.source, environ=environ, clock=clock, rng=rng)
    except MissingError as exc:
        missing.extend(exc.problems)
    except ConfigError as exc:
        file = settings.source.endpoints_file
        for problem in exc.problems:
            where = problem.where if not file or problem.where == file else f"{file}: {problem.where}"
            problems.append(Problem(where, problem.what))
    return Inputs(manner, source, certificate, collector, problems, missing, waived)


def prepare_edit(
    settings: Settings,
    *,
    started: Settings,
    environ: Mapping[str, str],
    clock: Callable[[], float],
    rng: Random,
) -> Manner:
    """How endpoints are to be asked after an edit of the settings that a server was `started` with.

    Errors: ConfigError with everything wrong with what the edit names, also where that would count at the next start
    only: the server would not come up again.
    """
    inputs = read_inputs(settings, started=started, environ=environ, clock=clock, rng=rng)
    if inputs.collector is not None:
        inputs.collector.exporter.shutdown()
    if inputs.problems or inputs.missing or inputs.manner is None:
        raise ConfigError("settings", [*inputs.missing, *inputs.problems])
    return inputs.manner
