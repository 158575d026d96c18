"""sim/batch, sim/engine: what a prompt costs, whom it keeps waiting, and what is given back when a request goes."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sim.virtual_time import VirtualTime

from extproc.sim.engine import Engine, EngineSettings

PREFILL = {"prefill_tokens_per_s": 16, "time_to_first_token_s": 0.5, "token_delay_s": 1.0}  # a block takes a second


class Ask(NamedTuple):
    """A request: when it comes, one letter for each block of its prompt, and the tokens of its answer."""

    at_s: float
    blocks: str
    tokens: int = 1


class Lab:
    """An engine in virtual time, and requests to it that take the times of a completion."""

    def __init__(self, **settings: Any) -> None:
        self.time = VirtualTime()
        self.engine = Engine(EngineSettings(models=("phi",), **settings), clock=self.time, sleep=self.time.sleep)
        self.started: list[int] = []
        self.first_token_s: dict[int, float] = {}

    async def ask(self, index: int, ask: Ask) -> None:
        engine, settings = self.engine, self.engine.settings
        await self.time.sleep(ask.at_s)
        prompt = "".join(letter * 64 for letter in ask.blocks)
        async with engine.turn("phi", prompt=prompt, max_tokens=ask.tokens) as turn:
            self.started.append(index)
            await self.time.sleep(settings.time_to_first_token_s)
            self.first_token_s[index] = self.time()
            engine.produce(turn)
            await self.time.sleep(ask.tokens * settings.token_delay_s)

    def begin(self, asks: Sequence[Ask]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.ask(index, ask)) for index, ask in enumerate(asks)]

    @property
    def counts(self) -> tuple[int, int, float]:
        return self.engine.running, self.engine.waiting, self.engine.kv_used_ratio


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Returns when they are over, by cancellation or in peace."""
    async with asyncio.timeout(5):
        await asyncio.wait(tasks)
    assert {task.exception() for task in tasks if not task.cancelled()} <= {None}


@pytest.mark.parametrize(
    ("settings", "asks", "first_token_s"),
    [
        pytest.param({}, [Ask(0, "abcd")], [4.5], id="alone"),
        pytest.param({}, [Ask(0, "abcd"), Ask(1, "xy"), Ask(1, "k")], [4.5, 6.5, 7.5], id="behind-others"),
        pytest.param({}, [Ask(0, "abcd"), Ask(9, "xy")], [4.5, 11.5], id="after-others"),
        pytest.param({}, [Ask(0, "abcd"), Ask(9, "abcdx")], [4.5, 10.5], id="with-a-known-beginning"),
        pytest.param({}, [Ask(0, "abcd"), Ask(0, "abcdx")], [4.5, 5.5], id="known-by-the-time-of-its-turn"),
        pytest.param({}, [Ask(0, "abcd"), Ask(9, "abcd")], [4.5, 10.5], id="known-but-for-its-last-block"),
        pytest.param({}, [Ask(0, "abcd", 50), Ask(1, "xy")], [4.5, 6.5], id="beside-a-long-answer"),
        pytest.param({"max_running": 1}, [Ask(0, "ab", 3), Ask(0, "xy")], [2.5, 8.0], id="one-slot"),
        pytest.param({"kv_blocks": 5}, [Ask(0, "ab", 3), Ask(0, "xy")], [2.5, 8.0], id="no-room-for-both"),
        pytest.param({"kv_blocks": 5}, [Ask(0, "ab", 3), Ask(0, "abc")], [2.5, 3.5], id="room-on-what-is-held"),
        pytest.param({"kv_blocks": 2}, [Ask(0, "abcd")], [4.5], id="more-than-all-of-the-cache"),
        pytest.param(
            {"kv_blocks": 4}, [Ask(0, "ab"), Ask(9, "xyz"), Ask(20, "abc")], [2.5, 12.5, 23.5], id="pushed-out"
        ),
        pytest.param(
            {"prefill_tokens_per_s": 0}, [Ask(0, "abcd"), Ask(1, "xy")], [0.5, 1.5], id="prompts-cost-nothing"
        ),
    ],
)
async def test_the_first_token_comes_after_what_is_ahead_and_the_own_prompt(
    settings: dict[str, Any], asks: list[Ask], first_token_s: list[float]
) -> None:
    lab = Lab(**{**PREFILL, **settings})
    tasks = lab.begin(asks)
    await lab.time.run()
    await ended(*tasks)
    assert [lab.first_token_s[index] for index in range(len(asks))] == first_token_s
    assert lab.counts == (0, 0, 0.0)


async def test_who_waits_for_the_prefill_of_others_is_waiting_and_not_running() -> None:
    lab = Lab(**PREFILL, kv_blocks=20)
    tasks = lab.begin([Ask(0, "ab", 9), Ask(0, "cd", 9), Ask(0, "ef", 9)])
    seen = []
    for at_s in (1.0, 3.0, 5.0, 7.0):
        await lab.time.run(at_s)
        seen.append(lab.counts)
    assert seen == [(1, 2, 3 / 20), (2, 1, 6 / 20), (3, 0, 9 / 20), (3, 0, 9 / 20)]
    await lab.time.run()
    await ended(*tasks)


