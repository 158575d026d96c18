"""director/explain: what is told of a request is what would be decided on it, row by row, and nothing is changed."""

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
from msgspec.structs import replace
from tests.unit.director.test_decider import (
    NOW,
    TEXT,
    after,
    configured,
    decider,
    events,
    fleet,
    letters,
    memory,
    snapshots,
)
from tests.unit.known import POOL, answered, endpoint, failed, known_after, listed, overdue, refused, round_of, said

from extproc.director.decider import Decider
from extproc.director.edits import rename
from extproc.director.explain import Explainer
from extproc.parsers.request import parse_request
from extproc.protocol.codec import encode
from extproc.protocol.commands import Immediate
from extproc.registry.changes import Change, Failure, Listing, NamesListed, PoolChanged
from extproc.registry.reduce import SUSPECT_FAILURES
from extproc.scheduling.candidates import MOST_COMPARED
from extproc.scheduling.filters import ROLES_WITHOUT_ANSWERS
from extproc.values.admin import Candidate, Explanation
from extproc.values.decision import Hold, Reply, Route
from extproc.values.load import EngineLoad
from extproc.values.names import Alias, Target
from extproc.values.refusal import Reject
from extproc.values.request import BodyExtent, RequestHead, RouteToAny, RouteToModel
from extproc.values.snapshot import Snapshot

FRESH = round_of(NOW)
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
ALIASES = (
    Alias("chat", (Target("m", 1),)),
    Alias("any", (Target("m", 3), Target("n", 1), Target("nobody's", 1))),
)


def chat(model: object = "m", prompt: str = "Hello") -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()


def explain(
    snapshot: Snapshot,
    body: bytes = chat(),
    *,
    by: Decider | None = None,
    method: str = "POST",
    path: str = CHAT,
    headers: dict[str, str] | None = None,
    subset: tuple[str, ...] | None = None,
    seed: int = 0,
) -> Explanation:
    head = RequestHead(method, path, JSON | (headers or {}), subset)
    return Explainer(by or decider()).explain(head, body, snapshot, now=NOW, rng=Random(seed))


def obstacle(row: Candidate) -> str:
    """The condition that is not met, empty where all are."""
    return next((verdict.filter for verdict in row.verdicts if not verdict.allows), "")


def obstacles(told: Explanation) -> dict[str, str]:
    return {row.name: obstacle(row) for row in told.candidates}


