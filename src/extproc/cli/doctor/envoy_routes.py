"""Checks the ways through a gateway: that each asks one picker, and that its limits let answers and retries be."""

from collections.abc import Iterator

from extproc.cli.doctor.envoy_facts import DEFAULT_BUFFER_BYTES, DESTINATION, Filter
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import Finding, Way, judge, judge_by_settings, unseen, ways
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import count, name_some

_SHORT_S = 60.0
"""A route's time limit below it cuts answers that are nothing out of the ordinary."""


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What Envoy's config says of the routes to this picker's pool."""
    facts = evidence.envoy
    if facts is None:
        yield unseen("Envoy: the routes", evidence)
        return
    if not facts.passages:
        yield Verdict(
            "Envoy: one picker on each route",
            "fault",
            f"Envoy {facts.version} at {facts.url} has no ext_proc filter in force on any route of its "
            f"{count(facts.listeners, 'listener')}",
            "Put the filter of docs/envoy.md before the router, and enable it on the route; under Istio, istiod does "
            "it for an HTTPRoute to an InferencePool (ENABLE_GATEWAY_API_INFERENCE_EXTENSION=true).",
        )
        return
    asked = any(way.pickers for way in ways(evidence))
    yield from judge("Envoy: one picker on each route", evidence, lambda way: _one_picker(way, is_asked=asked))
    yield from judge("Envoy: time for an answer", evidence, _timeout)
    yield from judge_by_settings("Envoy: retries", evidence, lambda way: _retries(way, evidence))
    yield from judge("Envoy: buffer of the listener", evidence, _buffer)


def _one_picker(way: Way, *, is_asked: bool) -> Finding:
    others = [each.name for each in way.passage.filters if each not in way.pickers]
    beside = f", beside other processors: {name_some(others)}" if others else ""
    if not way.pickers:
        return Finding(
            # Beside routes that ask one it may be meant so, for the engines' metrics say.
            "warning" if is_asked else "fault",
            f"requests go to {way.passage.cluster} with no picker asked: a client's own {DESTINATION} picks, or none",
            "Enable the ext_proc filter on the route (typed_per_filter_config), or point the route elsewhere.",
        )
    if len(way.pickers) > 1:
        return Finding(
            "fault",
            f"{len(way.pickers)} pickers are asked about each request, and the last one's pick counts: "
            f"{name_some([_told(each) for each in way.pickers])}",
            "Leave one ext_proc filter in force on the route; two of one name are both run.",
        )
    return Finding("ok", f"{_told(way.pickers[0])}{beside}")


def _told(each: Filter) -> str:
    return f"{each.name} asks {each.cluster or 'a service that is not Envoy gRPC'}"


def _timeout(way: Way) -> Finding:
    timeout_s = way.passage.timeout_s
    if 0 < timeout_s < _SHORT_S:
        return Finding(
            "warning",
            f"answers are cut after {timeout_s:g} s{'' if way.passage.sets_timeout else ', the default'}; models often "
            "stream for minutes",
            "On the route: timeout: 0s (in an HTTPRoute: timeouts: {request: 0s}).",
        )
    return Finding("ok", f"{timeout_s:g} s" if timeout_s else "no limit")


def _retries(way: Way, evidence: Evidence) -> Finding:
    retries, listed = way.passage.retries, evidence.settings.envoy.fallback_endpoints
    pick = way.pool.pick if way.pool is not None else None
    if pick is not None and not pick.takes_list and listed:
        return Finding(
            "fault",
            f"envoy.fallbackEndpoints is {listed}, and the cluster {way.passage.cluster} (ORIGINAL_DST) takes one "
            "address: it cannot read a list",
            "Set envoy.fallbackEndpoints: 0 in the picker's config, or use override_host in the cluster.",
        )
    if pick is not None and pick.takes_list and retries > listed:
        return Finding(
            "warning",
            f"a request is tried up to {count(retries, 'time')} more, and the picker lists "
            f"{count(listed, 'further endpoint')}: past its list Envoy asks any endpoint, often of the wrong model",
            f"Set envoy.fallbackEndpoints: {retries} in the picker's config, or num_retries: {listed} on the route.",
        )
    return Finding("ok", f"{retries}, and the picker lists {count(listed, 'further endpoint')}")


def _buffer(way: Way) -> Finding:
    limit_bytes = way.passage.buffer_limit_bytes
    size = f"{limit_bytes >> 10} KiB" if limit_bytes < 1 << 20 else f"{limit_bytes >> 20} MiB"
    seen = f"per_connection_buffer_limit_bytes is {size}"
    is_buffered = any(each.request_body != "FULL_DUPLEX_STREAMED" for each in way.pickers)
    if limit_bytes > DEFAULT_BUFFER_BYTES or not (is_buffered or way.passage.retries):
        return Finding("ok", seen)
    costs = "is a 413" if is_buffered else "is not tried again"
    return Finding(
        "warning",
        f"{seen}: a request with a longer body {costs}",
        "On the listener: per_connection_buffer_limit_bytes: 33554432.",
    )
