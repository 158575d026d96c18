"""The picker itself: whether it answers, is ready, serves what its settings say, and is asked as it can answer."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.evidence import Evidence, ProbeLook
from extproc.cli.doctor.ports import PortLook
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import count, name_some, tell_age
from extproc.servers.health import LIVENESS, READINESS_NAMES

GATEWAYS = (
    "Istio (unless a DestinationRule sets TLS) and GKE speak plaintext to a picker, Envoy AI Gateway and agentgateway "
    "TLS; a plain Envoy TLS where the picker's cluster has a transport_socket"
)
EXPECTED_S = 60.0
"""A picker that runs for this long without any stream may not be reached at all."""
_FORWARD = "run it where the picker runs (`kubectl exec`), or forward that port too"


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What is wrong with the picker."""
    yield from _judge_presence(evidence)
    if evidence.snapshot is None:
        return
    yield _judge_readiness(evidence.snapshot)
    yield _judge_config(evidence, evidence.snapshot)
    yield _judge_ext_proc_port(evidence)
    yield from _judge_alpn(evidence.ext_proc_port)
    yield _judge_health(evidence)
    if evidence.is_on_kubernetes:
        yield _judge_probes(evidence)
    yield from _judge_callers(evidence, evidence.snapshot)
    yield Verdict("other replicas", "not checked", "each picker is asked for itself", "ask each by its --target")


def _judge_presence(evidence: Evidence) -> Iterator[Verdict]:
    snapshot = evidence.snapshot
    if snapshot is not None:
        said = f"extproc {snapshot.extproc_version} at {evidence.target}, up for {tell_age(snapshot.uptime_s)}"
        yield Verdict("picker", "ok", said)
        return
    fix = (
        "start one, or name its --admin-grpc-port with --target; in Kubernetes: "
        "`kubectl exec deploy/extproc -- extproc doctor`"
    )
    if evidence.is_refused:
        yield Verdict("picker", "fault", evidence.snapshot_problem, "see --target and --token-file")
    elif evidence.names_source:
        said = f"{evidence.snapshot_problem}. The rest is checked by the flags that were given"
        yield Verdict("picker", "warning", said, fix)
    else:
        yield Verdict(
            "picker", "fault", evidence.snapshot_problem, f"{fix}. Without one, the flags of serve tell the pool"
        )
    if evidence.start_problems and evidence.names_source:
        yield Verdict(
            "settings",
            "fault",
            "; ".join(evidence.start_problems),
            "mend the flag, the file or the variable that it names",
        )


def _judge_readiness(snapshot: admin_pb2.Snapshot) -> Verdict:
    if snapshot.is_ready:
        return Verdict("readiness", "ok", "it says that it is ready for requests")
    if not snapshot.is_synced:
        return Verdict("readiness", "fault", "not ready: its source was never read", "see source")
    due = [each.name for each in snapshot.endpoints if each.is_ready and not each.models]
    said = (
        f"not ready: {name_some(due)} {'has' if len(due) == 1 else 'have'} not answered yet"
        if due
        else "it is stopping"
    )
    return Verdict("readiness", "fault", said, "see engines" if due else "ask another replica")


def _judge_config(evidence: Evidence, snapshot: admin_pb2.Snapshot) -> Verdict:
    if evidence.config_problem:
        said = f"the picker's settings mean nothing to this version of the doctor: {evidence.config_problem}"
        return Verdict("configuration", "warning", said, "run the doctor of the picker's own image")
    file = snapshot.config_file
    if not snapshot.HasField("config_file"):
        return Verdict("configuration", "ok", "flags and defaults, no file")
    if file.problems:
        said = f"{file.path} is bad now, what was read {tell_age(file.age_s)} ago is kept: {'; '.join(file.problems)}"
        return Verdict("configuration", "fault", said, f"mend the file; `extproc check {file.path}` tells the same")
    if file.needs_restart:
        said = f"{file.path}: {name_some(file.needs_restart)} changed, which counts at the next start only"
        return Verdict("configuration", "warning", said, "restart the picker: `kubectl rollout restart`")
    return Verdict("configuration", "ok", f"{file.path} is in effect, read {tell_age(file.age_s)} ago")


def _judge_ext_proc_port(evidence: Evidence) -> Verdict:
    name, look = "ext_proc port", evidence.ext_proc_port
    if look is None:
        return _unseen_port(name, evidence, "server.grpcPort")
    if look.speaks == "nothing":
        return Verdict(name, "not checked", f"{look.address}: {look.problem}", _FORWARD)
    is_tls = evidence.settings.server.secure_serving
    wanted = "TLS" if is_tls else "plaintext HTTP/2"
    if look.speaks != wanted:
        said = f"{look.address} speaks {look.speaks}, and server.secureServing: {str(is_tls).lower()} means {wanted}"
        fix = "something else answers on that port: a sidecar or a proxy before it; Envoy must speak what it speaks"
        return Verdict(name, "fault", said, fix)
    if look.ends_at is not None and look.ends_at < datetime.now(UTC):
        said = f"{look.address} speaks TLS, with a certificate of {look.name} that ended on {look.ends_at:%Y-%m-%d}"
        return Verdict(name, "warning", said, "renew what server.certPath holds: a gateway that verifies it refuses it")
    return Verdict(name, "ok", f"{look.address} speaks {look.speaks}, as server.secureServing says")


