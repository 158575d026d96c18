"""The engines: that they answer what the picker asks them, and where not, what they would answer."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.asking import EngineLook
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.verdict import State, Verdict
from extproc.cli.wording import count, name_some
from extproc.registry.changes import Failure

MESH = "spiffe://"
"""How the names begin that a mesh gives to its sidecars' certificates."""
_MESH_FIX = (
    "let the probes in: in Istio a PeerAuthentication of the pods' namespace with portLevelMtls PERMISSIVE for the "
    "target port (manifests/istio/strict-mtls), or engines without a sidecar"
)


class _Trouble(NamedTuple):
    """What is wrong with some endpoints, in the same way."""

    what: str
    fix: str
    is_certain: bool
    """It cannot pass by itself."""


_EMPTY = _Trouble("the list of models is empty", "see the engine's log: it has loaded no model", True)
_NO_ANSWER_YET = _Trouble("no answer yet", "ask again in a few seconds", False)


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What is wrong with the engines."""
    if evidence.knowledge is None or not evidence.knowledge.endpoints:
        return
    served = evidence.served
    if not served:
        yield Verdict("engines", "not checked", "no endpoint is ready")
        return
    yield from _judge_answers(evidence, served)
    if evidence.snapshot is not None:
        yield _judge_metrics(evidence, served)


def _judge_answers(evidence: Evidence, served: Sequence[admin_pb2.Endpoint]) -> Iterator[Verdict]:
    groups: dict[_Trouble, list[str]] = defaultdict(list)
    usual: dict[tuple[str, bool], _Trouble] = {}
    for endpoint in sorted(served, key=lambda each: each.address not in evidence.engines):
        if not endpoint.problem and endpoint.models:
            continue
        look = evidence.engines.get(endpoint.address)
        kind = endpoint.problem.partition(":")[0], bool(endpoint.models)
        if endpoint.is_confirmed and not endpoint.problem:
            trouble = _EMPTY
        elif look is None and kind in usual:
            # Of those that were not asked here, what the same failure, or silence, meant where one was.
            trouble = usual[kind]
        else:
            trouble = usual[kind] = _find_trouble(evidence, endpoint, look)
        groups[trouble].append(endpoint.name)
    for trouble, names in groups.items():
        is_all = len(names) == len(served)
        state: State = "fault" if is_all or trouble.is_certain else "warning"
        whom = (
            f"all {len(served)}"
            if is_all and len(served) > 1
            else f"{name_some(names)} of {count(len(served), 'endpoint')}"
        )
        yield Verdict("engines", state, f"{whom}: {trouble.what}", trouble.fix)
    if not groups:
        yield Verdict("engines", "ok", f"{count(len(served), 'endpoint')} answered with the models")


def _tell_problem(endpoint: admin_pb2.Endpoint, look: EngineLook | None) -> str:
    """What the picker's probes say; where they say nothing yet, what the same question got from here."""
    return endpoint.problem or (look.models.detail if look is not None else "")


def _find_trouble(evidence: Evidence, endpoint: admin_pb2.Endpoint, look: EngineLook | None) -> _Trouble:
    problem = _tell_problem(endpoint, look)
    if not problem:
        return _NO_ANSWER_YET
    probes = evidence.settings.probes
    kind = problem.partition(":")[0]
    others = look.other_models if look is not None else ()
    for other in others:
        split = urlsplit(other.url)
        if split.scheme != probes.scheme:
            fix = f"set probes.scheme: {split.scheme}"
            if split.scheme == "https":
                fix += ", and probes.caFile (or insecureSkipVerify: true)"
            return _Trouble(f"asked over {probes.scheme}: {problem}; {split.scheme} is answered", fix, True)
    match kind:
        case Failure.UNAUTHORIZED:
            return _judge_key(evidence, _shorten(problem))
        case Failure.STATUS | Failure.INVALID:
            if others:
                path = urlsplit(others[0].url).path
                what = f"GET {probes.models.path}: {_shorten(problem)}; {path} is answered"
                return _Trouble(what, f"set probes.models.path: {path}", True)
            fix = "set probes.models.path to where the engine lists its models as OpenAI's API does, or mend the engine"
            return _Trouble(f"GET {probes.models.path}: {_shorten(problem)}", fix, True)
        case Failure.DROPPED:
            return _judge_drop(problem, look)
        case Failure.REFUSED:
            fix = "see whether the engine runs, and listens on that port on all interfaces"
            return _Trouble("connections are refused", fix, False)
        case Failure.CONNECT:
            fix = "see NetworkPolicies between picker and engines, the pod network, and whether the node lives"
            return _Trouble("no connection comes about", fix, False)
    fix = "the engine is overloaded or hangs{}. probes.models.timeout is how long is waited"
    if endpoint.models:
        return _Trouble(problem, fix.format("; what it listed before is kept"), False)
    return _Trouble(f"{problem}; none was listed before", fix.format(""), True)


