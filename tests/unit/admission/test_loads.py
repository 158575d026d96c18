"""admission/loads: what is known of an endpoint's load. The laws, not the constants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.admission.inflight import InFlight
from extproc.admission.loads import LONGEST_UNSEEN_S, SENDING_S, Loads
from extproc.values.decision import Work
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad

STALENESS_S = 2.0
LONG = 8000.0
A = Endpoint("a", "a", "10.0.0.1:8000")


def fresh(*, in_flight: InFlight | None = None) -> Loads:
    return Loads(in_flight=in_flight or InFlight(), staleness_s=STALENESS_S)


def page(asked_at_s: float, **said: Any) -> EngineLoad:
    return EngineLoad(asked_at_s, **said)


@pytest.mark.parametrize(
    ("age_s", "confidence"),
    [
        pytest.param(0.0, 1.0, id="new"),
        pytest.param(STALENESS_S, 1.0, id="the last moment of it"),
        pytest.param(1.5 * STALENESS_S, 0.5, id="half faded"),
        pytest.param(2 * STALENESS_S, 0.0, id="faded"),
        pytest.param(1e9, 0.0, id="long ago"),
    ],
)
def test_readings_fade(age_s: float, confidence: float) -> None:
    loads = fresh()
    loads.report("a", page(100.0, waiting=1), now=100.1)
    assert loads.of("a").confidence(100.0 + age_s) == pytest.approx(confidence)


def test_what_was_never_read_is_unknown_which_is_not_idle() -> None:
    load = fresh().of("a")
    assert (load.reading, load.confidence(0.0), load.waiting, load.running) == (None, 0.0, None, None)


@given(
    ages_s=st.lists(st.floats(0, 5), min_size=2, max_size=2), said=st.sampled_from([0, 1, 50]), sent=st.integers(0, 3)
)
def test_fading_makes_no_jump_and_never_turns(ages_s: list[float], said: int, sent: int) -> None:
    """Of the requests too, which fade to what was routed lately."""
    loads = fresh()
    for _ in range(sent):
        loads.send("a", LONG, now=99.9)
    loads.report("a", page(100.0, waiting=said, running=said), now=100.0)
    load, (early_s, late_s) = loads.of("a"), sorted(100.0 + age_s for age_s in ages_s)
    assert load.confidence(early_s) >= load.confidence(late_s)
    assert load.confidence(early_s) - load.confidence(late_s) <= (late_s - early_s) / STALENESS_S + 1e-9
    slope = (2 * said + 2 * sent) * (1 / STALENESS_S + 1)
    assert abs(load.requests(early_s) - load.requests(late_s)) <= slope * (late_s - early_s) + 1e-9


@pytest.mark.parametrize(
    ("sent_at_s", "asked_at_s", "unseen"),
    [
        pytest.param([], 100.0, 0, id="nothing was sent"),
        pytest.param([90.0, 99.0], 100.0, 0, id="long before the page was asked for: it shows there"),
        pytest.param([100.0 - SENDING_S / 2], 100.0, 1, id="just before: still on its way"),
        pytest.param([100.1, 100.2], 100.0, 2, id="after"),
        pytest.param([99.0, 100.1], 100.0, 1, id="before and after"),
    ],
)
def test_a_request_is_counted_until_a_reading_can_show_it(
    sent_at_s: list[float], asked_at_s: float, unseen: int
) -> None:
    loads = fresh()
    loads.report("a", page(80.0, waiting=0, running=0), now=80.0)
    for at_s in sent_at_s:
        loads.send("a", LONG, now=at_s)
    loads.report("a", page(asked_at_s, waiting=3, running=2), now=100.3)
    load = loads.of("a")
    assert (load.waiting, load.running, load.requests(100.3)) == (3 + unseen, 2 + unseen, 5 + unseen)
    loads.send("a", LONG, now=100.4)
    assert (load.waiting, load.running, load.requests(100.4)) == (4 + unseen, 3 + unseen, 6 + unseen)


def test_where_no_reading_comes_any_more_what_was_sent_is_dropped_in_time() -> None:
    """Else what is kept of it would grow for as long as its page cannot be read."""
    loads = fresh()
    loads.report("a", page(0.0, waiting=0), now=0.0)
    for step in range(1000):
        loads.send("a", LONG, now=step * 0.1)
    assert loads.of("a").waiting == pytest.approx(LONGEST_UNSEEN_S / 0.1, abs=1)


def test_an_older_reading_says_nothing() -> None:
    """Pages overlap: a slow one must not undo what a quick one told."""
    loads = fresh()
    newer, older = page(100.0, waiting=1), page(99.0, waiting=9)
    for reading in (newer, older, page(100.0, waiting=9)):
        loads.report("a", reading, now=100.1)
    assert loads.of("a").reading is newer
    assert loads.readings() == {"a": newer}


@pytest.mark.parametrize(
    ("said", "waiting", "running", "requests"),
    [
        pytest.param({"waiting": 2, "running": 3}, 2, 3, 5, id="both"),
        pytest.param({"waiting": 2}, 2, None, 2, id="the queue alone"),
        pytest.param({"running": 3}, None, 3, 3, id="the batch alone"),
        pytest.param({"kv_used_ratio": 0.5}, None, None, 0, id="neither"),
    ],
)
def test_what_a_page_says_and_what_not(
    said: dict[str, float], waiting: float | None, running: float | None, requests: float
) -> None:
    loads = fresh()
    loads.report("a", page(100.0, **said), now=100.0)
    load = loads.of("a")
    assert (load.waiting, load.running, load.requests(100.0)) == (waiting, running, requests)


def test_without_readings_what_was_routed_lately_counts() -> None:
    loads = fresh()
    loads.send("a", LONG, now=100.0)
    load = loads.of("a")
    assert load.requests(100.0) == 1.0
    assert 0.0 < load.requests(101.0) < 1.0
    assert load.requests(200.0) == pytest.approx(0.0)


def test_a_fresh_idle_page_is_believed_before_what_was_routed_lately() -> None:
    loads = fresh()
    for _ in range(50):
        loads.send("a", LONG, now=100.0)
    loads.report("a", page(100.5, waiting=0, running=0), now=100.5)
    assert loads.of("a").requests(100.5) == 0.0


@given(begun=st.integers(0, 9), sent=st.integers(0, 9), said=st.none() | st.integers(0, 20), age_s=st.floats(0, 9))
def test_exact_counts_are_never_undershot(begun: int, sent: int, said: int | None, age_s: float) -> None:
    """Others may send there too, but what we follow is there."""
    in_flight = InFlight()
    in_flight.is_exact = True
    loads = fresh(in_flight=in_flight)
    for _ in range(sent):
        loads.send("a", LONG, now=99.0)
    for _ in range(begun):
        in_flight.begin(A)
    if said is not None:
        loads.report("a", page(100.0, waiting=0, running=said), now=100.0)
    requests = loads.of("a").requests(100.0 + age_s)
    assert requests >= begun
    if said is not None and age_s == 0.0:
        assert requests >= said


def test_backlog_grows_by_what_is_sent_and_drains_to_nothing() -> None:
    loads = fresh()
    load = loads.of("a")
    assert load.backlog_s(100.0) == 0.0
    loads.send("a", LONG, now=100.0)
    one = load.backlog_s(100.0)
    loads.send("a", LONG, now=100.0)
    assert one > 0.0
    assert load.backlog_s(100.0) == pytest.approx(2 * one)
    assert load.backlog_s(100.0 + one) == pytest.approx(one)
    assert load.backlog_s(100.0 + 3 * one) == 0.0


@given(more=st.floats(0, 1e6), tokens=st.floats(0, 1e6))
def test_more_tokens_are_more_backlog(more: float, tokens: float) -> None:
    few, many = fresh(), fresh()
    few.send("a", tokens, now=0.0)
    many.send("a", tokens + more, now=0.0)
    assert many.of("a").backlog_s(0.0) >= few.of("a").backlog_s(0.0)


def test_an_idle_reading_empties_it() -> None:
    loads = fresh()
    for _ in range(100):
        loads.send("a", LONG, now=100.0)
    assert loads.of("a").backlog_s(101.0) > 1.0
    loads.report("a", page(101.0, waiting=0, running=0), now=101.1)
    assert loads.of("a").backlog_s(101.1) == 0.0


def test_an_idle_reading_leaves_what_it_could_not_show() -> None:
    loads = fresh()
    loads.send("a", LONG, now=101.05)
    sent_s = loads.of("a").backlog_s(101.05)
    loads.report("a", page(101.0, waiting=0, running=0), now=101.1)
    assert loads.of("a").backlog_s(101.1) == pytest.approx(sent_s, abs=0.1)


def test_who_waits_there_stands_in_the_backlog_whoever_sent_it() -> None:
    loads = fresh()
    loads.send("a", LONG, now=100.0)
    one_s = loads.of("a").backlog_s(100.0)
    loads.report("a", page(200.0, waiting=10, running=8), now=200.0)
    assert loads.of("a").backlog_s(200.0) > one_s


@given(
    sent=st.lists(st.floats(0, 1e5), max_size=5),
    waiting=st.integers(0, 100),
    more=st.integers(0, 100),
    running=st.integers(1, 50),
    is_exact=st.booleans(),
)
def test_fewer_waiting_are_never_more_backlog(
    sent: list[float], waiting: int, more: int, running: int, is_exact: bool
) -> None:
    """All else being the same: what was sent there, and by whom."""
    backlogs = []
    for count in (waiting, waiting + more):
        in_flight = InFlight()
        in_flight.is_exact = is_exact
        loads = fresh(in_flight=in_flight)
        for tokens in sent:
            loads.send("a", tokens, now=100.0)
            in_flight.begin(A, Work(prompt_tokens=tokens))
        loads.report("a", page(100.4, waiting=count, running=running), now=100.4)
        backlogs.append(loads.of("a").backlog_s(100.4))
    assert backlogs[0] <= backlogs[1]


def test_where_the_ends_are_seen_no_more_is_left_than_of_what_is_there() -> None:
    in_flight = InFlight()
    in_flight.is_exact = True
    loads, work = fresh(in_flight=in_flight), Work(prompt_tokens=LONG)
    for _ in range(10):
        loads.send("a", LONG, now=100.0)
        in_flight.begin(A, work)
    ten_s = loads.of("a").backlog_s(100.0)
    for _ in range(9):
        in_flight.end(A, work)
    assert loads.of("a").backlog_s(100.0) == pytest.approx(ten_s / 10)
    in_flight.end(A, work)
    assert loads.of("a").backlog_s(100.0) == 0.0


CACHE = {"block_tokens": 16, "blocks": 5000}
"""Of 80,000 tokens."""


@pytest.mark.parametrize(
    ("said", "sent_tokens", "tokens", "age_s", "used"),
    [
        pytest.param({"kv_used_ratio": 0.5}, 0.0, 0.0, 0.0, 0.5, id="as the page says"),
        pytest.param({"kv_used_ratio": 0.5, **CACHE}, 0.0, 0.0, 0.0, 0.5, id="its size alone adds nothing"),
        pytest.param({"kv_used_ratio": 0.5, **CACHE}, 0.0, 8000.0, 0.0, 0.6, id="with the request itself"),
        pytest.param({"kv_used_ratio": 0.5, **CACHE}, 16000.0, 8000.0, 0.0, 0.8, id="with those sent since"),
        pytest.param({"kv_used_ratio": 0.5}, 16000.0, 8000.0, 0.0, 0.5, id="a cache whose size is not known"),
        pytest.param({"kv_used_ratio": 0.5}, 0.0, 0.0, 1.5 * STALENESS_S, 0.25, id="half faded"),
        pytest.param({"kv_used_ratio": 0.5}, 0.0, 0.0, 9.0, 0.0, id="faded"),
        pytest.param({"waiting": 0, **CACHE}, 16000.0, 8000.0, 0.0, 0.0, id="a page that does not say"),
    ],
)
def test_how_full_the_cache_will_be(
    said: dict[str, Any], sent_tokens: float, tokens: float, age_s: float, used: float
) -> None:
    loads = fresh()
    assert (loads.of("a").kv_used_ratio, loads.of("a").kv_token_ratio) == (0.0, 0.0), "never read"
    loads.send("a", 5000.0, now=90.0)
    loads.report("a", page(100.0, **said), now=100.0)
    loads.send("a", sent_tokens, now=100.0)
    load = loads.of("a")
    found = (load.kv_used_ratio + tokens * load.kv_token_ratio) * load.confidence(100.0 + age_s)
    assert found == pytest.approx(used)
    free_ratio = said.get("kv_used_ratio")
    assert load.kv_free_ratio == (None if free_ratio is None else 1.0 - free_ratio), "by the page alone"


def test_readings_that_come_further_apart_fade_later() -> None:
    loads = fresh()
    loads.report("a", page(100.0, waiting=0), now=100.0)
    loads.staleness_s = 10.0
    assert loads.of("a").confidence(105.0) == 0.0, "what was read before fades as it did"
    loads.report("a", page(105.0, waiting=0), now=105.0)
    assert [loads.of("a").confidence(at_s) for at_s in (115.0, 120.0, 125.0)] == [1.0, 0.5, 0.0]


events = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "read", "late page", "end"]),
        st.floats(0, 3),
        st.floats(0, 1e6),
        st.fixed_dictionaries(
            {
                "waiting": st.none() | st.integers(0, 500),
                "running": st.none() | st.integers(0, 500),
                "first_tokens": st.none() | st.floats(0, 1e9),
                "prompt_tokens": st.none() | st.floats(0, 1e12),
                "cached_tokens": st.none() | st.floats(0, 1e12),
                "prefills": st.none() | st.floats(0, 1e9),
                "prefill_s": st.none() | st.floats(0, 1e9),
                "prefill_tokens": st.none() | st.floats(0, 1e12),
            }
        ),
    ),
    max_size=20,
)


@given(events=events, is_exact=st.booleans())
def test_whatever_comes_counts_and_backlog_stay_what_they_can_be(events: list[Any], is_exact: bool) -> None:
    """Counters that go down or leap among them: an engine that was restarted, or that tells nonsense."""
    in_flight = InFlight()
    in_flight.is_exact = is_exact
    loads, now, open_works = fresh(in_flight=in_flight), 100.0, []
    for what, passed_s, tokens, said in events:
        now += passed_s
        load = loads.of("a")
        assert 0.0 <= load.backlog_s(now) <= load.backlog_s(now - passed_s), "time alone never adds to it"
        before = load.requests(now)
        if what == "send":
            loads.send("a", tokens, now=now)
            open_works.append(Work(prompt_tokens=tokens))
            in_flight.begin(A, open_works[-1])
            assert load.requests(now) >= before
        elif what == "end" and open_works:
            in_flight.end(A, open_works.pop(0))
        elif what in ("read", "late page"):
            loads.report("a", page(now - (1.0 if what == "late page" else 0.0), **said), now=now)
        assert 0.0 <= load.backlog_s(now) < float("inf")
        assert 0.0 <= load.requests(now) < float("inf")
        assert 0.0 <= load.confidence(now) <= 1.0
        waiting = load.waiting
        assert waiting is None or load.reading is None or waiting >= (load.reading.waiting or 0.0)
        assert load.backlog_s(now + 1e9) == 0.0


def test_an_endpoint_is_the_same_until_it_is_forgotten() -> None:
    loads = fresh()
    before = loads.of("a")
    loads.send("a", LONG, now=0.0)
    loads.report("a", page(0.0, waiting=1), now=0.0)
    assert loads.of("a") is before
    loads.forget("a")
    after = loads.of("a")
    assert after is not before
    assert (after.reading, after.requests(0.0), after.backlog_s(0.0)) == (None, 0.0, 0.0)
    loads.forget("never heard of")
    assert loads.readings() == {}
    assert repr(loads) == "<Loads of 1 endpoints>"
    assert repr(after) == "<Load of a: None, 0 unseen>"


def learn(loads: Loads, endpoint_id: str, token_s: float) -> None:
    """An engine tells of many requests that took so long."""
    for step, tokens in enumerate([0.0, 1e5, 1e6, 2e6]):
        count = 100.0 * step
        loads.report(
            endpoint_id, page(float(step), prefills=count, prefill_tokens=tokens, prefill_s=tokens * token_s), now=step
        )


def test_a_new_engine_is_believed_to_be_like_those_that_are_known() -> None:
    loads = fresh()
    learn(loads, "a", 0.002)
    usual = fresh().of("b").speed.work_s(LONG)
    assert loads.of("b").speed.work_s(LONG) > 2 * usual


def test_a_slow_engine_has_more_to_wait_for_by_the_same_prompt() -> None:
    loads = fresh()
    learn(loads, "slow", 0.002)
    learn(loads, "fast", 0.00001)
    for id_ in ("slow", "fast"):
        loads.send(id_, LONG, now=10.0)
    assert loads.of("slow").backlog_s(10.0) > loads.of("fast").backlog_s(10.0)
