"""director/decide: where a request goes, row by row, and what holds whatever is known."""

import json
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.known import POOL, answered, endpoint, failed, known_after, listed, overdue, refused, round_of, said

from extproc.admission.inflight import InFlight
from extproc.admission.loads import Loads
from extproc.admission.saturation import Limits
from extproc.director.decide import EVIDENCE_AGE_S, SHOWN_MODEL_CHARACTERS, Director, DirectorPolicy
from extproc.registry.changes import (
    Change,
    Failure,
    FirstAnswerOverdue,
    Listing,
    ModelsListed,
    NamesListed,
    PoolChanged,
    PoolListed,
    ProbeFailed,
    RoundCompleted,
)
from extproc.registry.reduce import SUSPECT_FAILURES
from extproc.registry.store import Store
from extproc.scheduling.catalogue import build_profile
from extproc.scheduling.prefix import PrefixIndex
from extproc.values.decision import Decision, Hold, Reply, Route
from extproc.values.load import EngineLoad
from extproc.values.refusal import Reason, Reject
from extproc.values.request import DescribeModel, InferenceRequest, Intent, ListModels, RouteToAny, RouteToModel
from extproc.values.snapshot import Snapshot

ARRIVED_S = 100.0
HOLD_S = 1.0
FRESH = round_of(ARRIVED_S)
M = RouteToModel("m")
A, B = "10.0.0.1:8000", "10.0.0.2:8000"


def decide(
    intent: Intent,
    snapshot: Snapshot,
    *,
    subset: tuple[str, ...] | None = None,
    now: float = ARRIVED_S,
    arrived_s: float = ARRIVED_S,
    policy: DirectorPolicy = DirectorPolicy(hold_s=HOLD_S),  # noqa: B008 - frozen
    seed: int = 0,
    loads: Loads | None = None,
    objective: str | None = None,
) -> Decision:
    request = InferenceRequest(intent, arrived_s=arrived_s, subset=subset, objective=objective)
    return director_of(loads or fresh_loads(), policy).decide(request, snapshot, now=now, rng=Random(seed))


def fresh_loads() -> Loads:
    return Loads(in_flight=InFlight(), staleness_s=2.0)


def director_of(loads: Loads, policy: DirectorPolicy) -> Director:
    profile = build_profile(
        filters=("role",),
        scorer_weights={"ttft": 1.0},
        picker="max-score",
        loads=loads,
        tokens=loads.tokens,
        prefixes=PrefixIndex(1000),
    )
    return Director(profile=profile, policy=policy)


def told(decision: Decision) -> str:
    """A decision in a word: the ids of a route, the reason of a refusal, the status of a reply."""
    match decision:
        case Route(endpoints):
            return "".join(endpoint.id for endpoint in endpoints)
        case Reject(reason):
            return reason
        case Reply(status):
            return str(status)
        case Hold(probe=probe):
            return "hold, probe" if probe else "hold"


