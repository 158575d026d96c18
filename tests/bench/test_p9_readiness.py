"""Lags between a pod's readiness and its requests, as P9 reads them."""

import pytest
from bench.engines import Asked
from bench.p9_readiness import Lags, read_lags
from bench.pod_server import Flip
from bench.results import BenchError

NAMES = {"pod": "127.1.0.1", "other": "127.1.0.2"}


def down(at_s: float) -> Flip:
    return Flip("pod", is_ready=False, at_s=at_s)


def up(at_s: float) -> Flip:
    return Flip("pod", is_ready=True, at_s=at_s)


def asked(at_s: float, *, is_probe: bool = False, address: str = NAMES["pod"]) -> Asked:
    return Asked(address, at_s, is_probe)


def probed(at_s: float) -> Asked:
    return asked(at_s, is_probe=True)


@pytest.mark.parametrize(
    ("flips", "seen", "lags"),
    [
        pytest.param([down(10)], [asked(9), asked(9.5)], Lags([0.0], [], []), id="none-after-not-ready"),
        pytest.param([down(10)], [asked(9), asked(10.25)], Lags([0.25], [], []), id="one-on-its-way"),
        pytest.param([down(10)], [], Lags([0.0], [], []), id="no-request-at-all"),
        pytest.param([down(10)], [asked(11, address=NAMES["other"])], Lags([0.0], [], []), id="another-pods-request"),
        pytest.param([down(10)], [asked(9), probed(11)], Lags([0.0], [], []), id="a-probe-is-no-request"),
        pytest.param(
            [down(10), up(20)],
            [asked(10.5), probed(20.25), asked(20.5), asked(21)],
            Lags([0.5], [0.25], [0.25]),
            id="comes-back",
        ),
        pytest.param(
            [up(20)], [asked(20.1), probed(20.25), asked(20.5)], Lags([], [0.25], [0.25]), id="after-its-answer"
        ),
        pytest.param(
            [up(20), down(20.1)], [probed(20.05)], Lags([0.0], [], []), id="gone-again-before-a-request-was-due"
        ),
    ],
)
def test_lags_are_read_off_what_the_engines_saw(flips: list[Flip], seen: list[Asked], lags: Lags) -> None:
    read = read_lags(flips, seen, NAMES)
    assert (read.lost_s, read.gained_s, read.probed_s) == (lags.lost_s, lags.gained_s, lags.probed_s)


@pytest.mark.parametrize("seen", [[], [probed(20.5)]], ids=["never-probed", "never-picked"])
def test_a_pod_that_is_ready_and_never_asked_is_an_error(seen: list[Asked]) -> None:
    with pytest.raises(BenchError, match="pod became ready"):
        read_lags([up(20)], seen, NAMES)
