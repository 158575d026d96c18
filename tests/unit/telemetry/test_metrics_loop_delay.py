"""telemetry/metrics/loop_delay: how late a timer rings."""

import asyncio
from collections.abc import Iterator

import pytest

from extproc.telemetry.metrics.loop_delay import watch_loop

SHORT_S = 2**-7


@pytest.mark.parametrize(
    ("rings_after_s", "delay_s"),
    [
        pytest.param(SHORT_S, 0.0, id="in time"),
        pytest.param(SHORT_S + 0.25, 0.25, id="late"),
        pytest.param(SHORT_S / 2, 0.0, id="early, as clocks of low resolution have it"),
    ],
)
async def test_it_tells_how_late(rings_after_s: float, delay_s: float) -> None:
    readings = iter([10.0, 10.0 + rings_after_s, 20.0, 20.0 + SHORT_S])
    seen: list[float] = []
    heard = asyncio.Event()

    def observe(seconds: float) -> None:
        seen.append(seconds)
        heard.set()

    def clock(readings: Iterator[float] = readings) -> float:
        return next(readings)

    task = asyncio.create_task(watch_loop(observe, clock=clock, interval_s=SHORT_S))
    async with asyncio.timeout(30):
        await heard.wait()
    task.cancel()
    assert seen == [delay_s]
