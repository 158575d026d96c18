"""What Kubernetes lets the picker read: every verb on every resource, tried."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from extproc.cli.doctor.cluster import ClusterFacts, Right
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import name_some

VERBS = ("get", "list", "watch")


def check(evidence: Evidence) -> Iterator[Verdict]:
    """Which rights the picker lacks."""
    if not evidence.is_on_kubernetes:
        return
    cluster = evidence.cluster
    if cluster is None:
        said = evidence.cluster_problem or "not asked"
        fix = "run it where the picker runs, or give --kubeconfig"
        yield Verdict("Kubernetes", "not checked" if evidence.snapshot is not None else "fault", said, fix)
        return
    broken = [right.answer for right in cluster.rights if right.is_broken]
    if any((right.resource, right.answer) == ("pods", "absent") for right in cluster.rights):
        broken.append("no pods are served there (404): what answers is no API server")
    if broken:
        said = f"by {cluster.origin}: {name_some(dict.fromkeys(broken))}"
        fix = "see the API server's address, its certificate and the token that are stated there"
        yield Verdict("Kubernetes", "fault" if cluster.is_pickers else "warning", said, fix)
        return
    yield Verdict("Kubernetes", "ok", f"reached by {cluster.origin}")
    yield _judge_rights(cluster)
    yield from _judge_optional_rights(cluster)


def _judge_rights(cluster: ClusterFacts) -> Verdict:
    """What it needs: pods, and the API group that has the pool. While none has it, any may be the one."""
    holders = {group for group, pool in (cluster.pools or {}).items() if pool is not None}
    needed = [each for each in cluster.rights if not each.is_optional]
    if holders:
        needed = [each for each in needed if each.resource == "pods" or each.group in holders]
    denied = [each for each in needed if each.answer == "no"]
    if not denied:
        allowed = [each for each in needed if each.answer == "yes"]
        return Verdict("RBAC", "ok", f"may {_tell(allowed)} in {cluster.namespace}")
    if not cluster.is_pickers:
        said = f"{cluster.origin} may not {_tell(denied)}; the picker's own rights are others"
        return Verdict("RBAC", "not checked", said, "run it in the picker's pod")
    said = f"by {cluster.origin} it may not {_tell(denied)} in {cluster.namespace}"
    return Verdict("RBAC", "fault", said, _write_role(denied, cluster.namespace))


def _judge_optional_rights(cluster: ClusterFacts) -> Iterator[Verdict]:
    denied = [each for each in cluster.rights if each.is_optional and each.answer == "no"]
    if denied and cluster.is_pickers:
        said = f"may not {_tell(denied)}: where they exist, they have no effect"
        yield Verdict("RBAC, optional", "warning", said, _write_role(denied, cluster.namespace))


def _tell(denied: Sequence[Right]) -> str:
    """`list and watch pods, list inferencepools.inference…`."""
    verbs: dict[str, list[str]] = defaultdict(list)
    for right in denied:
        verbs[f"{right.resource}.{right.group}" if right.group else right.resource].append(right.verb)
    return ", ".join(f"{' and '.join(each)} {resource}" for resource, each in verbs.items())


def _write_role(denied: Collection[Right], namespace: str) -> str:
    """The rules that a Role of the picker lacks."""
    groups: dict[str, set[str]] = defaultdict(set)
    for right in denied:
        groups[right.group].add(right.resource)
    rules = "\n".join(
        f'- apiGroups: ["{group}"]\n  resources: [{", ".join(sorted(resources))}]\n  verbs: [{", ".join(VERBS)}]'
        for group, resources in sorted(groups.items())
    )
    return f"add to the rules of the picker's Role in {namespace}:\n{rules}"