# What holds for every request.
prompts = st.integers(0, len(TEXT)).map(lambda end: TEXT[:end].decode("latin-1"))
names = st.sampled_from(["m", "n", "lora", "nobody's", "chat", "any", "half \ud83d"])
bodies = st.one_of(
    *[st.builds(chat, names, prompts)] * 4,
    st.sampled_from([b"", b"[]", b"{", b"{}", chat(""), chat(3), gzip.compress(chat())]),
    st.just(b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n--x--\r\n'),
)
heads = st.builds(
    RequestHead,
    st.sampled_from(["POST", "POST", "POST", "GET", "DELETE"]),
    st.sampled_from([CHAT, CHAT, "/v1/models", "/v1/models/m", "/v1/models/any?x", "/v1/models/gone"]),
    st.fixed_dictionaries(
        {"content-type": st.sampled_from(["application/json", "application/json", "multipart/form-data; boundary=x"])},
        optional={
            "content-encoding": st.sampled_from(["identity", "identity", "gzip", "br"]),
            "x-session-id": st.sampled_from(["s", "t"]),
            "x-gateway-model-name": names,
            "x-gateway-model-name-rewrite": names,
            "x-gateway-inference-objective": st.sampled_from(["batch", "batch", "unheard-of"]),
        },
    ),
    subset=st.none() | st.lists(letters, unique=True).map(lambda ids: tuple(endpoint(each).address for each in ids)),
)


@st.composite
def pools(draw: st.DrawFn) -> Snapshot:
    """Small ones in every state, and some of which not all can be compared."""
    snapshot = draw(st.one_of(snapshots(), snapshots(), st.sampled_from([fleet(*range(size)) for size in (17, 40)])))
    if draw(st.booleans()):
        snapshot = replace(snapshot, probed_since_s=NOW, is_synced=True)
    return replace(snapshot, aliases={alias.name: alias for alias in ALIASES}, objectives={"batch": -1})


def settled(by: Decider, head: RequestHead, body: bytes, snapshot: Snapshot, seed: int) -> Route | Reply | Reject:
    """What becomes of a real request that is decided on now, or else when nothing new was learned while it was held."""
    rng, limit = Random(seed), by.settings.requests.max_body_bytes
    request = parse_request(head, body, max_body_bytes=limit, now=NOW, session_header="x-session-id")
    if isinstance(request, Reject):
        return request
    decision = by.director.decide(request, snapshot, now=NOW, rng=rng)
    if isinstance(decision, Hold):
        decision = by.director.decide(replace(request, may_wait_s=0.0), snapshot, now=NOW, rng=rng)
    assert not isinstance(decision, Hold)
    if isinstance(decision, Route):
        return rename(decision, request, head=head, body=body, extent=BodyExtent.WHOLE)
    return decision


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


@given(snapshot=snapshots(), head=heads, body=bodies, seed=st.integers(0, 3))
def test_a_verdict_is_what_is_known_of_the_endpoint(
    snapshot: Snapshot, head: RequestHead, body: bytes, seed: int
) -> None:
    told = Explainer(decider()).explain(head, body, snapshot, now=NOW, rng=Random(seed))
    states = {state.endpoint.name: state for state in snapshot.endpoints.values()}
    for row in told.candidates:
        state = states[row.name]
        truth = {
            "ready": state.is_ready,
            "confirmed": state.is_confirmed,
            "model": told.model in [card.id for card in state.cards],
            "subset": head.subset is None or row.address in head.subset,
            "role": state.endpoint.role not in ROLES_WITHOUT_ANSWERS,
        }
        said_ = {verdict.filter: verdict.allows for verdict in row.verdicts if verdict.filter in truth}
        relaxed = {"confirmed"} if not told.model else set()
        assert all(truth[name] == allows for name, allows in said_.items() if name not in relaxed)


# What is told of each kind of request, in words.
def known(*changes: Change) -> Snapshot:
    return known_after(*changes, FRESH)


def suspected(letter: str, *models: str) -> list[Change]:
    return [said(letter), answered(letter, *models), *[failed(letter, Failure.CONNECT)] * SUSPECT_FAILURES]


def with_role(letter: str, role: str) -> PoolChanged:
    return PoolChanged((Listing(replace(endpoint(letter), role=role), True, "1"),), ())


TWO: list[Change] = [listed("ab"), answered("a", "m"), answered("b", "n")]
ALL: list[Change] = [listed("abc"), *[answered(each, "m") for each in "abc"]]
BOTH: list[Change] = [listed("ab"), answered("a", "m"), answered("b", "m")]


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


def test_what_is_cached_of_a_prompt_that_is_passed_on_is_what_was_sent_of_any_such() -> None:
    by, snapshot, body = decider(requests={"unknownModel": "passthrough"}), known(*TWO), chat("gone", "x" * 2560)
    outcome = settled(by, RequestHead("POST", CHAT, JSON), body, snapshot, 0)
    assert isinstance(outcome, Route)
    by.record(outcome, now=NOW)
    told = explain(snapshot, body, by=by)
    assert {row.name for row in told.candidates if row.cached_tokens > 600} == {outcome.endpoints[0].name}


def test_a_session_is_told_by_its_header() -> None:
    by = decider(scheduling={"sessionHeader": "x-session-id", "scorers": [{"name": "session", "weight": 2}]})
    found = {explain(known(*BOTH), by=by, headers={"x-session-id": "s"}, seed=seed).why for seed in range(9)}
    assert found == {"b has the highest sum, 2 of 2; next is a with 0"}


def test_a_name_with_half_a_character_is_told_without_it() -> None:
    told = explain(known(*TWO), chat("half \ud83d"))
    assert (told.named_model, told.model) == ("half ?", "half ?")
    assert told.why == "model_not_found: no endpoint of the pool lists half ?; known are m, n"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param([said("a")], "its source says so", id="said by Kubernetes"),
        pytest.param([listed("a")], "nothing says that it is not", id="said by nobody"),
        pytest.param([said("a", ready=False)], "its source says that it is not", id="denied by Kubernetes"),
        pytest.param([listed("a"), refused("a")], "its probes fail: refused by a", id="denied by a probe"),
    ],
)
def test_who_says_that_an_endpoint_is_ready(changes: list[Change], why: str) -> None:
    assert explain(known(*changes)).candidates[0].verdicts[0].why == why


@pytest.mark.parametrize(
    ("models", "why"),
    [
        pytest.param([], "it lists no model", id="none"),
        pytest.param(["n", "o", "p"], "it lists n, o, p", id="a few"),
        pytest.param(["n", "o", "p", "q", "r"], "it lists n, o, p and 2 more", id="many"),
    ],
)
def test_what_another_endpoint_lists(models: list[str], why: str) -> None:
    told = explain(known(listed("ab"), answered("a", "m"), answered("b", *models)))
    assert told.candidates[1].verdicts[-1].why == why


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


def test_of_many_those_that_are_not_compared_say_so() -> None:
    told = explain(fleet(*range(1000)))
    assert told.compared <= MOST_COMPARED
    left = told.candidates[told.compared :]
    assert {each.verdicts[-1].why for each in left} == {f"not compared: {told.compared} of 1,000 are"}
    assert [each.name for each in left] == sorted(each.name for each in left)


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


@pytest.mark.parametrize("intent", [RouteToModel("m"), RouteToAny()])
def test_a_long_name_is_cut_in_the_sentence(intent: object) -> None:
    name = "x" * 5000
    body, path = (chat(name), CHAT) if isinstance(intent, RouteToModel) else (b"", f"/v1/models/{name}")
    told = explain(known(*TWO), body, method="POST" if body else "GET", path=path)
    assert told.outcome == "model_not_found"
    assert len(told.why) < 400
    assert told.named_model == name


def test_settings_and_director_are_those_of_the_moment() -> None:
    by = decider()
    explainer, snapshot = Explainer(by), known(*TWO)
    head = RequestHead("POST", CHAT, JSON)
    assert explainer.explain(head, chat("gone"), snapshot, now=NOW, rng=Random(0)).outcome == "model_not_found"
    other = decider(requests={"unknownModel": "passthrough", "maxBodyBytes": 1000})
    by.settings, by.director = other.settings, other.director
    assert explainer.explain(head, chat("gone"), snapshot, now=NOW, rng=Random(0)).outcome == "routed"
    assert explainer.explain(head, b"x" * 1001, snapshot, now=NOW, rng=Random(0)).outcome == "request_too_large"
