"""Checks the ext_proc filter that asks the picker: its modes, its time limit, and what it does with an answer."""

from collections.abc import Iterator

from extproc.cli.doctor.envoy_facts import DESTINATION, LB, Filter
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import SETTINGS_UNKNOWN, Finding, Way, each_filter, judge, judge_by_settings, unseen
from extproc.cli.doctor.recent import recent_callers, tell_refused
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import name_some

_FULL_DUPLEX = "FULL_DUPLEX_STREAMED"
_OVERRIDABLE = ("NONE", "STREAMED", "BUFFERED_PARTIAL")
_SET_FULL_DUPLEX = f"In the filter: processing_mode.request_body_mode: {_FULL_DUPLEX}, with request_trailer_mode: SEND."


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What Envoy's config says of the filters that lead to this picker."""
    if evidence.envoy is None:
        yield unseen("Envoy: the ext_proc filter", evidence)
        return
    yield from judge("Envoy: request body mode", evidence, each_filter(lambda each: _request_body(each, evidence)))
    yield from judge_by_settings(
        "Envoy: modes in the picker's config", evidence, each_filter(lambda each: _assumed(each, evidence))
    )
    yield from judge_by_settings("Envoy: mode override", evidence, each_filter(lambda each: _override(each, evidence)))
    yield from judge_by_settings("Envoy: response phase", evidence, each_filter(lambda each: _response(each, evidence)))
    yield from judge_by_settings("Envoy: message timeout", evidence, each_filter(lambda each: _timeout(each, evidence)))
    yield from judge("Envoy: failure mode", evidence, each_filter(lambda each: _failure_mode(each, evidence)))
    yield from judge("Envoy: status without a picker", evidence, each_filter(_status))
    yield from judge("Envoy: the picker's word counts", evidence, each_filter(_counts))
    yield from judge("Envoy: the pick arrives", evidence, _arrives)
    yield from judge("Envoy: streams are not retried", evidence, each_filter(_stream_retries))


def _takes_override(each: Filter, evidence: Evidence) -> bool:
    """The picker asks for the buffered body, and Envoy listens. Source: docs/envoy.md, "Modes"."""
    return evidence.settings.envoy.allow_mode_override and each.allows_mode_override and _can_override(each)


def _can_override(each: Filter) -> bool:
    is_early = each.request_body == "STREAMED" and each.sends_body_early
    return each.request_body in _OVERRIDABLE and not is_early and each.response_body != _FULL_DUPLEX


def _request_body(each: Filter, evidence: Evidence) -> Finding:
    mode = each.request_body
    seen = f"request_body_mode is {mode}"
    seen_so = [caller for caller in recent_callers(evidence.snapshot) if caller.request_body_mode == mode]
    refused = tell_refused(seen_so)
    if not each.sends_request_headers:
        return Finding(
            "fault",
            "request_header_mode is SKIP: the picker never sees which path is asked for",
            "In the filter: processing_mode.request_header_mode: SEND.",
        )
    if mode in (_FULL_DUPLEX, "BUFFERED"):
        return Finding("ok", seen)
    if _takes_override(each, evidence):
        return Finding("ok", f"{seen}, and the picker asks for BUFFERED instead (allow_mode_override)")
    if not evidence.knows_settings and each.allows_mode_override and _can_override(each):
        return Finding("not checked", f"{seen}, and the picker may ask for another; {SETTINGS_UNKNOWN}")
    if mode == "STREAMED":
        if each.sends_body_early:
            return Finding("ok", f"{seen}, with send_body_without_waiting_for_header_response")
        return Finding(
            "fault",
            f"{seen}, and the body waits for an answer to the headers, which the picker cannot give before it knows "
            "the body: every request with one is refused",
            _SET_FULL_DUPLEX,
        )
    if mode == "NONE":
        return Finding(
            "fault" if refused else "warning",
            f"{seen}: models named in bodies are not seen, only those in the header X-Gateway-Model-Name{refused}",
            _SET_FULL_DUPLEX,
        )
    return Finding(
        "fault" if refused else "warning",
        f"{seen}: of a body above the listener's buffer only the beginning is seen, and `model` often stands at the "
        f"end{refused}",
        _SET_FULL_DUPLEX,
    )


def _assumed(each: Filter, evidence: Evidence) -> Finding | None:
    """Where the data plane does not tell its modes with each request, the settings have to."""
    callers = [caller for caller in recent_callers(evidence.snapshot) if caller.request_body_mode]
    if not callers or any(caller.tells_modes for caller in callers):
        return None  # who tells none beside it is another caller, such as grpcurl
    settings = evidence.settings.envoy
    if (settings.request_body_mode, settings.response_body_mode) == (each.request_body, each.response_body):
        return Finding("ok", "the filter's; this Envoy does not tell them itself")
    return Finding(
        "fault",
        f"this Envoy does not tell its modes, and the picker's config has {settings.request_body_mode} and "
        f"{settings.response_body_mode}, where the filter has {each.request_body} and {each.response_body}",
        f"In the picker's config: envoy: {{requestBodyMode: {each.request_body}, responseBodyMode: "
        f"{each.response_body}}}.",
    )


def _override(each: Filter, evidence: Evidence) -> Finding | None:
    if not evidence.settings.envoy.allow_mode_override:
        return None
    if each.allows_mode_override or not _can_override(each):
        return Finding("ok", "the filter has allow_mode_override, or its modes need none")
    return Finding(
        "fault",
        f"envoy.allowModeOverride is set, but not allow_mode_override in the filter: in {each.request_body} Envoy goes "
        "on without the picker's answer, and requests go anywhere",
        "In the filter: allow_mode_override: true; or remove envoy.allowModeOverride from the picker's config.",
    )


