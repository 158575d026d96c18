"""The judgement: every number measured, beside what it should be, right or not."""

from collections.abc import Sequence
from dataclasses import dataclass

from extproc.cli.demo.client import Outcome
from extproc.cli.demo.disruption import AFTER_S, Disruption
from extproc.cli.demo.fleet import MODELS
from extproc.cli.demo.measure import AT_ONCE, LISTINGS, REQUESTS_PER_MODEL, Routing, Unknown


@dataclass(frozen=True)
class Figure:
    """One number with its goal, as texts, and whether it meets it."""

    text: str
    goal: str
    is_right: bool


@dataclass(frozen=True)
class Row:
    """One measure, for Envoy alone and with the picker; None where it was not taken."""

    label: str
    alone: Figure | None
    picked: Figure | None


@dataclass(frozen=True)
class Part:
    """Rows under one title."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that the demo measures."""

    alone: Routing
    picked: Routing
    unknown: Unknown
    disruption: Disruption


def judge(measured: Measured) -> list[Part]:
    """Every figure of the demo, judged."""
    count = REQUESTS_PER_MODEL * len(MODELS)
    return [
        Part(f"{count} requests, half of them streaming", _judge_routing(measured)),
        Part(f"{measured.disruption.victim} killed, restarted under load", _judge_disruption(measured.disruption)),
    ]


def is_all_right(parts: Sequence[Part]) -> bool:
    """True when no figure misses its goal."""
    return all(
        figure.is_right
        for part in parts
        for row in part.rows
        for figure in (row.alone, row.picked)
        if figure is not None
    )


def unexplained(measured: Measured) -> list[Outcome]:
    """The attempts behind the figures that are not right: with the picker, none should be other than good."""
    return [
        *(attempt for attempt in measured.picked.attempts if not attempt.is_good),
        *measured.disruption.failed,
    ]


def _judge_routing(measured: Measured) -> list[Row]:
    alone, picked, unknown = measured.alone, measured.picked, measured.unknown
    # Envoy alone is judged too: where its round robin happened to fit, the demo would have shown nothing.
    return [
        Row("first attempts that succeed", _share_about_half(alone.first_good_ratio), _share_all(picked)),
        Row(
            "attempts per request, average",
            Figure(f"{alone.average_attempts:.2f}", "≥ 1.30", alone.average_attempts >= 1.3),
            Figure(f"{picked.average_attempts:.2f}", "1.00", picked.average_attempts == 1),
        ),
        Row("attempts per request, most", _at_least(alone.most_attempts, 2), _exactly(picked.most_attempts, 1)),
        Row("wrong server, by its reply", _at_least(alone.wrong_seen, 1), _exactly(picked.wrong_seen, 0)),
        Row("wrong server, by its own count", _at_least(alone.wrong_counted, 1), _exactly(picked.wrong_counted, 0)),
        Row("responses cut short", _exactly(_cut(alone), 0), _exactly(_cut(picked), 0)),
        Row("request bodies altered", _exactly(_altered(alone), 0), _exactly(_altered(picked), 0)),
        Row(
            f"different lists, {LISTINGS} × /v1/models",
            _at_least(len(set(alone.listings)), 2),
            _exactly(len(set(picked.listings)), 1),
        ),
        Row(
            "models that each list names",
            _exactly(_fewest_listed(alone), 1),
            _exactly(_fewest_listed(picked), len(MODELS)),
        ),
        Row("status for an unknown model", None, _exactly(unknown.status, 404)),
        Row("models that its text offers", None, _exactly(unknown.named, len(MODELS))),
    ]


def _judge_disruption(disruption: Disruption) -> list[Row]:
    in_flight = len(disruption.died_with_it)
    return [
        Row("requests, clients never retry", None, _at_least(len(disruption.outcomes), 100)),
        Row("failed", None, _exactly(len(disruption.failed), 0)),
        Row("answered 404", None, _exactly(disruption.not_found, 0)),
        Row("wrong server, by its reply", None, _exactly(disruption.wrong_seen, 0)),
        Row("begun answers that died with it", None, Figure(str(in_flight), f"≤ {AT_ONCE}", in_flight <= AT_ONCE)),
        Row("serves again, once it listens, in", None, _back(disruption.back_after_s)),
    ]


def _share_about_half(ratio: float) -> Figure:
    return Figure(f"{ratio:.0%}", "30–70%", 0.3 <= ratio <= 0.7)


def _share_all(routing: Routing) -> Figure:
    return Figure(f"{routing.first_good_ratio:.0%}", "100%", routing.first_good_ratio == 1)


def _back(after_s: float | None) -> Figure:
    if after_s is None:
        return Figure("never", f"≤ {AFTER_S:g} s", False)
    return Figure(f"{after_s * 1000:.0f} ms", f"≤ {AFTER_S:g} s", after_s <= AFTER_S)


def _exactly(value: int, goal: int) -> Figure:
    return Figure(str(value), str(goal), value == goal)


def _at_least(value: int, goal: int) -> Figure:
    return Figure(str(value), f"≥ {goal}", value >= goal)


def _cut(routing: Routing) -> int:
    return sum(attempt.is_cut for attempt in routing.attempts)


def _altered(routing: Routing) -> int:
    return sum(attempt.is_altered for attempt in routing.attempts)


def _fewest_listed(routing: Routing) -> int:
    return min(len(set(listing) & set(MODELS)) for listing in routing.listings)
