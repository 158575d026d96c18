"""Checks Envoy's cluster of the picker: its connections, its health, its limits, and how its streams went."""

from collections.abc import Callable, Iterator

from extproc.cli.doctor.envoy_connections import (
    facts_of,
    has_callers,
    judge_alpn,
    judge_members,
    judge_protocol,
    judge_tls,
)
from extproc.cli.doctor.envoy_facts import DEFAULT_LIMIT, Cluster
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import SETTINGS_UNKNOWN, Finding, Way, judge, unseen
from extproc.cli.doctor.recent import recent_callers
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import name_some
from extproc.servers.health import LIVENESS, READINESS_NAMES

_MEMBERS, _TLS = "Envoy: members of the picker's cluster", "Envoy: TLS to the picker"
_ALPN, _HTTP2 = "Envoy: ALPN to the picker", "Envoy: HTTP/2 to the picker"
_STREAMS = "Envoy: how its streams went"


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What Envoy tells of its connections to this picker."""
    if evidence.envoy is None:
        yield unseen("Envoy: the picker's cluster", evidence)
        return
    facts = evidence.envoy

    def each_cluster(of_cluster: Callable[[Cluster], Finding | None]) -> Callable[[Way], Finding | None]:
        def of_way(way: Way) -> Finding | None:
            found = [facts.clusters[each.cluster] for each in way.pickers if each.cluster in facts.clusters]
            findings = [finding for cluster in found if (finding := of_cluster(cluster)) is not None]
            return next((each for each in findings if each.state != "ok"), findings[0] if findings else None)

        return of_way

    causes: dict[str, Callable[[Way], Finding | None]] = {
        _MEMBERS: lambda way: judge_members(way, evidence),
        _TLS: each_cluster(lambda each: judge_tls(each, evidence)),
        _ALPN: each_cluster(judge_alpn),
        _HTTP2: each_cluster(lambda each: judge_protocol(each, facts)),
    }

    def unless_caused(of_way: Callable[[Way], Finding | None]) -> Callable[[Way], Finding | None]:
        """What follows from another check's fault is no fault beside it."""

        def judged(way: Way) -> Finding | None:
            finding = of_way(way)
            if finding is None or finding.state == "ok":
                return finding
            for name, of_cause in causes.items():
                cause = of_cause(way)
                if cause is not None and cause.state == "fault":
                    return Finding("not checked", f"see {name.removeprefix('Envoy: ')}: {finding.evidence}")
            return finding

        return judged

    for name, of_way in causes.items():
        yield from judge(name, evidence, of_way)
    sick = each_cluster(lambda each: _sickness(each, evidence))
    asked = each_cluster(_asked_health)
    yield from judge("Envoy: health of the picker", evidence, lambda way: asked(way) or unless_caused(sick)(way))
    yield from judge("Envoy: limits to the picker", evidence, each_cluster(lambda each: _limits(each, evidence)))
    seen = list(judge(_STREAMS, evidence, unless_caused(lambda way: _streams(way, evidence))))
    yield from seen or [Verdict(_STREAMS, "not checked", "Envoy opened no ext_proc stream yet, or does not count them")]


def _asked_health(cluster: Cluster) -> Finding | None:
    """What is wrong with the question alone."""
    known = {LIVENESS, *READINESS_NAMES}
    if wrong := [name for name in cluster.health_services if name not in known]:
        return Finding(
            "fault",
            f"its health check asks for the service {wrong[0]!r}, which the picker does not have",
            "grpc_health_check: {service_name: readiness}.",
        )
    return None


def _sickness(cluster: Cluster, evidence: Evidence) -> Finding | None:
    bad = [member for member in cluster.members if member.problems]
    if bad:
        flags = name_some(sorted({flag for member in bad for flag in member.problems}))
        port = f"; its health checks go to port {cluster.health_ports[0]}" if cluster.health_ports else ""
        is_all = len(bad) == len(cluster.members)
        return Finding(
            "fault" if is_all else "warning",
            f"{len(bad)} of {len(cluster.members)} members are unfit for Envoy: "
            f"{name_some([member.address for member in bad])} ({flags}){port}",
            _health_fix(cluster, evidence),
        )
    if LIVENESS in cluster.health_services:
        return Finding(
            "warning",
            "its health check asks for liveness, which a picker has that is not ready, or that is stopping",
            "grpc_health_check: {service_name: readiness}.",
        )
    if not cluster.members:
        return None
    return Finding("ok", f"{len(cluster.members)} of {len(cluster.members)} members are fit")


