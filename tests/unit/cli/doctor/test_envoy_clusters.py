"""Envoy's connections to the picker: each fault alone, and what is no fault."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cli.doctor.gateway_facts import (
    DEFAULT_LIMITS,
    FILTER,
    PASSAGE,
    STATS,
    assert_says,
    caller,
    evidence,
    gateway,
    snapshot,
    with_filter,
    with_picker,
)

from extproc.cli.doctor.envoy_clusters import check
from extproc.cli.doctor.envoy_facts import EnvoyFacts, Member
from extproc.cli.doctor.evidence import Evidence
from extproc.settings.schema import Settings

MEMBERS, HEALTH, TLS = (
    "Envoy: members of the picker's cluster",
    "Envoy: health of the picker",
    "Envoy: TLS to the picker",
)
ALPN, HTTP2, LIMITS = "Envoy: ALPN to the picker", "Envoy: HTTP/2 to the picker", "Envoy: limits to the picker"
STREAMS = "Envoy: how its streams went"
SICK = Member(address="10.0.0.9:9002", problems=("failed_active_health_check",))
WELL = Member(address="10.0.0.10:9002")


def stats(**numbers: int) -> dict[str, int]:
    """Those of the picker's cluster, dots for double underscores; the streams went well."""
    own = {f"cluster.picker.{name.replace('__', '.')}": value for name, value in numbers.items()}
    return {"http.gateway.ext_proc.streams_started": 1000} | own


def at_port(port: int) -> EnvoyFacts:
    """The picker's cluster with this port."""
    return with_picker(members=(Member(address=f"10.0.0.9:{port}"),))


