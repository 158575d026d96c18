"""director/reasons: the sentence that says why, for each kind of request and outcome."""

import json
from typing import Any

import pytest
from tests.unit.director.explained import (
    ALIASES,
    ALL,
    BOTH,
    CHAT,
    JSON,
    TWO,
    chat,
    explain,
    known,
    obstacles,
    suspected,
    with_role,
)
from tests.unit.director.test_decider import (
    NOW,
    decider,
)
from tests.unit.known import POOL, answered, endpoint, failed, known_after, listed, overdue, refused, said

from extproc.registry.changes import Change, Failure, NamesListed
from extproc.values.load import EngineLoad
from extproc.values.request import RouteToAny, RouteToModel


@pytest.mark.parametrize(
    ("changes", "subset", "outcome", "why", "kept"),
    [
        pytest.param(TWO, None, "routed", "a is the only endpoint that serves m", {"a": "", "b": "model"}, id="one"),
        pytest.param(
            [*BOTH, overdue("a")],
            (endpoint("b").address,),
            "routed",
            "b is the only one that may get it, of 2 that list m",
            {"b": "", "a": "subset"},
            id="the subset's",
        ),
        pytest.param(
            [listed(""), said("b"), *suspected("a", "m"), answered("b", "m")],
            None,
            "routed",
            "b is the only one that may get it, of 2 that list m",
            {"b": "", "a": "suspect"},
            id="another is suspect",
        ),
        pytest.param(
            [listed(""), said("b"), *suspected("a", "m"), answered("b", "n")],
            None,
            "routed",
            "a is the only endpoint that serves m; connections to it fail, but no other may get the request",
            {"a": "", "b": "model"},
            id="a suspect, the last choice",
        ),
        pytest.param(
            [listed(""), said("a"), with_role("b", "prefill"), answered("a", "m"), answered("b", "m")],
            None,
            "routed",
            "a is the only one that may get it, of 2 that list m",
            {"a": "", "b": "role"},
            id="another only prefills",
        ),
        pytest.param(
            [listed("ab"), answered("a", "o"), answered("b", "n")],
            None,
            "model_not_found",
            "model_not_found: no endpoint of the pool lists m; known are n, o",
            {"a": "model", "b": "model"},
            id="unknown",
        ),
        pytest.param(
            [*ALL, refused("a"), refused("b"), failed("b", Failure.STATUS)],
            (endpoint("a").address,),
            "model_unavailable",
            "model_unavailable: m is known, but of 3 endpoints that list it 1 is not ready, 1 is not confirmed, "
            "1 is not among those that the data plane allows",
            {"c": "subset", "b": "confirmed", "a": "ready"},
            id="known, and none may have it",
        ),
        pytest.param(
            [*TWO, refused("a")],
            None,
            "model_unavailable",
            "model_unavailable: m is known, but the only endpoint that lists it, a, is not ready",
            {"b": "model", "a": "ready"},
            id="known, and the only one may not have it",
        ),
        pytest.param(
            [listed("a"), refused("a")],
            None,
            "no_ready_endpoints",
            "no_ready_endpoints: the only endpoint in the pool, a, is not ready",
            {"a": "ready"},
            id="the only one is not ready",
        ),
        pytest.param(
            [listed("ab"), refused("a"), refused("b")],
            None,
            "no_ready_endpoints",
            "no_ready_endpoints: of 2 endpoints in the pool 2 are not ready",
            {"a": "ready", "b": "ready"},
            id="none ready",
        ),
        pytest.param(
            [listed("")], None, "no_ready_endpoints", "no_ready_endpoints: the pool has no endpoint", {}, id="no pool"
        ),
        pytest.param(
            [listed("abcd"), *[failed(each, Failure.TIMEOUT) for each in "abcd"]],
            None,
            "model_unavailable",
            "model_unavailable: a, b, c and 1 more may still answer which models it serves: timeout by a",
            dict.fromkeys("abcd", "confirmed"),
            id="answers due",
        ),
        pytest.param(
            [listed("a"), failed("a", Failure.UNAUTHORIZED), overdue("a")],
            None,
            "model_unavailable",
            "model_unavailable: no ready endpoint has answered which models it serves: unauthorized by a",
            {"a": "confirmed"},
            id="no answers",
        ),
    ],
)  # fmt: skip
def test_a_request_for_a_model(
    changes: list[Change], subset: tuple[str, ...] | None, outcome: str, why: str, kept: dict[str, str]
) -> None:
    told = explain(known(*changes), subset=subset)
    assert (told.outcome, told.why, obstacles(told)) == (outcome, why, kept)
    assert list(obstacles(told)) == list(kept), "in this order"
    assert (told.named_model, told.model, told.pool, told.held_s) == ("m", "m", str(POOL), 0.0)


