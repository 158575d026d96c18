"""sources/kubernetes/names_follower: what is reported of rewrites and objectives, and what is said of them."""

from collections.abc import Callable

import pytest

from extproc.registry.changes import NamesListed
from extproc.settings.telling import TelemetrySettings
from extproc.sources.kubernetes.names import (
    NAME_GROUPS,
    DatedMetadata,
    InferenceModelRewrite,
    InferenceObjective,
    Match,
    ModelMatch,
    ObjectiveSpec,
    PoolReference,
    RewriteSpec,
    Rule,
    TargetModel,
)
from extproc.sources.kubernetes.names_follower import NamesFollower
from extproc.sources.kubernetes.objects import Metadata
from extproc.telemetry.logs import configure_logs
from extproc.values.pool import Pool

NEW, OLD = NAME_GROUPS


def rewrite(uid: str, model: str, target: str, *, pool: str = "llm") -> InferenceModelRewrite:
    matches = [Match(ModelMatch(model))] if model else None
    spec = RewriteSpec(PoolReference(pool), [Rule(matches, [TargetModel(target)])])
    return InferenceModelRewrite(DatedMetadata(uid, uid, creation_timestamp=f"{uid}"), spec)


def objective(uid: str, priority: int) -> InferenceObjective:
    return InferenceObjective(Metadata(uid, uid), ObjectiveSpec(PoolReference("llm"), priority))


class Told:
    """What a follower reports: `alias>target`, `objective=priority`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.follower = NamesFollower(Pool("llm"), report=self._report)

    def _report(self, change: NamesListed) -> None:
        aliases = [f"{alias.name}>{alias.targets[0].model}" for alias in change.aliases]
        self.lines.append(" ".join([*aliases, *(f"{name}={value}" for name, value in change.objectives.items())]))


Step = Callable[[NamesFollower], object]
A, B = rewrite("a", "fast", "phi"), rewrite("b", "big", "gemma")


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        pytest.param([lambda f: f.rewrites_of(OLD).list_all([])], [], id="nothing is stated"),
        pytest.param([lambda f: f.rewrites_of(OLD).miss(), lambda f: f.objectives_of(OLD).miss()], [], id="not served"),
        pytest.param([lambda f: f.rewrites_of(OLD).list_all([A])], ["fast>phi"], id="a list"),
        pytest.param([lambda f: f.rewrites_of(OLD).change([A], [])], ["fast>phi"], id="an event"),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([A]), lambda f: f.rewrites_of(OLD).list_all([A])],
            ["fast>phi"],
            id="the same again",
        ),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([A]), lambda f: f.rewrites_of(OLD).list_all([B])],
            ["fast>phi", "big>gemma"],
            id="a list without it",
        ),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([A, B]), lambda f: f.rewrites_of(OLD).change([], [A])],
            ["fast>phi big>gemma", "big>gemma"],
            id="one is deleted",
        ),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([A]), lambda f: f.rewrites_of(OLD).change([], [A])],
            ["fast>phi", ""],
            id="the last is deleted",
        ),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([A]), lambda f: f.rewrites_of(OLD).miss()],
            ["fast>phi"],
            id="what cannot be read any more still holds",
        ),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([A]), lambda f: f.rewrites_of(NEW).list_all([B])],
            ["fast>phi", "fast>phi big>gemma"],
            id="both groups together",
        ),
        pytest.param(
            [lambda f: f.rewrites_of(OLD).list_all([rewrite("a", "fast", "phi", pool="another")])],
            [],
            id="another pool's",
        ),
        pytest.param(
            [
                lambda f: f.objectives_of(OLD).list_all([objective("batch", -1)]),
                lambda f: f.objectives_of(NEW).list_all([objective("batch", -2)]),
                lambda f: f.objectives_of(NEW).change([], [objective("batch", -2)]),
            ],
            ["batch=-1", "batch=-2", "batch=-1"],
            id="an objective in both groups: the newer group's",
        ),
    ],
)
def test_what_is_reported(steps: list[Step], lines: list[str]) -> None:
    told = Told()
    for step in steps:
        step(told.follower)
    assert told.lines == lines


def test_what_has_no_effect_is_said_once_as_long_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=1))
    kind = Told().follower.rewrites_of(OLD)
    for objects in ([rewrite("a", "", "phi")], [rewrite("a", "", "phi"), B], [B], [rewrite("a", "", "phi")]):
        kind.list_all(objects)
    said = capsys.readouterr().err
    assert said.count("part of an InferenceModelRewrite has no effect") == 2
    assert "rewrite=a" in said
