"""director/decider: the director with its memory, as the server has it: what holds whatever is configured and known."""

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.known import answered, endpoint, failed, known_after, said

from extproc.director.decider import Decider
from extproc.registry.changes import Change, Failure, Listing, NamesListed, PoolChanged, PoolListed
from extproc.registry.reduce import SUSPECT_FAILURES
from extproc.scheduling.candidates import MOST_COMPARED
from extproc.scheduling.catalogue import FILTERS, PICKERS, SCORERS
from extproc.scheduling.filters import ROLES_WITHOUT_ANSWERS
from extproc.scheduling.prefix import BLOCK_BYTES, DEFAULT_BLOCKS
from extproc.settings.schema import Settings
from extproc.values.decision import Decision, Route
from extproc.values.endpoint import Endpoint
from extproc.values.load import Adapters, EngineLoad
from extproc.values.model import ModelCard
from extproc.values.refusal import Reject
from extproc.values.request import InferenceRequest, Prompt, RouteToAny, RouteToModel
from extproc.values.snapshot import Snapshot

NOW = 100.0
TEXT = bytes(range(256)) * 20
OBJECTIVES = NamesListed(objectives={"batch": -1})


def decider(**groups: Any) -> Decider:
    return Decider(Settings.model_validate(groups))


def asked(model: str | None = "m", text: bytes | None = None, **about: Any) -> InferenceRequest:
    prompt = None if text is None else Prompt(text, len(text))
    intent = RouteToAny() if model is None else RouteToModel(model)
    return InferenceRequest(intent, arrived_s=about.pop("arrived_s", NOW - 60), prompt=prompt, **about)


def decide(by: Decider, request: InferenceRequest, snapshot: Snapshot, *, now: float = NOW, seed: int = 0) -> Decision:
    return by.director.decide(request, snapshot, now=now, rng=Random(seed))


def routed(by: Decider, request: InferenceRequest, snapshot: Snapshot, *, now: float = NOW, seed: int = 0) -> Route:
    """The route of a request, which is kept in mind."""
    route = decide(by, request, snapshot, now=now, seed=seed)
    assert isinstance(route, Route)
    by.record(route, now=now)
    return route


def serving(*letters: str, model: str = "m") -> Snapshot:
    return known_after(OBJECTIVES, PoolListed.of(map(endpoint, letters)), *[answered(each, model) for each in letters])


def fleet(*numbers: int) -> Snapshot:
    pool = [Endpoint(f"e{n:03}", f"e{n}", f"10.0.{n}.1:8000") for n in numbers]
    return known_after(PoolListed.of(pool), *[answered(each.id, "m") for each in pool])


# What may be configured.
scorer = st.fixed_dictionaries({"name": st.sampled_from(sorted(SCORERS)), "weight": st.floats(0, 1e6)})
scheduling = st.fixed_dictionaries(
    {},
    optional={
        "filters": st.lists(st.sampled_from(sorted(FILTERS)), max_size=2),
        "scorers": st.lists(scorer, min_size=1, max_size=4, unique_by=lambda each: each["name"]),
        "picker": st.sampled_from(sorted(PICKERS)),
        "prefixBlocks": st.sampled_from([0, 1, 100, 1_000_000]),
    },
)
limit = st.none() | st.floats(0, 10)
configured = st.fixed_dictionaries(
    {
        "scheduling": scheduling.map(lambda group: group | {"sessionHeader": "x-session-id"}),
        "admission": st.fixed_dictionaries(
            {},
            optional={
                "queueDepth": limit,
                "kvUsedRatio": st.none() | st.floats(0, 1),
                "inFlight": st.none() | st.floats(1, 10),
            },
        ),
        "envoy": st.fixed_dictionaries({"fallbackEndpoints": st.integers(0, 3)}),
    }
)

# What may be known.
letters = st.sampled_from("abcde")
roles = st.sampled_from(["", "both", "decode", *sorted(ROLES_WITHOUT_ANSWERS)])
models = st.lists(st.sampled_from(["m", "n", "lora"]), unique=True)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    changes: list[Change] = [OBJECTIVES]
    for letter in draw(st.lists(letters, unique=True)):
        at = replace(endpoint(letter), role=draw(roles))
        cards = tuple(ModelCard(id_, parent="m" if id_ == "lora" else None) for id_ in draw(models))
        changes += [PoolChanged((Listing(at, True, "1"),), ()), msgspec.structs.replace(answered(letter), cards=cards)]
        match draw(st.sampled_from(["well", "well", "well", "not ready", "suspect", "began anew"])):
            case "not ready":
                changes.append(PoolChanged((Listing(at, False, "1"),), ()))
            case "suspect":
                changes += [failed(letter, Failure.CONNECT)] * SUSPECT_FAILURES
            case "began anew":
                changes.append(PoolChanged((Listing(at, True, "2"),), ()))
    return known_after(*changes, now=NOW - 30)