def _shorten(problem: str) -> str:
    """Without the kind of failure, where the rest says it as well."""
    kind, _, detail = problem.partition(": ")
    return detail if kind in (Failure.STATUS, Failure.UNAUTHORIZED, Failure.INVALID) and detail else problem


def _judge_key(evidence: Evidence, problem: str) -> _Trouble:
    file = evidence.settings.probes.bearer_token_file
    if file is None:
        return _Trouble(
            f"they want a key ({problem})", "set probes.bearerTokenFile to a file with the engines' API key", True
        )
    return _Trouble(f"they do not take the key in {file} ({problem})", f"put the engines' API key into {file}", True)


def _judge_drop(problem: str, look: EngineLook | None) -> _Trouble:
    port = look.port if look is not None else None
    if port is not None and port.name.startswith(MESH):
        what = f"connections are dropped; TLS there is a mesh's, of {port.name}: mutual TLS in mode STRICT"
        return _Trouble(what, _MESH_FIX, True)
    what = f"connections are dropped without an answer ({problem}), as a mesh with mutual TLS in mode STRICT does"
    return _Trouble(what, f"{_MESH_FIX}. Without a mesh, see the engine's log", False)


def _judge_metrics(evidence: Evidence, served: Sequence[admin_pb2.Endpoint]) -> Verdict:
    """Without pages the picker routes right and balances worse: a warning, never a fault."""
    name, settings = "metrics pages", evidence.settings.probes.metrics
    if settings.interval_s == 0:
        return Verdict(name, "not checked", "not read: probes.metrics.interval is 0s")
    unread = [each for each in served if each.load_problem and not each.problem]
    if not unread:
        read = [each for each in served if each.HasField("load")]
        if not read:
            return Verdict(name, "not checked", "none was read yet")
        return Verdict(name, "ok", f"{len(read)} of {count(len(served), 'endpoint')} read")
    first = min(unread, key=lambda each: each.address not in evidence.engines)
    whom = f"{name_some(each.name for each in unread)} of {len(served)}"
    said = f"{whom}: {_shorten(first.load_problem)}. Load is not known there"
    look = evidence.engines.get(first.address)
    if look is not None and look.other_metrics:
        split = urlsplit(look.other_metrics[0].url)
        said += f"; {split.path} over {split.scheme} is a page"
        scheme = settings.scheme or evidence.settings.probes.scheme
        wanted = {"path": (split.path, settings.path), "scheme": (split.scheme, scheme)}
        keys = [f"probes.metrics.{key}: {found}" for key, (found, asked) in wanted.items() if found != asked]
        return Verdict(name, "warning", said, f"set {' and '.join(keys)}")
    if "says nothing of the load" in first.load_problem:
        fix = "the pages of vLLM, SGLang, TensorRT-LLM and Triton are read; source.engineLabelKey tells the kind"
        return Verdict(name, "warning", said, fix)
    return Verdict(name, "warning", said, "set probes.metrics.path and port, or interval: 0s to read none")
