"""What the soak makes of its minutes."""

from collections.abc import Callable

import pytest
from bench.paced import Latencies
from bench.soak import Minute, Sample, judge


def minutes(*p99_ratios: float) -> list[Minute]:
    return [
        Minute([Latencies(1, 100.0, 1000.0 * ratio, 0.0)] * 3, Latencies(1, 100.0, 1000.0, 0.0)) for ratio in p99_ratios
    ]


def samples(
    *,
    resident_mb: Callable[[int], float] = lambda _: 90.0,
    open_files: Callable[[int], int] = lambda _: 40,
    tasks: Callable[[int], int] = lambda _: 50,
) -> list[Sample]:
    """Four a minute for half an hour."""
    return [Sample(number / 240, resident_mb(number), open_files(number), 10, tasks(number)) for number in range(120)]


FLAT = minutes(*[1.5] * 30)


@pytest.mark.parametrize(
    ("measured", "taken", "short"),
    [
        pytest.param(FLAT, samples(), None, id="nothing-grows"),
        pytest.param(FLAT, samples(resident_mb=lambda n: 90 + n / 10), "MB", id="memory-grows"),
        pytest.param(FLAT, samples(resident_mb=lambda n: 60 + min(n, 60)), None, id="memory-grew-in-the-first-half"),
        pytest.param(FLAT, samples(open_files=lambda n: 40 + n % 5), None, id="files-come-and-go"),
        pytest.param(FLAT, samples(open_files=lambda n: 40 + n // 8), "file descriptors", id="files-leak"),
        pytest.param(FLAT, samples(tasks=lambda n: 50 + n // 8), "tasks", id="tasks-leak"),
        pytest.param(minutes(*[1.5] * 20, *[1.9] * 10), samples(), "p99", id="slower-at-the-end"),
        pytest.param(minutes(*[1.5] * 20, 90.0, *[1.5] * 9), samples(), None, id="one-wild-minute"),
        pytest.param(minutes(*[1.9] * 10, *[1.5] * 20), samples(), None, id="faster-at-the-end"),
    ],
)
def test_what_grows_falls_short(measured: list[Minute], taken: list[Sample], short: str | None) -> None:
    fallen = [result.name for result in judge(measured, taken) if not result.is_ok]
    assert len(fallen) == (short is not None)
    assert short is None or short in fallen[0]


def test_a_minute_is_told_by_the_middle_of_its_parts() -> None:
    parts = [Latencies(1, 100.0, p99_us, 0.0) for p99_us in (900.0, 2_000.0, 90_000.0)]
    assert Minute(parts, Latencies(1, 100.0, 1_000.0, 0.0)).p99_ratio == 2.0
