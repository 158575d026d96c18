"""The ext_proc filter as Envoy has it: each fault alone, and what is no fault."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cli.doctor.gateway_facts import (
    FILTER,
    assert_says,
    caller,
    evidence,
    snapshot,
    with_filter,
    with_passage,
    with_pool,
)

from extproc.cli.doctor.envoy_facts import DESTINATION, Pick
from extproc.cli.doctor.envoy_filter import check
from extproc.cli.doctor.evidence import Evidence
from extproc.settings.schema import Settings

BODY, OVERRIDE, RESPONSE = "Envoy: request body mode", "Envoy: mode override", "Envoy: response phase"
TIMEOUT, FAILURE, STATUS = "Envoy: message timeout", "Envoy: failure mode", "Envoy: status without a picker"
HEARD, PICK, RETRY = "Envoy: the picker's word counts", "Envoy: the pick arrives", "Envoy: streams are not retried"
FOLLOWED = {"sends_response_headers": True, "sends_response_trailers": True}
TIMED = {"request_body": "BUFFERED"}


def settings(**envoy: Any) -> dict[str, Any]:
    return {"envoy": {"messageTimeout": "5s"} | envoy}


OVERRIDING = settings(allowModeOverride=True)
TRACK, OBSERVE = settings(responsePhase="track"), settings(responsePhase="observe")

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str, str] | None]] = {
    "good": ({}, {}, None),
    "no request headers": ({"sends_request_headers": False}, settings(), (BODY, "fault", "request_header_mode")),
    "buffered": (TIMED, settings(), None),
    "streamed early": ({"request_body": "STREAMED", "sends_body_early": True}, settings(), None),
    "streamed": ({"request_body": "STREAMED"}, settings(), (BODY, "fault", "STREAMED")),
    "none": ({"request_body": "NONE"}, settings(), (BODY, "warning", "X-Gateway-Model-Name")),
    "partial": ({"request_body": "BUFFERED_PARTIAL"}, settings(), (BODY, "warning", "only the beginning")),
    "streamed, overridden": ({"request_body": "STREAMED", "allows_mode_override": True}, OVERRIDING, None),
    "override by the filter alone": (
        {"request_body": "STREAMED", "allows_mode_override": True},
        settings(),
        (BODY, "fault", "STREAMED"),
    ),
    "override by neither, full duplex": ({}, OVERRIDING, None),
    "override by the picker alone, early": (
        {"request_body": "STREAMED", "sends_body_early": True},
        OVERRIDING,
        None,
    ),
    "override, response in full duplex": (
        {"request_body": "STREAMED", "response_body": "FULL_DUPLEX_STREAMED", "allows_mode_override": True},
        OVERRIDING,
        (BODY, "fault", "STREAMED"),
    ),
    "track": (FOLLOWED, TRACK, None),
    "track, no trailers": ({"sends_response_headers": True}, TRACK, (RESPONSE, "fault", "is track")),
    "track, no headers": ({"sends_response_trailers": True}, TRACK, (RESPONSE, "fault", "is track")),
    "track, with bodies": (FOLLOWED | {"response_body": "STREAMED"}, TRACK, (RESPONSE, "warning", "is STREAMED")),
    "observe": (FOLLOWED | {"response_body": "STREAMED"}, OBSERVE, None),
    "observe, nothing sent": ({}, OBSERVE, (RESPONSE, "fault", "is observe")),
    "Istio's response phase": (FOLLOWED | {"response_body": "FULL_DUPLEX_STREAMED"}, {}, None),
    "timeouts agree": (TIMED, settings(), None),
    "timeout of no account": ({"message_timeout_s": 0.2}, settings(), None),
    "timeout below the hold": (
        TIMED | {"message_timeout_s": 0.9},
        settings(),
        (TIMEOUT, "fault", "wait for 1 s, and Envoy answers 504"),
    ),
    "timeout below half of what is taken": (
        TIMED | {"message_timeout_s": 0.4},
        settings(messageTimeout="1s"),
        (TIMEOUT, "fault", "wait for 0.5 s"),
    ),
    "timeout taken for longer": (
        TIMED | {"message_timeout_s": 4.0},
        settings(),
        (TIMEOUT, "warning", "more patient than it is"),
    ),
    "timeout taken for a little shorter": (TIMED | {"message_timeout_s": 0.3}, {}, None),
    "timeout taken for shorter": (TIMED, {}, (TIMEOUT, "warning", "for 0.1 s only")),
    "timeout taken for shorter, and nothing waits for longer": (TIMED, {"requests": {"hold": "100ms"}}, None),
    "status of an error": ({"status_on_error": None}, {}, (STATUS, "warning", "500")),
    "observability": ({"is_observing": True}, {}, (HEARD, "fault", "observability_mode")),
    "retried streams": ({"retries_stream": True}, {}, (RETRY, "fault", "empty body")),
    "rules": ({"forbids_pick": True}, {}, (PICK, "fault", "mutation_rules")),
    "metadata dropped, header read": ({"receives": ()}, {}, None),
}


@pytest.mark.parametrize(("changes", "config", "want"), CASES.values(), ids=CASES)
def test_one_filter(changes: dict[str, Any], config: dict[str, Any], want: tuple[str, str, str] | None) -> None:
    assert_says(check, evidence(with_filter(**changes), **config), want)


def test_an_override_that_the_filter_does_not_take_is_a_fault_of_its_own() -> None:
    given = evidence(with_filter(request_body="NONE"), envoy=OVERRIDING["envoy"])
    found = {verdict.check: verdict for verdict in check(given) if verdict.state == "fault"}
    assert found.keys() == {OVERRIDE}
    assert "requests go anywhere" in found[OVERRIDE].evidence


@pytest.mark.parametrize("mode", ["NONE", "BUFFERED_PARTIAL"])
def test_requests_that_were_refused_make_a_fault_of_a_mode(mode: str) -> None:
    seen = snapshot(caller(request_body_mode=mode, refused=3, refused_age_s=1.0))
    assert_says(
        check, evidence(with_filter(request_body=mode), seen=seen, **settings()), (BODY, "fault", "3 requests were")
    )


@pytest.mark.parametrize(
    "fields",
    [{"refused_age_s": 31.1}, {"refused_age_s": 1.0, "request_body_mode": "STREAMED"}],
    ids=["long ago", "in another mode"],
)
def test_requests_that_were_refused_before_make_no_fault_of_a_mode(fields: dict[str, Any]) -> None:
    seen = snapshot(caller(**({"request_body_mode": "NONE", "refused": 3} | fields)))
    assert_says(check, evidence(with_filter(request_body="NONE"), seen=seen, **settings()), (BODY, "warning", "NONE"))


ASSUMED = "Envoy: modes in the picker's config"
UNTOLD = caller(tells_modes=False)


@pytest.mark.parametrize(
    ("seen", "mode", "want"),
    [
        ([UNTOLD], "FULL_DUPLEX_STREAMED", None),
        ([UNTOLD], "BUFFERED", (ASSUMED, "fault", "has FULL_DUPLEX_STREAMED and NONE, where the filter has BUFFERED")),
        ([caller()], "BUFFERED", None),
        ([caller(tells_modes=False, request_body_mode="")], "BUFFERED", None),
        ([UNTOLD, caller()], "BUFFERED", None),
    ],
    ids=["untold, alike", "untold, others", "told", "untold, no request", "told, and grpcurl beside"],
)
def test_modes_that_envoy_does_not_tell(seen: Any, mode: str, want: tuple[str, str, str] | None) -> None:
    assert_says(check, evidence(with_filter(request_body=mode), seen=snapshot(*seen), **settings()), want)


OPEN = {"fails_open": True}
DUPLEX, BUFFERED = "FULL_DUPLEX_STREAMED", "BUFFERED"


@pytest.mark.parametrize(
    ("mode", "models", "want"),
    [
        (DUPLEX, ("phi", "gemma"), (FAILURE, "fault", "2 models: with the picker away a POST gets 500")),
        (BUFFERED, ("phi", "gemma"), (FAILURE, "fault", "2 models: with the picker away a request goes to a random")),
        (DUPLEX, (), (FAILURE, "warning", "not known")),
        (DUPLEX, ("phi",), None),
    ],
    ids=["several models", "several models, buffered", "none known", "one model"],
)
def test_failing_open(mode: str, models: tuple[str, ...], want: tuple[str, str, str] | None) -> None:
    given = evidence(with_filter(request_body=mode, **OPEN), seen=snapshot(models=models), **settings())
    assert_says(check, given, want)


@pytest.mark.parametrize(
    "changes",
    [{"cluster": ""}, {"cluster": "elsewhere"}, {"filters": ()}],
    ids=["by a header", "not told", "none asked"],
)
def test_a_route_that_nothing_can_be_said_of(changes: dict[str, Any]) -> None:
    assert_says(check, evidence(with_passage(**changes)), None)


def test_a_second_filter_is_looked_at_too() -> None:
    second = replace(FILTER, name="second", is_observing=True)
    assert_says(check, evidence(with_passage(filters=(FILTER, second))), (HEARD, "fault", "observability_mode"))


METADATA, HEADER = ("metadata", f"envoy.lb/{DESTINATION}"), ("header", DESTINATION)


@pytest.mark.parametrize(
    ("sources", "changes", "want"),
    [
        ([METADATA], {}, None),
        ([METADATA], {"receives": ()}, (PICK, "fault", "which the filter ext_proc drops")),
        ([METADATA], {"receives": ("other",)}, (PICK, "fault", "drops")),
        ([METADATA], {"forbids_pick": True}, None),
        ([METADATA, HEADER], {"receives": ()}, None),
        ([METADATA, HEADER], {"forbids_pick": True}, None),
        ([METADATA, HEADER], {"forbids_pick": True, "receives": ()}, (PICK, "fault", "drops")),
        ([HEADER], {"forbids_pick": True}, (PICK, "fault", "mutation_rules")),
    ],
    ids=[
        "metadata",
        "metadata dropped",
        "metadata of another name",
        "metadata, header forbidden",
        "both, metadata dropped",
        "both, header forbidden",
        "both, neither arrives",
        "header, forbidden",
    ],
)
def test_the_way_of_the_pick(sources: Any, changes: Any, want: tuple[str, str, str] | None) -> None:
    pool = with_pool(pick=Pick(sources=tuple(sources), takes_list=True))
    assert_says(check, evidence(replace(with_filter(**changes), clusters=pool.clusters)), want)


def test_without_a_look_at_envoy_nothing_is_said() -> None:
    given = Evidence(settings=Settings(), envoy_problem="no admin port there")
    [verdict] = check(given)
    assert (verdict.state, verdict.evidence) == ("not checked", "no admin port there")


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        ({}, {RESPONSE, TIMEOUT}),
        ({"request_body": "BUFFERED"}, {RESPONSE, TIMEOUT}),
        ({"request_body": "STREAMED", "allows_mode_override": True}, {BODY, RESPONSE, TIMEOUT}),
    ],
    ids=["full duplex", "buffered", "streamed, with an override perhaps"],
)
def test_nothing_is_compared_with_settings_that_nobody_told(changes: dict[str, Any], unknown: set[str]) -> None:
    found = list(check(replace(evidence(with_filter(**changes)), knows_settings=False)))
    assert {each.check for each in found if "settings are not known" in each.evidence} == unknown
    assert {each.state for each in found} == {"ok", "not checked"}
