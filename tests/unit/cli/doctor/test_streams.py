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
HOP_FIELDS: dict[str, Any] = {"is_direct": False, "answer": "observe"}
HOP = caller(**HOP_FIELDS)


def timed(**fields: Any) -> Caller:
    return caller(
        **({"request_body_mode": "BUFFERED"} | ({"left_early_age_s": 1.0} if fields.get("left_early") else {}) | fields)
    )


def refused(number: int, *, age_s: float = 1.0) -> dict[str, Any]:
    return {"refused": number, "refused_age_s": age_s}


CASES: dict[str, tuple[list[Caller], dict[str, Any], tuple[str, str, str] | None]] = {
    "good": ([caller()], {}, None),
    "Istio": ([caller(response_body_mode=DUPLEX)], {}, None),
    "a hop": ([HOP], {}, (WHO, "warning", "an HTTP hop between Envoy and picker")),
    "a hop beside direct calls": ([caller(), HOP], {}, (WHO, "warning", "an HTTP hop")),
    "a hop, leaving forced": (
        [HOP],
        {"envoy": {"responsePhase": "detach"}},
        (WHO, "fault", "envoy.responsePhase: detach: it can part"),
    ),
    "a hop, one message forced": (
        [HOP],
        {"envoy": {"requestBodyAnswer": "whole"}},
        (WHO, "fault", "envoy.requestBodyAnswer: whole"),
    ),
    "a hop, observing asked for": (
        [HOP],
        {"envoy": {"responsePhase": "observe"}},
        (WHO, "warning", "an HTTP hop"),
    ),
    "direct, leaving forced": ([caller()], {"envoy": {"responsePhase": "detach"}}, None),
    "buffered": ([timed()], {}, None),
    "streamed": (
        [caller(request_body_mode="STREAMED", answer="refuse", **refused(4))],
        {},
        (BODY, "fault", "4 requests were refused"),
    ),
    "streamed until a moment ago": (
        [caller(), caller(age_s=20, request_body_mode="STREAMED", answer="refuse", **refused(4, age_s=20))],
        {"envoy": {"allowModeOverride": True}},
        (BODY, "fault", "(100 streams, the last 20 s ago)"),
    ),
    "streamed before the mend": (
        [caller(), caller(age_s=32, request_body_mode="STREAMED", answer="refuse", **refused(4, age_s=32))],
        {},
        None,
    ),
    "streamed just before the mend": (
        [caller(first_age_s=3), caller(age_s=4, request_body_mode="STREAMED", answer="refuse", **refused(4, age_s=4))],
        {},
        None,
    ),
    "streamed, and requests without a body for the first time": (
        [
            caller(request_body_mode="STREAMED", first_age_s=1),
            caller(age_s=4, request_body_mode="STREAMED", answer="refuse", first_age_s=9, **refused(4, age_s=4)),
        ],
        {},
        (BODY, "fault", "STREAMED"),
    ),
    "streamed, and the last ones without a body": (
        [
            caller(first_age_s=3),
            caller(age_s=1.5, request_body_mode="STREAMED", first_age_s=9),
            caller(age_s=4, request_body_mode="STREAMED", answer="refuse", first_age_s=9, **refused(4, age_s=4)),
        ],
        {"envoy": {"allowModeOverride": True}},
        (BODY, "fault", "STREAMED"),
    ),
    "streamed beside full duplex, which is newly followed": (
        [
            caller(answer="track", first_age_s=3),
            caller(age_s=5, first_age_s=9),
            caller(age_s=4, request_body_mode="STREAMED", answer="refuse", first_age_s=9, **refused(4, age_s=4)),
        ],
        {"envoy": {"allowModeOverride": True}},
        (BODY, "fault", "STREAMED"),
    ),
    "streamed, mended, and streamed again": (
        [
            caller(age_s=2, first_age_s=3),
            caller(request_body_mode="STREAMED", answer="refuse", first_age_s=9, **refused(4)),
        ],
        {"envoy": {"allowModeOverride": True}},
        (BODY, "fault", "STREAMED"),
    ),
    "a hop just before the mend": ([caller(first_age_s=3), caller(**HOP_FIELDS, age_s=4)], {}, None),
    "a hop, and a person's call since": (
        [caller(tells_modes=False, first_age_s=1), caller(**HOP_FIELDS, age_s=4, first_age_s=9)],
        {},
        (WHO, "warning", "an HTTP hop"),
    ),
    "two kinds, the other just before": ([caller(first_age_s=3), timed(age_s=4)], {}, None),
    "two kinds by turns": ([caller(first_age_s=3), timed(age_s=2)], {}, (MODES, "warning", "2 kinds")),
    "a hop before the mend": ([caller(), caller(is_direct=False, answer="observe", age_s=32)], {}, None),
    "streamed early": ([caller(request_body_mode="STREAMED")], {}, None),
    "none": ([caller(request_body_mode="NONE")], {}, (BODY, "warning", "NONE, which does not show the body")),
    "none, refused": ([caller(request_body_mode="NONE", **refused(2))], {}, (BODY, "fault", "2 requests were refused")),
    "partial": ([caller(request_body_mode="BUFFERED_PARTIAL")], {}, (BODY, "warning", "only the beginning")),
    "partial, refused": (
        [caller(request_body_mode="BUFFERED_PARTIAL", **refused(1))],
        {},
        (BODY, "fault", "1 request was refused"),
    ),
    "none, refused long ago": (
        [caller(request_body_mode="NONE", **refused(2, age_s=31.1))],
        {},
        (BODY, "warning", "NONE, which does not show the body"),
    ),
    "refused before, in another mode": ([caller(), caller(age_s=32, **refused(9, age_s=32))], {}, None),
    "tracked": ([caller(answer="track")], {"envoy": {"responsePhase": "track"}}, None),
    "tracked, with bodies": (
        [caller(answer="observe", response_body_mode="STREAMED")],
        {"envoy": {"responsePhase": "track"}},
        (ANSWERS, "warning", "response_body_mode is STREAMED"),
    ),
    "observed, as asked for": (
        [caller(answer="observe", response_body_mode="STREAMED")],
        {"envoy": {"responsePhase": "observe"}},
        None,
    ),
    "ended early": (
        [timed(left_early=10, left_after_s=0.2)],
        PATIENT,
        (EARLY, "fault", "10 of 100 streams were ended before their answer, the soonest after 0.2 s"),
    ),
    "a few ended early": ([timed(left_early=9, left_after_s=0.2)], PATIENT, (EARLY, "warning", "9 of 100")),
    "ended after the hold": ([timed(left_early=50, left_after_s=1.1)], PATIENT, (EARLY, "warning", "50 of 100")),
    "ended after half the limit": (
        [timed(left_early=50, left_after_s=0.6)],
        {"envoy": {"messageTimeout": "1s"}},
        (EARLY, "warning", "50 of 100"),
    ),
    "ended before half the limit": (
        [timed(left_early=50, left_after_s=0.4)],
        {"envoy": {"messageTimeout": "1s"}},
        (EARLY, "fault", "50 of 100"),
    ),
    "ended early before the mend": ([timed(left_early=10, left_after_s=0.2, left_early_age_s=31.1)], PATIENT, None),
    "a few ended early long ago": ([timed(left_early=1, left_after_s=0.2, left_early_age_s=900)], PATIENT, None),
    "ended early of late": (
        [timed(left_early=10, left_after_s=0.2, left_early_age_s=30.9)],
        PATIENT,
        (EARLY, "fault", "the last 31 s ago"),
    ),
    "ended early before the mend, by the streams of another kind": (
        [caller(), timed(age_s=5, left_early=50, left_after_s=0.2, left_early_age_s=32)],
        PATIENT | {"envoy": {"messageTimeout": "5s", "allowModeOverride": True}},
        None,
    ),
    "ended after the limit": ([timed(left_early=50, left_after_s=5.1)], PATIENT, None),
    "ended by the limit, and seen to begin late": ([timed(left_early=50, left_after_s=4.1)], PATIENT, None),
    "ended well before the limit": ([timed(left_early=50, left_after_s=3.9)], PATIENT, (EARLY, "warning", "50 of 100")),
    "ended early in full duplex": ([caller(left_early=50, left_after_s=0.1, left_early_age_s=1.0)], PATIENT, None),
    "two kinds": (
        [caller(), timed()],
        {},
        (MODES, "warning", f"2 kinds (request/response body mode): BUFFERED/NONE, {DUPLEX}/NONE"),
    ),
    "two kinds by an override": (
        [caller(request_body_mode="STREAMED"), timed()],
        {"envoy": {"allowModeOverride": True}},
        None,
    ),
    "two kinds, one of the past": ([caller(age_s=5), timed(age_s=36)], {}, None),
    "two kinds, both of now": ([caller(age_s=5), timed(age_s=34)], {}, (MODES, "warning", "2 kinds")),
    "a person's call without modes": ([caller(), timed(tells_modes=False)], {}, None),
    "the same, the last": ([caller(age_s=20), timed(tells_modes=False)], {}, None),
    "two kinds, and a person's call": (
        [caller(), timed(), caller(request_body_mode="BUFFERED", response_body_mode="STREAMED", tells_modes=False)],
        {},
        (MODES, "warning", "streams of 2 kinds (request/response body mode): BUFFERED/NONE, "),
    ),
    "two kinds that nobody told": (
        [caller(tells_modes=False), timed(tells_modes=False)],
        {},
        (MODES, "warning", "2 kinds"),
    ),
    "modes not told": ([caller(tells_modes=False)], {}, (MODES, "warning", "does not tell its modes")),
    "some without a request": ([caller(), caller(request_body_mode="", answer="watch")], {}, None),
}


