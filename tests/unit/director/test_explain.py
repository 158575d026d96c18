"""director/explain: what is told of a request is what would be decided on it, and nothing is changed."""

import gzip
import json
from copy import deepcopy
from random import Random
from typing import Any

import msgspec
import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.director.explained import (
    ALIASES,
    BOTH,
    CHAT,
    JSON,
    TWO,
    bodies,
    chat,
    explain,
    heads,
    known,
    obstacle,
    pools,
    settled,
)
from tests.unit.director.test_decider import (
    NOW,
    after,
    configured,
    decider,
    events,
    memory,
)

from extproc.director.explain import Explainer
from extproc.protocol.codec import encode
from extproc.protocol.commands import Immediate
from extproc.registry.changes import NamesListed
from extproc.values.decision import Reply, Route
from extproc.values.refusal import Reject
from extproc.values.request import RequestHead
from extproc.values.snapshot import Snapshot


@given(
    groups=configured,
    passes=st.sampled_from(["reject", "passthrough"]),
    snapshot=pools(),
    taken=events,
    head=heads,
    body=bodies,
    seed=st.integers(0, 9),
)
def test_what_is_told_is_what_would_be_decided_and_nothing_is_changed(
    groups: dict[str, Any],
    passes: str,
    snapshot: Snapshot,
    taken: list[Any],
    head: RequestHead,
    body: bytes,
    seed: int,
) -> None:
    by = after(decider(**groups, requests={"unknownModel": passes}), taken, snapshot)
    outcome = settled(by, head, body, snapshot, seed)
    before = deepcopy(memory(by))
    told = Explainer(by).explain(head, body, snapshot, now=NOW, rng=Random(seed))
    assert memory(by) == before
    assert settled(by, head, body, snapshot, seed) == outcome
    assert {row.address for row in told.candidates} == {each.endpoint.address for each in snapshot.endpoints.values()}
    compared = [row for row in told.candidates if row.scores]
    assert told.compared == len(compared)
    assert told.candidates[: len(compared)] == tuple(compared)
    assert all(obstacle(row) == "" and row.verdicts for row in compared)
    assert all(row.total is not None and len(row.scores) == len(told.scorers) for row in compared)
    others = told.candidates[len(compared) :]
    assert all(row.choice == 0 and row.total is None for row in others)
    if isinstance(outcome, Route):
        assert (told.outcome, told.destination, told.answer) == ("routed", outcome.destination, None)
        assert told.endpoint == outcome.endpoints[0].name
        by_name = {row.name: row for row in compared}
        assert by_name.keys() == {each.name for each in outcome.scores.candidates}
        for at, each in enumerate(outcome.scores.candidates):
            row = by_name[each.name]
            assert row.total == outcome.scores.totals[at]
            assert row.scores == tuple(outcome.scores.by_scorer[scorer.name][at] for scorer in told.scorers)
        chosen = sorted((row for row in compared if row.choice), key=lambda row: row.choice)
        assert [row.name for row in chosen] == list(dict.fromkeys(each.name for each in outcome.endpoints))
        assert [row.choice for row in chosen] == list(range(1, len(chosen) + 1))
        assert (told.prompt_tokens, chosen[0].cached_tokens) == (outcome.work.prompt_tokens, outcome.work.cached_tokens)
        assert all(row.verdicts and obstacle(row) for row in others)
    else:
        assert told.outcome == (outcome.refusal.code if isinstance(outcome, Reject) else "replied")
        assert (told.destination, told.endpoint, any(row.choice for row in compared)) == ("", "", False)
        assert told.answer is not None
        assert (told.answer.status, told.answer.headers, told.answer.body) == sent(outcome)
    assert told.why
    msgspec.json.encode(told)


def sent(outcome: Reject | Reply) -> tuple[int, dict[str, str], bytes]:
    """What the client gets, read from what Envoy is sent."""
    immediate = ProcessingResponse.parse(encode(Immediate(outcome))).immediate_response
    assert immediate is not None
    assert immediate.status is not None
    assert immediate.headers is not None
    headers = {each.header.key: each.header.raw_value.decode() for each in immediate.headers.set_headers if each.header}
    return int(immediate.status.code), headers, immediate.body


@pytest.mark.parametrize(
    ("body", "asked", "outcome", "why"),
    [
        pytest.param(b"{", {}, "invalid_request", "The request body is not a JSON object.", id="half a body"),
        pytest.param(b"{}", {}, "invalid_request", "The request names no `model`.", id="no model"),
        pytest.param(b"x" * 5000, {}, "request_too_large", "The request body is larger than 4096 bytes.", id="large"),
        pytest.param(
            b"x",
            {"headers": {"content-encoding": "br"}},
            "unsupported_encoding",
            "The content-encoding `br` cannot be read; send identity, gzip or deflate.",
            id="encoded",
        ),
        pytest.param(
            gzip.compress(chat("chat")),
            {"headers": {"content-encoding": "gzip"}},
            "unsupported_encoding",
            "The model `chat` stands for another, whose name cannot be written into a body of content-encoding `gzip`; "
            "send identity.",
            id="encoded, and its model is another",
        ),
    ],
)
def test_a_request_that_is_refused_for_what_it_is(body: bytes, asked: dict[str, Any], outcome: str, why: str) -> None:
    told = explain(known(*TWO, NamesListed(ALIASES)), body, by=decider(requests={"maxBodyBytes": 4096}), **asked)
    assert (told.outcome, told.why.partition(f"{outcome}: ")[2], told.destination) == (outcome, why, "")
    assert told.answer is not None
    assert json.loads(told.answer.body)["error"]["message"] == why
    assert told.answer.headers["x-extproc-reason"] == outcome
    assert {row.choice for row in told.candidates} == {0}


def test_a_session_is_told_by_its_header() -> None:
    by = decider(scheduling={"sessionHeader": "x-session-id", "scorers": [{"name": "session", "weight": 2}]})
    found = {explain(known(*BOTH), by=by, headers={"x-session-id": "s"}, seed=seed).why for seed in range(9)}
    assert found == {"b has the highest sum, 2 of 2; next is a with 0"}


def test_a_name_with_half_a_character_is_told_without_it() -> None:
    told = explain(known(*TWO), chat("half \ud83d"))
    assert (told.named_model, told.model) == ("half ?", "half ?")
    assert told.why == "model_not_found: no endpoint of the pool lists half ?; known are m, n"


def test_settings_and_director_are_those_of_the_moment() -> None:
    by = decider()
    explainer, snapshot = Explainer(by), known(*TWO)
    head = RequestHead("POST", CHAT, JSON)
    assert explainer.explain(head, chat("gone"), snapshot, now=NOW, rng=Random(0)).outcome == "model_not_found"
    other = decider(requests={"unknownModel": "passthrough", "maxBodyBytes": 1000})
    by.settings, by.director = other.settings, other.director
    assert explainer.explain(head, chat("gone"), snapshot, now=NOW, rng=Random(0)).outcome == "routed"
    assert explainer.explain(head, b"x" * 1001, snapshot, now=NOW, rng=Random(0)).outcome == "request_too_large"
