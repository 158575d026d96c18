"""director/rows: every endpoint's place, scores and cached tokens, and why one was not compared."""

from random import Random

import pytest
from tests.unit.director.explained import (
    BOTH,
    CHAT,
    JSON,
    TWO,
    chat,
    explain,
    known,
    settled,
)
from tests.unit.director.test_decider import (
    NOW,
    decider,
    fleet,
)
from tests.unit.known import answered, endpoint, listed

from extproc.parsers.request import parse_request
from extproc.scheduling.candidates import MOST_COMPARED
from extproc.values.decision import Route
from extproc.values.load import EngineLoad
from extproc.values.refusal import Reject
from extproc.values.request import RequestHead


def test_of_many_those_that_are_not_compared_say_so() -> None:
    told = explain(fleet(*range(1000)))
    assert told.compared <= MOST_COMPARED
    left = told.candidates[told.compared :]
    assert {each.verdicts[-1].why for each in left} == {f"not compared: {told.compared} of 1,000 are"}
    assert [each.name for each in left] == sorted(each.name for each in left)


@pytest.mark.parametrize(
    ("fallbacks", "order"),
    [
        pytest.param(0, {"b": 1, "d": 0, "a": 0, "c": 0}, id="none"),
        pytest.param(2, {"b": 1, "d": 2, "a": 3, "c": 0}, id="two"),
    ],
)
def test_the_best_stand_at_the_top_with_their_places(fallbacks: int, order: dict[str, int]) -> None:
    by = decider(envoy={"fallbackEndpoints": fallbacks}, scheduling={"scorers": [{"name": "queue", "weight": 1}]})
    for letter, count in zip("abcd", (3, 0, 9, 1), strict=True):
        by.report(letter, EngineLoad(NOW, waiting=count, running=0), now=NOW)
    told = explain(known(listed("abcd"), *[answered(each, "m") for each in "abcd"]), by=by)
    assert [(row.name, row.choice) for row in told.candidates] == list(order.items())
    assert told.destination == ",".join(endpoint(each).address for each, place in order.items() if place)


def test_the_prompt_is_told_in_tokens_and_those_that_are_cached() -> None:
    by, text = decider(), "x" * 2560
    first = explain(known(*BOTH), chat("m", text), by=by)
    snapshot = known(*BOTH)
    request = parse_request(RequestHead("POST", CHAT, JSON), chat("m", text), max_body_bytes=9999, now=NOW)
    assert not isinstance(request, Reject)
    route = by.director.decide(request, snapshot, now=NOW, rng=Random(0))
    assert isinstance(route, Route)
    by.record(route, now=NOW)
    again = explain(snapshot, chat("m", text), by=by)
    assert again.prompt_tokens == first.prompt_tokens > 600
    assert {row.name: row.cached_tokens > 600 for row in first.candidates} == {"a": False, "b": False}
    assert {row.name for row in again.candidates if row.cached_tokens > 600} == {route.endpoints[0].name}
    next_route = by.director.decide(request, snapshot, now=NOW, rng=Random(0))
    assert isinstance(next_route, Route)
    assert next_route.work.cached_tokens == again.candidates[0].cached_tokens


def test_what_is_cached_of_a_prompt_that_is_passed_on_is_what_was_sent_of_any_such() -> None:
    by, snapshot, body = decider(requests={"unknownModel": "passthrough"}), known(*TWO), chat("gone", "x" * 2560)
    outcome = settled(by, RequestHead("POST", CHAT, JSON), body, snapshot, 0)
    assert isinstance(outcome, Route)
    by.record(outcome, now=NOW)
    told = explain(snapshot, body, by=by)
    assert {row.name for row in told.candidates if row.cached_tokens > 600} == {outcome.endpoints[0].name}
