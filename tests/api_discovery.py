"""What the API server double says that it serves, in the classical (not aggregated) form."""

from collections.abc import Iterable

from tests.api_objects import Manifest, Resource
from tests.api_status import not_served, unknown_path

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_BUILT_IN = ("api", "apis/apps", "apis/batch", "apis/policy", "apis/apiextensions.k8s.io", "apis/coordination.k8s.io")


def discover(path: str, served: Iterable[Resource]) -> Manifest:
    """The document at a path; `ApiError` 404 if there is none: a Status below what is built in, else plain text."""
    resources = list(served)
    by_group: dict[str, list[Resource]] = {}
    for resource in resources:
        by_group.setdefault(resource.group, []).append(resource)
    path = path.strip("/")
    if path == "api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "apis":
        groups = [_group(group, members) for group, members in by_group.items() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    for group, members in by_group.items():
        if group and path == f"apis/{group}":
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, members)}
        for resource in members:
            if path == resource.root.strip("/"):
                return _resources(resource, [each for each in members if each.version == resource.version])
    is_built_in = any(path == root or path.startswith(root + "/") for root in _BUILT_IN)
    raise unknown_path() if is_built_in else not_served()


def _group(name: str, members: Iterable[Resource]) -> Manifest:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in dict.fromkeys(member.version for member in members)
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(of: Resource, members: Iterable[Resource]) -> Manifest:
    entries = []
    for member in members:
        common = {"namespaced": True, "kind": member.kind}
        singular = member.kind.lower()
        entries.append({"name": member.plural, "singularName": singular, **common, "verbs": list(_VERBS)})
        verbs = ["get", "patch", "update"]
        entries.append({"name": f"{member.plural}/status", "singularName": "", **common, "verbs": verbs})
    first: Manifest = {"kind": "APIResourceList"}
    if of.group:
        first["apiVersion"] = "v1"
    return first | {"groupVersion": of.api_version, "resources": entries}
