"""A gateway as istiod makes it."""

from typing import Any

from tests.doctor.gateways import bootstrap, manager_of, route_of

from extproc.cli.demo.envoy import ISTIO, GatewaySettings


def istio_gateway(endpoint: str, picker: str) -> Any:
    """The filter is off at the listener and asks nobody; a route turns it on, with a cluster and modes of its own."""
    config = bootstrap(
        GatewaySettings(endpoints=(endpoint,), picker=picker, pick_from="metadata", processing_mode=ISTIO)
    )
    [http_filter, _] = manager_of(config)["http_filters"]
    fields = http_filter["typed_config"]
    del fields["status_on_error"]
    overrides = {key: fields[key] for key in ("grpc_service", "metadata_options", "processing_mode")}
    fields["grpc_service"] = {"envoy_grpc": {"cluster_name": "pool"}}
    fields["processing_mode"] = {"request_header_mode": "SKIP", "response_header_mode": "SKIP"}
    http_filter["disabled"] = True
    per_route = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
        "overrides": overrides | {"failure_mode_allow": False},
    }
    route_of(config)["typed_per_filter_config"] = {http_filter["name"]: per_route}
    return config
