"""telemetry/outbox: what waits to be sent keeps nobody waiting."""

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest

from extproc.telemetry.outbox import BATCH, MOST_WAITING, Outbox


class Receiver:
    """Takes batches, where `verdicts` say nothing else; with `is_shut` each waits until it is opened or cut."""

    def __init__(self, *verdicts: bool | Exception, is_shut: bool = False) -> None:
        self.batches: list[Sequence[int]] = []
        self.called = threading.Event()
        self.gate = threading.Event()
        self.is_cut = False
        self._verdicts = list(verdicts)
        if not is_shut:
            self.gate.set()

    def send(self, batch: Sequence[int]) -> bool:
        self.batches.append(batch)
        self.called.set()
        self.gate.wait()
        verdict = self._verdicts.pop(0) if self._verdicts else not self.is_cut
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def cut(self) -> None:
        self.is_cut = True
        self.gate.set()

    def outbox(self, *, batch: int = BATCH, send_every_s: float = 3600.0, close_timeout_s: float = 20.0) -> Outbox[int]:
        return Outbox(
            send=self.send,
            cut=self.cut,
            to="there",
            batch=batch,
            send_every_s=send_every_s,
            close_timeout_s=close_timeout_s,
        )


@pytest.fixture(autouse=True)
def _propagating() -> Iterator[None]:
    logger = logging.getLogger("extproc")
    before, logger.propagate = logger.propagate, True
    yield
    logger.propagate = before


@pytest.mark.parametrize(
    ("items", "sizes"),
    [
        pytest.param(0, [], id="nothing"),
        pytest.param(1, [1], id="one"),
        pytest.param(BATCH, [BATCH], id="a batch"),
        pytest.param(2 * BATCH + 1, [BATCH, BATCH, 1], id="one more than two batches"),
    ],
)
async def test_what_waits_at_the_end_is_sent_in_order(items: int, sizes: Sequence[int]) -> None:
    receiver = Receiver()
    outbox = receiver.outbox()
    for item in range(items):
        outbox.put(item)
    async with outbox:
        pass
    assert [len(batch) for batch in receiver.batches] == sizes
    assert [item for batch in receiver.batches for item in batch] == list(range(items))
    assert receiver.is_cut
    assert outbox.dropped == 0


@pytest.mark.parametrize(
    ("items", "send_every_s"),
    [pytest.param(BATCH, 3600.0, id="a full batch at once"), pytest.param(1, 0.01, id="others after a while")],
)
async def test_when_it_is_sent(items: int, send_every_s: float) -> None:
    receiver = Receiver()
    async with receiver.outbox(send_every_s=send_every_s) as outbox:
        for item in range(items):
            outbox.put(item)
        assert receiver.called.wait(20)
    assert [len(batch) for batch in receiver.batches] == [items]


async def test_what_is_too_much_is_dropped_and_counted() -> None:
    receiver = Receiver(is_shut=True)
    async with receiver.outbox() as outbox:
        for item in range(BATCH):
            outbox.put(item)
        assert receiver.called.wait(20)
        for item in range(MOST_WAITING + 7):
            outbox.put(item)
        assert outbox.dropped == 7
        receiver.gate.set()
    assert sum(map(len, receiver.batches)) == BATCH + MOST_WAITING
    assert outbox.dropped == 7


async def test_a_receiver_that_never_answers_does_not_keep_the_process() -> None:
    receiver = Receiver(is_shut=True)
    async with receiver.outbox(close_timeout_s=0.01) as outbox:
        for item in range(BATCH + 3):
            outbox.put(item)
        assert receiver.called.wait(20)
    assert [len(batch) for batch in receiver.batches] == [BATCH], "the rest was not begun"
    assert outbox.dropped == BATCH + 3
    assert repr(outbox) == f"<Outbox to there, 0 waiting, {BATCH + 3} dropped>"
    outbox.put(1)
    assert outbox.dropped == BATCH + 4


@pytest.mark.parametrize(
    ("verdicts", "dropped", "said"),
    [
        pytest.param([], 0, [], id="all is well"),
        pytest.param([False], 1, ["not taken", "taken again"], id="one refused"),
        pytest.param([False, False], 2, ["not taken", "taken again"], id="two refused"),
        pytest.param([True, False, True, False], 2, ["not taken", "taken again"] * 2, id="now and then"),
        pytest.param([ValueError("x")], 1, ["unforeseen", "not taken", "taken again"], id="an exception"),
        pytest.param([False] * 5, 5, ["not taken"], id="all refused"),
    ],
)
async def test_failures_are_counted_and_told_when_they_begin_and_end(
    verdicts: Sequence[bool | Exception], dropped: int, said: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver = Receiver(*verdicts)
    async with receiver.outbox(batch=1) as outbox:
        for item in range(5):
            outbox.put(item)
    assert len(receiver.batches) == 5
    assert outbox.dropped == dropped
    records = [record for record in caplog.records if record.name == "extproc.telemetry.outbox"]
    assert len(records) == len(said)
    for record, words in zip(records, said, strict=True):
        assert words in record.getMessage()