@pytest.mark.parametrize(
    ("changes", "subset", "verdict"),
    [
        pytest.param([answered("a", "m"), answered("b", "n")], None, "a", id="one serves it"),
        pytest.param([answered("a", "m", "n"), answered("b", "n")], None, "a", id="among several models"),
        pytest.param([answered("a", "m")], None, "a", id="no word of the other yet"),
        pytest.param([answered("b", "m"), failed("b", Failure.TIMEOUT)], None, "b", id="slow since"),
        pytest.param([answered("b", "m"), answered("b")], None, "b", id="an empty list since"),
        pytest.param([answered("a", "m"), answered("b", "m")], (B,), "b", id="the subset's"),
        pytest.param([answered("a", "n"), answered("b", "n")], None, Reason.MODEL_UNKNOWN, id="nobody lists it"),
        pytest.param([answered("a"), answered("b")], None, Reason.MODEL_UNKNOWN, id="nothing is served"),
        pytest.param([answered("a", "n"), overdue("b")], None, Reason.MODEL_UNKNOWN, id="the other overdue"),
        pytest.param([answered("a", "n"), refused("b")], None, Reason.MODEL_UNKNOWN, id="the other away"),
        pytest.param(
            [answered("a", "n"), failed("b", Failure.UNAUTHORIZED)],
            None,
            Reason.NOTHING_ANSWERED_YET,
            id="a 401 is due",
        ),
        pytest.param(
            [*[failed(each, Failure.TIMEOUT) for each in "ab"]], None, Reason.NOTHING_ANSWERED_YET, id="all slow"
        ),
        pytest.param([overdue("a"), overdue("b")], None, Reason.NOTHING_ANSWERED_YET, id="none ever answered"),
        pytest.param([answered("a", "m"), refused("a"), answered("b", "n")], None, Reason.MODEL_UNAVAILABLE, id="away"),
        pytest.param(
            [answered("a", "m"), refused("a"), failed("a", Failure.STATUS), answered("b", "n")],
            None,
            Reason.MODEL_UNAVAILABLE,
            id="back, not confirmed",
        ),
        pytest.param([answered("a", "m"), answered("b")], (B,), Reason.MODEL_UNAVAILABLE, id="outside of the subset"),
        pytest.param([answered("a", "m"), answered("b", "m")], (), Reason.MODEL_UNAVAILABLE, id="an empty subset"),
        pytest.param(
            [answered("a", "m"), refused("a"), refused("b")], None, Reason.NO_READY_ENDPOINTS, id="none ready"
        ),
        pytest.param([listed("")], None, Reason.NO_READY_ENDPOINTS, id="an empty pool"),
    ],
)
def test_a_model_on_fresh_evidence(changes: Sequence[Change], subset: tuple[str, ...] | None, verdict: str) -> None:
    snapshot = known_after(listed("ab"), *changes, FRESH)
    assert told(decide(M, snapshot, subset=subset)) == verdict


def suspected(letter: str) -> list[Change]:
    """An endpoint that Kubernetes calls ready, and that has answered, cannot be reached."""
    return [answered(letter, "m"), *[failed(letter, Failure.CONNECT)] * SUSPECT_FAILURES]


@pytest.mark.parametrize(
    ("changes", "subset", "verdict"),
    [
        pytest.param([*suspected("a"), answered("b", "m")], None, "b", id="not while another has the model"),
        pytest.param([*suspected("a"), answered("b", "n")], None, "a", id="the last choice"),
        pytest.param([*suspected("a"), answered("b", "m")], (A,), "a", id="the last choice of the subset"),
        pytest.param([*suspected("a"), answered("a", "m"), answered("b", "n")], None, "a", id="reached again"),
        pytest.param([*suspected("a"), said("a", ready=False)], None, Reason.MODEL_UNAVAILABLE, id="and not ready"),
    ],
)
def test_an_endpoint_that_is_ready_and_suspect(
    changes: Sequence[Change], subset: tuple[str, ...] | None, verdict: str
) -> None:
    snapshot = known_after(listed(""), said("a"), said("b"), *changes, overdue("b"), FRESH)
    assert told(decide(M, snapshot, subset=subset)) == verdict


def test_a_request_for_no_model_goes_to_a_suspect_last() -> None:
    both = [listed(""), said("a"), said("b"), *suspected("a")]
    assert told(decide(RouteToAny(), known_after(*both, answered("b", "n"), FRESH))) == "b"
    assert told(decide(RouteToAny(), known_after(*both, FRESH))) == "a"


@pytest.mark.parametrize(
    ("changes", "now", "verdict"),
    [
        pytest.param([FRESH], ARRIVED_S, Reason.MODEL_UNKNOWN, id="a round as it came"),
        pytest.param([round_of(ARRIVED_S - EVIDENCE_AGE_S)], ARRIVED_S, Reason.MODEL_UNKNOWN, id="just before"),
        pytest.param([round_of(ARRIVED_S - 1.01 * EVIDENCE_AGE_S)], ARRIVED_S, "hold, probe", id="too long before"),
        pytest.param([], ARRIVED_S, "hold, probe", id="no round ever"),
        pytest.param([], ARRIVED_S + 0.99 * HOLD_S, "hold, probe", id="not yet at the end of the hold"),
        pytest.param([], ARRIVED_S + HOLD_S, Reason.MODEL_UNKNOWN, id="at the end of the hold"),
        pytest.param([FRESH, listed("ab")], ARRIVED_S, "hold, probe", id="an endpoint came after the round"),
        pytest.param(
            [FRESH, listed("ab"), answered("b", "n")], ARRIVED_S, Reason.MODEL_UNKNOWN, id="it came and answered"
        ),
        pytest.param([FRESH, listed("ab"), answered("b", "m")], ARRIVED_S, "b", id="it came and serves it"),
    ],
)
def test_a_refusal_rests_on_fresh_evidence(changes: Sequence[Change], now: float, verdict: str) -> None:
    snapshot = known_after(listed("a"), answered("a", "n"), *changes)
    assert told(decide(M, snapshot, now=now)) == verdict


