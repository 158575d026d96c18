"""The hot path against an earlier revision of itself: both checked out, both running, measured in turn.

Instructions come first: what the handler of a stream takes for a request, counted by valgrind (`bench.hot_path`). Two
counts of the same code differ by less than 0.1 %, on any machine and beside any neighbour, so that 2 % more is more.
What instructions do not show, waits and what gRPC does, the rest shows: both run behind an Envoy each and are measured
in turn, in alternating order. Both are started anew several times, because two starts of the same code differ by some
per cent for as long as they run: where things came to lie in memory. What is judged is the median over the starts of
the ratio within each. The interval beside it is where that median lies with 95 % confidence, whatever the noise is like
(order statistics): a figure counts as worse only when all of the interval is beyond the tolerance, so that a noisy
neighbour makes the interval wide and the verdict mild, not wrong.
"""

import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import comb
from pathlib import Path
from statistics import median

from bench.chat import ENDPOINT_MODELS, chat_requests
from bench.endpoints import serve_endpoints
from bench.hot_path import MODES as COUNTED_MODES
from bench.hot_path import NotReachedError, count_instructions
from bench.modes import FULL_DUPLEX
from bench.paced import run_paced
from bench.processes import Picker, endpoints_file
from bench.results import BenchError, Result
from bench.wrk import ensure_wrk, run_wrk
from extproc.cli.demo.envoy import Envoy, GatewaySettings

STARTS = 12
ROUNDS = 2
"""At each start, after one to warm up."""
ROUND_S = 1
LOADED_ROUND_S = 3
CONNECTIONS = 32
TOLERANCE = 0.03
COUNT_TOLERANCE = 0.02
CONFIDENCE = 0.95
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class _Side:
    server: Picker
    url: str


async def run(base: str | None = None) -> AsyncIterator[Result]:
    """A line each for instructions, throughput, CPU per request, and latency; `base` is a git revision, by default the
    newest tag before this tree.

    Errors: BenchError where there is no such revision.
    """
    ensure_wrk()
    revision = base or newest_tag(ROOT)
    with tempfile.TemporaryDirectory(prefix="extproc-guard-") as directory:
        tree = _check_out(revision, Path(directory))
        for mode in COUNTED_MODES:
            yield _count(mode, tree, revision)
        async for result in _measure(tree, revision, Path(directory)):
            yield result


def _count(mode: str, tree: Path, revision: str) -> Result:
    ours = count_instructions(mode, tree=ROOT)
    try:
        theirs = count_instructions(mode, tree=tree)
    except NotReachedError:  # an old revision, built otherwise: what follows is measured all the same
        return Result(name=f"guard: instructions, {mode}", figure=f"{ours:,.0f}", reference="not counted")
    return Result(
        name=f"guard: instructions, {mode}, against {revision}",
        figure=f"{ours:,.0f}",
        reference=f"{theirs:,.0f}",
        ratio=f"{ours / theirs:.3f}",
        goal=f"≤ {1 + COUNT_TOLERANCE:.2f} ×",
        is_ok=ours / theirs <= 1 + COUNT_TOLERANCE,
    )


class Figures:
    """Those of both sides, this tree's first: one from each start."""

    def __init__(self) -> None:
        self._of_start: tuple[list[float], list[float]] = ([], [])
        self._all: tuple[list[float], list[float]] = ([], [])

    def add(self, number: int, value: float) -> None:
        """One round of a side."""
        self._of_start[number].append(value)

    def end_start(self) -> None:
        """What comes after is of other processes."""
        for values, rounds in zip(self._all, self._of_start, strict=True):
            values.append(median(rounds))
            rounds.clear()

    def result(self, name: str, unit: str, *, is_more_better: bool = False) -> Result:
        """The median over the starts, judged by its interval."""
        ours, theirs = self._all
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        low, high = interval(ratios)
        is_ok = high >= 1 - TOLERANCE if is_more_better else low <= 1 + TOLERANCE
        return Result(
            name=f"guard: {name}",
            figure=f"{median(ours):,.0f}{unit}",
            reference=f"{median(theirs):,.0f}{unit}",
            ratio=f"{median(ratios):.3f} ({low:.3f}–{high:.3f})",
            goal=f"≥ {1 - TOLERANCE:.2f} ×" if is_more_better else f"≤ {1 + TOLERANCE:.2f} ×",
            is_ok=is_ok,
        )


