"""tests/fuzz: its seeds, and a short run without coverage. `make fuzz` runs the same targets for longer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.seeds import SEEDS
from tests.fuzz.tape import Tape
from tests.fuzz.targets import TARGETS, check_stream, run

from extproc.protocol.stream import State

INPUT_BYTES = 160


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
def test_seed(seed: bytes) -> None:
    run(seed)


def test_the_seeds_lead_to_every_state() -> None:
    reached = [check_stream(Tape(seed[1:])) for seed in SEEDS.values() if seed[0] == 0]
    assert set().union(*reached) == set(State)


def changed(seed: bytes, at: int, value: int, more: bytes) -> bytes:
    at %= len(seed)
    return seed[:at] + bytes([value]) + seed[at + 1 :] + more


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=TARGETS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_nothing_escapes(target: int, data: st.DataObject) -> None:
    seeds = [seed for seed in SEEDS.values() if seed[0] == target]
    near = st.builds(
        changed, st.sampled_from(seeds), st.integers(1, 99), st.integers(0, 255), st.binary(max_size=INPUT_BYTES)
    )
    tape = data.draw(st.binary(max_size=INPUT_BYTES).map(lambda rest: bytes([target]) + rest) | near)
    run(bytes([target]) + tape[1:])
