"""A pool's means under the names that autoscalers and dashboards of today's pickers ask for.

Source: gateway-api-inference-extension, pkg/epp/backend/metrics/logger.go: the label `name` is the pool's; means are
over the endpoints whose metrics are fresh, and none is said anew while there are none.
"""

from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from prometheus_client.metrics_core import Metric

from extproc.telemetry.metrics import catalogue
from extproc.telemetry.metrics.catalogue import Definition
from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

_MEANS: tuple[tuple[Definition, Callable[[EngineLoad], float | None]], ...] = (
    (catalogue.POOL_QUEUE, lambda load: load.waiting),
    (catalogue.POOL_RUNNING, lambda load: load.running),
    (catalogue.POOL_KV_USED, lambda load: load.kv_used_ratio),
)


def collect_averages(snapshot: Snapshot, fresh: Mapping[str, EngineLoad]) -> Iterable[Metric]:
    """The pool's means. `fresh`: the readings that count, by endpoint id."""
    pods: dict[str, list[EngineLoad]] = {}
    for id_, state in snapshot.endpoints.items():
        if state.is_routable:
            loads = pods.setdefault(_pod_of(id_), [])
            if id_ in fresh:
                loads.append(fresh[id_])
    name = (snapshot.pool.name,)
    yield catalogue.POOL_READY.metric([(name, len(pods))])
    for definition, value_of in _MEANS:
        of_pods = []
        for loads in pods.values():
            values = [value for load in loads if (value := value_of(load)) is not None]
            if values:
                of_pods.append(fmean(values))
        yield definition.metric([(name, fmean(of_pods))] if of_pods else [])


def _pod_of(endpoint_id: str) -> str:
    """What the sources write before the port, or the address: a pod's UID, or an endpoint's own name."""
    pod, slash, _ = endpoint_id.rpartition("/")
    return pod if slash else endpoint_id
