"""Endpoints that cost next to nothing: listeners of one Envoy process that answer by themselves."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from extproc.cli.demo.envoy import Envoy

RECEIVED_BYTES = "x-received-body-bytes"

_TYPES = "type.googleapis.com/envoy.extensions.filters"


@asynccontextmanager
async def serve_endpoints(models: Sequence[str], *, max_body_bytes: int = 1 << 20) -> AsyncIterator[list[str]]:
    """One endpoint for each entry of `models`, the model that it lists; yields their addresses in that order.

    Each tells in the header `RECEIVED_BYTES` of its answers how long the body was that came.
    """
    config = {
        "admin": {"address": _any_port()},
        "static_resources": {
            "listeners": [_listener(index, model, max_body_bytes) for index, model in enumerate(models)]
        },
    }
    async with Envoy(config) as envoy:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(f"http://127.0.0.1:{envoy.admin_port}/listeners?format=json") as response:
                statuses = (await response.json(content_type=None))["listener_statuses"]
        ports = {status["name"]: status["local_address"]["socket_address"]["port_value"] for status in statuses}
        yield [f"127.0.0.1:{ports[f'endpoint-{index}']}" for index in range(len(models))]


@asynccontextmanager
async def serve_nets(
    models: Sequence[str], *, max_body_bytes: int = 1 << 20, metrics_page: str | None = None
) -> AsyncIterator[int]:
    """Endpoints on one port of all of loopback: each address of 127.1.0.0/16 lists the first of `models`, and so on.

    All of them have `metrics_page` for /metrics; without it the answer there is as useless as any other. Yields the
    port.
    """
    chains = [
        {
            "name": model,
            "filter_chain_match": {"prefix_ranges": [{"address_prefix": f"127.{1 + index}.0.0", "prefix_len": 16}]},
            "filters": [_manager(model, max_body_bytes, metrics_page)],
        }
        for index, model in enumerate(models)
    ]
    address = {"socket_address": {"address": "0.0.0.0", "port_value": 0}}
    # All of a pool connects to this one listener at once; what does not fit would wait a second for its next SYN.
    listener = {"name": "nets", "address": address, "filter_chains": chains, "tcp_backlog_size": 4096}
    config = {"admin": {"address": _any_port()}, "static_resources": {"listeners": [listener]}}
    async with Envoy(config) as envoy:
        yield envoy.port


def _listener(index: int, model: str, max_body_bytes: int) -> dict[str, object]:
    chains = [{"filters": [_manager(model, max_body_bytes)]}]
    return {"name": f"endpoint-{index}", "address": _any_port(), "filter_chains": chains}


def _manager(model: str, max_body_bytes: int, metrics_page: str | None = None) -> dict[str, object]:
    card = {"id": model, "object": "model", "created": 1, "owned_by": "vllm", "root": model, "max_model_len": 4096}
    listing = json.dumps({"object": "list", "data": [card]})
    routes = [_route({"path": "/v1/models"}, listing), _route({"prefix": "/"}, '{"object": "chat.completion"}')]
    if metrics_page is not None:
        routes.insert(0, _route({"path": "/metrics"}, metrics_page))
    # Without the buffer filter an answer would come before the request's end and cost its connection.
    buffer = _typed("envoy.filters.http.buffer", "http.buffer.v3.Buffer", max_request_bytes=max_body_bytes)
    router = _typed("envoy.filters.http.router", "http.router.v3.Router")
    return _typed(
        "envoy.filters.network.http_connection_manager",
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="endpoint",
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
            "max_direct_response_body_size_bytes": max(4096, len(metrics_page or "")),
        },
        http_filters=[buffer, router],
    )


def _route(match: dict[str, str], body: str) -> dict[str, object]:
    received = {"header": {"key": RECEIVED_BYTES, "value": "%BYTES_RECEIVED%"}}
    return {
        "match": match,
        "direct_response": {"status": 200, "body": {"inline_string": body}},
        "response_headers_to_add": [received],
    }


def _typed(name: str, kind: str, **fields: object) -> dict[str, object]:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}.{kind}", **fields}}


def _any_port() -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
