"""A gateway that has nothing wrong, for tests to change one thing of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.envoy_facts import DESTINATION, Cluster, EnvoyFacts, Filter, Member, Passage, Pick
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.verdict import Verdict
from extproc.settings.schema import Settings

ENDPOINTS = {"phi-0": "10.0.0.1:8000", "gemma-0": "10.0.0.2:8000"}
LIMITS = {"max_connections": 40_000, "max_pending_requests": 40_000, "max_requests": 40_000}
DEFAULT_LIMITS = dict.fromkeys(LIMITS, 1024)
FILTER = Filter(
    name="ext_proc",
    cluster="picker",
    request_body="FULL_DUPLEX_STREAMED",
    sends_response_headers=False,
    message_timeout_s=5.0,
    status_on_error="ServiceUnavailable",
    receives=("envoy.lb",),
)
PASSAGE = Passage(
    where="gateway: route / of all",
    stat_prefix="gateway",
    filters=(FILTER,),
    cluster="pool",
    timeout_s=0.0,
    buffer_limit_bytes=32 << 20,
)
PICKER = Cluster(
    name="picker",
    members=(Member(address="10.0.0.9:9002"),),
    tls="TLS",
    alpn=("h2",),
    protocol="HTTP/2",
    health_services=("readiness",),
    limits=LIMITS,
)
POOL = Cluster(
    name="pool",
    members=tuple(Member(address=address) for address in ENDPOINTS.values()),
    limits=LIMITS,
    pick=Pick(sources=(("header", DESTINATION),), takes_list=True),
)
STATS = {"http.gateway.ext_proc.streams_started": 1000, "cluster.picker.upstream_rq_200": 1000}


def gateway(
    *passages: Passage,
    picker: Cluster = PICKER,
    pool: Cluster = POOL,
    more: Sequence[Cluster] = (),
    stats: Mapping[str, int] = STATS,
) -> EnvoyFacts:
    """Facts of an Envoy with one route, or these."""
    clusters = {cluster.name: cluster for cluster in (picker, pool, *more)}
    return EnvoyFacts(
        url="http://envoy:9901",
        version="1.40.0",
        listeners=1,
        passages=passages or (PASSAGE,),
        clusters=clusters,
        stats=stats,
    )


def with_filter(**changes: Any) -> EnvoyFacts:
    """The good gateway, but for these fields of its filter."""
    return gateway(replace(PASSAGE, filters=(replace(FILTER, **changes),)))


def with_passage(**changes: Any) -> EnvoyFacts:
    """The good gateway, but for these fields of its route."""
    return gateway(replace(PASSAGE, **changes))


def with_picker(stats: Mapping[str, int] = STATS, **changes: Any) -> EnvoyFacts:
    """The good gateway, but for these fields of its picker's cluster."""
    return gateway(picker=replace(PICKER, **changes), stats=stats)


def with_pool(stats: Mapping[str, int] = STATS, **changes: Any) -> EnvoyFacts:
    """The good gateway, but for these fields of its pool's cluster."""
    return gateway(pool=replace(POOL, **changes), stats=stats)


def caller(**fields: Any) -> admin_pb2.Caller:
    """A kind of stream as a good gateway's are, but for these fields."""
    good: dict[str, Any] = {
        "is_direct": True,
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "response_body_mode": "NONE",
        "tells_modes": True,
        "answer": "detach",
        "streams": 100,
        "age_s": 1.0,
    }
    return admin_pb2.Caller(**(good | fields))


def snapshot(
    *callers: admin_pb2.Caller,
    endpoints: Mapping[str, str] = ENDPOINTS,
    models: Sequence[str] = ("phi", "gemma"),
) -> admin_pb2.Snapshot:
    """What a picker knows that has seen such streams."""
    return admin_pb2.Snapshot(
        uptime_s=60,
        endpoints=[admin_pb2.Endpoint(name=name, address=at, is_ready=True) for name, at in endpoints.items()],
        models=[admin_pb2.Model(id=model) for model in models],
        callers=callers,
    )


def evidence(
    facts: EnvoyFacts | None = None,
    *,
    seen: admin_pb2.Snapshot | None = None,
    **settings: Any,
) -> Evidence:
    """Evidence of that gateway and that picker, whose config has these groups."""
    return Evidence(
        settings=Settings.model_validate(settings),
        snapshot=seen if seen is not None else snapshot(),
        envoy=facts if facts is not None else gateway(),
    )


def not_ok(check: Callable[[Evidence], Iterator[Verdict]], given: Evidence) -> dict[str, tuple[str, str]]:
    """State and evidence of every verdict that is not ok, by check. Each of them has a fix."""
    found: dict[str, tuple[str, str]] = {}
    for verdict in check(given):
        assert bool(verdict.fix) == (verdict.state in ("fault", "warning")), verdict
        if verdict.state != "ok":
            assert verdict.check not in found, verdict
            found[verdict.check] = (verdict.state, verdict.evidence)
    return found


def assert_says(
    check: Callable[[Evidence], Iterator[Verdict]], given: Evidence, want: tuple[str, str, str] | None
) -> None:
    """`want` is the one check that is not ok, its state and words of its evidence; None: all are ok."""
    found = not_ok(check, given)
    if want is None:
        assert found == {}
        return
    name, state, words = want
    assert {name: found.get(name, ("", ""))[0]} == {key: value[0] for key, value in found.items()}
    assert found[name][0] == state
    assert words in found[name][1]