def _response(each: Filter, evidence: Evidence) -> Finding:
    phase = evidence.settings.envoy.response_phase
    is_followed = each.sends_response_headers and each.sends_response_trailers
    seen = f"responsePhase is {phase}; response_body_mode is {each.response_body}"
    if phase in ("track", "observe"):
        if not is_followed:
            return Finding(
                "fault",
                f"envoy.responsePhase is {phase}, but the filter does not send both headers and trailers of responses: "
                "they cannot be followed, and requests in flight are not counted",
                "In the filter: processing_mode: {response_header_mode: SEND, response_trailer_mode: SEND}.",
            )
        if phase == "track" and each.response_body != "NONE":
            return Finding(
                "warning",
                f"envoy.responsePhase is track, but response_body_mode is {each.response_body}: every chunk of every "
                "answer passes the picker",
                "In the filter: processing_mode.response_body_mode: NONE; or envoy.responsePhase: observe.",
            )
        return Finding("ok", seen)
    if each.response_body == _FULL_DUPLEX:
        return Finding("ok", f"{seen}, as Istio has it: the picker leaves in one message. NONE has no risk at all")
    return Finding("ok", seen)


def _timeout(each: Filter, evidence: Evidence) -> Finding:
    settings = evidence.settings
    if each.request_body == _FULL_DUPLEX:
        return Finding("ok", f"none runs in full duplex; the picker's is {settings.envoy.decision_timeout_s:g} s")
    # The picker lets no decision wait for longer than half of what it takes the limit to be.
    longest_s = min(settings.requests.hold_s, settings.envoy.message_timeout_s / 2)
    taken_s = settings.envoy.message_timeout_s
    seen = f"message_timeout is {each.message_timeout_s:g} s, envoy.messageTimeout {taken_s:g} s"
    same = f"envoy.messageTimeout: {each.message_timeout_s:g}s in the picker's config"
    if longest_s >= each.message_timeout_s:
        return Finding(
            "fault",
            f"{seen}: a decision may wait for {longest_s:g} s, and Envoy answers 504 before",
            f"Set {same}, or raise the filter's message_timeout.",
        )
    if taken_s > each.message_timeout_s:
        return Finding("warning", f"{seen}: the picker takes Envoy to be more patient than it is", f"Set {same}.")
    if settings.requests.hold_s > longest_s and each.message_timeout_s >= 2 * taken_s:
        return Finding("warning", f"{seen}: requests wait for fresh probes for {longest_s:g} s only", f"Set {same}.")
    return Finding("ok", seen)


def _failure_mode(each: Filter, evidence: Evidence) -> Finding:
    if not each.fails_open:
        return Finding("ok", "closed: without a picker nothing is sent to a random pod")
    models = [model.id for model in evidence.knowledge.models] if evidence.knowledge is not None else []
    if len(models) == 1:
        return Finding("ok", f"open, and the pool serves one model, {models[0]}")
    pool = f"the pool serves {len(models)} models" if models else "the pool's models are not known"
    means = "a POST gets 500" if each.request_body == _FULL_DUPLEX else "a request goes to a random pod"
    return Finding(
        "fault" if models else "warning",
        f"open (failure_mode_allow), and {pool}: with the picker away {means}, and a GET is answered by any pod",
        "In the filter: failure_mode_allow: false (failureMode: FailClose in the InferencePool).",
    )


def _status(each: Filter) -> Finding:
    if each.status_on_error is None and not each.fails_open:
        return Finding(
            "warning",
            "status_on_error is not set: with the picker away clients get 500, which they do not try again",
            "In the filter: status_on_error: {code: 503}.",
        )
    return Finding("ok", "a random pod answers" if each.fails_open else f"status_on_error is {each.status_on_error}")


def _counts(each: Filter) -> Finding:
    if each.is_observing:
        return Finding(
            "fault",
            "observability_mode is on: Envoy shows requests to the picker and heeds nothing it says",
            "Remove observability_mode from the filter.",
        )
    return Finding("ok", "observability_mode is off")


def _arrives(way: Way) -> Finding | None:
    """From the picker's answer to what the load balancer reads."""
    if way.pool is None or way.pool.pick is None or not way.pickers:
        return None
    sources = way.pool.pick.sources
    by_metadata = any(kind == "metadata" for kind, _ in sources)
    by_header = any(kind == "header" for kind, _ in sources)
    drops = [each for each in way.pickers if LB not in each.receives]
    forbids = [each for each in way.pickers if each.forbids_pick]
    if by_metadata and drops and (not by_header or forbids):
        return Finding(
            "fault",
            f"the cluster {way.pool.name} reads the pick from metadata, which the filter {drops[0].name} drops",
            f"In the filter: metadata_options: {{receiving_namespaces: {{untyped: [{LB}]}}}}.",
        )
    if by_header and forbids and (not by_metadata or drops):
        return Finding(
            "fault",
            f"mutation_rules of the filter {forbids[0].name} do not let the picker set {DESTINATION}",
            f"In the filter's mutation_rules: allow_expression: {{regex: {DESTINATION}}}.",
        )
    return Finding("ok", f"the cluster {way.pool.name} reads {name_some([f'{kind} {name}' for kind, name in sources])}")


def _stream_retries(each: Filter) -> Finding:
    if each.retries_stream:
        return Finding(
            "fault",
            "grpc_service has a retry_policy: a stream that is tried again can send an empty body upstream",
            "Remove retry_policy from the filter's grpc_service.",
        )
    return Finding("ok", "grpc_service has no retry_policy")
