"""Reads the clusters of an Envoy: their config from /config_dump, their members and limits from /clusters."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from extproc.cli.doctor.envoy_dump import is_type, read_cluster_configs, read_health_ports
from extproc.cli.doctor.envoy_facts import DEFAULT_LIMIT, Cluster, Member, Pick, Protocol, Tls

_OVERRIDE_HOST = "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_ORIGINAL_DST_HEADER = "x-envoy-original-dst-host"
_LIMITS = ("max_connections", "max_pending_requests", "max_requests")

Json = Mapping[str, Any]


def read_clusters(dump: Json, clusters: Json) -> dict[str, Cluster]:
    """Every cluster by name. `clusters` is what /clusters?format=json answers."""
    statuses = {status.get("name", ""): status for status in clusters.get("cluster_statuses", ())}
    health_ports = read_health_ports(dump)
    return {
        config["name"]: _read_cluster(config, statuses.get(config["name"], {}), health_ports.get(config["name"], ()))
        for config in read_cluster_configs(dump)
    }


def _read_cluster(config: Json, status: Json, health_ports: tuple[int, ...]) -> Cluster:
    tls_context = _tls_context(config.get("transport_socket", {}))
    checks = config.get("health_checks", ())
    services = [check["grpc_health_check"].get("service_name", "") for check in checks if "grpc_health_check" in check]
    return Cluster(
        name=config["name"],
        stat_name=status.get("observability_name", ""),
        members=tuple(_read_member(host) for host in status.get("host_statuses", ())),
        tls=_tls(config, tls_context),
        alpn=tuple((tls_context or {}).get("common_tls_context", {}).get("alpn_protocols", ())),
        protocol=_protocol(config),
        health_services=tuple(services),
        health_ports=health_ports if checks else (),
        ejects="outlier_detection" in config,
        limits=_limits(status),
        pick=_pick(config),
    )


def _read_member(host: Json) -> Member:
    problems = [flag for flag, value in host.get("health_status", {}).items() if value is True]
    if (told := host.get("health_status", {}).get("eds_health_status", "HEALTHY")) not in ("HEALTHY", "UNKNOWN"):
        problems.append(told)
    return Member(address=_address(host.get("address", {})), problems=tuple(problems))


def _address(address: Json) -> str:
    socket = address.get("socket_address", {})
    host = str(socket.get("address", ""))
    return f"[{host}]:{socket.get('port_value', 0)}" if ":" in host else f"{host}:{socket.get('port_value', 0)}"


def _tls_context(socket: Json) -> Json | None:
    return socket["typed_config"] if is_type(socket, _TLS) else None


def _tls(config: Json, tls_context: Json | None) -> Tls:
    if config.get("transport_socket_matches"):
        return "either"
    return "plaintext" if tls_context is None else "TLS"


def _protocol(config: Json) -> Protocol:
    options = config.get("typed_extension_protocol_options", {}).get(_HTTP_OPTIONS, {})
    if "auto_config" in options:
        return "by ALPN"
    if "use_downstream_protocol_config" in options:
        return "as the client's"
    explicit = options.get("explicit_http_config", {})
    return "HTTP/2" if "http2_protocol_options" in explicit or "http2_protocol_options" in config else "HTTP/1.1"


def _limits(status: Json) -> Mapping[str, int] | None:
    for threshold in status.get("circuit_breakers", {}).get("thresholds", ()):
        if threshold.get("priority", "DEFAULT") == "DEFAULT":
            return {name: int(threshold.get(name, DEFAULT_LIMIT)) for name in _LIMITS}
    return None


def _pick(config: Json) -> Pick | None:
    for policy in config.get("load_balancing_policy", {}).get("policies", ()):
        extension = policy.get("typed_extension_config", {})
        if is_type(extension, _OVERRIDE_HOST):
            found = extension["typed_config"].get("override_host_sources", ())
            return Pick(sources=tuple(_sources(found)), takes_list=True)
    original = config.get("original_dst_lb_config", {})
    if original.get("use_http_header"):
        return Pick(sources=(("header", original.get("http_header_name", _ORIGINAL_DST_HEADER)),), takes_list=False)
    if "metadata_key" in original:
        return Pick(sources=(("metadata", _metadata(original["metadata_key"])),), takes_list=False)
    return None


def _sources(sources: Iterable[Json]) -> Iterator[tuple[Literal["header", "metadata"], str]]:
    for source in sources:
        if "header" in source:
            yield "header", source["header"]
        elif "metadata" in source:
            yield "metadata", _metadata(source["metadata"])


def _metadata(key: Json) -> str:
    return "/".join([key.get("key", ""), *(step.get("key", "") for step in key.get("path", ()))])