def _judge_alpn(look: PortLook | None) -> Iterator[Verdict]:
    if look is None or look.speaks != "TLS":
        return
    if look.alpn == "h2":
        yield Verdict("ALPN", "ok", f"TLS at {look.address} offers h2")
        return
    said = f"TLS at {look.address} does not offer h2 ({f'it agrees on {look.alpn}' if look.alpn else 'no ALPN at all'})"
    fix = "a proxy that ends TLS there must offer ALPN h2; the picker's own TLS does: let Envoy reach it directly"
    yield Verdict("ALPN", "fault", said, fix)


def _judge_health(evidence: Evidence) -> Verdict:
    name, look = "health port", evidence.health_port
    if look is None:
        return _unseen_port(name, evidence, "server.grpcHealthPort")
    if look.speaks == "nothing":
        return Verdict(name, "not checked", f"{look.address}: {look.problem}", _FORWARD)
    if evidence.health is None:
        said = f"{look.address} speaks {look.speaks}; the picker's health port is plaintext gRPC"
        return Verdict(
            name, "fault", said, "a sidecar or proxy stands before it: take it away, the kubelet speaks no TLS"
        )
    names = [
        each for each in (*READINESS_NAMES, LIVENESS) if evidence.health.answers.get(each) in ("SERVING", "NOT_SERVING")
    ]
    if LIVENESS not in names or "readiness" not in names:
        said = f"{look.address} answers {_list_answers(evidence.health.answers)}"
        return Verdict(
            name,
            "fault",
            said,
            "something else answers there: give the picker the port, or another by --grpc-health-port",
        )
    quoted = ", ".join(each or repr(each) for each in names)
    said = f"{look.address} answers to {quoted}; to any other name NOT_FOUND"
    return Verdict(name, "ok", said)


def _list_answers(answers: Mapping[str, str]) -> str:
    return ", ".join(f"{name or repr(name)} {said}" for name, said in answers.items())


def _judge_probes(evidence: Evidence) -> Verdict:
    """The probes of the pod that the doctor runs in."""
    name = "kubelet's probes"
    if not evidence.probes:
        said = "they stand in the picker's pod, and here is none that can be read"
        return Verdict(name, "not checked", said, "run it in the picker's pod")
    faults = [fault for probe in evidence.probes if (fault := _find_probe_fault(probe))]
    if faults:
        names = ", ".join(each for each in (*READINESS_NAMES, LIVENESS) if each)
        port = evidence.settings.server.grpc_health_port
        fix = f"a grpc probe of port {port} with one of the services {names}"
        return Verdict(name, "fault", "; ".join(faults), fix)
    said = ", ".join(f"{probe.kind} {probe.service or repr('')} {probe.answer}" for probe in evidence.probes)
    return Verdict(name, "ok", said)


def _find_probe_fault(probe: ProbeLook) -> str:
    where = f"the {probe.kind} probe asks port {probe.port}"
    if probe.port_look.speaks == "nothing":
        return f"{where}, where nothing answers ({probe.port_look.problem})"
    if probe.service is None:
        is_grpc = probe.port_look.speaks == "plaintext HTTP/2"
        return f"{where} over HTTP, where gRPC is spoken" if is_grpc else ""
    if probe.port_look.speaks != "plaintext HTTP/2":
        return f"{where} in plaintext, where {probe.port_look.speaks} is spoken"
    if probe.answer not in ("SERVING", "NOT_SERVING"):
        return f"{where} for the service {probe.service!r}, and gets {probe.answer}"
    return ""


def _judge_callers(evidence: Evidence, snapshot: admin_pb2.Snapshot) -> Iterator[Verdict]:
    """Whether anybody reaches the ext_proc port. What they are is for the checks of streams."""
    name = "callers"
    speech = "TLS" if evidence.settings.server.secure_serving else "plaintext"
    if streams := sum(caller.streams for caller in snapshot.callers):
        yield Verdict(name, "ok", f"{count(streams, 'stream')} came over {speech}")
    elif snapshot.uptime_s >= EXPECTED_S:
        said = f"no stream has come in {tell_age(snapshot.uptime_s)}, the port speaks {speech}"
        fix = f"if requests are sent, TLS may be on one side only: {GATEWAYS}. --secure-serving decides for this side"
        yield Verdict(name, "warning", said, fix)
    else:
        said = f"no stream has come in the {snapshot.uptime_s:.0f} s since the start; judged from {EXPECTED_S:.0f} s on"
        yield Verdict(name, "not checked", said, "send a request through the gateway")


def _unseen_port(name: str, evidence: Evidence, key: str) -> Verdict:
    if evidence.config_problem:
        return Verdict(name, "not checked", "the picker's settings are not known")
    return Verdict(name, "not checked", f"{key} is 0: the system chose a port, which the picker's log names")