@pytest.mark.parametrize(("callers", "settings", "want"), CASES.values(), ids=CASES)
def test_streams(callers: list[Caller], settings: dict[str, Any], want: tuple[str, str, str] | None) -> None:
    assert_says(check, evidence(seen=snapshot(*callers), **settings), want)


MENDED = "If that is done already: send a request in"


@pytest.mark.parametrize(
    ("callers", "settings", "name", "words"),
    [
        ([caller(), caller(**{**HOP_FIELDS, "age_s": 20})], {}, WHO, f"{MENDED} 10 s"),
        ([caller(age_s=20), HOP], {}, WHO, ""),
        ([caller(), caller(age_s=29.5, request_body_mode="STREAMED", answer="refuse")], {}, BODY, f"{MENDED} 1 s"),
        ([caller(), caller(age_s=5, request_body_mode="NONE")], {}, BODY, f"{MENDED} 25 s"),
        ([timed(left_early=9, left_after_s=0.2, left_early_age_s=11)], PATIENT, EARLY, f"{MENDED} 19 s"),
        ([timed(left_early=9, left_after_s=0.2)], PATIENT, EARLY, ""),
        ([caller(), timed(age_s=5)], {}, MODES, f"{MENDED} 25 s"),
        (
            [caller(), caller(age_s=5, answer="observe", response_body_mode="STREAMED")],
            {"envoy": {"responsePhase": "track"}},
            ANSWERS,
            f"{MENDED} 25 s",
        ),
    ],
    ids=["a hop", "still a hop", "streamed", "none", "ended early", "still ended early", "two kinds", "observed"],
)
def test_it_is_said_when_a_mend_shows(callers: list[Caller], settings: dict[str, Any], name: str, words: str) -> None:
    verdicts = {verdict.check: verdict for verdict in check(evidence(seen=snapshot(*callers), **settings))}
    assert verdicts[name].state in ("fault", "warning")
    assert (MENDED in verdicts[name].fix) == bool(words)
    assert words in verdicts[name].fix


def test_streams_without_headers() -> None:
    blind: dict[str, Any] = {"request_body_mode": "", "response_body_mode": "", "tells_modes": False, "answer": "watch"}
    verdicts = {verdict.check: verdict for verdict in check(evidence(seen=snapshot(caller(**blind))))}
    assert (verdicts[BODY].state, verdicts[MODES].state) == ("not checked", "not checked")
    verdicts = {verdict.check: verdict for verdict in check(evidence(seen=snapshot(caller(**blind, **refused(2)))))}
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
