"""Who is due when."""

from random import Random

import pytest

from extproc.probes.rota import SPARE, Rota


def rota(**due_at_s: float) -> Rota:
    made = Rota()
    for id_, at_s in due_at_s.items():
        made.put(id_, at_s)
    return made


@pytest.mark.parametrize(
    ("now", "most", "taken", "next_at_s"),
    [
        pytest.param(0.5, 9, [], 1.0, id="nobody yet"),
        pytest.param(1.0, 9, ["b"], 2.0, id="the first"),
        pytest.param(2.0, 9, ["b", "a", "c"], 3.0, id="several, in order"),
        pytest.param(2.0, 2, ["b", "a"], 2.0, id="no more than are wanted"),
        pytest.param(9.0, 9, ["b", "a", "c", "d"], float("inf"), id="everybody"),
    ],
)
def test_who_is_due(now: float, most: int, taken: list[str], next_at_s: float) -> None:
    given = rota(a=2.0, b=1.0, c=2.0, d=3.0)
    assert given.take(now, most=most) == taken
    assert given.next_at_s == next_at_s
    assert not set(given.take(now, most=9)) & set(taken)


def test_only_the_last_word_on_an_id_counts() -> None:
    given = rota(a=1.0, b=2.0, c=3.0)
    given.put("a", 5.0)
    given.drop("b")
    given.drop("never heard of")
    assert given.next_at_s == 3.0
    assert given.take(9.0, most=9) == ["c", "a"]


def test_what_does_not_hold_any_more_is_not_kept_for_ever() -> None:
    given, rng = rota(a=1e9), Random(1)
    for _ in range(10_000):
        given.put("b", 2e9 + rng.random())
    assert len(given._heap) <= 2 * 2 + SPARE
    assert given.take(3e9, most=9) == ["a", "b"]
