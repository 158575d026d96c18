"""P1: decisions per second through a real Envoy, ours against an empty servicer in the same place, mode by mode.

0.5 KB bodies for three models on ten endpoints. Both run in the same minute, in short alternating rounds.
"""

from collections.abc import AsyncIterator
from statistics import median

from bench.chat import ENDPOINT_MODELS
from bench.endpoints import serve_endpoints
from bench.modes import MODES, Mode
from bench.processes import PythonServer
from bench.results import BenchError, Ratio, Result
from bench.sides import Side, Sides, serve_sides
from bench.wrk import Load, ensure_wrk, run_wrk

CONNECTIONS = 32
ROUNDS = 6
ROUND_S = 1
GOAL = 0.85


async def run() -> AsyncIterator[Result]:
    """A line for each mode, and one below it with the CPU that a request took."""
    ensure_wrk()
    async with serve_endpoints(ENDPOINT_MODELS) as endpoints:
        for mode in MODES:
            async with serve_sides(mode, endpoints) as sides:
                ours, theirs = await _measure(mode, sides)
            for result in _results(mode, ours, theirs):
                yield result


class _Figures:
    """What was measured of one side, round by round."""

    def __init__(self, side: Side[PythonServer], sides: Sides) -> None:
        self._side = side
        self._requests = sides.requests
        self.loads: list[Load] = []
        self.cpu_us: list[float] = []
        """Of the server's process, per request."""

    async def warm_up(self) -> None:
        await run_wrk(self._side.url, self._requests, connections=CONNECTIONS, duration_s=ROUND_S)

    async def measure(self) -> None:
        before_s = self._side.server.cpu_s
        load = await run_wrk(self._side.url, self._requests, connections=CONNECTIONS, duration_s=ROUND_S)
        self.loads.append(load)
        self.cpu_us.append((self._side.server.cpu_s - before_s) / load.requests * 1e6)

    @property
    def rates(self) -> list[float]:
        return [load.requests_per_s for load in self.loads]


async def _measure(mode: Mode, sides: Sides) -> tuple[_Figures, _Figures]:
    routed_before = await sides.ours.server.routed()
    ours, theirs = _Figures(sides.ours, sides), _Figures(sides.reference, sides)
    await ours.warm_up()
    await theirs.warm_up()
    for index in range(ROUNDS):
        for side in (ours, theirs) if index % 2 else (theirs, ours):
            await side.measure()
    routed = await sides.ours.server.routed() - routed_before
    if routed < sum(load.requests for load in ours.loads):
        raise BenchError(f"{mode.name}: some of the requests were never routed by the picker ({routed:.0f} were)")
    return ours, theirs


def _results(mode: Mode, ours: _Figures, theirs: _Figures) -> list[Result]:
    ratio = Ratio.of(ours.rates, theirs.rates)
    return [
        Result(
            name=f"P1 {mode.name}",
            figure=f"{median(ours.rates):,.0f}/s",
            reference=f"{median(theirs.rates):,.0f}/s",
            ratio=str(ratio),
            goal=f"≥ {GOAL} ×",
            is_ok=ratio.median >= GOAL,
        ),
        Result(
            name="   CPU of the server per request",
            figure=f"{median(ours.cpu_us):.0f} µs",
            reference=f"{median(theirs.cpu_us):.0f} µs",
            ratio=str(Ratio.of(ours.cpu_us, theirs.cpu_us)),
        ),
    ]
