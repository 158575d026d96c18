"""telemetry/metrics/averages: a pool's means under the names of today's pickers."""

from collections.abc import Mapping

import pytest
from tests.unit.known import POOL, answered, failed, listed
from tests.unit.telemetry.test_metrics import NOW, Readings, scrape

from extproc.admission.inflight import InFlight
from extproc.registry.changes import Failure, Listing, ModelsListed, PoolChanged
from extproc.registry.store import Store
from extproc.telemetry.metrics import Metrics
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad
from extproc.values.model import ModelCard

QUEUE, RUNNING, KV_USED, READY = (
    "inference_pool_average_queue_size",
    "inference_pool_average_running_requests",
    "inference_pool_average_kv_cache_utilization",
    "inference_pool_ready_pods",
)


def pool_of(store: Store, loads: Mapping[str, EngineLoad]) -> dict[str, float]:
    """The pool's values, by metric."""
    metrics = Metrics(knowledge=store, in_flight=InFlight(), loads=Readings(loads), clock=lambda: NOW, version="1")
    found = {name: scrape(metrics, name, "name") for name in (QUEUE, RUNNING, KV_USED, READY)}
    assert all(set(values) <= {"demo"} for values in found.values()), "the label is the pool's name"
    return {name: values["demo"] for name, values in found.items() if values}


def read(
    waiting: float | None = None, running: float | None = None, kv: float | None = None, age_s: float = 1.0
) -> EngineLoad:
    return EngineLoad(NOW - age_s, waiting=waiting, running=running, kv_used_ratio=kv)


@pytest.mark.parametrize(
    ("loads", "means"),
    [
        pytest.param({}, {}, id="nobody was read"),
        pytest.param({"a": read(1, 0, 0.5), "b": read(2, 1, 0)}, {QUEUE: 1.5, RUNNING: 0.5, KV_USED: 0.25}, id="both"),
        pytest.param({"a": read(4, 1, 0.5)}, {QUEUE: 4.0, RUNNING: 1.0, KV_USED: 0.5}, id="one: the other is no zero"),
        pytest.param({"a": read(4), "b": read(0, 6)}, {QUEUE: 2.0, RUNNING: 6.0}, id="what an engine does not say"),
        pytest.param({"a": read(4), "b": read(8, age_s=10.0)}, {QUEUE: 6.0}, id="one as old as may be"),
        pytest.param({"a": read(4), "b": read(8, age_s=10.1)}, {QUEUE: 4.0}, id="one that is too old"),
        pytest.param({"a": read(4, age_s=11.0)}, {}, id="all are too old"),
        pytest.param({"a": read(4), "c": read(8)}, {QUEUE: 4.0}, id="one that is not ready"),
        pytest.param({"a": read(4), "z": read(8)}, {QUEUE: 4.0}, id="one that is gone"),
    ],
)  # fmt: skip
def test_means_are_over_ready_pods_with_a_fresh_reading(
    loads: Mapping[str, EngineLoad], means: Mapping[str, float]
) -> None:
    store = Store(POOL)
    for change in (listed("abc"), answered("a", "m"), answered("b", "m"), failed("c", Failure.REFUSED)):
        store.apply(change, now=1.0)
    assert pool_of(store, loads) == {**means, READY: 2.0}


def test_a_pod_of_several_ports_is_one() -> None:
    """Two ports of one pod, with 1 and 3 in the queue, and another pod with 8: (2 + 8) / 2."""
    ids = {"uid-1/8000": 1.0, "uid-1/8001": 3.0, "uid-2/8000": 8.0}
    store = Store(POOL)
    endpoints = [Endpoint(id_, id_, f"10.0.0.{number}:8000") for number, id_ in enumerate(ids, 1)]
    store.apply(PoolChanged(tuple(Listing(each, True) for each in endpoints), ()), now=1.0)
    for id_ in ids:
        store.apply(ModelsListed(id_, 1.0, (ModelCard("m"),)), now=1.0)
    assert pool_of(store, {id_: read(waiting) for id_, waiting in ids.items()}) == {QUEUE: 5.0, READY: 2.0}


def test_a_pod_is_ready_with_one_of_its_ports() -> None:
    store = Store(POOL)
    endpoints = [Endpoint(f"uid-1/{port}", f"pod-0:{port}", f"10.0.0.1:{port}") for port in (8000, 8001)]
    store.apply(PoolChanged(tuple(Listing(each, True) for each in endpoints), ()), now=1.0)
    assert pool_of(store, {}) == {READY: 0.0}
    store.apply(ModelsListed("uid-1/8001", 1.0, (ModelCard("m"),)), now=1.0)
    assert pool_of(store, {"uid-1/8000": read(9), "uid-1/8001": read(2)}) == {READY: 1.0, QUEUE: 2.0}