PLAIN = {"secureServing": False}
CASES: dict[str, tuple[EnvoyFacts, dict[str, Any], tuple[str, str, str] | None]] = {
    "good": (gateway(), {}, None),
    "good, plaintext": (with_picker(tls="plaintext", alpn=()), PLAIN, None),
    "no such cluster": (with_filter(cluster="pickr"), {}, (MEMBERS, "fault", "the cluster pickr, which Envoy does")),
    "no gRPC of Envoy's": (with_filter(cluster=""), {}, None),
    "no members": (with_picker(members=()), {}, (MEMBERS, "fault", "picker has no members")),
    "all sick": (with_picker(members=(SICK,)), {}, (HEALTH, "fault", "1 of 1 members are unfit for Envoy: 10.0.0.9")),
    "some sick": (with_picker(members=(SICK, WELL)), {}, (HEALTH, "warning", "(failed_active_health_check)")),
    "sick, health at another port": (
        with_picker(members=(SICK,), health_ports=(9003,)),
        {},
        (HEALTH, "fault", "its health checks go to port 9003"),
    ),
    "health by another name": (
        with_picker(health_services=("readiness", "epp")),
        {},
        (HEALTH, "fault", "asks for the service 'epp'"),
    ),
    "health by the older name": (with_picker(health_services=("inference-extension",)), {}, None),
    "health by no name": (with_picker(health_services=("",)), {}, None),
    "liveness": (with_picker(health_services=("liveness",)), {}, (HEALTH, "warning", "liveness")),
    "no health check": (with_picker(health_services=()), {}, None),
    "plaintext to TLS": (
        with_picker(stats=stats(), tls="plaintext"),
        {},
        (TLS, "fault", "TLS on one side only: Envoy speaks plaintext, the picker serves TLS"),
    ),
    "TLS to plaintext": (
        with_picker(stats=stats(ssl__connection_error=3)),
        PLAIN,
        (TLS, "fault", "Envoy speaks TLS, the picker serves plaintext (ssl.connection_error 3)"),
    ),
    "TLS to plaintext, and it worked once": (with_picker(), PLAIN, (TLS, "fault", "on one side only")),
    "the health port": (at_port(9003), {}, (MEMBERS, "fault", "10.0.0.9:9003 is not the picker's ext_proc port")),
    "the metrics port": (at_port(9090), {}, (MEMBERS, "fault", "9090 is its metrics port (server.metricsPort)")),
    "the admin port": (at_port(9004), {}, (MEMBERS, "fault", "9004 is its admin port (admin.grpcPort)")),
    "the page": (at_port(9091), {}, (MEMBERS, "fault", "9091 is its page's port (admin.httpPort)")),
    "a Service's port": (at_port(443), {}, None),
    "the metrics port is the ext_proc port's number": (at_port(9002), {"metricsPort": 9002}, None),
    "TLS by the endpoint": (with_picker(stats=stats(), tls="either"), PLAIN, None),
    "certificate refused": (
        with_picker(stats=stats(ssl__fail_verify_error=2)),
        {},
        (TLS, "fault", "refuses the picker's certificate"),
    ),
    "certificate refused for its name": (
        with_picker(stats=stats(ssl__fail_verify_san=2)),
        {},
        (TLS, "fault", "refuses the picker's certificate"),
    ),
    "certificate refused at times": (
        with_picker(stats=stats(ssl__fail_verify_error=2, ssl__handshake=9)),
        {},
        (TLS, "warning", "ssl.handshake 9"),
    ),
    "nobody listens": (
        with_picker(stats=stats(upstream_cx_connect_fail=4), tls="plaintext"),
        PLAIN,
        (TLS, "fault", "connections fail: Envoy speaks plaintext, the picker serves plaintext (upstream_cx_connect"),
    ),
    "nobody listens for TLS": (
        with_picker(stats=stats(upstream_cx_connect_fail=4)),
        {},
        (TLS, "fault", "connections fail: Envoy speaks TLS, the picker serves TLS (upstream_cx_connect"),
    ),
    "nobody listened for TLS for a while": (
        with_picker(stats=stats(upstream_cx_connect_fail=4, ssl__handshake=1)),
        {},
        None,
    ),
    "nobody listened for a while": (
        with_picker(stats=stats(upstream_cx_connect_fail=4, upstream_rq_200=1), tls="plaintext"),
        PLAIN,
        None,
    ),
    "no h2": (with_picker(alpn=("http/1.1",)), {}, (ALPN, "fault", "offers http/1.1 and no h2")),
    "h2 among others": (with_picker(alpn=("istio", "h2")), {}, None),
    "ALPN of Envoy's choice": (with_picker(alpn=()), {}, None),
    "no h2 in plaintext": (with_picker(alpn=("http/1.1",), tls="plaintext"), PLAIN, None),
    "HTTP/1.1": (with_picker(protocol="HTTP/1.1"), {}, (HTTP2, "fault", "speaks HTTP/1.1 to the picker")),
    "HTTP/1.1, tried": (
        with_picker(stats=STATS | stats(upstream_cx_protocol_error=5), protocol="HTTP/1.1"),
        {},
        (HTTP2, "fault", "(upstream_cx_protocol_error 5)"),
    ),
    "what the client speaks": (with_picker(protocol="as the client's"), {}, (HTTP2, "warning", "use_downstream")),
    "by ALPN": (with_picker(protocol="by ALPN"), {}, None),
    "default limits": (with_picker(limits=DEFAULT_LIMITS), {}, None),
    "default limits, overflown": (
        with_picker(stats=STATS | stats(upstream_rq_pending_overflow=7), limits=DEFAULT_LIMITS),
        {},
        (LIMITS, "fault", "1024 open streams; 7 more refused"),
    ),
    "limits not told": (with_picker(limits=None), {}, None),
}


@pytest.mark.parametrize(("facts", "server", "want"), CASES.values(), ids=CASES)
def test_one_cluster(facts: EnvoyFacts, server: dict[str, Any], want: tuple[str, str, str] | None) -> None:
    assert_says(check, evidence(facts, server=server), want)


@pytest.mark.parametrize(
    ("phase", "answer", "limits", "want"),
    [
        ("track", "detach", DEFAULT_LIMITS, (LIMITS, "fault", "1024 open streams, Envoy's default")),
        ("observe", "detach", DEFAULT_LIMITS, (LIMITS, "fault", "1024 open streams, Envoy's default")),
        ("auto", "observe", DEFAULT_LIMITS, (LIMITS, "fault", "1024 open streams, Envoy's default")),
        ("auto", "track", DEFAULT_LIMITS, (LIMITS, "fault", "1024 open streams, Envoy's default")),
        ("auto", "detach", DEFAULT_LIMITS, None),
        ("track", "track", dict(DEFAULT_LIMITS, max_requests=1025), None),
        (
            "track",
            "track",
            dict(DEFAULT_LIMITS, max_connections=1025, max_pending_requests=1025),
            (LIMITS, "fault", "1024 open streams, Envoy's default"),
        ),
    ],
    ids=["track", "observe", "auto, a hop", "auto, tracked", "auto", "raised", "others raised"],
)
def test_limits_matter_where_answers_are_followed(
    phase: str, answer: str, limits: dict[str, int], want: tuple[str, str, str] | None
) -> None:
    seen = snapshot(caller(answer=answer))
    assert_says(check, evidence(with_picker(limits=limits), seen=seen, envoy={"responsePhase": phase}), want)


