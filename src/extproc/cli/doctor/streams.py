"""Checks the gateway by the ext_proc streams that the picker has seen: what can be said of it without asking it."""

from collections.abc import Iterator, Sequence

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.recent import once_mended, recent_callers, tell_refused
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import count, tell_age

_FULL_DUPLEX = "FULL_DUPLEX_STREAMED"
_SET_FULL_DUPLEX = (
    f"In the gateway's ext_proc filter: processing_mode.request_body_mode: {_FULL_DUPLEX}, request_trailer_mode: SEND."
)
_WHO_CALLS = "streams: who calls"
_REQUEST_BODY = "streams: request body mode"
_ANSWERS = "streams: answers"
_ENDED_EARLY = "streams: ended early"
_MODES = "streams: modes"
_SEEN_LATE_RATIO = 0.8
"""A busy picker sees a stream begin later than Envoy's timer does: what ends so near the limit was ended by it."""


def check(evidence: Evidence) -> Iterator[Verdict]:
    """What the streams since the picker's start say of the gateway."""
    snapshot = evidence.snapshot
    if snapshot is None:
        yield Verdict("streams", "not checked", evidence.snapshot_problem or "no picker was asked")
        return
    if not snapshot.callers:
        yield Verdict(
            "streams",
            "not checked",
            f"no gateway has opened an ext_proc stream in the {snapshot.uptime_s:.0f} s since the start: send a "
            "request through it, and look again",
        )
        return
    callers = recent_callers(snapshot)
    yield _who_calls(callers, evidence)
    yield _request_body(callers)
    yield _answers(callers, evidence)
    yield _ended_early(callers, evidence)
    yield _modes(callers, evidence)


def _told(caller: admin_pb2.Caller) -> str:
    return f"{count(caller.streams, 'stream')}, the last {tell_age(caller.age_s)} ago"


def _who_calls(callers: Sequence[admin_pb2.Caller], evidence: Evidence) -> Verdict:
    through = [caller for caller in callers if not caller.is_direct]
    if not through:
        return Verdict(_WHO_CALLS, "ok", f"Envoy itself ({_told(callers[0])})")
    hop = "an HTTP hop between Envoy and picker, or a data plane that is not Envoy"
    settings = evidence.settings.envoy
    asked = {"responsePhase": settings.response_phase, "requestBodyAnswer": settings.request_body_answer}
    forced = [f"envoy.{key}: {value}" for key, value in asked.items() if value in ("detach", "whole")]
    if forced:
        return Verdict(
            _WHO_CALLS,
            "fault",
            f"{hop} ({_told(through[0])}), and {' and '.join(forced)}: it can part an answer from the end of its "
            "stream, and then a reply is cut, with status 200",
            "Take the hop away (no sidecar on the picker), or set both to auto in the picker's config."
            + once_mended(through[0].age_s, callers),
        )
    return Verdict(
        _WHO_CALLS,
        "warning",
        f"{hop} ({_told(through[0])}): streams stay open, every chunk of an answer passes the picker where the filter "
        "sends response bodies, and a picker that dies cuts the answers it follows",
        'Take the hop away: no sidecar on the picker (sidecar.istio.io/inject: "false"), no proxy before it.'
        + once_mended(through[0].age_s, callers),
    )


def _request_body(callers: Sequence[admin_pb2.Caller]) -> Verdict:
    found = sorted({caller.request_body_mode for caller in callers if caller.request_body_mode})
    seen = f"request_body_mode is {' and '.join(found)}"
    if waiting := [caller for caller in callers if caller.answer == "refuse"]:
        return Verdict(
            _REQUEST_BODY,
            "fault",
            f"request_body_mode is STREAMED ({_told(waiting[0])}), and the body waits for an answer to the headers, "
            f"which the picker cannot give before it knows the body{tell_refused(waiting)}",
            _SET_FULL_DUPLEX + once_mended(waiting[0].age_s, callers),
        )
    if not found:
        if refused := tell_refused(callers):
            return Verdict(
                _REQUEST_BODY,
                "fault",
                f"streams begin without a request's headers{refused}",
                "In the gateway's ext_proc filter: processing_mode.request_header_mode: SEND.",
            )
        return Verdict(_REQUEST_BODY, "not checked", "no stream has shown a request yet")
    if limited := [caller for caller in callers if caller.request_body_mode in ("NONE", "BUFFERED_PARTIAL")]:
        modes = {caller.request_body_mode for caller in limited}
        costs = "does not show the body" if modes == {"NONE"} else "may show only the beginning of a body"
        refused = tell_refused(limited)
        return Verdict(
            _REQUEST_BODY,
            "fault" if refused else "warning",
            f"{seen}, which {costs}{refused}",
            _SET_FULL_DUPLEX + once_mended(min(caller.age_s for caller in limited), callers),
        )
    return Verdict(_REQUEST_BODY, "ok", seen)