async def _measure(tree: Path, revision: str, directory: Path) -> AsyncIterator[Result]:
    """Both behind Envoy, in turn."""
    rates, cpu_us, p50_us, p99_us = (Figures() for _ in range(4))
    paced_at = 0.0
    requests = chat_requests()
    async with serve_endpoints(ENDPOINT_MODELS) as endpoints:
        for start in range(STARTS):
            async with _serve(tree, endpoints, directory) as sides:
                for index in range(-1, ROUNDS):  # the first warms up
                    for number in _order(start + index):
                        side = sides[number]
                        before_s = side.server.cpu_s
                        load = await run_wrk(side.url, requests, connections=CONNECTIONS, duration_s=ROUND_S)
                        spent_s = side.server.cpu_s - before_s
                        single = await run_wrk(side.url, requests, connections=1, duration_s=ROUND_S)
                        if index < 0:
                            continue
                        rates.add(number, load.requests_per_s)
                        cpu_us.add(number, spent_s / load.requests * 1e6)
                        p50_us.add(number, single.p50_us)
                        paced_at = paced_at or load.requests_per_s / 2
                for number in _order(start):
                    url = sides[number].url
                    paced = await run_paced(url, requests, requests_per_s=paced_at, duration_s=LOADED_ROUND_S)
                    p99_us.add(number, paced.p99_us)
            for figures in (rates, cpu_us, p50_us, p99_us):
                figures.end_start()
    yield rates.result(f"decisions/s, against {revision}", "/s", is_more_better=True)
    yield cpu_us.result("CPU of the picker per request", " µs")
    yield p50_us.result("p50, one connection", " µs")
    yield p99_us.result(f"p99 at half load, {paced_at:,.0f}/s", " µs")


def _order(index: int) -> tuple[int, int]:
    return (0, 1) if index % 2 else (1, 0)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median of what `values` are drawn from lies with `CONFIDENCE`; of few values, all of them."""
    ordered, count = sorted(values), len(values)
    left_out, tail = 0, 0.0
    while left_out < count // 2:
        tail += comb(count, left_out) / 2**count
        if 2 * tail > 1 - CONFIDENCE:
            break
        left_out += 1
    cut = max(0, left_out - 1)
    return ordered[cut], ordered[count - 1 - cut]


@asynccontextmanager
async def _serve(base: Path, endpoints: Sequence[str], directory: Path) -> AsyncIterator[tuple[_Side, _Side]]:
    """This tree's picker and that of `base`, each behind an Envoy of its own."""
    async with AsyncExitStack() as stack:
        source = endpoints_file(endpoints, directory)
        sides = []
        for tree in (ROOT, base):
            picker = await stack.enter_async_context(Picker(source, tree=tree))
            settings = GatewaySettings(endpoints=endpoints, picker=picker.address, processing_mode=FULL_DUPLEX.filter)
            gateway = await stack.enter_async_context(Envoy(settings))
            sides.append(_Side(picker, gateway.url))
        yield sides[0], sides[1]


def _check_out(revision: str, directory: Path) -> Path:
    """The files of `revision`, in a new folder below `directory`. Errors: BenchError."""
    target = directory / "base"
    target.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "src"], capture_output=True)
    if archive.returncode != 0:
        raise BenchError(f"git has no revision {revision}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)
    return target


def newest_tag(repository: Path) -> str:
    """The newest tag before what is checked out there: where that is a tag itself and unchanged, the one before it.

    Errors: BenchError where there is none.
    """

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    is_unchanged = git("status", "--porcelain", "--untracked-files=no") == ""
    is_tagged = git("describe", "--tags", "--exact-match", "HEAD") is not None
    found = git("describe", "--tags", "--abbrev=0", "HEAD^" if is_unchanged and is_tagged else "HEAD")
    if found is None:
        raise BenchError("there is no earlier tag to compare with: make bench ONLY=guard BASE=REVISION names another")
    return found
