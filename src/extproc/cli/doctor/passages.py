"""Which ways through a gateway lead to this picker, and what a check says of all of them together."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from extproc.cli.doctor.envoy_facts import LB, Cluster, EnvoyFacts, Filter, Passage
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.verdict import State, Verdict
from extproc.cli.wording import name_some

SETTINGS_UNKNOWN = "the picker's settings are not known: no picker told them, and no flags of serve were given"


class Finding(NamedTuple):
    """What is to be said of one way."""

    state: State
    evidence: str
    fix: str = ""


class Way(NamedTuple):
    """A passage whose requests this picker is to route."""

    passage: Passage
    pickers: tuple[Filter, ...]
    """Its filters that ask a picker; more than one is a fault, and so is none."""
    pool: Cluster | None
    """Where its requests go; None where the dump does not tell."""


def ways(evidence: Evidence) -> Sequence[Way]:
    """The ways to the pool of this picker, where Envoy knows any of its endpoints; else every one that could be meant.

    A gateway may have pools with pickers of their own, which are none of this one's business. Hosts of ORIGINAL_DST
    clusters come and go with the requests, so these always count.
    """
    facts = evidence.envoy
    if facts is None:
        return ()
    own = {endpoint.address for endpoint in evidence.knowledge.endpoints} if evidence.knowledge is not None else set()
    every = [Way(each, _pickers(each, facts, evidence), facts.clusters.get(each.cluster)) for each in facts.passages]
    related = [way for way in every if way.pool is not None and _is_related(way.pool, own)]
    return related or every


def judge(check: str, evidence: Evidence, of_way: Callable[[Way], Finding | None]) -> Iterator[Verdict]:
    """A verdict of each kind that is not good, with the ways that it holds for; without any, the first good one.

    A `Finding` of None: the check has nothing to say of that way.
    """
    places: dict[Finding, list[str]] = {}
    seen = ways(evidence)
    for way in seen:
        if (finding := of_way(way)) is not None:
            places.setdefault(finding, []).append(way.passage.where)
    bad = [finding for finding in places if finding.state != "ok"]
    for finding in bad or list(places)[:1]:
        told = f" ({name_some(places[finding])})" if len(seen) > 1 and finding.state != "ok" else ""
        yield Verdict(check, finding.state, finding.evidence + told, finding.fix)


def judge_by_settings(check: str, evidence: Evidence, of_way: Callable[[Way], Finding | None]) -> Iterator[Verdict]:
    """The same of a check that compares the gateway with the picker's settings: nothing is compared with defaults that
    nobody set.
    """
    if evidence.knows_settings:
        yield from judge(check, evidence, of_way)
    elif any(of_way(way) is not None for way in ways(evidence)):
        yield Verdict(check, "not checked", SETTINGS_UNKNOWN)


def each_filter(of_filter: Callable[[Filter], Finding | None]) -> Callable[[Way], Finding | None]:
    """A check of a way by its picker's filters: the first that is not good counts."""

    def of_way(way: Way) -> Finding | None:
        findings = [finding for each in way.pickers if (finding := of_filter(each)) is not None]
        return next((each for each in findings if each.state != "ok"), findings[0] if findings else None)

    return of_way


def unseen(check: str, evidence: Evidence) -> Verdict:
    """What a check says that had no Envoy to look at: less than was asked for, where one was named."""
    if not evidence.wants_envoy:
        return Verdict(check, "not checked", evidence.envoy_problem)
    fix = "Give the URL of Envoy's admin port, as `admin` in its bootstrap has it; Istio's is http://127.0.0.1:15000."
    return Verdict(check, "warning", evidence.envoy_problem, fix)


def _is_related(pool: Cluster, own: set[str]) -> bool:
    is_original_dst = pool.pick is not None and not pool.pick.takes_list
    return is_original_dst or any(member.address in own for member in pool.members)


def _pickers(passage: Passage, facts: EnvoyFacts, evidence: Evidence) -> tuple[Filter, ...]:
    """Those that take the pick's metadata, or go to the picker's port; else all of them, if the route reads a pick.

    Other processors, such as one that reads the body for the routes, are no pickers.
    """
    port = f":{evidence.settings.server.grpc_port}" if evidence.knows_settings else None

    def is_picker(each: Filter) -> bool:
        cluster = facts.clusters.get(each.cluster)
        return LB in each.receives or (
            cluster is not None
            and port is not None
            and any(member.address.endswith(port) for member in cluster.members)
        )

    return tuple(each for each in passage.filters if is_picker(each)) or passage.filters
