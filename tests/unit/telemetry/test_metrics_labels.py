"""telemetry/metrics/labels: names of models as label values, bounded whatever clients and pools do."""

from collections.abc import Iterable, Set
from typing import cast

from msgspec.structs import replace
from tests.unit.known import POOL

from extproc.telemetry.metrics.labels import MODEL_LABELS, OTHER_MODEL, UNKNOWN_MODEL, ModelLabels
from extproc.values.model import ModelCard
from extproc.values.names import Alias
from extproc.values.snapshot import KnownModel, Snapshot


class Watched:
    """The labels of a pool, and those that were given up."""

    def __init__(self, *aliases: str) -> None:
        self.snapshot = Snapshot(POOL, aliases={name: Alias(name, ()) for name in aliases})
        self.forgotten: list[Set[str]] = []
        self.labels = ModelLabels(lambda: self.snapshot, forget=self.forgotten.append)

    def serve(self, models: Iterable[str]) -> None:
        known = {model: KnownModel(ModelCard(model), ()) for model in models}
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, models=known)

    def ask(self, models: Iterable[str]) -> list[str]:
        return [self.labels.label(model) for model in models]


def named(begin: int, count: int) -> list[str]:
    return [f"m{number:05}" for number in range(begin, begin + count)]


def test_ten_thousand_names_that_nobody_serves_are_one() -> None:
    watched = Watched()
    assert set(watched.ask(named(0, 10_000))) == {UNKNOWN_MODEL}


def test_ten_thousand_names_that_are_served_are_a_thousand_and_one() -> None:
    watched = Watched()
    models = named(0, 10_000)
    watched.serve(models)
    first, further = models[:MODEL_LABELS], models[MODEL_LABELS:]
    for _ in range(2):
        assert watched.ask(first) == first
        assert set(watched.ask(further)) == {OTHER_MODEL}
    assert watched.forgotten == []


def test_an_alias_has_a_name_of_its_own() -> None:
    watched = Watched("fast")
    assert watched.ask(["fast", "slow"]) == ["fast", UNKNOWN_MODEL]


def test_an_alias_keeps_its_name_where_others_make_room() -> None:
    watched = Watched("fast")
    watched.serve(named(0, MODEL_LABELS - 1))
    watched.ask(["fast", *named(0, MODEL_LABELS - 1)])
    watched.serve(["new"])
    assert watched.ask(["new", "fast"]) == ["new", "fast"]
    assert watched.forgotten == [set(named(0, MODEL_LABELS - 1))]


def test_models_that_come_and_go_leave_room() -> None:
    """Each day others: after years every model of the day still has a name of its own."""
    watched = Watched()
    for day in range(20):
        models = named(day * 300, 300)
        watched.serve(models)
        assert watched.ask(models) == models, day
    held = set(named(0, 6000)).difference(*watched.forgotten)
    assert len(held) <= MODEL_LABELS
    assert set(named(19 * 300, 300)) <= held


def test_only_those_that_the_pool_no_longer_knows_make_room() -> None:
    watched = Watched()
    watched.serve(named(0, MODEL_LABELS))
    watched.ask(named(0, MODEL_LABELS))
    watched.serve([*named(2, MODEL_LABELS - 2), "new", "newer", "newest"])
    assert watched.ask(["m00000"]) == ["m00000"], "it keeps its name as long as nobody wants it"
    assert watched.ask(["new", "newer", "newest"]) == ["new", "newer", OTHER_MODEL]
    assert watched.forgotten == [{"m00000", "m00001"}]
    assert watched.ask(["m00000", "m00002"]) == [UNKNOWN_MODEL, "m00002"]


def test_where_nobody_has_gone_nobody_is_looked_for() -> None:
    """A sweep looks at a thousand names: not at each request that is counted as `other`."""
    watched = Watched()
    watched.serve(named(0, MODEL_LABELS + 2))
    watched.ask(named(0, MODEL_LABELS + 1))
    gone = CountedSnapshot(watched)
    labels = ModelLabels(lambda: cast(Snapshot, gone), forget=watched.forgotten.append)
    for model in named(0, MODEL_LABELS + 1):
        labels.label(model)
    gone.looks = 0
    for _ in range(10):
        assert labels.label(f"m{MODEL_LABELS + 1:05}") == OTHER_MODEL
    assert gone.looks == 10


class CountedSnapshot:
    """Counts looks at the known models."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.looks = 0

    @property
    def version(self) -> int:
        return self._watched.snapshot.version

    @property
    def models(self) -> object:
        self.looks += 1
        return self._watched.snapshot.models

    @property
    def aliases(self) -> object:
        return self._watched.snapshot.aliases