@pytest.mark.parametrize(
    ("path", "count", "why"),
    [
        pytest.param(
            "/v1/models",
            4,
            "the picker answers itself: 4 models, those of all endpoints of the pool together",
            id="all",
        ),
        pytest.param("/v1/models/m", None, "the picker answers itself what the pool's endpoints say of m", id="one"),
    ],
)
def test_what_the_picker_answers_itself(path: str, count: int | None, why: str) -> None:
    told = explain(known(*TWO, NamesListed(ALIASES)), b"", method="GET", path=path)
    assert (told.outcome, told.why, {row.verdicts for row in told.candidates}) == ("replied", why, {()})
    assert told.answer is not None
    assert told.answer.headers == JSON
    assert count is None or len(json.loads(told.answer.body)["data"]) == count


@pytest.mark.parametrize(
    ("model", "headers", "routed_by", "why"),
    [
        pytest.param("chat", {}, "m", "chat stands for m; a is the only endpoint that serves m", id="an alias"),
        pytest.param(
            "any", {}, "m", "any stands for m, drawn out of 3; a is the only endpoint that serves m", id="of several"
        ),
        pytest.param(
            "m",
            {"x-gateway-model-name-rewrite": "n"},
            "n",
            "a header asks for n in place of m; b is the only endpoint that serves n",
            id="a header",
        ),
        pytest.param(
            "chat",
            {"x-gateway-model-name-rewrite": "gone"},
            "gone",
            "a header asks for gone in place of chat; model_not_found: no endpoint of the pool lists gone; "
            "known are n, any, chat, m",
            id="a header, and it is unknown",
        ),
    ],
)  # fmt: skip
def test_a_name_that_stands_for_another(model: str, headers: dict[str, str], routed_by: str, why: str) -> None:
    told = explain(known(*TWO, NamesListed(ALIASES)), chat(model), headers=headers, seed=1)
    assert (told.named_model, told.model, told.why) == (model, routed_by, why)


def test_a_request_without_a_model_goes_anywhere_and_where_none_is_confirmed_to_any_that_is_ready() -> None:
    confirmed = explain(known(listed("ab"), answered("b", "m")), b"", method="DELETE", path="/x")
    assert (confirmed.why, obstacles(confirmed)) == (
        "b is the only endpoint that may get it",
        {"b": "", "a": "confirmed"},
    )
    ready = explain(known(listed("ab"), refused("a")), b"", method="DELETE", path="/x")
    assert (ready.outcome, ready.endpoint, obstacles(ready)) == ("routed", "b", {"b": "", "a": "ready"})
    assert ready.why == (
        "b is the only endpoint that may get it; it has not listed its models since it became ready, "
        "but no confirmed endpoint may get the request; before that it waits up to 1s for what fresh probes say"
    )
    none = explain(known(listed("ab"), *TWO[1:]), b"", method="DELETE", path="/x", subset=("10.9.9.9:1",))
    assert none.why == (
        "no_ready_endpoints: of 2 endpoints in the pool 2 are not among those that the data plane allows"
    )


