"""Where no picker runs: its own source and probes at work for a moment, and what they found."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from random import Random

from extproc import __version__
from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.probes.client import Client
from extproc.probes.models import ModelProber
from extproc.registry.store import Store
from extproc.servers.admin.messages import to_message
from extproc.servers.admin.views import view_endpoint, view_models
from extproc.settings.schema import Settings
from extproc.sources.choice import Source
from extproc.values import admin
from extproc.values.snapshot import Snapshot

WATCH_S = 3.0
"""A source that has told nothing by then, and an endpoint that has not answered, are told of as they are."""
TROUBLE_S = 1.0
"""A source that has told of a problem gets so much longer."""


class _Meters:
    """Keeps how the source fares."""

    def __init__(self) -> None:
        self.sources: dict[str, admin.Source] = {}
        self.has_trouble = asyncio.Event()

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        """See `SourceMeters`."""
        self.sources[source] = admin.Source(source, is_connected, 0.0 if is_connected else None, tuple(problems))
        if problems:
            self.has_trouble.set()

    def observe_probe(self, kind: str, seconds: float) -> None:
        """See `ProbeMeters`."""

    def count_probe_failure(self, kind: str, reason: str) -> None:
        """See `ProbeMeters`."""


async def stand_in(source: Source, settings: Settings) -> admin_pb2.Snapshot:
    """What a picker of these settings would know after its first look, or after `WATCH_S`."""
    store, meters, rng = Store(source.pool, now=time.monotonic()), _Meters(), Random()  # noqa: S311 - jitter
    is_complete = asyncio.Event()

    def note(_before: Snapshot, after: Snapshot, _ids: object) -> None:
        if after.is_complete:
            is_complete.set()

    store.subscribe(note)
    async with Client(settings.probes) as client:
        prober = ModelProber(
            store=store,
            client=client,
            settings=settings.probes.models,
            meters=meters,
            clock=time.monotonic,
            rng=rng,
        )
        source_task = asyncio.create_task(
            source.run(lambda change: store.apply(change, now=time.monotonic()), meters), name="source"
        )
        probes = asyncio.create_task(prober.run(), name="probes")
        try:
            await _wait_for_either(is_complete, meters.has_trouble)
        finally:
            for task in (source_task, probes):
                task.cancel()
            await asyncio.gather(source_task, probes, return_exceptions=True)
    return to_message(tell(store.snapshot, meters.sources.values()), admin_pb2.Snapshot)


async def _wait_for_either(is_complete: asyncio.Event, has_trouble: asyncio.Event) -> None:
    """Until all is known, as long as it makes sense."""
    waiting = asyncio.create_task(is_complete.wait()), asyncio.create_task(has_trouble.wait())
    try:
        await asyncio.wait(waiting, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
        if has_trouble.is_set():
            await asyncio.wait(waiting[:1], timeout=TROUBLE_S)
    finally:
        for task in waiting:
            task.cancel()


def tell(snapshot: Snapshot, sources: Iterable[admin.Source]) -> admin.Snapshot:
    """What was learned, as a picker would tell it."""
    return admin.Snapshot(
        pool=str(snapshot.pool),
        extproc_version=__version__,
        uptime_s=0.0,
        version=snapshot.version,
        age_s=0.0,
        is_synced=snapshot.is_synced,
        is_ready=False,
        sources=tuple(sources),
        endpoints=tuple([view_endpoint(state) for state in snapshot.endpoints.values()]),
        models=view_models(snapshot),
    )