def test_a_route_needs_no_fresh_evidence() -> None:
    assert told(decide(M, known_after(listed("a"), answered("a", "m")))) == "a"


def test_a_hold_ends_with_the_policys_time() -> None:
    assert decide(M, known_after(listed("")), now=ARRIVED_S + 0.4) == Hold(ARRIVED_S + HOLD_S, probe=True)


def test_without_a_hold_there_is_none() -> None:
    policy = DirectorPolicy(hold_s=0.0)
    assert told(decide(M, known_after(listed("")), policy=policy)) == Reason.NO_READY_ENDPOINTS
    assert told(decide(ListModels(), known_after(), policy=policy)) == Reason.NOTHING_ANSWERED_YET


@pytest.mark.parametrize(
    ("changes", "subset", "verdict"),
    [
        pytest.param([answered("a", "m"), overdue("b")], None, "a", id="a confirmed one"),
        pytest.param([answered("a"), answered("b", "m")], (A,), "a", id="one that serves nothing will do"),
        pytest.param([overdue("a"), refused("b")], None, "a", id="a ready one where none is confirmed"),
        pytest.param([answered("a", "m"), refused("b")], (B,), Reason.NO_READY_ENDPOINTS, id="subset not ready"),
        pytest.param([answered("a", "m"), answered("b", "m")], (), Reason.NO_READY_ENDPOINTS, id="an empty subset"),
        pytest.param([refused("a"), refused("b")], None, Reason.NO_READY_ENDPOINTS, id="none ready"),
        pytest.param([listed("")], None, Reason.NO_READY_ENDPOINTS, id="an empty pool"),
    ],
)
def test_a_request_without_model(changes: Sequence[Change], subset: tuple[str, ...] | None, verdict: str) -> None:
    snapshot = known_after(listed("ab"), *changes, FRESH)
    assert told(decide(RouteToAny(), snapshot, subset=subset)) == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        pytest.param([answered("a", "n"), overdue("b")], "a", id="unknown: a confirmed endpoint before a ready one"),
        pytest.param([overdue("a"), refused("b")], "a", id="nothing is known: any ready one"),
        pytest.param([answered("a", "n"), answered("b", "m")], "b", id="known: the one that serves it"),
        pytest.param(
            [answered("a", "n"), answered("b", "m"), refused("b")], Reason.MODEL_UNAVAILABLE, id="known, its one away"
        ),
        pytest.param([refused("a"), refused("b")], Reason.NO_READY_ENDPOINTS, id="none ready"),
    ],
)
def test_unknown_models_may_pass_through(changes: Sequence[Change], verdict: str) -> None:
    policy = DirectorPolicy(hold_s=HOLD_S, unknown_model="passthrough")
    snapshot = known_after(listed("ab"), *changes, FRESH)
    assert {told(decide(M, snapshot, policy=policy, seed=seed)) for seed in range(8)} == {verdict}


@pytest.mark.parametrize(
    ("fallbacks", "size"), [pytest.param(0, 1, id="none"), pytest.param(1, 2, id="one"), pytest.param(9, 3, id="all")]
)
def test_fallbacks_serve_the_same_model(fallbacks: int, size: int) -> None:
    """Where there are fewer than the gateway may try, they stand repeatedly: it must never come to the list's end."""
    snapshot = known_after(listed("abcd"), *[answered(each, "m") for each in "abd"], answered("c", "n"))
    route = told(decide(M, snapshot, policy=DirectorPolicy(fallback_endpoints=fallbacks)))
    assert len(set(route)) == size
    assert list(route) == [route[index % size] for index in range(1 + fallbacks)]
    assert set(route) <= set("abd")


@pytest.mark.parametrize(
    ("model", "verdict"),
    [("m", "200"), ("gone", "200"), ("x", Reason.MODEL_UNKNOWN)],
)
def test_describing_a_model(model: str, verdict: str) -> None:
    snapshot = known_after(listed("ab"), answered("a", "m"), answered("b", "gone"), refused("b"), FRESH)
    assert told(decide(DescribeModel(model), snapshot)) == verdict


