"""Checks Envoy's cluster of the pool: that it heeds the pick, and knows every endpoint that can be picked."""

from collections.abc import Iterator

from extproc.cli.doctor.envoy_clusters import follows_answers
from extproc.cli.doctor.envoy_facts import DEFAULT_LIMIT, DESTINATION, LB
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import Finding, Way, judge, unseen
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import name_some

_READABLE = {("header", DESTINATION), ("metadata", f"{LB}/{DESTINATION}")}
_MANY_TO_ONE = ("HTTP/2", "max_connections")
_OVERRIDE_HOST = (
    f"load_balancing_policy: envoy.load_balancing_policies.override_host with override_host_sources: [{{header: "
    f"{DESTINATION}}}] (docs/envoy.md)"
)


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What Envoy tells of where it sends requests."""
    if evidence.envoy is None:
        yield unseen("Envoy: the pool's cluster", evidence)
        return
    yield from judge("Envoy: the pool's cluster heeds the pick", evidence, _heeds)
    yield from judge("Envoy: endpoints of the pool", evidence, lambda way: _members(way, evidence))
    yield from judge("Envoy: health of the pool", evidence, _health)
    yield from judge("Envoy: limits of the pool", evidence, lambda way: _limits(way, evidence))


def _heeds(way: Way) -> Finding | None:
    if way.pool is None:
        return None
    pick = way.pool.pick
    if pick is None:
        return Finding(
            "fault",
            f"the cluster {way.pool.name} balances by itself: what the picker says is not read",
            f"In the cluster: {_OVERRIDE_HOST}.",
        )
    if not _READABLE & set(pick.sources):
        told = name_some([f"{kind} {name}" for kind, name in pick.sources]) or "nothing"
        return Finding(
            "fault",
            f"the cluster {way.pool.name} reads {told}, which the picker does not set",
            f"Have it read the header {DESTINATION}, or {DESTINATION} of the metadata {LB}.",
        )
    kind = "override_host" if pick.takes_list else "ORIGINAL_DST"
    return Finding("ok", f"{way.pool.name} by {kind}")


def _members(way: Way, evidence: Evidence) -> Finding | None:
    if way.pool is None or way.pool.pick is None or not way.pool.pick.takes_list:
        return None
    known = {member.address for member in way.pool.members}
    ready = [endpoint for endpoint in evidence.served if endpoint.is_ready]
    missing = [f"{endpoint.name} ({endpoint.address})" for endpoint in ready if endpoint.address not in known]
    if missing:
        return Finding(
            "fault",
            f"{len(missing)} of {len(ready)} endpoints that the picker may name are not in the cluster "
            f"{way.pool.name}: {name_some(missing)}; requests for them go where Envoy likes, or get 503",
            f"Have the cluster {way.pool.name} follow the same pods and ports as the picker.",
        )
    if not ready:
        return None
    return Finding("ok", f"all {len(ready)} that the picker may name are in the cluster {way.pool.name}")


def _health(way: Way) -> Finding | None:
    if way.pool is None or not way.pool.members:
        return None
    bad = [member for member in way.pool.members if member.problems]
    if bad:
        flags = name_some(sorted({flag for member in bad for flag in member.problems}))
        return Finding(
            "warning",
            f"{len(bad)} of {len(way.pool.members)} are unfit for Envoy, which does not send there what is picked "
            f"for them: {name_some([member.address for member in bad])} ({flags})",
            "Leave it to the picker who is ready: no health_checks and no outlier_detection in the pool's cluster.",
        )
    if way.pool.ejects:
        return Finding(
            "warning",
            f"the cluster {way.pool.name} has outlier_detection: an endpoint that answers 5xx is left out by Envoy, "
            "and what is picked for it goes elsewhere",
            "Remove outlier_detection from the pool's cluster; the picker sees to who is fit.",
        )
    return Finding("ok", f"{len(way.pool.members)} of {len(way.pool.members)} are fit")


def _limits(way: Way, evidence: Evidence) -> Finding | None:
    if way.pool is None or way.pool.limits is None or evidence.envoy is None:
        return None
    # Over HTTP/2 a connection takes many requests.
    counted = [most for name, most in way.pool.limits.items() if (way.pool.protocol, name) != _MANY_TO_ONE]
    least = min(counted)
    overflows = sum(
        evidence.envoy.cluster_stat(way.pool.name, name) or 0
        for name in ("upstream_cx_overflow", "upstream_rq_pending_overflow")
    )
    if least > DEFAULT_LIMIT:
        return Finding("ok", f"{least} requests at a time")
    return Finding(
        "fault" if overflows or follows_answers(evidence) else "warning",
        f"circuit breakers at {least} requests at a time{', the default' if least == DEFAULT_LIMIT else ''}"
        + (f": {overflows} refused" if overflows else ": those above get 503"),
        f"In the cluster {way.pool.name}: circuit_breakers: {{thresholds: [{{max_connections: 40000, "
        "max_pending_requests: 40000, max_requests: 40000, max_retries: 1000}]}.",
    )
