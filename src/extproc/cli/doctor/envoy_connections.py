"""Checks how Envoy connects to the picker: to which members, with or without TLS, with which ALPN, and over HTTP/2."""

from extproc.cli.doctor.envoy_facts import Cluster, EnvoyFacts
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import SETTINGS_UNKNOWN, Finding, Way
from extproc.cli.wording import name_some

_TLS_SOCKET = (
    "transport_socket: envoy.transport_sockets.tls with common_tls_context: {alpn_protocols: [h2]} (docs/envoy.md, TLS)"
)


def judge_members(way: Way, evidence: Evidence) -> Finding | None:
    facts = facts_of(evidence)
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
    others, own = _other_ports(evidence), evidence.settings.server.grpc_port
    for address in told:
        if (port := address.rpartition(":")[2]) in others:
            return Finding(
                "fault",
                f"{address} is not the picker's ext_proc port: {port} is its {others[port]}",
                f"In the picker's cluster: port {own or 'that its log names'} (server.grpcPort).",
            )
    return Finding("ok", name_some(told)) if told else None


def facts_of(evidence: Evidence) -> EnvoyFacts:
    assert evidence.envoy is not None  # noqa: S101 - `check` has seen to it
    return evidence.envoy


def _other_ports(evidence: Evidence) -> dict[str, str]:
    """What the picker's other ports are, by number: a Service may have any other number for the right one."""
    if not evidence.knows_settings:
        return {}
    server, admin = evidence.settings.server, evidence.settings.admin
    others = {
        server.grpc_health_port: "health port (server.grpcHealthPort)",
        server.metrics_port: "metrics port (server.metricsPort)",
        admin.grpc_port: "admin port (admin.grpcPort)",
        admin.http_port: "page's port (admin.httpPort)",
    }
    return {str(port): name for port, name in others.items() if port not in (0, server.grpc_port)}


def judge_tls(cluster: Cluster, evidence: Evidence) -> Finding | None:
    serves = "TLS" if evidence.settings.server.secure_serving else "plaintext"
    facts = facts_of(evidence)
    shown = {
        name: value
        for name in (
            *("ssl.handshake", "ssl.connection_error", "ssl.fail_verify_error", "ssl.fail_verify_san"),
            *("ssl.fail_verify_cert_hash", "upstream_cx_connect_fail", "upstream_rq_200"),
        )
        if (value := facts.cluster_stat(cluster.name, name))
    }
    numbers = ", ".join(f"{name} {value}" for name, value in shown.items())
    served = f", the picker serves {serves}" if evidence.knows_settings else ""
    seen = f"Envoy speaks {cluster.tls}{served}" + (f" ({numbers})" if numbers else "")
    if evidence.knows_settings and cluster.tls not in ("either", serves):
        # Both count from a start on: what went well may have been with another picker, and before a change.
        if shown.get("upstream_rq_200") and has_callers(evidence) and not _fails_now(facts, cluster):
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
    if not evidence.knows_settings:
        return Finding("not checked", f"{seen}; {SETTINGS_UNKNOWN}")
    return Finding("ok", seen)


def has_callers(evidence: Evidence) -> bool:
    """Streams reached this picker since its start."""
    return evidence.snapshot is not None and bool(evidence.snapshot.callers)


def _fails_now(facts: EnvoyFacts, cluster: Cluster) -> bool:
    """Streams of a listener that asks this cluster failed between the two readings."""
    asking = [each for each in facts.passages if any(asked.cluster == cluster.name for asked in each.filters)]
    return any(facts.grown.get(f"http.{each.stat_prefix}.ext_proc.streams_failed") for each in asking)


def judge_alpn(cluster: Cluster) -> Finding | None:
    if cluster.tls != "TLS":
        return None
    if cluster.alpn and "h2" not in cluster.alpn:
        return Finding(
            "fault",
            f"Envoy offers {', '.join(cluster.alpn)} and no h2: the picker ends the connection",
            "In its common_tls_context: alpn_protocols: [h2].",
        )
    return Finding("ok", ", ".join(cluster.alpn) or "what Envoy speaks there")


def judge_protocol(cluster: Cluster, facts: EnvoyFacts) -> Finding:
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
