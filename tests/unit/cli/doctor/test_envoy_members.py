"""What is read of an Envoy's clusters: how it connects, whom it knows, and where it reads the pick."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from extproc.cli.doctor.envoy_facts import Cluster, Member, Pick
from extproc.cli.doctor.envoy_members import read_clusters

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TYPES = "type.googleapis.com"
TLS = f"{TYPES}/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
RAW = f"{TYPES}/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
OVERRIDE_HOST = f"{TYPES}/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost"
ROUND_ROBIN = f"{TYPES}/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
METADATA = {"key": "envoy.lb", "path": [{"key": "x"}]}


def read(config: Mapping[str, Any], status: Mapping[str, Any] | None = None, endpoints: Any = None) -> Cluster:
    """One cluster, `c`, of this config and this status."""
    configs: list[Any] = [{"@type": "a.ClustersConfigDump", "static_clusters": [{"cluster": {"name": "c", **config}}]}]
    if endpoints is not None:
        assignment = {"cluster_name": "c", "endpoints": [{"lb_endpoints": endpoints}]}
        configs.append(
            {"@type": "a.EndpointsConfigDump", "dynamic_endpoint_configs": [{"endpoint_config": assignment}]}
        )
    statuses = [] if status is None else [{"name": "c", **status}]
    return read_clusters({"configs": configs}, {"cluster_statuses": statuses})["c"]


def options(**fields: Any) -> dict[str, Any]:
    return {"typed_extension_protocol_options": {HTTP_OPTIONS: fields}}


def balanced(*types: str, sources: Any = ()) -> dict[str, Any]:
    policies = [
        {"typed_extension_config": {"name": "x", "typed_config": {"@type": each, "override_host_sources": sources}}}
        for each in types
    ]
    return {"load_balancing_policy": {"policies": policies}}


CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "TLS": ({"transport_socket": {"name": "x", "typed_config": {"@type": TLS}}}, {"tls": "TLS"}),
    "TLS with ALPN": (
        {
            "transport_socket": {
                "typed_config": {"@type": TLS, "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"]}}
            }
        },
        {"tls": "TLS", "alpn": ("h2", "http/1.1")},
    ),
    "a raw socket": ({"transport_socket": {"typed_config": {"@type": RAW}}}, {}),
    "a socket by endpoint": ({"transport_socket_matches": [{"name": "tlsMode-istio"}]}, {"tls": "either"}),
    "HTTP/2": (options(explicit_http_config={"http2_protocol_options": {}}), {"protocol": "HTTP/2"}),
    "HTTP/2, the old way": ({"http2_protocol_options": {}}, {"protocol": "HTTP/2"}),
    "HTTP/1.1": (options(explicit_http_config={"http_protocol_options": {}}), {}),
    "by ALPN": (options(auto_config={}), {"protocol": "by ALPN"}),
    "as the client's": (options(use_downstream_protocol_config={}), {"protocol": "as the client's"}),
    "gRPC health": (
        {"health_checks": [{"grpc_health_check": {"service_name": "a"}}, {"grpc_health_check": {}}]},
        {"health_services": ("a", "")},
    ),
    "HTTP health": ({"health_checks": [{"http_health_check": {"path": "/"}}]}, {}),
    "outlier detection": ({"outlier_detection": {}}, {"ejects": True}),
    "override_host by header": (
        balanced(OVERRIDE_HOST, sources=[{"header": "a"}]),
        {"pick": Pick(sources=(("header", "a"),), takes_list=True)},
    ),
    "override_host by both": (
        balanced(OVERRIDE_HOST, sources=[{"metadata": METADATA}, {"header": "a"}]),
        {"pick": Pick(sources=(("metadata", "envoy.lb/x"), ("header", "a")), takes_list=True)},
    ),
    "override_host second": (
        balanced("x/unknown", OVERRIDE_HOST, sources=[{"header": "a"}]),
        {"pick": Pick(sources=(("header", "a"),), takes_list=True)},
    ),
    "override_host of the future": (
        balanced(OVERRIDE_HOST, sources=[{"telepathy": {}}]),
        {"pick": Pick(sources=(), takes_list=True)},
    ),
    "round robin": (balanced(ROUND_ROBIN), {}),
    "ORIGINAL_DST by header": (
        {"type": "ORIGINAL_DST", "original_dst_lb_config": {"use_http_header": True, "http_header_name": "a"}},
        {"pick": Pick(sources=(("header", "a"),), takes_list=False)},
    ),
    "ORIGINAL_DST by Envoy's header": (
        {"type": "ORIGINAL_DST", "original_dst_lb_config": {"use_http_header": True}},
        {"pick": Pick(sources=(("header", "x-envoy-original-dst-host"),), takes_list=False)},
    ),
    "ORIGINAL_DST by metadata": (
        {"type": "ORIGINAL_DST", "original_dst_lb_config": {"metadata_key": METADATA}},
        {"pick": Pick(sources=(("metadata", "envoy.lb/x"),), takes_list=False)},
    ),
    "ORIGINAL_DST by the socket": ({"type": "ORIGINAL_DST"}, {}),
}


@pytest.mark.parametrize(("config", "want"), CONFIGS.values(), ids=CONFIGS)
def test_a_cluster(config: dict[str, Any], want: dict[str, Any]) -> None:
    assert read(config) == replace(Cluster(name="c"), **want)


def host(address: str, port: int = 80, **health: Any) -> dict[str, Any]:
    socket = {"address": address, "port_value": port}
    return {"address": {"socket_address": socket}, "health_status": {"eds_health_status": "HEALTHY"} | health}


HOSTS: dict[str, tuple[dict[str, Any], Member]] = {
    "healthy": (host("10.0.0.1"), Member(address="10.0.0.1:80")),
    "IPv6": (host("fd00::1", 9002), Member(address="[fd00::1]:9002")),
    "health not told": (host("10.0.0.1", eds_health_status="UNKNOWN"), Member(address="10.0.0.1:80")),
    "draining": (
        host("10.0.0.1", eds_health_status="DRAINING"),
        Member(address="10.0.0.1:80", problems=("DRAINING",)),
    ),
    "flags": (
        host("10.0.0.1", failed_active_health_check=True, pending_active_hc=False, failed_outlier_check=True),
        Member(address="10.0.0.1:80", problems=("failed_active_health_check", "failed_outlier_check")),
    ),
}


@pytest.mark.parametrize(("given", "want"), HOSTS.values(), ids=HOSTS)
def test_a_member(given: dict[str, Any], want: Member) -> None:
    assert read({}, {"host_statuses": [given]}).members == (want,)


def test_limits_are_those_of_the_default_priority() -> None:
    high = {"priority": "HIGH", "max_connections": 1}
    default = {"max_connections": 7, "max_requests": 8}
    status = {"circuit_breakers": {"thresholds": [high, default]}, "observability_name": "other"}
    found = read({}, status)
    assert found.limits == {"max_connections": 7, "max_pending_requests": 1024, "max_requests": 8}
    assert found.stat_name == "other"
    assert read({}).limits is None


def test_ports_of_health_checks() -> None:
    endpoints: list[Any] = [
        {"endpoint": {"health_check_config": {"port_value": port}}} if port else {"endpoint": {}}
        for port in (9003, 0, 9003)
    ]
    assert read({"health_checks": [{"grpc_health_check": {}}]}, endpoints=endpoints).health_ports == (9003,)
    assert read({}, endpoints=endpoints).health_ports == ()


def test_clusters_of_a_control_plane_that_are_in_force() -> None:
    dump = {
        "configs": [
            {
                "@type": "a.ClustersConfigDump",
                "dynamic_active_clusters": [{"cluster": {"name": "new"}}],
                "dynamic_warming_clusters": [{"cluster": {"name": "not yet"}}],
            }
        ]
    }
    assert read_clusters(dump, {}).keys() == {"new"}
