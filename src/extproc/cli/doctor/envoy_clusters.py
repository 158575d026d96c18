"""Checks Envoy's cluster of the picker: TLS, HTTP/2, members and their health, limits, and how its streams went."""

from collections.abc import Callable, Iterator

from extproc.cli.doctor.envoy_facts import DEFAULT_LIMIT, Cluster, EnvoyFacts
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import Finding, Way, judge, unseen
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import name_some
from extproc.servers.health import LIVENESS, READINESS_NAMES

_TLS_SOCKET = (
    "transport_socket: envoy.transport_sockets.tls with common_tls_context: {alpn_protocols: [h2]} (docs/envoy.md, TLS)"
)
_STREAMS = "Envoy: how its streams went"


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What Envoy tells of its connections to this picker."""
    if evidence.envoy is None:
        yield unseen("Envoy: the picker's cluster", evidence)
        return
    facts = evidence.envoy

    def each_cluster(of_cluster: Callable[[Cluster], Finding | None]) -> Callable[[Way], Finding | None]:
        def of_way(way: Way) -> Finding | None:
            found = [facts.clusters[each.cluster] for each in way.pickers if each.cluster in facts.clusters]
            findings = [finding for cluster in found if (finding := of_cluster(cluster)) is not None]
            return next((each for each in findings if each.state != "ok"), findings[0] if findings else None)

        return of_way

    yield from judge("Envoy: members of the picker's cluster", evidence, lambda way: _members(way, facts))
    yield from judge("Envoy: TLS to the picker", evidence, each_cluster(lambda each: _tls(each, evidence)))
    yield from judge("Envoy: ALPN to the picker", evidence, each_cluster(_alpn))
    yield from judge("Envoy: HTTP/2 to the picker", evidence, each_cluster(lambda each: _protocol(each, facts)))
    yield from judge("Envoy: health of the picker", evidence, each_cluster(lambda each: _health(each, evidence)))
    yield from judge("Envoy: limits to the picker", evidence, each_cluster(lambda each: _limits(each, evidence)))
    seen = list(judge(_STREAMS, evidence, lambda way: _streams(way, facts)))
    yield from seen or [Verdict(_STREAMS, "not checked", "Envoy opened no ext_proc stream yet, or does not count them")]


def _members(way: Way, facts: EnvoyFacts) -> Finding | None:
    missing = [each.cluster for each in way.pickers if each.cluster and each.cluster not in facts.clusters]
    if missing:
        return Finding(
            "fault",
            f"the filter asks the cluster {missing[0]}, which Envoy does not have",
            "Add the cluster, or correct grpc_service.envoy_grpc.cluster_name in the filter.",
        )
    found = [facts.clusters[each.cluster] for each in way.pickers if each.cluster]
    if empty := [cluster.name for cluster in found if not cluster.members]:
        return Finding(
            "fault",
            f"the cluster {empty[0]} has no members: its Service has no endpoints, or its name does not resolve",
            "Check the selector of the picker's Service and that its pods are ready; outside Kubernetes, the "
            "cluster's address.",
        )
    told = [member.address for cluster in found for member in cluster.members]
    return Finding("ok", name_some(told)) if told else None


def _health(cluster: Cluster, evidence: Evidence) -> Finding | None:
    known = {LIVENESS, *READINESS_NAMES}
    if wrong := [name for name in cluster.health_services if name not in known]:
        return Finding(
            "fault",
            f"its health check asks for the service {wrong[0]!r}, which the picker does not have",
            "grpc_health_check: {service_name: readiness}.",
        )
    bad = [member for member in cluster.members if member.problems]
    if bad:
        flags = name_some(sorted({flag for member in bad for flag in member.problems}))
        port = f"; its health checks go to port {cluster.health_ports[0]}" if cluster.health_ports else ""
        is_all = len(bad) == len(cluster.members)
        return Finding(
            "fault" if is_all else "warning",
            f"{len(bad)} of {len(cluster.members)} members are unfit for Envoy: "
            f"{name_some([member.address for member in bad])} ({flags}){port}",
            _health_fix(cluster, evidence),
        )
    if LIVENESS in cluster.health_services:
        return Finding(
            "warning",
            "its health check asks for liveness, which a picker has that is not ready, or that is stopping",
            "grpc_health_check: {service_name: readiness}.",
        )
    if not cluster.members:
        return None
    return Finding("ok", f"{len(cluster.members)} of {len(cluster.members)} members are fit")


def _health_fix(cluster: Cluster, evidence: Evidence) -> str:
    if cluster.health_ports and cluster.tls == "TLS":
        return (
            f"The picker's health port ({evidence.settings.server.grpc_health_port}) speaks plaintext: check the "
            "ext_proc port itself, which serves the same, by leaving out health_check_config.port_value."
        )
    return (
        "See that the picker is ready, that the ports are its own (server.grpcPort, server.grpcHealthPort), and that "
        "both sides speak TLS or neither."
    )


def _tls(cluster: Cluster, evidence: Evidence) -> Finding | None:
    serves = "TLS" if evidence.settings.server.secure_serving else "plaintext"
    facts = evidence.envoy
    assert facts is not None  # noqa: S101 - `check` has seen to it
    shown = {
        name: value
        for name in (
            *("ssl.handshake", "ssl.connection_error", "ssl.fail_verify_error", "ssl.fail_verify_san"),
            *("ssl.fail_verify_cert_hash", "upstream_cx_connect_fail", "upstream_rq_200"),
        )
        if (value := facts.cluster_stat(cluster.name, name))
    }
    numbers = ", ".join(f"{name} {value}" for name, value in shown.items())
    seen = f"Envoy speaks {cluster.tls}, the picker serves {serves}" + (f" ({numbers})" if numbers else "")
    if cluster.tls not in ("either", serves):
        if shown.get("upstream_rq_200"):
            return Finding(
                "warning",
                f"{seen}: streams went well all the same, before a change or by a proxy in between",
                "Set both sides alike, and have no proxy in between.",
            )
        fix = (
            f"In the cluster {cluster.name}: {_TLS_SOCKET}; or start the picker with --secure-serving=false."
            if serves == "TLS"
            else f"Remove transport_socket from the cluster {cluster.name} (Istio: DestinationRule with tls: "
            "{mode: DISABLE}); or start the picker with --secure-serving=true."
        )
        return Finding("fault", f"TLS on one side only: {seen}", fix)
    failed = next((name for name in shown if name.startswith("ssl.fail_verify")), None)
    if failed is not None:
        return Finding(
            "warning" if "ssl.handshake" in shown else "fault",
            f"Envoy refuses the picker's certificate: {seen}",
            "Give the picker a certificate that Envoy trusts (--cert-path), or leave the validation context out.",
        )
    if "upstream_cx_connect_fail" in shown and not shown.keys() & {"ssl.handshake", "upstream_rq_200"}:
        return Finding(
            "fault",
            f"Envoy's connections fail: {seen}",
            f"See that a picker listens on {name_some([member.address for member in cluster.members])}, and that no "
            "network policy is in between.",
        )
    return Finding("ok", seen)


def _alpn(cluster: Cluster) -> Finding | None:
    if cluster.tls != "TLS":
        return None
    if cluster.alpn and "h2" not in cluster.alpn:
        return Finding(
            "fault",
            f"Envoy offers {', '.join(cluster.alpn)} and no h2: the picker ends the connection",
            "In its common_tls_context: alpn_protocols: [h2].",
        )
    return Finding("ok", ", ".join(cluster.alpn) or "what Envoy speaks there")


def _protocol(cluster: Cluster, facts: EnvoyFacts) -> Finding:
    if cluster.protocol == "HTTP/1.1":
        errors = facts.cluster_stat(cluster.name, "upstream_cx_protocol_error")
        return Finding(
            "fault",
            "Envoy speaks HTTP/1.1 to the picker, and gRPC needs HTTP/2"
            + (f" (upstream_cx_protocol_error {errors})" if errors else ""),
            f"In the cluster {cluster.name}: typed_extension_protocol_options with explicit_http_config: "
            "{http2_protocol_options: {}}; under Istio, appProtocol: kubernetes.io/h2c at the Service's port.",
        )
    if cluster.protocol == "as the client's":
        return Finding(
            "warning",
            "the cluster speaks what the client speaks (use_downstream_protocol_config), and gRPC needs HTTP/2",
            f"In the cluster {cluster.name}: explicit_http_config: {{http2_protocol_options: {{}}}}.",
        )
    return Finding("ok", cluster.protocol)


def _limits(cluster: Cluster, evidence: Evidence) -> Finding | None:
    """Each stream that follows an answer is an open request of this cluster for as long."""
    if cluster.limits is None:
        return None
    most = cluster.limits["max_requests"]
    facts = evidence.envoy
    assert facts is not None  # noqa: S101 - `check` has seen to it
    overflows = facts.cluster_stat(cluster.name, "upstream_rq_pending_overflow") or 0
    seen = f"{most} open streams" + (f"; {overflows} more refused" if overflows else "")
    if most > DEFAULT_LIMIT:
        return Finding("ok", seen)
    fix = (
        f"In the cluster {cluster.name}: circuit_breakers: {{thresholds: [{{max_connections: 40000, "
        "max_pending_requests: 40000, max_requests: 40000, max_retries: 1000}]}; under Istio, a DestinationRule with "
        "connectionPool: {http: {http2MaxRequests: 40000}}."
    )
    if overflows:
        return Finding("fault", f"circuit breakers at {seen}", fix)
    if follows_answers(evidence):
        return Finding(
            "fault",
            f"circuit breakers at {seen}, Envoy's default, and each answer that is followed keeps one open: those "
            "above get 500",
            fix,
        )
    return Finding("ok", f"{seen}, enough where the picker leaves them with its answer")


def follows_answers(evidence: Evidence) -> bool:
    """Streams stay open for as long as answers: by the settings, or as they were seen to."""
    if evidence.settings.envoy.response_phase in ("track", "observe"):
        return True
    callers = evidence.snapshot.callers if evidence.snapshot is not None else ()
    return any(caller.answer in ("track", "observe") for caller in callers)


def _streams(way: Way, facts: EnvoyFacts) -> Finding | None:
    """How the streams went that the way's listener opened, since Envoy started."""
    counted = ("streams_started", "streams_failed", "message_timeouts", "rejected_header_mutations")
    numbers = {name: facts.stats.get(f"http.{way.passage.stat_prefix}.ext_proc.{name}", 0) for name in counted}
    started, failed = numbers["streams_started"], numbers["streams_failed"]
    if not started or not way.pickers:
        return None
    seen = ", ".join(f"{name} {value}" for name, value in numbers.items() if value or name.startswith("streams"))
    if numbers["rejected_header_mutations"]:
        return Finding("fault", seen, "Let mutation_rules of the filter allow what the picker sets.")
    if failed >= started:
        return Finding("fault", f"{seen}: none went well", "See the checks of TLS, HTTP/2 and health.")
    if numbers["message_timeouts"]:
        fix = "Raise the filter's message_timeout, and envoy.messageTimeout with it."
        return Finding("warning", f"{seen}, since Envoy started", fix)
    if failed * 100 >= started:
        return Finding("warning", f"{seen}, since Envoy started", "Look for the picker's restarts.")
    return Finding("ok", seen)
