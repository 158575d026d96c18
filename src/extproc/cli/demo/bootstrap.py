"""Envoy's bootstrap, as the dict it reads: a gateway with one pool and its pickers, or a hop before a picker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Balancing = Literal["round_robin", "least_request"]
HeaderMode = Literal["SEND", "SKIP"]
BodyMode = Literal["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]

_DESTINATION = "x-gateway-destination-endpoint"
# No earlier bound for a connection than for the clusters; Envoy's default is 1,024.
_CONCURRENT_STREAMS = 40_000
# HTTP/2's own default, and the least that Envoy takes.
_LEAST_WINDOW_BYTES = 65_535
# Envoy's default of 1,024 open requests turned 276 of 1,300 open answers into 500 (measured).
_CIRCUIT_BREAKERS = {
    "thresholds": [
        {"max_connections": 40_000, "max_pending_requests": 40_000, "max_requests": 40_000, "max_retries": 1_000}
    ]
}
_BALANCERS: Mapping[Balancing, str] = {"round_robin": "RoundRobin", "least_request": "LeastRequest"}
_READINESS_CHECK = {
    "timeout": "1s",
    "interval": "0.25s",
    "no_traffic_interval": "0.25s",  # by default an unused cluster is checked once a minute
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "grpc_health_check": {"service_name": "readiness"},
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
    sends_body_early: bool = False
    """The body does not wait for the answer to the headers. With request body STREAMED only."""


DETACHED = ProcessingMode()
"""No response phase: the picker answers in one message and is gone, and nothing it does later can hurt a response."""

ISTIO = ProcessingMode(
    response_headers="SEND",
    response_body="FULL_DUPLEX_STREAMED",
    response_trailers="SEND",
    message_timeout_s=1000.0,
)
"""What Istio (≥ 1.27) configures for an InferencePool: full duplex both ways."""

TRACKING = ProcessingMode(response_headers="SEND", response_trailers="SEND")
"""The stream stays open until the answer ends, by whatever end, and carries nothing of the answer's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """One listener, one pool of endpoints, and the pickers, if any, that share the requests.

    Addresses are `ip:port`, IPv6 in brackets; names are not resolved. Port 0 lets the kernel choose.
    """

    endpoints: Sequence[str]
    endpoints_http2: bool = False
    """The endpoints are spoken to in cleartext HTTP/2, which keeps request trailers, and not in HTTP/1.1."""
    picker: str | Sequence[str] | None = None
    """Where the ext_proc servers listen (HTTP/2), one address or several, asked in turn; None or none: no
    ext_proc filter, and Envoy balances by itself."""
    balancing: Balancing = "round_robin"
    """How Envoy chooses where no picker does: in turn, or the less busy of two at random."""
    picker_tls: bool = False
    """Speak TLS to them and take any certificate, as Envoy AI Gateway does. False: plaintext."""
    picker_health_checks: bool = False
    """Envoy asks each picker's gRPC health service for `readiness` four times a second and leaves one that is not
    ready. With none ready it asks all of them. It serves once every picker was asked once."""
    listener_port: int = 0
    admin_port: int = 0
    pick_from: Literal["header", "metadata"] = "header"
    """Envoy's `override_host` reads the pick from here; Istio: metadata only."""
    processing_mode: ProcessingMode = DETACHED
    buffer_limit_bytes: int = 32 * 1024 * 1024
    """The listener's, and the window of an HTTP/2 client's stream: bodies above it get 413 when buffered, and are never
    retried (Envoy's default is 1 MiB)."""
    retries: int = 0
    """When a pod refuses or resets, go on to the next address of the pick, so often. Past the pick's last address Envoy
    asks its round robin, which knows nothing of models: no more than the picker lists fallbacks. Source:
    docs/decisions/007."""
    ext_proc: Mapping[str, object] = field(default_factory=dict)
    """Top-level fields laid over the ext_proc filter's config, e.g. `{"observability_mode": True}`."""
    connection_manager: Mapping[str, object] = field(default_factory=dict)
    """Top-level fields laid over the HTTP connection manager's config, e.g. `{"request_timeout": "1s"}`."""
    filters: Sequence[Mapping[str, object]] = ()
    """HTTP filters that come before ext_proc, in the form that Envoy reads."""


