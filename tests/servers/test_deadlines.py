"""One limit for many tasks: who is cancelled, who is not, and that a cancellation from elsewhere stays one."""

import asyncio
import time

import pytest

from extproc.servers.deadlines import Deadlines


async def work(deadlines: Deadlines, release: asyncio.Event) -> str:
    """Waits for `release` under a limit; tells how that ended."""
    task = deadlines.begin()
    try:
        await release.wait()
    except asyncio.CancelledError:
        if not deadlines.end(task) or task.uncancel() > 0:
            raise
        return "expired"
    finally:
        deadlines.end(task)
    return "done"


async def test_all_that_wait_too_long_expire_those_that_began_later_later() -> None:
    deadlines, never = Deadlines(0.05), asyncio.Event()
    ended: list[int] = []
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(work(deadlines, never)))
        tasks[-1].add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
        await asyncio.sleep(0.01)
    assert await asyncio.gather(*tasks) == ["expired"] * 3
    assert ended == [0, 1, 2]
    assert repr(deadlines) == "<Deadlines 0.05 s for 0 tasks>"


async def test_who_ends_in_time_is_left_alone_and_frees_the_next() -> None:
    deadlines, release, never = Deadlines(0.1), asyncio.Event(), asyncio.Event()
    first, second = (asyncio.create_task(work(deadlines, event)) for event in (release, never))
    await asyncio.sleep(0)
    release.set()
    assert await first == "done"
    assert await second == "expired"


async def test_a_limit_works_again_after_nobody_was_left() -> None:
    deadlines = Deadlines(0.02)
    for _ in range(2):
        assert await work(deadlines, asyncio.Event()) == "expired"


async def test_a_cancellation_from_elsewhere_is_no_expiry() -> None:
    deadlines = Deadlines(60.0)
    task = asyncio.create_task(work(deadlines, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert repr(deadlines) == "<Deadlines 60 s for 0 tasks>"


async def test_a_cancellation_that_meets_the_expiry_stays_a_cancellation() -> None:
    """The loop is held up until both are due, so that they come in one turn of it."""
    deadlines = Deadlines(0.02)
    task = asyncio.create_task(work(deadlines, asyncio.Event()))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    loop.call_later(0.02, task.cancel)
    loop.call_soon(time.sleep, 0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