@pytest.mark.parametrize(
    ("changes", "at_once", "in_the_end"),
    [
        pytest.param([], "hold", Reason.NOTHING_ANSWERED_YET, id="source not read"),
        pytest.param([listed("a")], "hold", Reason.NOTHING_ANSWERED_YET, id="no word yet"),
        pytest.param([listed("a"), failed("a", Failure.TIMEOUT)], "hold", Reason.NOTHING_ANSWERED_YET, id="slow"),
        pytest.param([listed("a"), answered("a", "m")], "200", "200", id="all answered"),
        pytest.param([listed("a"), answered("a")], "200", "200", id="all answered that they serve nothing"),
        pytest.param([listed("ab"), answered("a", "m")], "hold", "200", id="an answer is due"),
        pytest.param([listed("ab"), answered("a", "m"), overdue("b")], "200", "200", id="the other overdue"),
        pytest.param([listed("a"), answered("a", "m"), refused("a")], "200", "200", id="known, none ready"),
        pytest.param(
            [listed("a"), failed("a", Failure.UNAUTHORIZED), overdue("a")],
            Reason.NOTHING_ANSWERED_YET,
            Reason.NOTHING_ANSWERED_YET,
            id="a 401 is unanswered, never an empty list",
        ),
    ],
)
def test_listing_the_models(changes: Sequence[Change], at_once: str, in_the_end: str) -> None:
    snapshot = known_after(*changes)
    assert told(decide(ListModels(), snapshot)) == at_once
    assert told(decide(ListModels(), snapshot, now=ARRIVED_S + HOLD_S)) == in_the_end


def test_a_list_names_every_known_model() -> None:
    reply = decide(ListModels(), known_after(listed("ab"), answered("b", "n"), answered("a", "m")))
    assert isinstance(reply, Reply)
    assert [entry["id"] for entry in json.loads(reply.body)["data"]] == ["m", "n"]


def test_a_refusal_names_what_there_is_and_no_address() -> None:
    refusal = decide(RouteToModel("n" * 5000), known_after(listed("a"), answered("a", "m"), FRESH))
    assert isinstance(refusal, Reject)
    assert refusal.details == {"model": "n" * SHOWN_MODEL_CHARACTERS, "available": "m"}
    assert "10.0.0.1" not in refusal.message


def test_deciding_changes_nothing() -> None:
    snapshot = known_after(listed("abc"), *[answered(each, "m") for each in "abc"])
    director = director_of(fresh_loads(), DirectorPolicy())
    request = InferenceRequest(M, arrived_s=ARRIVED_S)
    first, second = (director.decide(request, snapshot, now=ARRIVED_S, rng=Random(7)) for _ in range(2))
    assert first == second


QUEUED, FREE = EngineLoad(ARRIVED_S, waiting=5, running=9), EngineLoad(ARRIVED_S, waiting=0, running=9)
STALE = EngineLoad(ARRIVED_S - 60, waiting=99, running=9)
OBJECTIVES = NamesListed(objectives={"batch": -1, "chat": 0, "urgent": 10})
PAIR: list[Change] = [answered("a", "m"), answered("b", "m"), answered("c", "n")]


def with_role(letter: str, role: str) -> PoolChanged:
    return PoolChanged((Listing(replace(endpoint(letter), role=role), True, "1"),), ())


