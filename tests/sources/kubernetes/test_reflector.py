"""sources/kubernetes/reflector: when its pauses grow and begin again. What it does with answers is in test_faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from tests.api_objects import PODS, pod
from tests.cluster import WAIT_S, Cluster

from extproc.errors import ApiStatusError
from extproc.sources.kubernetes.access import find_access
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.objects import Decoder, Pod
from extproc.sources.kubernetes.reflector import LONGEST_RETRY_AFTER_S, Pace, Reflector

PACE = Pace(first_backoff_s=0.01, longest_backoff_s=0.08, silence_s=20.0, healthy_s=0.0)


class Deaf:
    """A follower that keeps no pod."""

    def list_all(self, objects: Sequence[Pod]) -> None: ...
    def change(self, seen: Sequence[Pod], gone: Sequence[Pod]) -> None: ...
    def miss(self) -> None: ...
    def hear(self, *, is_connected: bool, problem: str = "") -> None: ...


def reflector_of(cluster: Cluster, tmp_path: Path, pace: Pace) -> Reflector[Pod]:
    kubeconfig = tmp_path / "kubeconfig"
    cluster.write_kubeconfig(kubeconfig)
    client = ApiClient(find_access(str(kubeconfig), environ={}, home=tmp_path))
    return Reflector(
        client=client,
        path=PODS.path(cluster.namespace),
        selector={},
        decoder=Decoder(Pod),
        follower=Deaf(),
        pace=pace,
        clock=time.monotonic,
        rng=Random(1),
    )


@asynccontextmanager
async def reflecting(double: Cluster, tmp_path: Path, *, pace: Pace = PACE) -> AsyncIterator[Reflector[Pod]]:
    reflector = reflector_of(double, tmp_path, pace)
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reflector._client.close()


async def next_pause(reflector: Reflector[Pod], pause_s: float) -> None:
    """Returns once this would be the next pause, but for its jitter."""
    async with asyncio.timeout(WAIT_S):
        while reflector._backoff.next_s != pause_s:
            await asyncio.sleep(0.001)


async def test_pauses_grow_while_it_fails_and_begin_again_after_a_good_watch(double: Cluster, tmp_path: Path) -> None:
    double.gate.answer(500)
    async with reflecting(double, tmp_path) as reflector:
        await next_pause(reflector, PACE.longest_backoff_s)
        double.gate.pass_on()
        await double.gate.wait_for_watch("pods")
        assert reflector._backoff.next_s == PACE.longest_backoff_s
        double.gate.cut_streams("clean")
        await next_pause(reflector, PACE.first_backoff_s)


@pytest.mark.parametrize("kinds", [["list"], ["watch"]])
async def test_a_long_wait_for_a_refusal_is_no_good_watch(
    double: Cluster, tmp_path: Path, kinds: Sequence[str]
) -> None:
    """An API server in trouble takes its time: it must not be asked again at once for that."""
    double.gate.answer(500, kinds=kinds)  # type: ignore[arg-type]
    double.gate.delay_s = 0.05
    async with reflecting(double, tmp_path, pace=PACE._replace(healthy_s=0.03)) as reflector:
        await next_pause(reflector, PACE.longest_backoff_s)


async def test_a_watch_that_breaks_is_followed_by_a_pause_however_long_it_lived(
    double: Cluster, tmp_path: Path
) -> None:
    """Else every replica lists at the same moment."""
    async with reflecting(double, tmp_path) as reflector:
        await double.gate.wait_for_watch("pods")
        assert reflector._backoff.next_s == PACE.first_backoff_s
        double.gate.cut_streams("reset")
        await next_pause(reflector, 2 * PACE.first_backoff_s)


@pytest.mark.parametrize(
    ("asked_s", "pause_s"),
    [(None, 0.0), (0.0, 0.0), (5.0, 5.0), (86400.0, LONGEST_RETRY_AFTER_S), (float("inf"), LONGEST_RETRY_AFTER_S)],
)
async def test_how_long_a_server_may_ask_to_be_left_alone(
    double: Cluster, tmp_path: Path, asked_s: float | None, pause_s: float
) -> None:
    reflector = reflector_of(double, tmp_path, PACE)
    assert reflector._complain("list", ApiStatusError(429, "", retry_after_s=asked_s)) == pause_s


async def test_a_list_that_is_always_too_old_is_said(
    double: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however its words change. A watch that is too old is no trouble."""
    await double.create(pod("a", {}, "10.0.0.1"))
    async with reflecting(double, tmp_path):
        old = double.gate.answer(410, kinds=["watch"], times=1)
        await double.gate.wait_for_watch("pods")
        assert old.count == 1
        assert not caplog.records
        double.gate.cut_streams("reset")
        for number in range(4):
            refusal = double.gate.answer(410, f"gone {number}", kinds=["list"], times=1)
            await double.gate.wait_until(lambda refusal=refusal: refusal.count == 1)  # type: ignore[misc]
    said = [record.getMessage() for record in caplog.records if "list" in record.getMessage()]
    assert said == ["Kubernetes does not let us list"]