readings = st.builds(
    EngineLoad,
    st.floats(NOW - 10, NOW),
    waiting=st.none() | st.integers(0, 20),
    running=st.none() | st.integers(0, 20),
    kv_used_ratio=st.none() | st.floats(0, 1),
    adapters=st.none()
    | st.builds(Adapters, st.frozensets(st.sampled_from(["lora", "x"])), st.just(frozenset()), st.just(1)),
    block_tokens=st.none() | st.just(16),
    blocks=st.none() | st.integers(1, 10**6),
)
events = st.lists(
    st.one_of(
        st.tuples(st.just("read"), letters, readings),
        st.tuples(st.just("forget"), letters, st.none()),
        st.tuples(st.just("route"), st.sampled_from("mn"), st.integers(0, len(TEXT))),
    ),
    max_size=8,
)
requests = st.builds(
    asked,
    st.sampled_from(["m", "n", "lora", "nobody's"]),
    st.none() | st.integers(0, len(TEXT)).map(lambda end: TEXT[:end]),
    subset=st.none()
    | st.lists(letters, unique=True).map(lambda known: tuple(endpoint(each).address for each in known)),
    objective=st.sampled_from([None, "batch", "unheard-of"]),
    session=st.sampled_from([None, "s", "t"]),
)


def after(by: Decider, taken: list[Any], snapshot: Snapshot) -> Decider:
    for what, name, value in taken:
        if what == "read":
            by.report(name, value, now=NOW)
        elif what == "forget":
            by.forget(name)
        elif isinstance(route := decide(by, asked(name, TEXT[:value]), snapshot), Route):
            by.record(route, now=NOW)
    return by


@given(
    groups=configured,
    snapshot=snapshots(),
    taken=events,
    request_=requests,
    is_exact=st.booleans(),
    seed=st.integers(0, 9),
)
def test_no_configuration_routes_to_an_endpoint_that_may_not_have_the_request(
    groups: dict[str, Any],
    snapshot: Snapshot,
    taken: list[Any],
    request_: InferenceRequest,
    is_exact: bool,
    seed: int,
) -> None:
    """One that lists the model, is ready and confirmed, in the subset, and of a role that answers: or nothing."""
    by = decider(**groups)
    by.in_flight.is_exact = is_exact
    decision = decide(after(by, taken, snapshot), request_, snapshot, seed=seed)
    filters = groups["scheduling"].get("filters", ["role"])
    may = [
        state.endpoint
        for state in snapshot.endpoints.values()
        if state.is_routable
        and request_.model in [card.id for card in state.cards]
        and (request_.subset is None or state.endpoint.address in request_.subset)
        and not ("role" in filters and state.endpoint.role in ROLES_WITHOUT_ANSWERS)
    ]
    if isinstance(decision, Route):
        assert all(each in may for each in decision.endpoints)
        assert len(decision.endpoints) == 1 + groups["envoy"]["fallbackEndpoints"]
        assert all(0.0 <= score <= 1.0 for scores in decision.scores.by_scorer.values() for score in scores)
        first = decision.scores.totals[decision.scores.candidates.index(decision.endpoints[0])]
        assert 0.0 <= first <= max(decision.scores.totals)
        assert decision.work.uncached_tokens >= 0.0
    else:
        assert isinstance(decision, Reject)
        assert not may or (request_.objective == "batch" and decision.refusal.status == 429)


@given(snapshot=snapshots(), request_=requests, seed=st.integers(0, 9))
def test_by_default_nothing_is_sent_to_a_suspect_while_another_has_the_model(
    snapshot: Snapshot, request_: InferenceRequest, seed: int
) -> None:
    decision = decide(decider(), request_, snapshot, seed=seed)
    if isinstance(decision, Route):
        known = snapshot.models[request_.model or ""]
        chosen_suspect = decision.endpoints[0] in known.suspects
        others = [
            each
            for each in known.candidates
            if (request_.subset is None or each.address in request_.subset) and each.role not in ROLES_WITHOUT_ANSWERS
        ]
        assert chosen_suspect == (not others)


