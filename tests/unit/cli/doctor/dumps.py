"""What an Envoy would tell of a bootstrap that it runs, for tests that need no Envoy for it.

A dump has the bootstrap's own fields, without those at their default; endpoints are as /clusters has them, resolved.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from extproc.cli.doctor.envoy_admin import read_facts
from extproc.cli.doctor.envoy_facts import EnvoyFacts

ROOT = Path(__file__).parents[4]
_ADMIN = "type.googleapis.com/envoy.admin.v3"


def facts_of(bootstrap: Any, *, members: Mapping[str, Sequence[str]] | None = None) -> EnvoyFacts:
    """The facts. `members` are the clusters' addresses, where those of the bootstrap are names."""
    return read_facts(
        "http://envoy:9901",
        config=dump_of(bootstrap),
        clusters={"cluster_statuses": [_status(each, members or {}) for each in _clusters(bootstrap)]},
        stats={"stats": []},
        server={"version": "0123abc/1.40.0/Clean/RELEASE/BoringSSL"},
    )


def dump_of(bootstrap: Any) -> Any:
    """Its /config_dump."""
    listeners = [{"listener": each} for each in bootstrap["static_resources"]["listeners"]]
    clusters = [{"cluster": each} for each in _clusters(bootstrap)]
    endpoints = [
        {"endpoint_config": each["load_assignment"]} for each in _clusters(bootstrap) if "load_assignment" in each
    ]
    return {
        "configs": [
            {"@type": f"{_ADMIN}.ListenersConfigDump", "static_listeners": listeners},
            {"@type": f"{_ADMIN}.ClustersConfigDump", "static_clusters": clusters},
            {"@type": f"{_ADMIN}.EndpointsConfigDump", "static_endpoint_configs": endpoints},
        ]
    }


def yaml_in(path: str) -> Any:
    """A YAML file of the repository, or the first block of YAML in a page of its docs."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        text = text.partition("```yaml\n")[2].partition("```")[0]
    return yaml.safe_load(text)


def _clusters(bootstrap: Any) -> Any:
    return bootstrap["static_resources"]["clusters"]


def _status(cluster: Any, members: Mapping[str, Sequence[str]]) -> Any:
    sockets = [
        endpoint["endpoint"]["address"]["socket_address"]
        for locality in cluster.get("load_assignment", {}).get("endpoints", ())
        for endpoint in locality["lb_endpoints"]
    ]
    if cluster["name"] in members:
        pairs = [address.rpartition(":") for address in members[cluster["name"]]]
        sockets = [{"address": host, "port_value": int(port)} for host, _, port in pairs]
    return {
        "name": cluster["name"],
        "observability_name": cluster["name"],
        "host_statuses": [
            {"address": {"socket_address": socket}, "health_status": {"eds_health_status": "HEALTHY"}}
            for socket in sockets
        ],
        "circuit_breakers": {
            "thresholds": [
                dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1024) | each
                for each in cluster.get("circuit_breakers", {}).get("thresholds", [{}])
            ]
        },
    }
