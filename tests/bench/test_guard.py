"""Where a median lies, as the guard judges by it."""

import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from bench.guard import Figures, interval, newest_tag
from bench.results import BenchError


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        pytest.param(1, (1, 1), id="one value is all that is known"),
        pytest.param(5, (1, 5), id="too few for the confidence: all of them"),
        pytest.param(6, (1, 6), id="just enough"),
        pytest.param(9, (2, 8), id="one left out at each end"),
        pytest.param(12, (3, 10), id="two"),
        pytest.param(24, (7, 18), id="six"),
    ],
)
def test_the_interval_is_that_of_the_sign_test(count: int, ranks: tuple[int, int]) -> None:
    """Source: tables of confidence intervals for the median, 95 %."""
    values = [float(rank) for rank in range(1, count + 1)]
    assert interval(values[::-1]) == ranks


def test_one_wild_round_moves_nothing() -> None:
    assert interval([1.0] * 11 + [50.0]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("steps", "tag"),
    [
        pytest.param(("commit", "tag v1", "commit"), "v1", id="one"),
        pytest.param(("commit", "tag v1", "commit", "tag v2", "commit"), "v2", id="the-newest"),
        pytest.param(("commit", "tag v1", "commit", "tag v2"), "v1", id="a-tag-is-compared-with-the-one-before"),
        pytest.param(("commit", "tag v1", "commit", "tag v2", "change"), "v2", id="work-on-a-tag-with-that-tag"),
        pytest.param(("commit",), None, id="none"),
        pytest.param(("commit", "tag v1"), None, id="none-before-the-first"),
    ],
)
def test_the_base_is_the_tag_before_this_tree(steps: tuple[str, ...], tag: str | None, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x", *arguments], check=True)

    file = tmp_path / "file"
    git("init", "--quiet")
    for number, step in enumerate(steps):
        if step.startswith("tag"):
            git("tag", step.removeprefix("tag "))
            continue
        file.write_text(str(number))
        if step == "commit":
            git("add", "file")
            git("commit", "--quiet", "--message", "x")
    with nullcontext() if tag else pytest.raises(BenchError, match="BASE=REVISION"):
        assert newest_tag(tmp_path) == tag


@pytest.mark.parametrize(
    ("ours", "is_more_better", "is_ok"),
    [
        pytest.param((0.9, 1.1), False, True, id="some-starts-cost-more-and-some-less"),
        pytest.param((1.04, 1.2), False, False, id="each-costs-more"),
        pytest.param((0.8, 0.9), False, True, id="each-costs-less"),
        pytest.param((0.8, 0.96), True, False, id="each-gives-less"),
        pytest.param((0.96, 0.98), True, True, id="one-gives-as-much-within-the-tolerance"),
    ],
)
def test_it_is_the_starts_that_are_judged(ours: tuple[float, float], is_more_better: bool, is_ok: bool) -> None:
    figures = Figures()
    for start in ours:
        for wild in (start, 50.0, start):  # a wild round moves no start
            figures.add(0, 100 * wild)
            figures.add(1, 100.0)
        figures.end_start()
    result = figures.result("x", " µs", is_more_better=is_more_better)
    low, high = sorted(ours)
    assert result.ratio.endswith(f"({low:.3f}–{high:.3f})")
    assert result.is_ok == is_ok