async def test_the_page_tells_what_was_computed_and_how_long_it_took() -> None:
    lab = Lab(**PREFILL)
    tasks = lab.begin([Ask(0, "abcd"), Ask(0, "abcdx")])
    await lab.time.run()
    await ended(*tasks)
    meters = lab.engine.meters
    assert (meters.prefix_queries, meters.prefix_hits, meters.prompt_tokens) == (144, 64, 144)
    assert (meters.prefill.sum, meters.queue.sum, meters.time_to_first_token.sum) == (4.5 + 1.5, 4.0, 4.5 + 5.5)
    assert meters.prefill_computed_tokens.sum == 80


@pytest.mark.parametrize(
    ("at_s", "is_known"),
    [
        pytest.param(0.5, False, id="waiting"),
        pytest.param(2.5, False, id="computing-its-prompt"),
        pytest.param(5.25, True, id="before-its-first-token"),
        pytest.param(6.0, True, id="answering"),
    ],
)
async def test_who_is_cancelled_gives_everything_back_at_once(at_s: float, is_known: bool) -> None:
    lab = Lab(**PREFILL, kv_blocks=100)
    first, second, third, later = lab.begin([Ask(0, "ab"), Ask(0, "klm", 9), Ask(0, "xy"), Ask(20, "klmn")])
    await lab.time.run(at_s)
    second.cancel()
    await ended(second)
    await lab.time.run()
    await ended(first, third, later)
    assert lab.started == ([0, 1, 2, 3] if is_known else [0, 2, 3])
    assert lab.first_token_s[2] == max(2.0, min(at_s, 5.0)) + 2.5
    assert lab.first_token_s[3] == 20 + (1 if is_known else 4) + 0.5
    assert lab.counts == (0, 0, 0.0)


async def test_who_gives_up_waiting_for_room_lets_the_next_one_in() -> None:
    lab = Lab(**PREFILL, kv_blocks=6)
    first, large, small = lab.begin([Ask(0, "ab", 9), Ask(0, "klmnop"), Ask(0, "x")])
    await lab.time.run(3.0)
    assert lab.counts == (1, 2, 3 / 6)
    large.cancel()
    await ended(large)
    assert lab.counts == (2, 0, 5 / 6)
    await lab.time.run()
    await ended(first, small)


async def test_cancelled_in_the_step_in_which_its_prefill_begins_it_hands_that_on() -> None:
    lab = Lab(**PREFILL)
    first, second, third = lab.begin([Ask(0, "ab"), Ask(0, "kl"), Ask(0, "xy")])
    await lab.time.run(1.0)
    first.cancel()
    await asyncio.sleep(0)  # the first one has left, the second has its turn and has not run since
    assert lab.engine.running == 1
    second.cancel()
    await ended(first, second)
    await lab.time.run()
    await ended(third)
    assert lab.first_token_s == {2: 3.5}


async def test_cancelled_in_the_step_in_which_it_would_begin_it_is_passed_by() -> None:
    lab = Lab(**PREFILL)
    first, second, third = lab.begin([Ask(0, "ab"), Ask(0, "kl"), Ask(0, "xy")])
    await lab.time.run(1.0)
    first.cancel()  # it leaves before the second one notices
    second.cancel()
    await ended(first, second)
    await lab.time.run()
    await ended(third)
    assert lab.first_token_s == {2: 3.5}


@given(
    asks=st.lists(
        st.builds(Ask, st.integers(0, 6), st.text("ab", max_size=5), st.integers(1, 4)), min_size=1, max_size=10
    ),
    cancels=st.dictionaries(st.integers(0, 9), st.integers(0, 20)),
    kv_blocks=st.integers(1, 12),
    max_running=st.integers(1, 3),
)
def test_whatever_comes_and_goes(asks: list[Ask], cancels: dict[int, int], kv_blocks: int, max_running: int) -> None:
    async def run() -> None:
        lab = Lab(**PREFILL, kv_blocks=kv_blocks, max_running=max_running)
        tasks = lab.begin(asks)
        for at_s in range(200):  # all of them together, one after another, take less
            await lab.time.run(at_s)
            for index, task in enumerate(tasks):
                if cancels.get(index) == at_s:
                    task.cancel()
            running, waiting, _ = lab.counts
            assert running <= max_running
            assert not waiting or running  # who waits, waits for somebody
        await ended(*tasks)
        assert lab.counts == (0, 0, 0.0)
        came = [index for index in lab.started if not tasks[index].cancelled()]
        assert came == sorted(came, key=lambda index: (asks[index].at_s, index))  # in order of arrival

    asyncio.run(run())
