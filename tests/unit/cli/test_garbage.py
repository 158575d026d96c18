"""When full garbage collections are made."""

import asyncio
import gc
import weakref

import pytest

from extproc.cli import garbage


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.self = self


@pytest.mark.parametrize(
    ("took_s", "pause_s"),
    [(0.0, 60.0), (0.03, 60.0), (0.25, 500.0)],
    ids=["nothing to look at", "a small pool", "5,000 endpoints"],
)
def test_the_longer_one_takes_the_later_is_the_next(took_s: float, pause_s: float) -> None:
    assert garbage.pause_after_s(took_s) == pytest.approx(pause_s)


async def test_what_was_old_when_it_became_garbage_is_freed() -> None:
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], thresholds[1], 1_000_000)  # so that nobody else makes one
    try:
        knot = Knot()
        freed = asyncio.Event()
        ref = weakref.ref(knot, lambda _: freed.set())
        gc.collect()  # it is among the old now
        del knot
        gc.collect(1)
        assert ref() is not None, "the young alone were looked through"
        task = asyncio.create_task(garbage.collect_for_ever(least_pause_s=0.0))
        async with asyncio.timeout(10):
            await freed.wait()
        task.cancel()
    finally:
        gc.set_threshold(*thresholds)
