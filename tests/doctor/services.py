"""The Service that a pool names as its picker."""

from tests.api_objects import Manifest, Resource
from tests.api_status import ApiError
from tests.cluster import Cluster

SERVICES = Resource("", "v1", "services", "Service")


def serve_picker(cluster: Cluster, target: int) -> None:
    """The Service `picker`, port 9002, leads to that port from now on."""
    assert cluster.double is not None
    cluster.double.serve(SERVICES)
    spec = {"selector": {"app": "picker"}, "ports": [{"port": 9002, "targetPort": target}]}
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "picker", "namespace": cluster.namespace},
        "spec": spec,
    }
    try:
        cluster.double.create(manifest, SERVICES)
    except ApiError:
        cluster.double.patch(SERVICES, "picker", {"spec": spec}, namespace=cluster.namespace)