def envoy_config(settings: GatewaySettings) -> dict[str, object]:
    """The bootstrap for `settings`, as the dict that Envoy reads as JSON. Each call returns a new one.

    Raises ValueError for an address that is not `ip:port`.
    """
    clusters = [_pool_cluster(settings)]
    http_filters = list(settings.filters)
    if _pickers(settings):
        clusters.append(_picker_cluster(settings))
        http_filters.append(_ext_proc_filter(settings))
    route: dict[str, object] = {"cluster": "pool", "timeout": "0s"}
    if settings.retries:
        route["retry_policy"] = {"retry_on": "connect-failure,refused-stream,reset", "num_retries": settings.retries}
    # A buffered body over HTTP/2 got 413 above the stream's window, 16 MiB by default, whatever the listener's limit.
    window_bytes = max(settings.buffer_limit_bytes, _LEAST_WINDOW_BYTES)
    connection_manager = _connection_manager(
        "gateway",
        route,
        http_filters,
        **{
            "codec_type": "AUTO",
            "http2_protocol_options": {
                "initial_stream_window_size": window_bytes,
                "initial_connection_window_size": window_bytes,
            },
            **settings.connection_manager,
        },
    )
    listener = _listener("gateway", settings.listener_port, connection_manager) | {
        "per_connection_buffer_limit_bytes": settings.buffer_limit_bytes
    }
    return _bootstrap(settings.admin_port, listener, clusters)


def hop_config(picker: str, *, listener_port: int = 0, admin_port: int = 0) -> dict[str, object]:
    """The bootstrap of an Envoy that passes cleartext HTTP/2 on to `picker` (`ip:port`), as a sidecar's does.

    Its listener is what a gateway takes for the picker. It ends no stream of its own accord: no timeout, no idle limit.
    Raises ValueError for an address that is not `ip:port`.
    """
    connection_manager = _connection_manager(
        "hop",
        {"cluster": "picker", "timeout": "0s"},
        [],
        codec_type="HTTP2",
        http2_protocol_options={"max_concurrent_streams": _CONCURRENT_STREAMS},
        stream_idle_timeout="0s",
    )
    cluster = {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _CIRCUIT_BREAKERS,
        "typed_extension_protocol_options": _http2_options(),
        "load_assignment": _load_assignment("picker", [picker]),
    }
    return _bootstrap(admin_port, _listener("hop", listener_port, connection_manager), [cluster])


def _bootstrap(
    admin_port: int, listener: Mapping[str, object], clusters: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    return {
        "admin": {"address": _address(f"127.0.0.1:{admin_port}")},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _listener(name: str, port: int, connection_manager: Mapping[str, object]) -> dict[str, object]:
    return {
        "name": name,
        # With it two Envoys on one fixed port would start without a word and share the requests.
        "enable_reuse_port": port == 0,
        "address": _address(f"127.0.0.1:{port}"),
        "filter_chains": [{"filters": [connection_manager]}],
    }


def _connection_manager(
    name: str, route: Mapping[str, object], filters: Sequence[Mapping[str, object]], **fields: object
) -> dict[str, object]:
    router = _typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    routes = [{"match": {"prefix": "/"}, "route": route}]
    return _typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=[*filters, router],
        **fields,
    )


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


def _http2_options() -> dict[str, object]:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        name: {"@type": f"type.googleapis.com/{name}", "explicit_http_config": {"http2_protocol_options": {}}},
    }


def _pickers(settings: GatewaySettings) -> Sequence[str]:
    if settings.picker is None:
        return ()
    return (settings.picker,) if isinstance(settings.picker, str) else settings.picker


def _pool_cluster(settings: GatewaySettings) -> dict[str, object]:
    name = settings.balancing
    type_name = f"envoy.extensions.load_balancing_policies.{name}.v3.{_BALANCERS[name]}"
    balancing = {"typed_extension_config": _typed(f"envoy.load_balancing_policies.{name}", type_name)}
    if _pickers(settings):
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
    cluster: dict[str, object] = {
        "name": "pool",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _CIRCUIT_BREAKERS,
        "load_balancing_policy": {"policies": [balancing]},
        "load_assignment": _load_assignment("pool", settings.endpoints),
    }
    if settings.endpoints_http2:
        cluster["typed_extension_protocol_options"] = _http2_options()
    return cluster


def _picker_cluster(settings: GatewaySettings) -> dict[str, object]:
    cluster: dict[str, object] = {
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
        "typed_extension_protocol_options": _http2_options(),
        "load_assignment": _load_assignment("picker", _pickers(settings)),
    }
    if settings.picker_tls:
        # Without a validation context Envoy takes any certificate.
        cluster["transport_socket"] = _typed(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context={"alpn_protocols": ["h2"]},
        )
    if settings.picker_health_checks:
        cluster["health_checks"] = [_READINESS_CHECK]
        cluster["common_lb_config"] = {
            # By default Envoy asks all of them while fewer than half are ready.
            "healthy_panic_threshold": {"value": 1},
            # By default a verdict within a second of the one before it reaches the workers at that second's end.
            "update_merge_window": "0s",
        }
    return cluster


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
    if mode.sends_body_early:
        fields["send_body_without_waiting_for_header_response"] = True
    return _typed(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        **(fields | dict(settings.ext_proc)),
    )