FAILED = "http.gateway.ext_proc.streams_failed"


@pytest.mark.parametrize(
    ("seen", "numbers", "grown", "state"),
    [
        ((caller(),), STATS, {}, "warning"),
        ((), STATS, {}, "fault"),
        ((caller(),), stats(), {}, "fault"),
        ((caller(),), STATS, {FAILED: 1}, "fault"),
        ((caller(),), STATS, {"http.other.ext_proc.streams_failed": 1}, "warning"),
    ],
    ids=["it works", "none since the picker's start", "never", "fails now", "another listener's fail now"],
)
def test_tls_on_one_side_is_a_fault_unless_streams_arrive(
    seen: tuple[Any, ...], numbers: dict[str, int], grown: dict[str, int], state: str
) -> None:
    facts = replace(with_picker(stats=numbers), grown=grown)
    [verdict] = [each for each in check(evidence(facts, server=PLAIN, seen=snapshot(*seen))) if each.check == TLS]
    assert verdict.state == state, verdict


@pytest.mark.parametrize(
    ("failed", "seen", "grown", "state", "words"),
    [
        (600, (caller(),), {}, "ok", "streams reach this picker"),
        (600, (), {}, "warning", "none reached this picker since its start"),
        (600, (caller(),), {FAILED: 2}, "warning", "2 of them just now"),
        (9, (caller(),), {FAILED: 2}, "warning", "2 of them just now"),
        (9, (), {FAILED: 2}, "fault", "2 of them just now, and none reached this picker"),
        (1000, (caller(),), {}, "fault", "none went well"),
    ],
    ids=["past", "past, none since", "some now", "few, some now", "all now", "never well, another gateway's arrive"],
)
def test_streams_that_failed_once_are_no_trouble_of_now(
    failed: int, seen: tuple[Any, ...], grown: dict[str, int], state: str, words: str
) -> None:
    numbers = {"http.gateway.ext_proc.streams_started": 1000, FAILED: failed}
    facts = replace(gateway(stats=numbers), grown=grown)
    [verdict] = [each for each in check(evidence(facts, seen=snapshot(*seen))) if each.check == STREAMS]
    assert (verdict.state, words in verdict.evidence) == (state, True), verdict


@pytest.mark.parametrize(
    ("changes", "server", "cause"),
    [
        ({}, PLAIN, "TLS to the picker"),
        ({"alpn": ("http/1.1",)}, {}, "ALPN to the picker"),
        ({"protocol": "HTTP/1.1"}, {}, "HTTP/2 to the picker"),
        ({"members": (replace(SICK, address="10.0.0.9:9003"),)}, {}, "members of the picker's cluster"),
    ],
    ids=["TLS", "ALPN", "HTTP/2", "port"],
)
def test_what_follows_from_a_fault_is_none_beside_it(
    changes: dict[str, Any], server: dict[str, Any], cause: str
) -> None:
    numbers = {"http.gateway.ext_proc.streams_started": 3, FAILED: 3}
    facts = with_picker(numbers, **({"members": (SICK,)} | changes))
    states = {each.check: each for each in check(evidence(facts, server=server, seen=snapshot()))}
    assert [name for name, each in states.items() if each.state == "fault"] == [f"Envoy: {cause}"]
    for name in (HEALTH, STREAMS):
        assert (states[name].state, states[name].evidence.startswith(f"see {cause}: ")) == ("not checked", True)