def memory(by: Decider) -> Any:
    """All that it keeps in mind, what stands for nothing left out."""
    seen: dict[int, Any] = {}

    def flat(value: Any) -> Any:
        if isinstance(value, str | int | float | bytes | bool | None | msgspec.Struct):
            return value
        if id(value) in seen:
            return "seen"
        seen[id(value)] = value
        if isinstance(value, dict):
            return {key: flat(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset) or hasattr(value, "popleft"):
            return [flat(each) for each in value]
        names = getattr(value, "__slots__", None) or vars(value)
        return {name: flat(getattr(value, name)) for name in names}

    return flat({"in flight": by.in_flight, "loads": by.loads, "prefixes": by.prefixes})


@given(groups=configured, snapshot=snapshots(), taken=events, request_=requests, seed=st.integers(0, 9))
def test_deciding_changes_nothing(
    groups: dict[str, Any], snapshot: Snapshot, taken: list[Any], request_: InferenceRequest, seed: int
) -> None:
    """So `explain` tells what would be decided. (The first time endpoints are seen, they get a place in memory.)"""
    by = after(decider(**groups), taken, snapshot)
    first = decide(by, request_, snapshot, seed=seed)
    before = deepcopy(memory(by))
    for other in range(3):
        decide(by, request_, snapshot, seed=other)
    assert decide(by, request_, snapshot, seed=seed) == first
    assert memory(by) == before


@pytest.mark.parametrize("size", [2, MOST_COMPARED, 40, 100])
def test_replicas_that_share_nothing_agree_on_a_prompt(size: int) -> None:
    one, other, snapshot = decider(), decider(), fleet(*range(size))
    for number in range(100):
        request = asked(text=b"%08d" % number * 200)
        first, second = decide(one, request, snapshot, seed=number), decide(other, request, snapshot, seed=-1 - number)
        assert isinstance(first, Route)
        assert isinstance(second, Route)
        assert first.endpoints == second.endpoints


@pytest.mark.parametrize("size", [3, MOST_COMPARED, 40, 100])
def test_when_an_endpoint_leaves_only_its_prompts_move(size: int) -> None:
    gone = size // 2
    before, left = fleet(*range(size)), fleet(*[number for number in range(size) if number != gone])
    moved = set()
    for number in range(300):
        request = asked(text=b"%08d" % number * 200)
        first, second = decide(decider(), request, before), decide(decider(), request, left)
        assert isinstance(first, Route)
        assert isinstance(second, Route)
        if first.endpoints != second.endpoints:
            moved.add(first.endpoints[0].id)
    assert moved <= {f"e{gone:03}"}


def test_a_prompt_goes_back_to_where_its_beginning_is() -> None:
    by, snapshot = decider(), serving(*"abcdef")
    first = routed(by, asked(text=TEXT), snapshot)
    again = routed(by, asked(text=TEXT + b"and more"), snapshot, now=NOW + 30)
    assert again.endpoints == first.endpoints
    assert (first.work.cached_tokens, again.work.cached_tokens) == (0.0, len(TEXT) / 4)


def test_an_endpoint_that_is_forgotten_has_no_beginnings_any_more() -> None:
    by, snapshot = decider(), serving("a")
    routed(by, asked(text=TEXT), snapshot)
    by.report("a", EngineLoad(NOW, waiting=3), now=NOW)
    by.forget("a")
    assert (len(by.prefixes), by.loads.readings(), by.loads.of("a").requests(NOW)) == (0, {}, 0.0)
    anew = known_after(*[said("a", life=life) for life in "12"], answered("a", "m"))
    assert routed(by, asked(text=TEXT), anew).work.cached_tokens == 0.0


def test_an_endpoint_that_is_forgotten_is_another_one_from_then_on() -> None:
    """What it had in its queue goes with it, though the same endpoints serve the model."""
    by, snapshot = decider(), serving("a", "b")
    by.report("a", EngineLoad(NOW, waiting=50, running=50), now=NOW)
    by.report("b", EngineLoad(NOW, waiting=10, running=10), now=NOW)
    assert routed(by, asked(), snapshot).endpoints[0].id == "b"
    by.forget("a")
    by.report("a", EngineLoad(NOW + 1, waiting=0, running=0), now=NOW + 1)
    assert routed(by, asked(), snapshot, now=NOW + 1).endpoints[0].id == "a"


def test_requests_that_no_reading_shows_yet_count() -> None:
    """A burst between two readings does not all go where there was the least to do."""
    by, snapshot = decider(), serving(*"abcd")
    for letter in "abcd":
        by.report(letter, EngineLoad(NOW, waiting=0, running=0), now=NOW)
    found = [
        routed(by, asked(text=b"%08d" % number * 2000), snapshot, now=NOW + 0.001 * number).endpoints[0].id
        for number in range(40)
    ]
    assert {letter: found.count(letter) > 5 for letter in "abcd"} == dict.fromkeys("abcd", True)


@pytest.mark.parametrize(
    ("said_of_b", "chosen"),
    [
        pytest.param({"waiting": 20, "running": 50}, "a", id="one waits long"),
        pytest.param({"waiting": 0, "running": 0}, "ab", id="none waits"),
    ],
)
def test_readings_bear_on_the_choice(said_of_b: dict[str, Any], chosen: str) -> None:
    by, snapshot = decider(), serving("a", "b")
    for at_s in (NOW - 1, NOW):  # a few requests tell what one of them takes
        for letter in "ab":
            by.loads.send(letter, 2000.0, now=at_s)
    by.report("a", EngineLoad(NOW + 1, waiting=0, running=0), now=NOW + 1)
    by.report("b", EngineLoad(NOW + 1, **said_of_b), now=NOW + 1)
    prompts = [b"%08d" % number * 500 for number in range(50)]
    found = {decide(by, asked(text=text), snapshot, now=NOW + 1).endpoints[0].id for text in prompts}  # type: ignore[union-attr]
    assert found == set(chosen)


def test_a_queue_that_only_others_filled_is_a_queue() -> None:
    """Other replicas of the picker, or the one that ran before this one."""
    by, snapshot = decider(), serving("a", "b")
    by.loads.send("a", 2000.0, now=NOW - 9)
    by.report("a", EngineLoad(NOW, waiting=2, running=8), now=NOW)
    by.report("b", EngineLoad(NOW, waiting=50, running=8), now=NOW)
    for number in range(20):
        decision = decide(by, asked(text=b"%08d" % number * 500), snapshot)
        assert isinstance(decision, Route)
        assert names(decision.endpoints) == "a"


@pytest.mark.parametrize(
    ("reading", "blocks"),
    [
        pytest.param(EngineLoad(NOW, block_tokens=16, blocks=640), 640 * 16 * 4 // BLOCK_BYTES, id="as the page says"),
        pytest.param(EngineLoad(NOW, blocks=640), DEFAULT_BLOCKS, id="a page that says one half"),
        pytest.param(EngineLoad(NOW), DEFAULT_BLOCKS, id="a page that does not say"),
    ],
)
def test_the_index_is_shared_out_by_the_engines_caches(reading: EngineLoad, blocks: int) -> None:
    by = decider()
    by.report("a", reading, now=NOW)
    assert by.prefixes.of("a").cache_blocks == blocks


@pytest.mark.parametrize(
    ("admission", "reading", "is_shed"),
    [
        pytest.param({}, {"waiting": 5}, True, id="the default queue"),
        pytest.param({}, {"waiting": 4}, False, id="less than that"),
        pytest.param({}, {"kv_used_ratio": 0.8}, True, id="the default share of the cache"),
        pytest.param({}, {"running": 1000}, False, id="no limit in flight by default"),
        pytest.param({"queueDepth": 2}, {"waiting": 2}, True, id="another queue"),
        pytest.param({"kvUsedRatio": 0.5}, {"kv_used_ratio": 0.5}, True, id="another share"),
        pytest.param({"inFlight": 3}, {"running": 3}, True, id="a limit in flight"),
        pytest.param({"queueDepth": None, "kvUsedRatio": None}, {"waiting": 9, "kv_used_ratio": 1.0}, False, id="none"),
    ],
)
def test_what_is_shed_gets_a_429_that_says_when_to_come_again(
    admission: dict[str, Any], reading: dict[str, Any], is_shed: bool
) -> None:
    by, snapshot = decider(admission=admission), serving("a", "b")
    for letter in "ab":
        by.report(letter, EngineLoad(NOW, **reading), now=NOW)
    shed = decide(by, asked(objective="batch"), snapshot)
    assert isinstance(decide(by, asked(), snapshot), Route), "what cannot be shed goes on"
    assert isinstance(decide(by, asked(objective="batch"), snapshot, now=NOW + 60), Route), "the pages are too old"
    if not is_shed:
        assert isinstance(shed, Route)
        return
    assert isinstance(shed, Reject)
    assert (shed.refusal.status, shed.refusal.code, shed.refusal.retry_after_s) == (429, "overloaded", 1)
    error = json.loads(shed.body())["error"]
    assert (error["type"], error["code"], error["param"]) == ("overloaded_error", "overloaded", "model")
    assert "`m`" in error["message"]


def test_exact_counts_bear_on_the_limit_in_flight() -> None:
    by, snapshot = decider(admission={"inFlight": 2}), serving("a")
    by.in_flight.is_exact = True
    for expected in (Route, Route, Reject):
        decision = decide(by, asked(objective="batch"), snapshot)
        assert isinstance(decision, expected)
        by.in_flight.begin(endpoint("a"))


def test_repr_tells_what_it_knows() -> None:
    assert repr(decider()) == "<Decider <Loads of 0 endpoints> <PrefixIndex of 0 blocks at 0 endpoints>>"


def names(endpoints: Sequence[Endpoint]) -> str:
    return "".join(each.id for each in endpoints)


@pytest.mark.parametrize("picker", PICKERS)
def test_fallbacks_of_a_route_serve_the_model_too(picker: str) -> None:
    by = decider(scheduling={"picker": picker}, envoy={"fallbackEndpoints": 3})
    route = routed(by, asked(text=TEXT), serving("a", "b"))
    assert set(names(route.endpoints)) == {"a", "b"}
    assert names(route.endpoints[:2]) == names(route.endpoints[2:])


def test_other_settings_forget_nothing() -> None:
    """Not what is where, not what was sent, not what engines said, not what is in flight."""
    by, snapshot = decider(scheduling={"scorers": [{"name": "prefix"}]}), serving("a", "b")
    first = routed(by, asked(text=TEXT), snapshot).endpoints[0]
    by.report("a", EngineLoad(NOW, waiting=3.0), now=NOW)
    by.in_flight.begin(first)
    before = by.loads, by.prefixes, by.in_flight, len(by.prefixes), by.loads.of(first.id)
    director = by.director
    by.configure(Settings.model_validate({"scheduling": {"scorers": [{"name": "prefix"}], "prefixBlocks": 5_000}}))
    assert by.director is not director
    assert (by.loads, by.prefixes, by.in_flight, len(by.prefixes), by.loads.of(first.id)) == before
    assert by.in_flight.count(first.id) == 1
    assert all(routed(by, asked(text=TEXT), snapshot, seed=seed).endpoints[0] == first for seed in range(8))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param({"envoy": {"fallbackEndpoints": 1}}, 2, id="fallbacks"),
        pytest.param({"requests": {"unknownModel": "passthrough"}}, 1, id="unknown models"),
    ],
)
def test_other_settings_decide_from_then_on(groups: dict[str, Any], expected: int) -> None:
    by, snapshot = decider(requests={"hold": "0s"}), serving("a", "b")
    model = "m" if "envoy" in groups else "other"
    before = decide(by, asked(model), snapshot)
    by.configure(Settings.model_validate({"requests": {"hold": "0s"}} | groups))
    after = decide(by, asked(model), snapshot)
    assert isinstance(after, Route)
    assert len(after.endpoints) == expected
    assert by.settings.envoy.fallback_endpoints == expected - 1
    assert before != after


