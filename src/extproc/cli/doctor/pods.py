"""The pods: that the pool selects some, that these are ready, and listen on its target ports."""

from collections.abc import Iterator, Sequence

from extproc.cli.doctor.cluster import ClusterFacts
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.objects import FullPod
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import count, name_some
from extproc.registry.changes import Failure
from extproc.sources.kubernetes.pools import Selection


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What is wrong with the pods."""
    cluster = evidence.cluster
    if cluster is None or cluster.selection is None:
        return
    pods, selector = cluster.pods, cluster.selection.selector
    if pods is None:
        yield Verdict("selector", "not checked", "pods may not be read", "see RBAC")
        return
    if not pods:
        said = f"no pod of {cluster.namespace} has {selector}{_tell_near_misses(cluster, selector)}"
        yield Verdict("selector", "fault", said, "mend the pool's selector, or the labels of the pods' template")
        return
    more = f"more than {count(len(pods), 'pod')}" if cluster.has_more_pods else count(len(pods), "pod")
    yield Verdict("selector", "ok", f"{selector} matches {more}")
    yield _judge_ready(pods, has_more=cluster.has_more_pods)
    yield _judge_target_ports(evidence, cluster.selection, pods)


def _tell_near_misses(cluster: ClusterFacts, selector: str) -> str:
    """What the pods of the namespace have instead."""
    if cluster.other_pods is None:
        return ""
    if not cluster.other_pods:
        return "; there is no pod at all"
    said = f"; of {count(len(cluster.other_pods), 'other pod')}"
    every = [pod.metadata.labels or {} for pod in cluster.other_pods]
    for key in (part.partition("=")[0].rstrip("!") for part in selector.split(",")):
        values = sorted({labels[key] for labels in every if key in labels})
        said += f", {key} is {name_some(values)}" if values else f", none has a label {key}"
    return said


def _judge_ready(pods: Sequence[FullPod], *, has_more: bool) -> Verdict:
    reasons = {pod.metadata.name: _find_unready_reason(pod) for pod in pods}
    unready = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    if not unready and has_more:
        return Verdict(
            "ready pods", "not checked", f"all of the first {len(pods):,}; there are more, which were not read"
        )
    if not unready:
        return Verdict("ready pods", "ok", f"all {len(pods)}" if len(pods) > 1 else "the one there is")
    fix = "see `kubectl describe pod` of one of them"
    if len(unready) == len(pods) and not has_more:
        said = f"none of {count(len(pods), 'pod')}: {name_some(unready)}"
        return Verdict("ready pods", "fault", said, fix)
    of_all = f"the first {len(pods):,}" if has_more else f"{len(pods):,}"
    said = f"{len(pods) - len(unready):,} of {of_all}; not {name_some(unready)}"
    return Verdict("ready pods", "warning", said, fix)


def _find_unready_reason(pod: FullPod) -> str:
    """Why Kubernetes does not say Ready; empty where it does."""
    status = pod.status
    if pod.metadata.deletion_timestamp is not None:
        return "terminating"
    if any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions or ()):
        return "" if status.pod_ip else "no address"
    waiting = [box.state.waiting.reason for box in status.container_statuses or () if box.state and box.state.waiting]
    if reasons := [reason for reason in waiting if reason]:
        return ", ".join(dict.fromkeys(reasons))
    order = ("PodScheduled", "Initialized", "ContainersReady")
    false = {condition.type for condition in status.conditions or () if condition.status != "True"}
    first = next((kind for kind in order if kind in false), "Ready")
    return {"PodScheduled": "not scheduled", "Initialized": "init containers run"}.get(
        first, "its readiness probe fails"
    )


def _judge_target_ports(evidence: Evidence, selection: Selection, pods: Sequence[FullPod]) -> Verdict:
    """A port that no container declares may still be open: only where nothing accepts connections it is a fault."""
    name = "target ports"
    by_port: dict[str, list[bool]] = {}
    for endpoint in evidence.served:
        port = endpoint.address.rpartition(":")[2]
        by_port.setdefault(port, []).append(endpoint.problem.startswith(Failure.REFUSED))
    declared = {each.container_port for pod in pods for box in pod.spec.containers or () for each in box.ports or ()}
    wrong = [str(port) for port in selection.ports if (refusals := by_port.get(str(port))) and all(refusals)]
    if wrong:
        opened = f"; their containers declare {', '.join(map(str, sorted(declared)))}" if declared else ""
        said = f"ready pods refuse connections on {', '.join(wrong)}{opened}"
        return Verdict(name, "fault", said, "name in the pool's targetPorts the port that the engine listens on")
    if not by_port:
        if any(not _find_unready_reason(pod) for pod in pods):
            return Verdict(name, "not checked", "no picker has asked the ready pods", "start one, or run it beside one")
        return Verdict(name, "not checked", "no pod is ready")
    answering = [port for port, refusals in by_port.items() if not all(refusals)]
    return Verdict(name, "ok", f"{', '.join(sorted(answering, key=int))}: connections are taken")