@pytest.mark.parametrize(
    ("readings", "objective", "subset", "changes", "verdict"),
    [
        pytest.param({"a": QUEUED, "b": QUEUED}, "batch", None, [], Reason.MODEL_SATURATED, id="all saturated"),
        pytest.param({"a": QUEUED, "b": FREE}, "batch", None, [], "b", id="one is free"),
        pytest.param({"a": QUEUED}, "batch", None, [], "ab", id="one is unknown"),
        pytest.param({"a": QUEUED, "b": STALE}, "batch", None, [], "ab", id="one is not known any more"),
        pytest.param(
            {"a": QUEUED, "b": QUEUED, "c": FREE}, "batch", None, [], Reason.MODEL_SATURATED, id="all of the model"
        ),
        pytest.param({"a": QUEUED, "b": QUEUED}, "chat", None, [], "ab", id="priority 0 is never shed"),
        pytest.param({"a": QUEUED, "b": QUEUED}, "urgent", None, [], "ab", id="nor is a higher one"),
        pytest.param({"a": QUEUED, "b": QUEUED}, "unheard-of", None, [], "ab", id="nor an objective that is not known"),
        pytest.param({"a": QUEUED, "b": QUEUED}, None, None, [], "ab", id="nor who has none"),
        pytest.param({"a": QUEUED, "b": FREE}, "batch", (A,), [], Reason.MODEL_SATURATED, id="all of the subset"),
        pytest.param({"a": QUEUED, "b": FREE}, "batch", (B,), [], "b", id="the rest of the pool, not the subset"),
        pytest.param({"a": QUEUED, "b": QUEUED}, "batch", (), [], Reason.MODEL_UNAVAILABLE, id="an empty subset"),
        pytest.param(
            {}, "batch", None, [said("a", ready=False), said("b", ready=False)], Reason.MODEL_UNAVAILABLE,
            id="none left",
        ),
        pytest.param(
            {"a": QUEUED, "b": FREE}, "batch", None, [with_role("b", "prefill")], Reason.MODEL_SATURATED,
            id="one that answers no client is not free",
        ),
        pytest.param(
            {"a": QUEUED, "b": FREE}, "batch", None, suspected("b"), Reason.MODEL_SATURATED,
            id="a suspect that seems free gets nothing either",
        ),
        pytest.param(
            {"b": QUEUED}, "batch", None, [said("a", ready=False), *suspected("b")], Reason.MODEL_SATURATED,
            id="suspects alone, saturated",
        ),
        pytest.param({}, "batch", None, [said("a", ready=False), *suspected("b")], "b", id="suspects alone, unknown"),
    ],
)  # fmt: skip
def test_what_can_be_shed_is_refused_where_nothing_is_free(
    readings: dict[str, EngineLoad],
    objective: str | None,
    subset: tuple[str, ...] | None,
    changes: Sequence[Change],
    verdict: str,
) -> None:
    """Endpoints a and b serve the model. A verdict of two letters is a route to either."""
    loads = fresh_loads()
    for letter, reading in readings.items():
        loads.report(letter, reading, now=ARRIVED_S)
    snapshot = known_after(OBJECTIVES, listed(""), *[said(each) for each in "abc"], *PAIR, *changes, FRESH)
    found = told(decide(M, snapshot, subset=subset, loads=loads, objective=objective))
    assert found in ([verdict] if isinstance(verdict, Reason) else [*verdict])


def test_a_request_without_model_can_be_shed_too() -> None:
    loads, snapshot = fresh_loads(), known_after(OBJECTIVES, listed("abc"), *PAIR, FRESH)
    for letter in "abc":
        assert isinstance(decide(RouteToAny(), snapshot, loads=loads, objective="batch"), Route)
        loads.report(letter, QUEUED, now=ARRIVED_S)
    assert told(decide(RouteToAny(), snapshot, loads=loads, objective="batch")) == Reason.POOL_SATURATED


@pytest.mark.parametrize(
    ("limits", "reading"),
    [
        pytest.param(Limits(queue_depth=2, kv_used_ratio=None), EngineLoad(ARRIVED_S, waiting=2), id="queue"),
        pytest.param(Limits(queue_depth=None, kv_used_ratio=0.5), EngineLoad(ARRIVED_S, kv_used_ratio=0.5), id="kv"),
        pytest.param(
            Limits(queue_depth=None, kv_used_ratio=None, in_flight=3), EngineLoad(ARRIVED_S, running=3), id="in flight"
        ),
    ],
)
def test_the_limits_are_the_policys(limits: Limits, reading: EngineLoad) -> None:
    loads, snapshot = fresh_loads(), known_after(OBJECTIVES, listed("a"), answered("a", "m"), FRESH)
    loads.report("a", reading, now=ARRIVED_S)
    for each, verdict in ((limits, Reason.MODEL_SATURATED), (Limits(None, None, None), "a")):
        assert told(decide(M, snapshot, loads=loads, objective="batch", policy=DirectorPolicy(limits=each))) == verdict


letters = st.sampled_from("abc")
steps = st.tuples(
    st.one_of(
        st.sets(letters).map(lambda pool: listed("".join(sorted(pool)))),
        st.builds(lambda letter, models: answered(letter, *models), letters, st.sets(st.sampled_from("mn"))),
        st.builds(failed, letters, st.sampled_from(Failure)),
        st.builds(overdue, letters),
        st.just(round_of(0.0)),
    ),
    st.sampled_from([0.0, 0.1, 0.4]),
)


