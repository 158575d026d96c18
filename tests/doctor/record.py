"""Records what a real Envoy with discovered config tells of itself: `python -m tests.doctor.record`.

Everything comes from files as it comes from a control plane: listeners (LDS), routes (RDS), an ext_proc filter (ECDS),
clusters (CDS) and endpoints (EDS), named as istiod names them. Nothing listens at the endpoints. What is left out of
the answers: the bootstrap, statistics of other things, and what changes from run to run.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from tests.doctor.istio import istio_gateway

from extproc.cli.demo.envoy import Envoy
from extproc.cli.doctor.envoy_admin import PATHS

RECORDED = Path(__file__).parent / "recorded" / "istio.json"
PICKER = "outbound|9002||extproc.extproc.svc.cluster.local"
POOL = "outbound|54321||vllm-pool-ip-6b1e.extproc.svc.cluster.local"
_TYPES = {
    "lds": "envoy.config.listener.v3.Listener",
    "rds": "envoy.config.route.v3.RouteConfiguration",
    "cds": "envoy.config.cluster.v3.Cluster",
    "eds": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "ecds": "envoy.config.core.v3.TypedExtensionConfig",
}
_KEPT = ("ListenersConfigDump", "RoutesConfigDump", "ClustersConfigDump", "EndpointsConfigDump", "EcdsConfigDump")


def discovered(folder: Path) -> Any:
    """A bootstrap that reads everything from files, which are written to `folder`."""
    config = istio_gateway("10.0.0.1:8000", "10.0.0.9:9002")
    listener = config["static_resources"].pop("listeners")[0]
    clusters = config["static_resources"].pop("clusters")
    for cluster, name in zip(clusters, (POOL, PICKER), strict=True):
        file = f"eds-{cluster['name']}"
        _write(folder, file, [cluster.pop("load_assignment") | {"cluster_name": name}])
        cluster |= {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": _from(folder, file)}}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager.pop("route_config") | {"name": "http.80"}
    manager["rds"] = {"route_config_name": "http.80", "config_source": _from(folder, "rds")}
    route = routes["virtual_hosts"][0]["routes"][0]
    route["name"] = "extproc.llm.0"
    route["route"]["cluster"] = POOL
    [override] = route["typed_per_filter_config"].values()
    override["overrides"]["grpc_service"]["envoy_grpc"]["cluster_name"] = PICKER
    http_filter = manager["http_filters"][0]
    fields = http_filter.pop("typed_config")
    fields["grpc_service"]["envoy_grpc"]["cluster_name"] = PICKER
    http_filter["config_discovery"] = {
        "config_source": _from(folder, "ecds"),
        "type_urls": [fields["@type"]],
    }
    filters = [{"name": http_filter["name"], "typed_config": fields}]
    for kind, resources in {"lds": [listener], "rds": [routes], "cds": clusters, "ecds": filters}.items():
        _write(folder, kind, resources)
    config["dynamic_resources"] = {"lds_config": _from(folder, "lds"), "cds_config": _from(folder, "cds")}
    config["node"] = {"id": "gateway", "cluster": "gateway"}
    return config


def _write(folder: Path, file: str, resources: Any) -> None:
    type_url = f"type.googleapis.com/{_TYPES[file.partition('-')[0]]}"
    typed = [{"@type": type_url, **each} for each in resources]
    (folder / f"{file}.json").write_text(json.dumps({"version_info": "1", "resources": typed}))


def _from(folder: Path, file: str) -> Any:
    return {"path_config_source": {"path": str(folder / f"{file}.json")}, "resource_api_version": "V3"}


async def record() -> None:
    """Writes the file."""
    with tempfile.TemporaryDirectory() as name:
        async with Envoy(discovered(Path(name))) as envoy, aiohttp.ClientSession() as session:
            answers = {}
            for key, path in PATHS.items():
                async with session.get(f"http://127.0.0.1:{envoy.admin_port}{path}") as response:
                    answers[key] = await response.json(content_type=None)
            text = json.dumps(_trimmed(answers), indent=1).replace(name, "/etc/envoy")
            RECORDED.write_text(text + "\n")


def _trimmed(answers: Any) -> Any:
    configs = [each for each in answers["config"]["configs"] if each["@type"].rpartition(".")[2] in _KEPT]
    stats = [each for each in answers["stats"]["stats"] if "name" in each and ";" not in each["name"]]
    return {
        "config": {"configs": _undated(configs)},
        "clusters": answers["clusters"],
        "stats": {"stats": [each for each in stats if "outbound" in each["name"] and each.get("value")]},
        "server": {"version": answers["server"]["version"]},
    }


def _undated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _undated(each) for key, each in value.items() if key != "last_updated"}
    return [_undated(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    asyncio.run(record())
