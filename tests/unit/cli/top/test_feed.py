"""cli/top/feed: what it has of a picker that answers, restarts or does not answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc_testing
import pytest
from tests.unit.cli.top.shown import snapshot

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import AdminClient
from extproc.cli.top.feed import Feed, find_rate


def counted(requests: int, uptime_s: float) -> admin_pb2.Snapshot:
    outcomes = [{"outcome": "routed", "requests": requests}, {"outcome": "cancelled", "requests": 10 * requests}]
    return snapshot(uptime_s=uptime_s, outcomes=outcomes)


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        pytest.param(None, counted(10, 5.0), None, id="the first"),
        pytest.param(counted(10, 5.0), counted(30, 7.0), 10.0, id="two of one process"),
        pytest.param(counted(10, 5.0), counted(10, 6.0), 0.0, id="a quiet one"),
        pytest.param(counted(10, 5.0), counted(3, 1.0), None, id="a new process"),
        pytest.param(counted(10, 5.0), counted(3, 6.0), None, id="a new process that is as old"),
        pytest.param(counted(10, 5.0), counted(90, 1.0), None, id="a new process that is busier"),
        pytest.param(counted(10, 5.0), counted(10, 5.0), None, id="the same answer"),
    ],
)
def test_decisions_per_second(before: admin_pb2.Snapshot | None, after: admin_pb2.Snapshot, rate: float | None) -> None:
    assert find_rate(before, after) == rate


class Picker:
    """The other end of a feed's channel. The test answers each question."""

    METHOD = admin_pb2.DESCRIPTOR.services_by_name["Admin"].methods_by_name["GetSnapshot"]

    def __init__(self) -> None:
        self.channel = grpc_testing.channel(
            admin_pb2.DESCRIPTOR.services_by_name.values(), grpc_testing.strict_real_time()
        )
        self.opened = 0

    @contextmanager
    def open(self) -> Iterator[AdminClient]:
        self.opened += 1
        yield AdminClient(self.channel, target="host:9004", token="t")

    def answer(self, shown: admin_pb2.Snapshot | None) -> Any:
        """Answers the next question, with UNAVAILABLE for None, and returns what was asked."""
        metadata, request, call = self.channel.take_unary_unary(self.METHOD)
        code = grpc.StatusCode.OK if shown is not None else grpc.StatusCode.UNAVAILABLE
        call.terminate(shown, (), code, "refused" if shown is None else "")
        assert ("authorization", "Bearer t") in list(metadata)
        return request


def wait_for(condition: Any) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        threading.Event().wait(0.001)


def test_a_feed_survives_the_pickers_restart() -> None:
    picker, now = Picker(), [10.0]
    with Feed(picker.open, target="host:9004", interval_s=0.0, clock=lambda: now[0]) as feed:
        assert feed.frame().snapshot is None
        assert picker.answer(counted(10, 5.0)).most_decisions > 0
        wait_for(lambda: feed.frame().snapshot is not None)
        assert (feed.frame().error, feed.frame().decisions_per_s) == ("", None)
        picker.answer(counted(30, 7.0))
        wait_for(lambda: feed.frame().decisions_per_s == 10.0)
        now[0] = 14.0
        picker.answer(None)
        wait_for(lambda: feed.frame().error != "")
        frame = feed.frame()
        assert frame.error.startswith("no picker answers at host:9004")
        assert (frame.silent_s, frame.snapshot is not None) == (4.0, True)
        picker.answer(counted(1, 0.5))
        wait_for(lambda: feed.frame().error == "")
        assert (feed.frame().silent_s, feed.frame().decisions_per_s, picker.opened) == (0.0, None, 2)
        feed._stop.set()  # or it would ask once more, and nobody answers
        picker.answer(None)


def test_what_ends_a_feed_is_not_lost() -> None:
    @contextmanager
    def fail() -> Iterator[AdminClient]:
        raise RuntimeError("a defect")
        yield

    with Feed(fail, target="host:9004", interval_s=0.0, clock=lambda: 0.0) as feed:
        feed._thread.join(10)
        with pytest.raises(RuntimeError, match="a defect"):
            feed.frame()