@pytest.mark.parametrize(
    ("facts", "unknown", "faults"),
    [
        (with_picker(tls="plaintext"), {TLS}, set()),
        (with_picker(stats=stats(upstream_cx_connect_fail=4)), set(), {TLS}),
        (at_port(9003), {TLS}, set()),
        (with_picker(limits=DEFAULT_LIMITS), {TLS, LIMITS}, set()),
    ],
    ids=["TLS", "nobody listens", "a port", "limits"],
)
def test_nothing_is_compared_with_settings_that_nobody_told(
    facts: EnvoyFacts, unknown: set[str], faults: set[str]
) -> None:
    found = list(check(replace(evidence(facts), knows_settings=False)))
    assert {each.check for each in found if "settings are not known" in each.evidence} == unknown
    assert {each.check for each in found if each.state in ("fault", "warning")} == faults
    assert not [each for each in found if "the picker serves" in each.evidence]


@pytest.mark.parametrize(
    ("numbers", "state", "words"),
    [
        ({}, "not checked", "no ext_proc stream yet"),
        ({"streams_started": 1000}, "ok", "streams_started 1000, streams_failed 0"),
        ({"streams_started": 1000, "streams_failed": 9}, "ok", "streams_failed 9"),
        ({"streams_started": 1000, "streams_failed": 10}, "warning", "streams_failed 10"),
        ({"streams_started": 1000, "streams_failed": 1000}, "fault", "none went well"),
        ({"streams_started": 1000, "message_timeouts": 1}, "warning", "message_timeouts 1"),
        ({"streams_started": 1000, "rejected_header_mutations": 1}, "fault", "rejected_header_mutations 1"),
    ],
    ids=["none", "well", "few failed", "some failed", "all failed", "timed out", "mutations rejected"],
)
def test_how_streams_went(numbers: dict[str, int], state: str, words: str) -> None:
    facts = gateway(stats={f"http.gateway.ext_proc.{name}": value for name, value in numbers.items()})
    [verdict] = [verdict for verdict in check(evidence(facts)) if verdict.check == STREAMS]
    assert (verdict.state, words in verdict.evidence) == (state, True), verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"health_ports": (9003,)}, "The picker's health port (9003) speaks plaintext"),
        ({}, "both sides speak TLS or neither"),
        ({"health_ports": (9003,), "tls": "plaintext", "alpn": ()}, "both sides speak TLS or neither"),
    ],
    ids=["TLS to the health port", "TLS", "plaintext to the health port"],
)
def test_the_fix_of_a_health_check_that_fails(changes: dict[str, Any], words: str) -> None:
    given = evidence(with_picker(members=(SICK,), **changes), server=PLAIN if "tls" in changes else {})
    [verdict] = [verdict for verdict in check(given) if verdict.check == HEALTH]
    assert words in verdict.fix


@pytest.mark.parametrize(("alpn", "want"), [(("istio", "h2"), "istio, h2"), ((), "what Envoy speaks there")])
def test_what_is_offered_by_alpn(alpn: tuple[str, ...], want: str) -> None:
    [verdict] = [verdict for verdict in check(evidence(with_picker(alpn=alpn))) if verdict.check == ALPN]
    assert verdict.evidence == want


def test_a_second_picker_is_looked_at_too() -> None:
    second = replace(FILTER, cluster="second")
    cluster = replace(gateway().clusters["picker"], name="second", protocol="HTTP/1.1")
    facts = gateway(replace(PASSAGE, filters=(FILTER, second)), more=[cluster])
    assert_says(check, evidence(facts), (HTTP2, "fault", "HTTP/1.1"))


def test_statistics_are_found_by_the_name_that_the_cluster_has_there() -> None:
    istio = "outbound|9002||extproc.default.svc.cluster.local"
    for stat in (f"cluster.{istio};.ssl.handshake", f"cluster.{istio}.ssl.handshake"):
        assert gateway(stats={stat: 5}).cluster_stat(istio, "ssl.handshake") == 5
    named = with_picker(stats={"cluster.a_b.ssl.handshake": 6}, stat_name="a:b")
    assert named.cluster_stat("picker", "ssl.handshake") == 6
    assert named.cluster_stat("picker", "ssl.nothing") is None


def test_without_a_look_at_envoy_nothing_is_said() -> None:
    [verdict] = check(Evidence(settings=Settings()))
    assert verdict.state == "not checked"
