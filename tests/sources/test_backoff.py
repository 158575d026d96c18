"""sources/backoff: how pauses grow."""

from random import Random

from extproc.sources.backoff import SPREAD, Backoff


def test_pauses_grow_up_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(1.0, 5.0, rng=Random(1))
    expected = []
    for _ in range(5):
        expected.append(backoff.next_s)
        assert expected[-1] * (1 - SPREAD) <= backoff.pause_s() <= expected[-1] * (1 + SPREAD)
    assert expected == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert repr(backoff) == "<Backoff 1 s>"


def test_pauses_differ() -> None:
    backoff = Backoff(1.0, 1.0, rng=Random(1))
    assert len({backoff.pause_s() for _ in range(10)}) == 10
