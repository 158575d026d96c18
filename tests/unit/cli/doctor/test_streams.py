"""What the streams that a picker has seen say of its gateway: each fault alone, and what is no fault."""

from typing import Any

import pytest
from tests.unit.cli.doctor.gateway_facts import assert_says, caller, evidence, snapshot

from extproc._gen.extproc.admin.v1.admin_pb2 import Caller
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.streams import check
from extproc.settings.schema import Settings

WHO, BODY, ANSWERS = "streams: who calls", "streams: request body mode", "streams: answers"
EARLY, MODES = "streams: ended early", "streams: modes"
DUPLEX = "FULL_DUPLEX_STREAMED"
PATIENT = {"envoy": {"messageTimeout": "5s"}}
HOP = caller(is_direct=False, answer="observe")


def timed(**fields: Any) -> Caller:
    return caller(**({"request_body_mode": "BUFFERED"} | fields))


CASES: dict[str, tuple[list[Caller], int, dict[str, Any], tuple[str, str, str] | None]] = {
    "good": ([caller()], 0, {}, None),
    "Istio": ([caller(response_body_mode=DUPLEX)], 0, {}, None),
    "a hop": ([HOP], 0, {}, (WHO, "warning", "an HTTP hop between Envoy and picker")),
    "a hop beside direct calls": ([caller(), HOP], 0, {}, (WHO, "warning", "an HTTP hop")),
    "a hop, leaving forced": (
        [HOP],
        0,
        {"envoy": {"responsePhase": "detach"}},
        (WHO, "fault", "envoy.responsePhase: detach: it can part"),
    ),
    "a hop, one message forced": (
        [HOP],
        0,
        {"envoy": {"requestBodyAnswer": "whole"}},
        (WHO, "fault", "envoy.requestBodyAnswer: whole"),
    ),
    "a hop, observing asked for": (
        [HOP],
        0,
        {"envoy": {"responsePhase": "observe"}},
        (WHO, "warning", "an HTTP hop"),
    ),
    "direct, leaving forced": ([caller()], 0, {"envoy": {"responsePhase": "detach"}}, None),
    "buffered": ([timed()], 0, {}, None),
    "streamed": (
        [caller(request_body_mode="STREAMED", answer="refuse")],
        4,
        {},
        (BODY, "fault", "4 requests were refused"),
    ),
    "streamed early": ([caller(request_body_mode="STREAMED")], 0, {}, None),
    "none": ([caller(request_body_mode="NONE")], 0, {}, (BODY, "warning", "NONE, which does not show the body")),
    "none, refused": ([caller(request_body_mode="NONE")], 2, {}, (BODY, "fault", "2 requests were refused")),
    "partial": ([caller(request_body_mode="BUFFERED_PARTIAL")], 0, {}, (BODY, "warning", "only the beginning")),
    "partial, refused": ([caller(request_body_mode="BUFFERED_PARTIAL")], 1, {}, (BODY, "fault", "1 requests were")),
    "refused before, in another mode": ([caller()], 9, {}, None),
    "tracked": ([caller(answer="track")], 0, {"envoy": {"responsePhase": "track"}}, None),
    "tracked, with bodies": (
        [caller(answer="observe", response_body_mode="STREAMED")],
        0,
        {"envoy": {"responsePhase": "track"}},
        (ANSWERS, "warning", "response_body_mode is STREAMED"),
    ),
    "observed, as asked for": (
        [caller(answer="observe", response_body_mode="STREAMED")],
        0,
        {"envoy": {"responsePhase": "observe"}},
        None,
    ),
    "ended early": (
        [timed(left_early=10, left_after_s=0.2)],
        0,
        PATIENT,
        (EARLY, "fault", "10 of 100 streams were ended before their answer, the first after 0.2 s"),
    ),
    "a few ended early": ([timed(left_early=9, left_after_s=0.2)], 0, PATIENT, (EARLY, "warning", "9 of 100")),
    "ended after the hold": ([timed(left_early=50, left_after_s=1.1)], 0, PATIENT, (EARLY, "warning", "50 of 100")),
    "ended after half the limit": (
        [timed(left_early=50, left_after_s=0.6)],
        0,
        {"envoy": {"messageTimeout": "1s"}},
        (EARLY, "warning", "50 of 100"),
    ),
    "ended before half the limit": (
        [timed(left_early=50, left_after_s=0.4)],
        0,
        {"envoy": {"messageTimeout": "1s"}},
        (EARLY, "fault", "50 of 100"),
    ),
    "ended after the limit": ([timed(left_early=50, left_after_s=5.1)], 0, PATIENT, None),
    "ended early in full duplex": ([caller(left_early=50, left_after_s=0.1)], 0, PATIENT, None),
    "two kinds": (
        [caller(), timed()],
        0,
        {},
        (MODES, "warning", f"2 kinds (request/response body mode): BUFFERED/NONE, {DUPLEX}/NONE"),
    ),
    "two kinds by an override": (
        [caller(request_body_mode="STREAMED"), timed()],
        0,
        {"envoy": {"allowModeOverride": True}},
        None,
    ),
    "two kinds, one of the past": ([caller(age_s=5), timed(age_s=36)], 0, {}, None),
    "two kinds, both of now": ([caller(age_s=5), timed(age_s=34)], 0, {}, (MODES, "warning", "2 kinds")),
    "modes not told": ([caller(tells_modes=False)], 0, {}, (MODES, "warning", "does not tell its modes")),
    "some without a request": ([caller(), caller(request_body_mode="", answer="watch")], 0, {}, None),
}


@pytest.mark.parametrize(("callers", "refused", "settings", "want"), CASES.values(), ids=CASES)
def test_streams(
    callers: list[Caller], refused: int, settings: dict[str, Any], want: tuple[str, str, str] | None
) -> None:
    assert_says(check, evidence(seen=snapshot(*callers, refused=refused), **settings), want)


def test_streams_without_headers() -> None:
    blind = caller(request_body_mode="", response_body_mode="", tells_modes=False, answer="watch")
    verdicts = {verdict.check: verdict for verdict in check(evidence(seen=snapshot(blind)))}
    assert (verdicts[BODY].state, verdicts[MODES].state) == ("not checked", "not checked")
    verdicts = {verdict.check: verdict for verdict in check(evidence(seen=snapshot(blind, refused=2)))}
    assert verdicts[BODY].state == "fault"
    assert "request_header_mode" in verdicts[BODY].fix


def test_the_risk_of_leaving_is_told_where_it_is() -> None:
    def told(**fields: Any) -> bool:
        verdicts = {verdict.check: verdict for verdict in check(evidence(seen=snapshot(caller(**fields))))}
        return "last risk" in verdicts[ANSWERS].evidence

    assert told(response_body_mode=DUPLEX)
    assert not told(response_body_mode="NONE")
    assert not told(response_body_mode=DUPLEX, answer="observe")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (evidence(seen=snapshot()), "no gateway has opened an ext_proc stream in the 60 s"),
        (Evidence(settings=Settings(), snapshot_problem="nobody answers"), "nobody answers"),
        (Evidence(settings=Settings()), "no picker was asked"),
    ],
    ids=["no stream", "no picker", "nobody was asked"],
)
def test_nothing_is_said_without_streams(given: Evidence, words: str) -> None:
    [verdict] = check(given)
    assert verdict.state == "not checked"
    assert words in verdict.evidence
