"""The bootstrap of an Envoy with one listener, one pool and at most one picker: settings in, the dict it reads out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

HeaderMode = Literal["SEND", "SKIP"]
BodyMode = Literal["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]

_DESTINATION = "x-gateway-destination-endpoint"
# Envoy's default of 1,024 open requests turned 276 of 1,300 open answers into 500 (measured).
_CIRCUIT_BREAKERS = {
    "thresholds": [
        {"max_connections": 40_000, "max_pending_requests": 40_000, "max_requests": 40_000, "max_retries": 1_000}
    ]
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingMode:
    """What Envoy sends to the picker, in both phases, and how long it waits for an answer where it has a timer at all.

    Source: Envoy's `ext_proc/v3/processing_mode.proto`. Full duplex has no timer.
    """

    request_headers: HeaderMode = "SEND"
    request_body: BodyMode = "FULL_DUPLEX_STREAMED"
    request_trailers: HeaderMode = "SEND"
    response_headers: HeaderMode = "SKIP"
    response_body: BodyMode = "NONE"
    response_trailers: HeaderMode = "SKIP"
    message_timeout_s: float = 5.0


DETACHED = ProcessingMode()
"""No response phase: the picker answers in one message and is gone, and nothing it does later can hurt a response."""

ISTIO = ProcessingMode(
    response_headers="SEND",
    response_body="FULL_DUPLEX_STREAMED",
    response_trailers="SEND",
    message_timeout_s=1000.0,
)
"""What Istio (≥ 1.27) configures for an InferencePool: full duplex both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """One listener, one pool of endpoints, at most one picker.

    Addresses are `ip:port`, IPv6 in brackets; names are not resolved. Port 0 lets the kernel choose.
    """

    endpoints: Sequence[str]
    picker: str | None = None
    """Where the ext_proc server listens (plaintext HTTP/2); None: no ext_proc filter and plain round robin."""
    listener_port: int = 0
    admin_port: int = 0
    pick_from: Literal["header", "metadata"] = "header"
    """Envoy's `override_host` reads the pick from here; Istio: metadata only."""
    processing_mode: ProcessingMode = DETACHED
    buffer_limit_bytes: int = 32 * 1024 * 1024
    """The listener's: bodies above it get 413 when buffered, and are never retried (Envoy's default is 1 MiB)."""
    retries: int = 0
    """When a pod refuses or resets, go on to the next address of the pick, so often. Past the pick's last address Envoy
    asks its round robin, which knows nothing of models: no more than the picker lists fallbacks. Source:
    docs/decisions/007."""
    ext_proc: Mapping[str, object] = field(default_factory=dict)
    """Top-level fields laid over the ext_proc filter's config, e.g. `{"observability_mode": True}`."""


def envoy_config(settings: GatewaySettings) -> dict[str, object]:
    """The bootstrap for `settings`, as the dict that Envoy reads as JSON. Each call returns a new one.

    Raises ValueError for an address that is not `ip:port`.
    """
    clusters = [_pool_cluster(settings)]
    http_filters: list[dict[str, object]] = []
    if settings.picker is not None:
        clusters.append(_picker_cluster(settings.picker))
        http_filters.append(_ext_proc_filter(settings))
    http_filters.append(
        _typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    )
    route: dict[str, object] = {"cluster": "pool", "timeout": "0s"}
    if settings.retries:
        route["retry_policy"] = {"retry_on": "connect-failure,refused-stream,reset", "num_retries": settings.retries}
    connection_manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="AUTO",
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
        http_filters=http_filters,
    )
    listener = {
        "name": "gateway",
        # With it two Envoys on one fixed port would start without a word and share the requests.
        "enable_reuse_port": settings.listener_port == 0,
        "per_connection_buffer_limit_bytes": settings.buffer_limit_bytes,
        "address": _address(f"127.0.0.1:{settings.listener_port}"),
        "filter_chains": [{"filters": [connection_manager]}],
    }
    return {
        "admin": {"address": _address(f"127.0.0.1:{settings.admin_port}")},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _typed(name: str, type_name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields}}


def _address(address: str) -> dict[str, object]:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isdigit()):
        raise ValueError(f"{address!r} is not ip:port")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _load_assignment(cluster: str, addresses: Sequence[str]) -> dict[str, object]:
    endpoints = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _pool_cluster(settings: GatewaySettings) -> dict[str, object]:
    balancing = {
        "typed_extension_config": _typed(
            "envoy.load_balancing_policies.round_robin",
            "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        )
    }
    if settings.picker is not None:
        source: dict[str, object] = (
            {"header": _DESTINATION}
            if settings.pick_from == "header"
            else {"metadata": {"key": "envoy.lb", "path": [{"key": _DESTINATION}]}}
        )
        balancing = {
            "typed_extension_config": _typed(
                "envoy.load_balancing_policies.override_host",
                "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
                override_host_sources=[source],
                fallback_policy={"policies": [balancing]},
            )
        }
    return {
        "name": "pool",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _CIRCUIT_BREAKERS,
        "load_balancing_policy": {"policies": [balancing]},
        "load_assignment": _load_assignment("pool", settings.endpoints),
    }


def _picker_cluster(address: str) -> dict[str, object]:
    http_options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _CIRCUIT_BREAKERS,
        # With one of two pickers killed this cut the errors from 389 of 893 to 1 of 922 (measured).
        "outlier_detection": {
            "consecutive_5xx": 1,
            "interval": "0.5s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 100,
        },
        "typed_extension_protocol_options": {
            http_options: {
                "@type": f"type.googleapis.com/{http_options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _load_assignment("picker", [address]),
    }


def _ext_proc_filter(settings: GatewaySettings) -> dict[str, object]:
    mode = settings.processing_mode
    fields: dict[str, object] = {
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}, "timeout": "30s"},
        "message_timeout": f"{mode.message_timeout_s:g}s",
        "failure_mode_allow": False,
        "status_on_error": {"code": 503},
        # Without the receiving namespace Envoy drops the metadata pick.
        "metadata_options": {
            "receiving_namespaces": {"untyped": ["envoy.lb"]},
            "forwarding_namespaces": {"untyped": ["envoy.lb"]},
        },
        "processing_mode": {
            "request_header_mode": mode.request_headers,
            "request_body_mode": mode.request_body,
            "request_trailer_mode": mode.request_trailers,
            "response_header_mode": mode.response_headers,
            "response_body_mode": mode.response_body,
            "response_trailer_mode": mode.response_trailers,
        },
    }
    return _typed(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        **(fields | dict(settings.ext_proc)),
    )
