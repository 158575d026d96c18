"""telemetry/metrics: what a scrape shows."""

from collections.abc import Mapping

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.known import POOL, answered, failed, listed, refused

from extproc.admission.held import HeldBytes
from extproc.admission.inflight import InFlight
from extproc.registry.changes import Change, Failure, Listing, PoolChanged
from extproc.registry.store import Store
from extproc.scheduling.prefix import PrefixIndex
from extproc.telemetry.metrics import MODEL_LABELS, Metrics
from extproc.values.decision import NO_WORK, Work
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad

NOW = 50.0
REQUESTS = "extproc_requests_total"


class Readings:
    """What engines said, by endpoint id; fresh for ten seconds."""

    staleness_s = 10.0

    def __init__(self, loads: Mapping[str, EngineLoad]) -> None:
        self._loads = loads

    def readings(self) -> Mapping[str, EngineLoad]:
        return self._loads


def metrics_of(*changes: Change) -> tuple[Store, Metrics]:
    store = Store(POOL)
    for now, change in enumerate(changes):
        store.apply(change, now=float(now))
    return store, Metrics(knowledge=store, in_flight=InFlight(), clock=lambda: NOW, version="1.2.3")


def scrape(metrics: Metrics, name: str, *labels: str) -> dict[str, float]:
    """The samples of one name, by the values of these labels."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {" ".join(sample.labels[label] for label in labels): sample.value for sample in samples}


@pytest.mark.parametrize(
    ("model", "label"),
    [
        pytest.param("m", "m", id="known"),
        pytest.param("x", "unknown", id="not known"),
        pytest.param(None, "none", id="names no model"),
        pytest.param("\ud83d", "unknown", id="no text"),
    ],
)
def test_a_request_is_counted_by_its_model(model: str | None, label: str) -> None:
    _, metrics = metrics_of(listed("a"), answered("a", "m"))
    metrics.count_request(model, "routed")
    metrics.count_request(model, "routed")
    metrics.count_request(model, "cancelled")
    assert scrape(metrics, REQUESTS, "pool", "model", "outcome") == {
        f"default/demo {label} routed": 2.0,
        f"default/demo {label} cancelled": 1.0,
    }


@pytest.mark.parametrize("order", [[None, "none"], ["none", None]])
def test_a_model_called_none_is_not_none(order: list[str | None]) -> None:
    _, metrics = metrics_of(listed("a"), answered("a", "m"))
    for model in order:
        metrics.count_request(model, "routed")
    assert scrape(metrics, REQUESTS, "model") == {"none": 1.0, "unknown": 1.0}


def test_a_model_is_counted_by_name_from_when_it_is_known() -> None:
    store, metrics = metrics_of(listed("a"))
    metrics.count_request("m", "aborted")
    store.apply(answered("a", "m"), now=1.0)
    metrics.count_request("m", "aborted")
    assert scrape(metrics, REQUESTS, "model") == {"unknown": 1.0, "m": 1.0}


@pytest.mark.parametrize("count", [MODEL_LABELS, MODEL_LABELS + 200])
def test_the_matrix_is_bounded(count: int) -> None:
    models = [f"m{number:05}" for number in range(count)]
    _, metrics = metrics_of(listed("a"), answered("a", *models))
    assert set(scrape(metrics, "extproc_model_endpoints", "model")) == set(models[:MODEL_LABELS])
    assert scrape(metrics, "extproc_known_models", "pool") == {"default/demo": count}


def test_series_end_that_gave_up_their_name() -> None:
    """Nothing is added to `other` for them: that would read as requests of this moment."""
    store, metrics = metrics_of(listed("ab"), answered("a", *(f"m{n:04}" for n in range(MODEL_LABELS))))
    for number in range(MODEL_LABELS):
        metrics.count_request(f"m{number:04}", "routed")
    metrics.count_prompt("m0000", Work(10, 5.0, 2.0))
    metrics.count_prompt("m0001", Work(10, 5.0, 2.0))
    metrics.observe_headers("m0001", 200, 0.1)
    metrics.count_tokens("m0001", prompt=1, cached_prompt=0, completion=1)
    store.apply(answered("a", "m0000"), now=9.0)
    store.apply(answered("b", "new"), now=9.0)
    metrics.count_request("new", "routed")
    assert scrape(metrics, REQUESTS, "model") == {"m0000": 1.0, "new": 1.0}
    assert set(scrape(metrics, "extproc_prompt_tokens_total", "model")) == {"m0000"}
    assert scrape(metrics, "extproc_responses_total", "model") == {}
    assert scrape(metrics, "extproc_tokens_total", "model") == {}


def test_the_matrix_of_models_and_endpoints() -> None:
    store, metrics = metrics_of(listed("abc"), answered("a", "m"), answered("b", "m", "n"), answered("c", "n"))
    assert scrape(metrics, "extproc_model_endpoints", "pool", "model") == {"default/demo m": 2.0, "default/demo n": 2.0}
    store.apply(refused("a"), now=9.0)
    assert scrape(metrics, "extproc_model_endpoints", "model") == {"m": 1.0, "n": 2.0}
    assert scrape(metrics, "extproc_endpoint_ready", "endpoint") == {"a": 0.0, "b": 1.0, "c": 1.0}


def test_the_age_of_an_answer_is_that_of_the_last_good_one() -> None:
    _, metrics = metrics_of(listed("abc"), answered("a", "m"), failed("a", Failure.TIMEOUT), refused("b"))
    assert scrape(metrics, "extproc_probe_age_seconds", "kind", "endpoint") == {"models a": NOW - 1.0}


def test_two_endpoints_of_one_name_are_one_series() -> None:
    """A pod that was made anew, whose predecessor is not yet known to be gone."""
    twins = [Listing(Endpoint(id_, "pod-0", f"10.0.0.{number}:8000"), True) for number, id_ in enumerate("ab")]
    _, metrics = metrics_of(PoolChanged(tuple(twins), ()), answered("a", "m"))
    text = generate_latest(metrics.registry).decode()
    assert [line for line in text.splitlines() if "pod-0" in line and "ready" in line] == [
        'extproc_endpoint_ready{endpoint="pod-0",pool="default/demo"} 1.0'
    ]
    assert text.count('extproc_probe_age_seconds{endpoint="pod-0"') == 1


def test_the_load_of_engines_as_last_read() -> None:
    """What is not known has no sample, and what is no longer in the pool none either."""
    loads = {
        "a": EngineLoad(NOW - 2.0, waiting=3.0, running=0.0, kv_used_ratio=0.5),
        "b": EngineLoad(NOW - 1.0, running=4.0),
        "z": EngineLoad(NOW, waiting=9.0),
    }
    store, _ = metrics_of(listed("abc"))
    metrics = Metrics(knowledge=store, in_flight=InFlight(), loads=Readings(loads), clock=lambda: NOW, version="1")
    assert scrape(metrics, "extproc_endpoint_waiting", "pool", "endpoint") == {"default/demo a": 3.0}
    assert scrape(metrics, "extproc_endpoint_running", "endpoint") == {"a": 0.0, "b": 4.0}
    assert scrape(metrics, "extproc_endpoint_kv_used_ratio", "endpoint") == {"a": 0.5}
    assert scrape(metrics, "extproc_probe_age_seconds", "kind", "endpoint") == {"metrics a": 2.0, "metrics b": 1.0}
    loads["a"] = EngineLoad(NOW - 0.5, waiting=1.0)
    assert scrape(metrics, "extproc_endpoint_waiting", "endpoint") == {"a": 1.0}, "it is read at each scrape"


@pytest.mark.parametrize("ages_s", [(1.0, 2.0), (2.0, 1.0)], ids=["the first is newer", "the second is newer"])
def test_of_two_endpoints_of_one_name_the_newer_reading_counts(ages_s: tuple[float, float]) -> None:
    twins = [Listing(Endpoint(id_, "pod-0", f"10.0.0.{number}:8000"), True) for number, id_ in enumerate("ab")]
    store, _ = metrics_of(PoolChanged(tuple(twins), ()))
    loads = {id_: EngineLoad(NOW - age_s, waiting=age_s) for id_, age_s in zip("ab", ages_s, strict=True)}
    metrics = Metrics(knowledge=store, in_flight=InFlight(), loads=Readings(loads), clock=lambda: NOW, version="1")
    assert scrape(metrics, "extproc_endpoint_waiting", "endpoint") == {"pod-0": 1.0}
    assert scrape(metrics, "extproc_probe_age_seconds", "endpoint") == {"pod-0": 1.0}


def test_the_snapshot() -> None:
    _, metrics = metrics_of(listed("a"), answered("a", "m"), answered("a", "m"))
    assert scrape(metrics, "extproc_snapshot_version") == {"": 2.0}
    assert scrape(metrics, "extproc_snapshot_age_seconds") == {"": NOW - 1.0}


def test_messages_probes_source_and_build() -> None:
    _, metrics = metrics_of()
    metrics.received["request_headers"] += 2
    metrics.sent["request_headers"] += 1
    metrics.observe_probe("models", 0.5)
    metrics.count_probe_failure("models", "timeout")
    metrics.say_source("file", is_connected=True)
    metrics.say_source("dns", is_connected=True)
    metrics.say_source("dns", is_connected=False)
    assert scrape(metrics, "extproc_stream_messages_total", "kind", "direction") == {
        "request_headers in": 2.0,
        "request_headers out": 1.0,
    }
    assert scrape(metrics, "extproc_probe_seconds_sum", "kind") == {"models": 0.5}
    assert scrape(metrics, "extproc_probe_failures_total", "kind", "reason") == {"models timeout": 1.0}
    assert scrape(metrics, "extproc_source_connected", "source") == {"file": 1.0, "dns": 0.0}
    assert scrape(metrics, "extproc_build_info", "version") == {"1.2.3": 1.0}


def test_how_old_the_news_of_a_source_is() -> None:
    now = 1.0
    metrics = Metrics(knowledge=Store(POOL), in_flight=InFlight(), clock=lambda: now, version="1.2.3")
    metrics.say_source("dns", is_connected=False)
    metrics.say_source("pods", is_connected=True)
    now = 3.0
    metrics.say_source("pods", is_connected=False)
    now = 4.0
    assert scrape(metrics, "extproc_source_age_seconds", "source") == {"pods": 3.0}, "dns was never read"


def test_nothing_is_said_of_responses_while_none_was_seen() -> None:
    """A zero would read as "no request in flight", which a picker that leaves its streams cannot know."""
    _, metrics = metrics_of(listed("a"), answered("a", "m"))
    page = generate_latest(metrics.registry).decode()
    for name in ("endpoint_inflight", "responses", "time_to_headers", "tokens", "time_to_first_token"):
        assert f"extproc_{name}" not in page


def test_responses_that_pass_by() -> None:
    _, metrics = metrics_of(listed("a"), answered("a", "m"))
    metrics.observe_headers("m", 200, 0.5)
    metrics.observe_headers("m", 200, 0.25)
    metrics.observe_headers(None, 0, 1.0)
    metrics.observe_first_token(2.0)
    metrics.count_tokens("m", prompt=7, cached_prompt=4, completion=2)
    metrics.count_tokens("m", prompt=1, cached_prompt=0, completion=2)
    assert scrape(metrics, "extproc_responses_total", "model", "status") == {"m 200": 2.0, "none unknown": 1.0}
    assert scrape(metrics, "extproc_time_to_headers_seconds_sum") == {"": 1.75}
    assert scrape(metrics, "extproc_time_to_headers_seconds_bucket", "le")["0.5"] == 2.0
    assert scrape(metrics, "extproc_time_to_first_token_seconds_count") == {"": 1.0}
    assert scrape(metrics, "extproc_tokens_total", "model", "kind") == {
        "m prompt": 8.0,
        "m cached_prompt": 4.0,
        "m completion": 4.0,
    }


def test_requests_in_flight() -> None:
    store, metrics = metrics_of(listed("ab"), answered("a", "m"))
    [first, _] = [state.endpoint for state in store.snapshot.endpoints.values()]
    in_flight = InFlight()
    metrics = Metrics(knowledge=store, in_flight=in_flight, clock=lambda: NOW, version="1")
    in_flight.begin(first)
    assert scrape(metrics, "extproc_endpoint_inflight", "endpoint") == {}, "whose end may never be seen"
    in_flight.is_exact = True
    assert scrape(metrics, "extproc_endpoint_inflight", "endpoint") == {"a": 1.0, "b": 0.0}
    in_flight.end(first)
    assert scrape(metrics, "extproc_endpoint_inflight", "endpoint") == {"a": 0.0, "b": 0.0}


def test_two_servers_in_one_process_do_not_meet() -> None:
    first, second = metrics_of()[1], metrics_of()[1]
    first.count_request(None, "routed")
    assert scrape(second, REQUESTS) == {}


def test_tokens_of_prompts_by_whether_they_are_thought_to_be_cached() -> None:
    _, metrics = metrics_of(listed("a"), answered("a", "m"))
    metrics.count_prompt("m", Work(400, 100.0, 60.0))
    metrics.count_prompt("m", Work(400, 100.0, 0.0))
    metrics.count_prompt("x", Work(40, 10.0, 0.0))
    metrics.count_prompt(None, NO_WORK)
    assert scrape(metrics, "extproc_prompt_tokens_total", "pool", "model", "kind") == {
        "default/demo m cached": 60.0,
        "default/demo m new": 140.0,
        "default/demo unknown cached": 0.0,
        "default/demo unknown new": 10.0,
    }


def test_what_is_held_and_how_much_may_be() -> None:
    held, prefixes = HeldBytes(1000), PrefixIndex(50)
    store = Store(POOL)
    metrics = Metrics(
        knowledge=store, in_flight=InFlight(), held=held, prefixes=prefixes, clock=lambda: NOW, version="1"
    )
    names = ("held_bytes", "held_limit_bytes", "prefix_blocks", "prefix_limit_blocks")
    assert [scrape(metrics, f"extproc_{name}")[""] for name in names] == [0.0, 1000.0, 0.0, 50.0]
    held.take(30)
    prefixes.add("a", (1, 2, 3))
    held.limit_bytes = 2000
    assert [scrape(metrics, f"extproc_{name}")[""] for name in names] == [30.0, 2000.0, 3.0, 50.0]


@pytest.mark.parametrize(
    ("edits", "good", "counts"),
    [
        pytest.param([], 1.0, {"good": 0.0, "bad": 0.0}, id="none"),
        pytest.param([False, False], 0.0, {"good": 0.0, "bad": 2.0}, id="bad ones"),
        pytest.param([False, True], 1.0, {"good": 1.0, "bad": 1.0}, id="a bad one that was mended"),
    ],
)
def test_edits_of_the_config(edits: list[bool], good: float, counts: Mapping[str, float]) -> None:
    _, metrics = metrics_of()
    for is_good in edits:
        metrics.say_config(is_good)
    assert scrape(metrics, "extproc_config_good") == {"": good}
    assert scrape(metrics, "extproc_config_reloads_total", "outcome") == counts


def test_what_is_asked_at_each_scrape() -> None:
    _, metrics = metrics_of()
    assert scrape(metrics, "extproc_streams") == {"": 0.0}
    assert scrape(metrics, "extproc_spans_dropped_total") == {}, "nothing is traced"
    streams, dropped = 3, 5
    metrics.open_streams = lambda: streams
    metrics.spans_dropped = lambda: dropped
    assert scrape(metrics, "extproc_streams") == {"": 3.0}
    assert scrape(metrics, "extproc_spans_dropped_total") == {"": 5.0}
    streams, dropped = 4, 6
    assert scrape(metrics, "extproc_streams") == {"": 4.0}
    assert scrape(metrics, "extproc_spans_dropped_total") == {"": 6.0}


def test_decisions_and_delays_by_their_length() -> None:
    """A bound belongs to its bucket, and buckets count all that are smaller too."""
    _, metrics = metrics_of()
    for seconds in (0.00005, 0.0001, 0.00011, 9.0):
        metrics.observe_decision(seconds)
    metrics.observe_loop_delay(0.3)
    buckets = scrape(metrics, "extproc_decision_seconds_bucket", "le")
    assert [buckets[le] for le in ("5e-05", "0.0001", "0.00025", "5.0", "+Inf")] == [1.0, 2.0, 3.0, 3.0, 4.0]
    assert scrape(metrics, "extproc_decision_seconds_sum") == {"": pytest.approx(9.00026)}
    assert scrape(metrics, "extproc_decision_seconds_count") == {"": 4.0}
    delays = scrape(metrics, "extproc_event_loop_delay_seconds_bucket", "le")
    assert (delays["0.25"], delays["0.5"]) == (0.0, 1.0)


def test_the_process() -> None:
    _, metrics = metrics_of()
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "python_info"):
        assert scrape(metrics, name)[""] > 0, name
    assert set(scrape(metrics, "python_gc_collections_total", "generation")) == {"0", "1", "2"}