def _health_fix(cluster: Cluster, evidence: Evidence) -> str:
    if cluster.health_ports and cluster.tls == "TLS" and evidence.knows_settings:
        return (
            f"The picker's health port ({evidence.settings.server.grpc_health_port}) speaks plaintext: check the "
            "ext_proc port itself, which serves the same, by leaving out health_check_config.port_value."
        )
    return (
        "See that the picker is ready, that the ports are its own (server.grpcPort, server.grpcHealthPort), and that "
        "both sides speak TLS or neither."
    )


def _limits(cluster: Cluster, evidence: Evidence) -> Finding | None:
    """Each stream that follows an answer is an open request of this cluster for as long."""
    if cluster.limits is None:
        return None
    most = cluster.limits["max_requests"]
    facts = facts_of(evidence)
    overflows = facts.cluster_stat(cluster.name, "upstream_rq_pending_overflow") or 0
    seen = f"{most} open streams" + (f"; {overflows} more refused" if overflows else "")
    if most > DEFAULT_LIMIT:
        return Finding("ok", seen)
    fix = (
        f"In the cluster {cluster.name}: circuit_breakers: {{thresholds: [{{max_connections: 40000, "
        "max_pending_requests: 40000, max_requests: 40000, max_retries: 1000}]}; under Istio, a DestinationRule with "
        "connectionPool: {http: {http2MaxRequests: 40000}}."
    )
    if overflows:
        return Finding("fault", f"circuit breakers at {seen}", fix)
    if follows_answers(evidence):
        return Finding(
            "fault",
            f"circuit breakers at {seen}, Envoy's default, and each answer that is followed keeps one open: those "
            "above get 500",
            fix,
        )
    if not evidence.knows_settings:
        return Finding("not checked", f"{seen}, enough where answers are not followed; {SETTINGS_UNKNOWN}")
    return Finding("ok", f"{seen}, enough where the picker leaves them with its answer")


def follows_answers(evidence: Evidence) -> bool:
    """Streams stay open for as long as answers: by the settings, or as they were seen to."""
    if evidence.settings.envoy.response_phase in ("track", "observe"):
        return True
    return any(caller.answer in ("track", "observe") for caller in recent_callers(evidence.snapshot))


def _streams(way: Way, evidence: Evidence) -> Finding | None:
    """How the streams went that the way's listener opened, since Envoy started and in the second between two looks."""
    facts = facts_of(evidence)
    counted = ("streams_started", "streams_failed", "message_timeouts", "rejected_header_mutations")
    numbers = {name: facts.stats.get(f"http.{way.passage.stat_prefix}.ext_proc.{name}", 0) for name in counted}
    started, failed = numbers["streams_started"], numbers["streams_failed"]
    if not started or not way.pickers:
        return None
    seen = ", ".join(f"{name} {value}" for name, value in numbers.items() if value or name.startswith("streams"))
    if numbers["rejected_header_mutations"]:
        return Finding("fault", seen, "Let mutation_rules of the filter allow what the picker sets.")
    see = "See the checks of TLS, HTTP/2 and health."
    failed_now = facts.grown.get(f"http.{way.passage.stat_prefix}.ext_proc.streams_failed", 0)
    if failed_now and not has_callers(evidence):
        reached = ", and none reached this picker" if evidence.snapshot is not None else ""
        return Finding("fault", f"{seen}: {failed_now} of them just now{reached}", see)
    if failed >= started:
        return Finding("fault", f"{seen}: none went well", see)
    if numbers["message_timeouts"]:
        fix = "Raise the filter's message_timeout, and envoy.messageTimeout with it."
        return Finding("warning", f"{seen}, since Envoy started", fix)
    if failed_now:
        return Finding("warning", f"{seen}: {failed_now} of them just now", f"{see} Look for the picker's restarts.")
    if failed * 100 >= started:
        if has_callers(evidence):
            return Finding("ok", f"{seen}, none of them in the last second, and streams reach this picker")
        fix = "Send a request, and look again. Look for the picker's restarts."
        reached = ", and none reached this picker since its start" if evidence.snapshot is not None else ""
        return Finding("warning", f"{seen}, since Envoy started{reached}", fix)
    return Finding("ok", seen)