def test_less_room_for_prompts_is_kept_to_from_the_next_one_on() -> None:
    by, snapshot = decider(), serving("a", "b")
    routed(by, asked(text=TEXT), snapshot)
    blocks = len(by.prefixes)
    by.configure(Settings.model_validate({"scheduling": {"prefixBlocks": blocks // 2}}))
    routed(by, asked(text=bytes(reversed(TEXT))), snapshot)
    assert 0 < len(by.prefixes) <= blocks // 2


def test_an_endpoint_is_forgotten_by_the_director_in_use() -> None:
    by, snapshot = decider(), serving("a")
    by.configure(Settings())
    routed(by, asked(text=TEXT), snapshot)
    by.forget("a")
    route = routed(by, asked(text=TEXT), snapshot)
    assert route.work.uncached_tokens == route.work.prompt_tokens


def test_an_edit_that_says_nothing_of_scheduling_keeps_what_is_known_of_candidates() -> None:
    """To make it again takes 20 ms of the next request in a pool of 5,000."""
    by = decider()
    before = by.director.profile
    by.configure(Settings.model_validate({"envoy": {"fallbackEndpoints": 2}}))
    assert by.director.profile is before
    by.configure(Settings.model_validate({"scheduling": {"picker": "power-of-two"}}))
    assert by.director.profile is not before


def test_where_pages_are_read_no_more_the_last_ones_are_forgotten() -> None:
    """They would look like what is so now, for ever."""
    by = decider()
    by.report("a", EngineLoad(NOW, waiting=90.0, running=9.0), now=NOW)
    profile = by.director.profile
    by.configure(Settings.model_validate({"probes": {"metrics": {"staleness": "7s"}}}))
    assert (by.loads.staleness_s, list(by.loads.readings())) == (7.0, ["a"])
    by.configure(Settings.model_validate({"probes": {"metrics": {"interval": "0s"}}}))
    assert by.loads.readings() == {}
    assert by.director.profile is not profile, "it has the loads of before"
