"""The plot of docs/scheduling.md: time to first token and prefix hits, by workload and policy."""

from collections.abc import Sequence
from pathlib import Path

from bench.policies.report import Played
from bench.results import BenchError

COLOURS = {
    "random": "#c7c7c7",
    "round robin": "#9a9a9a",
    "least request": "#6e6e6e",
    "prefix only": "#d9a441",
    "weighted sum": "#c8663f",
    "ours, detach": "#2f6db3",
    "ours, track": "#7fb0e0",
    "oracle": "#3d8a56",
}


def draw(played: Sequence[Played], paths: Sequence[Path]) -> None:
    """Writes the plot to `paths`, whose suffixes say in what format.

    Errors: BenchError where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BenchError("the plot needs matplotlib: pip install -e '.[bench]'") from exc
    mpl.rcParams["svg.hashsalt"] = "extproc"  # else every run has other ids
    names = [name for name in COLOURS if name in played[0].figures]
    figure = Figure(figsize=(2.2 + 1.9 * len(played), 7.0), layout="constrained")
    waits, hits = figure.subplots(2, 1, sharex=True)
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        at = [place - 0.4 + width * (index + 0.5) for place in range(len(played))]
        waits.bar(at, [each.figures[name].p90_s for each in played], width, color=COLOURS[name], label=name)
        hits.bar(at, [each.figures[name].hit_ratio for each in played], width, color=COLOURS[name])
    for place, each in enumerate(played):
        hits.hlines(each.joined_hit_ratio, place - 0.42, place + 0.42, color="black", linewidth=1.0, linestyle="--")
    waits.set_yscale("log")
    waits.set_ylabel("time to first token, p90, s")
    waits.legend(ncols=4, fontsize="small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    hits.set_ylabel("prompt tokens found in the cache\n(dashed: eight caches joined)")
    hits.set_ylim(0, 1)
    hits.set_xticks(range(len(played)), [_label(each) for each in played], fontsize="small")
    for axes in (waits, hits):
        axes.spines[["top", "right"]].set_visible(False)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=110, metadata=metadata)


def _label(played: Played) -> str:
    case = played.section.cases[0]
    names = {"r2": "shared prefixes", "r3": "independent,\nmixed speeds", "chat": "conversations"}
    name = names.get(case.workload, f"trace,\n8 × {case.card}")
    return f"{name}\n{case.load * 100:.0f} %"