def _answers(callers: Sequence[admin_pb2.Caller], evidence: Evidence) -> Verdict:
    """What becomes of streams, against what the settings ask for."""
    phase = evidence.settings.envoy.response_phase
    direct = [caller for caller in callers if caller.is_direct and caller.request_body_mode]
    observed = [caller for caller in direct if caller.answer == "observe"]
    if phase == "track" and observed:
        mode = observed[0].response_body_mode
        return Verdict(
            _ANSWERS,
            "warning",
            f"envoy.responsePhase is track, but response_body_mode is {mode}: every chunk of every answer passes the "
            "picker",
            "In the gateway's ext_proc filter: processing_mode.response_body_mode: NONE."
            + once_mended(observed[0].age_s, callers),
        )
    kinds = ", ".join(sorted({caller.answer for caller in callers}))
    seen = f"responsePhase is {phase}, and the streams are answered so: {kinds}"
    if any(caller.answer == "detach" and caller.response_body_mode == _FULL_DUPLEX for caller in direct):
        seen += (
            ". response_body_mode is FULL_DUPLEX_STREAMED, as Istio has it; where the filter is yours, NONE takes the "
            "last risk away that leaving has"
        )
    return Verdict(_ANSWERS, "ok", seen)


def _ended_early(callers: Sequence[admin_pb2.Caller], evidence: Evidence) -> Verdict:
    """By a time limit of the gateway's that is shorter than the picker takes it to be; or by clients that left."""
    settings = evidence.settings
    timed = [caller for caller in callers if caller.request_body_mode not in ("", _FULL_DUPLEX)]
    if not timed:
        return Verdict(_ENDED_EARLY, "ok", "Envoy has no time limit in full duplex")
    patience_s = min(settings.requests.hold_s, settings.envoy.message_timeout_s / 2)
    for caller in timed:
        if not caller.left_early or caller.left_after_s > settings.envoy.message_timeout_s * _SEEN_LATE_RATIO:
            continue
        is_many = caller.left_early * 10 >= caller.streams
        return Verdict(
            _ENDED_EARLY,
            "fault" if is_many and caller.left_after_s <= patience_s else "warning",
            f"{caller.left_early} of {caller.streams} streams were ended before their answer, the soonest after "
            f"{caller.left_after_s:.2g} s, the last {tell_age(caller.left_early_age_s)} ago, while the picker takes "
            f"the filter's message_timeout to be {settings.envoy.message_timeout_s:g} s: clients that left, or a "
            "message_timeout that is shorter",
            "Set envoy.messageTimeout in the picker's config to the filter's message_timeout; Envoy's default is "
            "200ms." + once_mended(caller.left_early_age_s, callers),
        )
    return Verdict(_ENDED_EARLY, "ok", "none sooner than envoy.messageTimeout")


def _modes(callers: Sequence[admin_pb2.Caller], evidence: Evidence) -> Verdict:
    """Whether all are of one kind, and whether the gateway or the settings say which."""
    shown = [caller for caller in callers if caller.request_body_mode]
    # A gateway tells its modes with every request; who does not, beside one that does, is a person with grpcurl.
    shown = [caller for caller in shown if caller.tells_modes] or shown
    if not shown:
        return Verdict(_MODES, "not checked", "no stream has shown a request yet")
    kinds = sorted({f"{each.request_body_mode}/{each.response_body_mode}" for each in shown})
    # Requests without a body are not overridden, so that one filter shows two kinds.
    if len(kinds) > 1 and not evidence.settings.envoy.allow_mode_override:
        return Verdict(
            _MODES,
            "warning",
            f"streams of {len(kinds)} kinds (request/response body mode): {', '.join(kinds)}: two filters ask this "
            "picker, perhaps on one route",
            "Look at the gateway with --envoy-admin; a route needs one ext_proc filter that asks the picker."
            + once_mended(max(caller.age_s for caller in shown), callers),
        )
    if not all(caller.tells_modes for caller in shown):
        return Verdict(
            _MODES,
            "warning",
            f"the data plane does not tell its modes: they are taken from the picker's config, {' and '.join(kinds)}",
            "See that envoy.requestBodyMode and envoy.responseBodyMode are the filter's modes.",
        )
    return Verdict(_MODES, "ok", f"told with each request: {' and '.join(kinds)} (request/response body mode)")
