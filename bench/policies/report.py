"""The results as docs/scheduling.md shows them: a table for each workload, and where ours loses."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.policies.capacity import joined_hit_ratio
from bench.policies.cases import MIXED_SPEEDS, Case, Runs, capacity, is_trace, load_workload
from bench.policies.costs import CARDS
from bench.policies.figures import Figures
from bench.policies.goals import HEAVY_TAILED_SIZE, LOADS, SIZE, TRACE_SIZE
from bench.results import Result

BEGIN, END = "<!-- python -m bench.policies table --write: begin -->", "<!-- end -->"
POLICIES = (
    "random",
    "round robin",
    "least request",
    "prefix only",
    "weighted sum",
    "ours, detach",
    "ours, track",
    "oracle",
)
_COLUMNS = "| policy | p50 ms | p90 ms | p99 ms | prefix hits | completed/s | preemptions |"
_RULE = "|---|--:|--:|--:|--:|--:|--:|"


class Section(msgspec.Struct, frozen=True):
    """One workload at one load on one kind of engine."""

    title: str
    cases: tuple[Case, ...]
    in_plot: bool = False


class Played(msgspec.Struct, frozen=True):
    """A section and its figures by policy."""

    section: Section
    figures: dict[str, Figures]
    capacity_per_s: float
    joined_hit_ratio: float


def sections(trace: Path | None, *, size: int = SIZE, policies: Sequence[str] = POLICIES) -> list[Section]:
    """What the table has; the trace's only where there is one."""

    def section(title: str, workload: str, load: float, **parameters: object) -> Section:
        made = {"workload": workload, "load": load, "size": size, **parameters}
        cases = tuple([msgspec.convert({"policy": name, **made}, Case) for name in policies])
        return Section(title.replace("%", " %"), cases, in_plot=load == 0.8 and "replicas" not in made)

    found = [section("R2: long shared prefixes, 80%", "r2", 0.8)]
    found.append(section("R4: R2 with 3 replicas of the picker that share nothing", "r2", 0.8, replicas=3))
    for load in LOADS:
        title = f"R3: independent prompts, heavy tails, four engines of half the speed, {load:.0%}"
        found.append(section(title, "r3", load, speeds=MIXED_SPEEDS, size=size * HEAVY_TAILED_SIZE // SIZE))
    found.append(section("Conversations, 80%", "chat", 0.8))
    if trace is not None:
        for card in CARDS:
            for load in LOADS:
                title = f"R6: trace `{trace.name}` on 8 × {card}, {load:.0%}"
                found.append(section(title, str(trace), load, card=card, size=TRACE_SIZE))
    return found


def play(found: Sequence[Section], runs: Runs) -> Iterator[Played]:
    """Plays all cases and yields each section as it is done."""
    results = runs.play([case for section in found for case in section.cases])
    for section in found:
        figures = {case.policy: next(results)[1] for case in section.cases}
        case = section.cases[0]
        jobs = load_workload(case.workload, case.size).jobs
        joined = joined_hit_ratio(jobs, CARDS[case.card], len(case.speeds))
        yield Played(section, figures, capacity(case), joined)


def write_section(played: Played) -> str:
    """A section in Markdown."""
    case = played.section.cases[0]
    per_s, share = played.capacity_per_s, case.load * 100
    size = len(load_workload(case.workload, case.size).jobs)
    measured = "all measured" if is_trace(case.workload) else "the last four fifths measured"
    said = f"{case.load * per_s:.1f} requests/s, {share:.0f} % of the capacity of {per_s:.1f}; "
    said += f"{size:,} requests, {measured}."
    if played.joined_hit_ratio:
        said += f" Eight caches joined would find {played.joined_hit_ratio:.3f} of the tokens."
    rows = [_row(name, figures) for name, figures in played.figures.items()]
    lines = [f"### {played.section.title}", "", said, "", _COLUMNS, _RULE, *rows, "", _verdict(played.figures), ""]
    return "\n".join(lines)


def write_goals(results: Sequence[Result]) -> str:
    """The goals' lines in Markdown."""
    lines = ["### Against the goals", "", "| | figure | reference | ratio | goal | |", "|---|--:|--:|--:|--:|---|"]
    for each in results:
        verdict = "" if each.is_ok is None else "ok" if each.is_ok else "**short**"
        name = each.name.strip() if each.name == each.name.strip() else f"… {each.name.strip()}"
        lines.append(f"| {name} | {each.figure} | {each.reference} | {each.ratio} | {each.goal} | {verdict} |")
    return "\n".join([*lines, ""])


def _row(name: str, figures: Figures) -> str:
    return (
        f"| {name} | {figures.p50_s * 1e3:,.0f} | {figures.p90_s * 1e3:,.0f} | {figures.p99_s * 1e3:,.0f} "
        f"| {figures.hit_ratio:.3f} | {figures.completed_per_s:.2f} | {figures.preemptions} |"
    )


def _verdict(figures: Mapping[str, Figures]) -> str:
    """Where ours is not the best of those that a router can be, by the 90th percentile."""
    others = {name: each for name, each in figures.items() if not name.startswith("ours") and name != "oracle"}
    said = []
    for name, ours in figures.items():
        if not name.startswith("ours"):
            continue
        ratios = {other: each.p90_s / ours.p90_s for other, each in others.items()}
        if better := [f"{other} ({ratio:.2f} of its p90)" for other, ratio in ratios.items() if ratio < 1.0]:
            said.append(f"**{name} loses to {', '.join(better)}.**")
        else:
            nearest = min(ratios, key=lambda other: ratios[other])
            said.append(f"{name}: {1 / ratios[nearest]:.2f} of the p90 of {nearest}, the best of the others.")
    return " ".join(said)


def insert(document: str, results: str) -> str:
    """`document` with `results` between its two marks; at its end where it has none."""
    if BEGIN not in document:
        return f"{document.rstrip()}\n\n{BEGIN}\n{results.rstrip()}\n{END}\n".lstrip()
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{results.rstrip()}\n{END}{after}"