def test_an_unknown_model_is_passed_on_where_settings_say_so() -> None:
    by = decider(requests={"unknownModel": "passthrough"})
    told = explain(known(*TWO), chat("gone"), by=by)
    assert (told.outcome, told.model, obstacles(told)) == ("routed", "gone", {"a": "", "b": ""})
    assert told.why.startswith("nobody lists gone, and unknown models are passed on; ")
    assert explain(known(*TWO), chat("m"), by=by).endpoint == "a"


def test_who_would_be_held_is_told_for_how_long_and_what_then() -> None:
    by = decider(requests={"hold": "1500ms"})
    told = explain(known_after(listed("a"), answered("a", "n")), by=by)
    assert (told.outcome, told.held_s, told.why) == (
        "model_not_found",
        1.5,
        "model_not_found: no endpoint of the pool lists m; known are n; "
        "before that it waits up to 1.5s for what fresh probes say",
    )
    first = explain(known_after(), b"", method="GET", path="/v1/models")
    assert (first.outcome, first.held_s) == ("model_unavailable", 1.0)
    assert "the source of the pool's endpoints has not been read yet" in first.why


@pytest.mark.parametrize(
    ("scheduling", "waiting", "prompt", "whys"),
    [
        pytest.param({}, (9, 0), "", {"b has the highest sum, 1 of 1; next is a with 0"}, id="the highest sum"),
        pytest.param(
            {},
            (5, 5),
            "",
            {f"{each} is one of 2 with the highest sum, 0.5 of 1: one is drawn at random" for each in "ab"},
            id="equals",
        ),
        pytest.param(
            {},
            (5, 5),
            "x" * 999,
            {"a is one of 2 with the highest sum, 0.5 of 1: the session or the prompt's beginning tells which"},
            id="equals, of a prompt that belongs somewhere",
        ),
        pytest.param(
            {"picker": "power-of-two"},
            (9, 0),
            "",
            {
                "a, with 0 of 1, is the better of two drawn at random; the most has b, 1",
                "b has the highest sum, 1 of 1; next is a with 0",
            },
            id="not the highest sum",
        ),
        pytest.param(
            {"picker": "power-of-two"},
            (5, 5),
            "x" * 999,
            {f"{each} is one of 2 with the highest sum, 0.5 of 1: one is drawn at random" for each in "ab"},
            id="equals, drawn",
        ),
    ],
)
def test_why_one_of_several_is_chosen(
    scheduling: dict[str, Any], waiting: tuple[int, int], prompt: str, whys: set[str]
) -> None:
    by = decider(scheduling={"scorers": [{"name": "queue", "weight": 1}]} | scheduling)
    for letter, count in zip("ab", waiting, strict=True):
        by.report(letter, EngineLoad(NOW, waiting=count, running=0), now=NOW)
    assert {explain(known(*BOTH), chat("m", prompt), by=by, seed=seed).why for seed in range(12)} == whys


def test_who_is_shed_reads_by_what_limit() -> None:
    by = decider(admission={"queueDepth": 0})
    for letter in "ab":
        by.report(letter, EngineLoad(NOW, waiting=7, running=7), now=NOW)
    told = explain(
        known(*TWO, NamesListed(objectives={"batch": -2})), by=by, headers={"x-gateway-inference-objective": "batch"}
    )
    why = (
        "shed: the endpoints of m have on average reached a limit (queueDepth 0, kvUsedRatio 0.8), "
        "and batch has the priority -2"
    )
    assert (told.outcome, told.why, obstacles(told)) == ("overloaded", why, {"a": "admission", "b": "model"})
    assert told.answer is not None
    assert (told.answer.status, told.answer.headers["retry-after"]) == (429, "1")
    assert told.candidates[0].verdicts[-1].why == why


@pytest.mark.parametrize("intent", [RouteToModel("m"), RouteToAny()])
def test_a_long_name_is_cut_in_the_sentence(intent: object) -> None:
    name = "x" * 5000
    body, path = (chat(name), CHAT) if isinstance(intent, RouteToModel) else (b"", f"/v1/models/{name}")
    told = explain(known(*TWO), body, method="POST" if body else "GET", path=path)
    assert told.outcome == "model_not_found"
    assert len(told.why) < 400
    assert told.named_model == name
