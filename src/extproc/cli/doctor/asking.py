"""What engines say to the doctor itself: as the picker asks them, and where that fails in the other ways there are."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple

from extproc.cli.doctor.ports import PortLook, look_at_port
from extproc.probes.client import Client, ProbeError
from extproc.probes.scan import scan
from extproc.registry.changes import Failure
from extproc.settings.schema import ProbeSettings
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad

ASK_S = 4.0
"""Nearly as long as a picker waits by default: who is slow is not one that answers elsewhere."""
MODEL_PATHS = ("/v1/models", "/openai/v1/models", "/api/v1/models", "/models")
METRICS_PATHS = ("/metrics", "/prometheus/metrics")
MOST_ASKED = 8
"""So many endpoints are asked in every way; the others fare as one of them."""


class Answer(NamedTuple):
    """How one way of asking ended."""

    url: str
    failure: Failure | None = None
    """None: it was answered as it should."""
    detail: str = ""
    models: int = 0


@dataclass(frozen=True, kw_only=True)
class EngineLook:
    """What one endpoint says to the doctor."""

    name: str
    address: str
    models: Answer
    metrics: Answer
    other_models: Sequence[Answer] = ()
    """Of the other ways of asking for the models, those that a server answers as one should, or by asking for a key."""
    other_metrics: Sequence[Answer] = ()
    """The same of metrics pages that say something of the load."""
    port: PortLook | None = None
    """Looked at where the connection was dropped."""


class _Way(NamedTuple):
    """One way of asking. One client for all endpoints: to read the CA certificates takes 50 ms each time."""

    settings: ProbeSettings
    client: Client


class _Ways(NamedTuple):
    """The picker's way, and the others that there are."""

    own: _Way
    other_scheme: _Way
    other_paths: Sequence[_Way]
    other_pages: Sequence[_Way]


async def ask_engines(endpoints: Sequence[Endpoint], settings: ProbeSettings) -> tuple[EngineLook, ...]:
    """Asks the first few of them all at once. Errors: ConfigError where the settings' CA file cannot be used."""
    if not endpoints:
        return ()
    async with AsyncExitStack() as stack:

        async def open_way(way: ProbeSettings) -> _Way:
            return _Way(way, await stack.enter_async_context(Client(way)))

        ways = _Ways(
            await open_way(settings),
            await open_way(_list_other_scheme(settings)),
            [await open_way(each) for each in _list_other_paths(settings)],
            [await open_way(each) for each in _list_other_pages(settings)],
        )
        return tuple(await asyncio.gather(*(_ask(endpoint, ways) for endpoint in endpoints[:MOST_ASKED])))


async def _ask(endpoint: Endpoint, ways: _Ways) -> EngineLook:
    models, metrics = await asyncio.gather(_ask_models(endpoint, ways.own), _ask_metrics(endpoint, ways.own))
    has_answered = models.failure in (None, Failure.STATUS, Failure.INVALID, Failure.UNAUTHORIZED)
    others: list[_Way] = []
    if models.failure in (Failure.STATUS, Failure.INVALID):
        others = [ways.other_scheme, *ways.other_paths]
    elif models.failure is Failure.DROPPED or (
        models.failure is Failure.CONNECT and ways.own.settings.scheme == "https"
    ):
        others = [ways.other_scheme]
    pages = ways.other_pages if metrics.failure is not None and has_answered else ()
    port, other_models, other_metrics = await asyncio.gather(
        _look_at(endpoint, is_wanted=models.failure is Failure.DROPPED),
        asyncio.gather(*(_ask_models(endpoint, way) for way in others)),
        asyncio.gather(*(_ask_metrics(endpoint, way) for way in pages)),
    )
    return EngineLook(
        name=endpoint.name,
        address=endpoint.address,
        models=models,
        metrics=metrics,
        other_models=[each for each in other_models if each.failure in (None, Failure.UNAUTHORIZED)],
        other_metrics=[each for each in other_metrics if each.failure is None],
        port=port,
    )


async def _look_at(endpoint: Endpoint, *, is_wanted: bool) -> PortLook | None:
    host, _, port = endpoint.address.rpartition(":")
    return await look_at_port(host, int(port)) if is_wanted else None


def _bare(settings: ProbeSettings) -> ProbeSettings:
    """Without the key, which would be given away to whoever is asked otherwise."""
    return settings.model_copy(update={"bearer_token_file": None, "insecure_skip_verify": True})


def _list_other_scheme(settings: ProbeSettings) -> ProbeSettings:
    return _bare(settings).model_copy(update={"scheme": "http" if settings.scheme == "https" else "https"})


def _list_other_paths(settings: ProbeSettings) -> list[ProbeSettings]:
    models = settings.models
    paths = [path for path in MODEL_PATHS if path != models.path]
    return [_bare(settings).model_copy(update={"models": models.model_copy(update={"path": path})}) for path in paths]


def _list_other_pages(settings: ProbeSettings) -> list[ProbeSettings]:
    metrics = settings.metrics
    asked = (metrics.path, metrics.scheme or settings.scheme)
    ways = [(path, scheme) for path in METRICS_PATHS for scheme in ("http", "https") if (path, scheme) != asked]
    return [
        _bare(settings).model_copy(update={"metrics": metrics.model_copy(update={"path": path, "scheme": scheme})})
        for path, scheme in ways
    ]


async def _ask_models(endpoint: Endpoint, way: _Way) -> Answer:
    url = f"{way.settings.scheme}://{endpoint.address}{way.settings.models.path}"
    try:
        cards = await way.client.list_models(endpoint, timeout_s=ASK_S)
    except ProbeError as exc:
        return Answer(url, exc.failure, str(exc))
    return Answer(url, models=len(cards))


async def _ask_metrics(endpoint: Endpoint, way: _Way) -> Answer:
    metrics = way.settings.metrics
    host, _, port = endpoint.address.rpartition(":")
    url = f"{metrics.scheme or way.settings.scheme}://{host}:{metrics.port or port}{metrics.path}"
    try:
        page = await way.client.read_metrics(endpoint, timeout_s=ASK_S)
        load = scan(page, engine=endpoint.engine, asked_at_s=0.0)
    except ProbeError as exc:
        return Answer(url, exc.failure, str(exc))
    if load == EngineLoad(0.0):
        return Answer(url, Failure.INVALID, "a page that says nothing of the load")
    return Answer(url)
