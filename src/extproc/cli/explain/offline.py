"""What a picker would know of a pool from an endpoints file, learned at once: every endpoint asked one time."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from extproc.director.decider import Decider
from extproc.probes.client import Client, ProbeError, prepare
from extproc.probes.scan import scan
from extproc.registry.changes import (
    Change,
    FirstAnswerOverdue,
    ModelsListed,
    NamesListed,
    PoolListed,
    ProbeFailed,
    RoundCompleted,
)
from extproc.registry.store import Store
from extproc.settings.problems import read_text
from extproc.settings.schema import Settings
from extproc.sources.static import parse_endpoints
from extproc.values.endpoint import Endpoint

AT_ONCE = 64


class Knowledge(NamedTuple):
    """What was learned."""

    store: Store
    decider: Decider
    unread: tuple[str, ...]
    """What went wrong with reading metrics, by endpoint: their load is not known."""


async def learn(settings: Settings, endpoints_file: str) -> Knowledge:
    """Asks every endpoint of the file for its models and its metrics. It takes as long as the slowest time-out.

    One that does not answer is as it would be to a picker that has waited long enough for it.
    Errors: ConfigError.
    """
    prepare(settings.probes)  # what is wrong with the settings is no fault of the engines
    pool, endpoints = parse_endpoints(
        read_text(endpoints_file), endpoints_file, engine_label=settings.source.engine_label_key
    )
    now = asyncio.get_running_loop().time
    names = NamesListed(settings.requests.build_aliases(), settings.admission.objectives)
    store, decider = Store(pool, now=now(), configured=names), Decider(settings)
    store.apply(PoolListed.of(endpoints), now=now())
    started_at_s, slots = now(), asyncio.Semaphore(AT_ONCE)

    async def ask(endpoint: Endpoint) -> str:
        async with slots:
            for change in await _ask_models(client, endpoint, settings):
                store.apply(change, now=now())
            return await _ask_load(client, endpoint, settings, decider)

    async with Client(settings.probes) as client:
        unread = await asyncio.gather(*(ask(endpoint) for endpoint in endpoints))
    store.apply(RoundCompleted(started_at_s), now=now())
    return Knowledge(store, decider, tuple(filter(None, unread)))


async def _ask_models(client: Client, endpoint: Endpoint, settings: Settings) -> Iterable[Change]:
    asked_at_s = asyncio.get_running_loop().time()
    try:
        cards = await client.list_models(endpoint, timeout_s=settings.probes.models.timeout_s)
    except ProbeError as exc:
        return ProbeFailed(endpoint.id, asked_at_s, exc.failure, str(exc)), FirstAnswerOverdue(endpoint.id)
    return (ModelsListed(endpoint.id, asked_at_s, cards),)


async def _ask_load(client: Client, endpoint: Endpoint, settings: Settings, decider: Decider) -> str:
    """Takes over the load that the endpoint's metrics tell; what went wrong, empty for nothing."""
    now = asyncio.get_running_loop().time
    if settings.probes.metrics.interval_s == 0:
        return ""
    asked_at_s = now()
    try:
        page = await client.read_metrics(endpoint, timeout_s=settings.probes.metrics.timeout_s)
    except ProbeError as exc:
        return f"{endpoint.name}: {exc}"
    decider.report(endpoint.id, scan(page, engine=endpoint.engine, asked_at_s=asked_at_s), now=now())
    return ""