class History:
    """Applies changes to a store and remembers them, to say from them alone what may be believed."""

    def __init__(self, taken: list[tuple[Change, float]]) -> None:
        self.store = Store(POOL)
        self.now = ARRIVED_S
        self.pool: set[str] = set()
        self.round_s = float("-inf")
        self.of: dict[str, list[Change]] = {}
        start: list[Change] = [listed("ab"), answered("a", "m"), answered("b", "n"), round_of(0.0)]
        for change, passed_s in [*((change, 0.0) for change in start), *taken]:
            self.now += passed_s
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case PoolListed(listings):
                self.pool = {listing.endpoint.id for listing in listings}
                self.of = {id_: self.of.get(id_, []) for id_ in self.pool}
            case RoundCompleted():
                if not all(self.of.values()):
                    return  # a round probes every endpoint
                self.round_s = self.now
                self.store.apply(round_of(self.now), now=self.now)
                return
            case ModelsListed(id_) | ProbeFailed(id_) | FirstAnswerOverdue(id_) if id_ in self.pool:
                self.of[id_].append(change)
        self.store.apply(change, now=self.now)

    def may_serve(self, id_: str, model: str) -> bool:
        """Whether the endpoint said so in its last believed list, and its port was open ever since."""
        empty_lists = 0
        for change in reversed(self.of.get(id_, [])):
            match change:
                case ProbeFailed(failure=Failure.REFUSED):
                    return False
                case ModelsListed(cards=()):
                    empty_lists += 1
                case ModelsListed(cards=cards):
                    return empty_lists < 2 and model in [card.id for card in cards]
        return False


@given(
    taken=st.lists(steps, max_size=25),
    model=st.sampled_from("mnx"),
    subset=st.none() | st.sets(st.sampled_from([A, B])).map(tuple),
    fallbacks=st.integers(0, 2),
    seed=st.integers(0, 9),
)
def test_never_a_wrong_endpoint(
    taken: list[tuple[Change, float]], model: str, subset: tuple[str, ...] | None, fallbacks: int, seed: int
) -> None:
    history = History(taken)
    snapshot = history.store.snapshot
    decision = decide(
        RouteToModel(model),
        snapshot,
        subset=subset,
        now=history.now,
        arrived_s=history.now,
        policy=DirectorPolicy(fallback_endpoints=fallbacks),
        seed=seed,
    )
    if isinstance(decision, Route):
        for endpoint in decision.endpoints:
            state = snapshot.endpoints[endpoint.id]
            assert state.is_ready
            assert state.is_confirmed
            assert history.may_serve(endpoint.id, model)
            assert subset is None or endpoint.address in subset
    else:
        servers = [e for e in snapshot.routable if history.may_serve(e.id, model)]
        assert not [e for e in servers if subset is None or e.address in subset], "refused though it is served"


@given(
    taken=st.lists(steps, max_size=25),
    intent=st.sampled_from([M, RouteToModel("x"), RouteToAny(), ListModels(), DescribeModel("m")]),
    waited_s=st.sampled_from([0.0, 0.2, 0.3, 0.5, 1.0, 3.0]),
    hold_s=st.sampled_from([0.0, 0.5, 1.0]),
    unknown_model=st.sampled_from(["reject", "passthrough"]),
)
def test_never_held_past_its_time_nor_refused_on_stale_evidence(
    taken: list[tuple[Change, float]], intent: Intent, waited_s: float, hold_s: float, unknown_model: str
) -> None:
    history = History(taken)
    arrived_s = history.now - waited_s
    policy = DirectorPolicy(hold_s=hold_s, unknown_model="passthrough" if unknown_model == "passthrough" else "reject")
    decision = decide(intent, history.store.snapshot, now=history.now, arrived_s=arrived_s, policy=policy)
    if isinstance(decision, Hold):
        assert history.now < decision.until_s <= arrived_s + hold_s
    elif isinstance(decision, Reject) and history.now < arrived_s + hold_s and not isinstance(intent, ListModels):
        assert history.round_s >= arrived_s - EVIDENCE_AGE_S
        assert all(history.of.values()), "refused before every endpoint was heard of"
