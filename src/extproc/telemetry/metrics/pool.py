"""Gauges of the pool, its models and endpoints, read off what is known at each scrape."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from extproc.telemetry.metrics import catalogue
from extproc.telemetry.metrics.averages import collect_averages
from extproc.telemetry.metrics.catalogue import Definition
from extproc.telemetry.metrics.labels import MODEL_LABELS
from extproc.telemetry.metrics.watched import Watched
from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

_LOADS: tuple[tuple[Definition, Callable[[EngineLoad], float | None]], ...] = (
    (catalogue.WAITING, lambda load: load.waiting),
    (catalogue.RUNNING, lambda load: load.running),
    (catalogue.KV_USED, lambda load: load.kv_used_ratio),
)


class PoolCollector(Collector):
    """What each replica says alike, as far as it knows the same.

    Two endpoints have one name where a pod was made anew and the end of its predecessor is not known yet: they are one
    series.
    """

    def __init__(self, watched: Watched, clock: Callable[[], float]) -> None:
        self._watched = watched
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """One family after the other; the event loop may do other things between two."""
        snapshot, now = self._watched.knowledge.snapshot, self._clock()
        yield catalogue.SNAPSHOT_VERSION.value(snapshot.version)
        yield catalogue.SNAPSHOT_AGE.value(now - snapshot.made_at_s)
        pool = str(snapshot.pool)
        yield catalogue.MODELS.metric([((pool,), len(snapshot.models))])
        models = list(snapshot.models.items())[:MODEL_LABELS]
        yield catalogue.MODEL_ENDPOINTS.metric(((pool, id_), known.routable_count) for id_, known in models)
        is_routable: dict[str, bool] = {}
        for state in snapshot.endpoints.values():
            name = state.endpoint.name
            is_routable[name] = state.is_routable or is_routable.get(name, False)
        yield catalogue.READY.metric(((pool, name), float(is_)) for name, is_ in is_routable.items())
        yield from self._collect_loads(snapshot, pool, now)
        in_flight = self._watched.in_flight
        if in_flight.is_exact:
            names = {id_: state.endpoint.name for id_, state in snapshot.endpoints.items()}
            counts = in_flight.by_name(names).items()
            yield catalogue.INFLIGHT.metric(((pool, name), count) for name, count in counts)

    def _collect_loads(self, snapshot: Snapshot, pool: str, now: float) -> Iterable[Metric]:
        loads = self._watched.loads
        readings = loads.readings() if loads is not None else {}
        load_of = _newest_by_name(snapshot, readings)
        answers = [(("models", name), now - at_s) for name, at_s in self._answers_by_name(snapshot).items()]
        pages = [(("metrics", name), now - load.asked_at_s) for name, load in load_of.items()]
        yield catalogue.PROBE_AGE.metric([*answers, *pages])
        for definition, value_of in _LOADS:
            values = ((name, value_of(load)) for name, load in load_of.items())
            yield definition.metric(((pool, name), value) for name, value in values if value is not None)
        oldest_s = now - loads.staleness_s if loads is not None else now
        fresh = {id_: reading for id_, reading in readings.items() if reading.asked_at_s >= oldest_s}
        yield from collect_averages(snapshot, fresh)

    def _answers_by_name(self, snapshot: Snapshot) -> Mapping[str, float]:
        answered_at_s: dict[str, float] = {}
        for id_, state in snapshot.endpoints.items():
            if (at_s := self._watched.knowledge.answered_at_s(id_)) is not None:
                name = state.endpoint.name
                answered_at_s[name] = max(at_s, answered_at_s.get(name, at_s))
        return answered_at_s


def _newest_by_name(snapshot: Snapshot, readings: Mapping[str, EngineLoad]) -> Mapping[str, EngineLoad]:
    result: dict[str, EngineLoad] = {}
    for id_, state in snapshot.endpoints.items():
        name, load = state.endpoint.name, readings.get(id_)
        if load is not None and (name not in result or result[name].asked_at_s < load.asked_at_s):
            result[name] = load
    return result
