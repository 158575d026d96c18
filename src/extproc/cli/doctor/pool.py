"""The pool: that its source can be read, that it is there and names this picker, and that its models are served."""

from collections.abc import Iterator

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.cluster import ClusterFacts
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.objects import PickerReference
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import count, name_some, tell_age

LIST = ("list", "inferencepools")


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What is wrong with the pool."""
    knowledge = evidence.knowledge
    if knowledge is None:
        return
    yield _judge_source(evidence, knowledge)
    if evidence.cluster is not None and evidence.cluster.pools is not None:
        yield from _judge_pool(evidence, evidence.cluster)
    if not evidence.is_on_kubernetes and not knowledge.endpoints:
        yield Verdict("endpoints", "fault", f"the pool {knowledge.pool} has none", "add endpoints to its source")
    yield from _judge_models(knowledge)
    yield from _judge_aliases(evidence, knowledge)


def _judge_source(evidence: Evidence, knowledge: admin_pb2.Snapshot) -> Verdict:
    sources = knowledge.sources
    problems = [problem for source in sources for problem in source.problems]
    away = [source for source in sources if not source.is_connected]
    if not sources:
        return Verdict("source", "fault", "nothing was heard of the source yet", "ask again in a few seconds")
    if away or problems:
        ages = [f"{each.name} was read {tell_age(each.age_s)} ago" for each in away if each.HasField("age_s")]
        never = [f"{each.name} was never read" for each in away if not each.HasField("age_s")]
        said = "; ".join(dict.fromkeys([*problems, *never, *ages]))
        kept = "" if never else " What was known is kept and served."
        return Verdict("source", "fault", f"{said}.{kept}", _find_source_fix(evidence, said))
    said = ", ".join(source.name for source in sources)
    return Verdict("source", "ok", f"{said} of {knowledge.pool}, read as it should")


def _find_source_fix(evidence: Evidence, said: str) -> str:
    source = evidence.settings.source
    if source.endpoints_file:
        return f"mend {source.endpoints_file}: it is read again at once"
    if source.dns_name:
        return f"see what `nslookup {source.dns_name.rpartition(':')[0]}` says where the picker runs"
    if "no InferencePool" in said:
        return "see InferencePool"
    if "403" in said:
        return "give the picker's service account the Role of manifests/base/role.yaml: list and watch"
    return "see whether the API server is up, and its address and credentials are right"


def _judge_pool(evidence: Evidence, cluster: ClusterFacts) -> Iterator[Verdict]:
    wanted, group = evidence.settings.source.pool_name, evidence.settings.source.pool_group
    found = {name: pool for name, pool in (cluster.pools or {}).items() if pool is not None}
    name = "InferencePool"
    if not found:
        answers = {right.group: right.answer for right in cluster.rights if (right.verb, right.resource) == LIST}
        if "no" in answers.values():
            yield Verdict(name, "not checked", "may not be read", "see RBAC")
            return
        absent = [each for each, answer in answers.items() if answer == "absent"]
        others = f"; there are {name_some(cluster.other_pools)}" if cluster.other_pools else ""
        served = "no API group of InferencePools is served here" if len(absent) == len(answers) else "no such pool"
        said = f"{cluster.namespace}/{wanted}: {served}{others}"
        fix = "install the CRD of the Gateway API Inference Extension" if len(absent) == len(answers) else ""
        yield Verdict(name, "fault", said, fix or "create it, or name another by --pool-name and --pool-namespace")
        return
    if group is not None and group not in found:
        said = f"{cluster.namespace}/{wanted} is in {name_some(found)}, and source.poolGroup asks for {group}"
        yield Verdict(name, "fault", said, "leave out --pool-group: both are looked at then")
        return
    counts: str = group or next(iter(found))
    beside = [other for other in found if other != counts]
    if beside and found[beside[0]].spec.selector != found[counts].spec.selector and group is None:
        said = f"{cluster.namespace}/{wanted} is in two API groups; that of {counts} counts, the other is not looked at"
        yield Verdict(name, "warning", said, f"delete the one in {beside[0]}, or name its group by --pool-group")
    else:
        yield Verdict(name, "ok", f"{cluster.namespace}/{wanted} of {counts}")
    if (reference := found[counts].picker) is not None:
        yield _judge_reference(evidence, cluster, reference)
        yield _judge_failure_mode(evidence, reference)


def _judge_reference(evidence: Evidence, cluster: ClusterFacts, reference: PickerReference) -> Verdict:
    """Whether the pool names this picker."""
    name, port = "endpointPickerRef", evidence.settings.server.grpc_port
    where = f"Service {reference.name}" + (f", port {reference.number}" if reference.number is not None else "")
    if cluster.service_answer == "absent":
        return Verdict(name, "fault", f"{where}: there is no such Service", "name the picker's Service in the pool")
    if cluster.service is None:
        if reference.number in (None, port, 9002):
            return Verdict(name, "not checked", f"{where}: the Service may not be read ({cluster.service_answer})")
        said = f"{where}, and this picker serves on {port}: right only if the Service leads there"
        return Verdict(name, "warning", said, f"compare the Service, or name port {port} in the pool")
    spec = cluster.service.spec
    ports = {each.port: each.target_port or each.port for each in spec.ports or ()}
    number = reference.number if reference.number is not None else next(iter(ports), None)
    if number not in ports:
        said = f"{where}, and that Service has {', '.join(map(str, ports)) or 'no port'}"
        return Verdict(name, "fault", said, f"name one of its ports in the pool; the picker serves on {port}")
    own, target = cluster.own_pod, ports[number]
    if own is not None and isinstance(target, str):
        declared = {each.name: each.container_port for box in own.spec.containers or () for each in box.ports or ()}
        target = declared.get(target, target)
    if isinstance(target, int) and target != port:
        said = f"{where} leads to port {target}, and this picker serves on {port}"
        return Verdict(name, "fault", said, f"set the Service's targetPort to {port}")
    labels = (own.metadata.labels if own is not None else None) or {}
    if own is not None and any(labels.get(key) != value for key, value in (spec.selector or {}).items()):
        said = f"{where} does not select this picker's pod {own.metadata.name}"
        return Verdict(name, "fault", said, "name this picker's Service in the pool, or mend that Service's selector")
    return Verdict(name, "ok", f"{where}")


def _judge_failure_mode(evidence: Evidence, reference: PickerReference) -> Verdict:
    """What happens to requests while no picker answers. Source: docs/envoy.md."""
    name = "failure mode"
    models = len(evidence.knowledge.models) if evidence.knowledge is not None else 0
    if reference.failure_mode != "FailOpen":
        return Verdict(name, "ok", f"{reference.failure_mode or 'FailClose, the default'}")
    if not models:
        said = f"{reference.failure_mode}, which is right for a pool of one model alone: none is known yet"
        return Verdict(name, "not checked", said)
    if models < 2:
        return Verdict(name, "ok", f"FailOpen, and the pool has {count(models, 'model')}: any endpoint will do")
    said = f"FailOpen on a pool of {models} models: while no picker answers, requests go to pods of other models too"
    return Verdict(name, "fault", said, "set failureMode: FailClose in the pool")


def _judge_models(knowledge: admin_pb2.Snapshot) -> Iterator[Verdict]:
    models = knowledge.models
    if not models:
        return
    idle = [model.id for model in models if not model.endpoints]
    if idle:
        said = f"{name_some(idle)}: known, and on no endpoint that is ready and has confirmed it; clients get a 503"
        yield Verdict("models", "fault", said, "see ready pods and engines; `extproc explain --model M` tells more")
        return
    said = ", ".join(f"{model.id} on {len(model.endpoints)}" for model in list(models)[:6])
    more = f" and {len(models) - 6} more" if len(models) > 6 else ""
    yield Verdict("models", "ok", f"one list of {len(models)}: {said}{more}")


def _judge_aliases(evidence: Evidence, knowledge: admin_pb2.Snapshot) -> Iterator[Verdict]:
    """Whether each leads to a model that is known. Where no model is, that is told of elsewhere."""
    known = {model.id for model in knowledge.models}
    if not known:
        return
    aliases = {alias.name: [each.model for each in alias.targets] for alias in knowledge.aliases}
    for alias in evidence.settings.requests.build_aliases():  # which are not in what was seen without a picker
        aliases.setdefault(alias.name, [each.model for each in alias.targets])
    lost = [
        f"{name} is {' or '.join(targets)}"
        for name, targets in aliases.items()
        if name not in known and not known.intersection(targets)
    ]
    if lost:
        said = f"{name_some(lost)}: no endpoint lists such a model; clients get a 404"
        yield Verdict("aliases", "warning", said, f"name models that are listed: {name_some(sorted(known))}")
