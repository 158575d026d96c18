"""scheduling/catalogue: names that configuration can use are names that exist."""

from typing import get_args

import pytest

from extproc.admission.inflight import InFlight
from extproc.admission.loads import Loads
from extproc.scheduling.catalogue import FILTERS, PICKERS, SCORERS, build_profile
from extproc.scheduling.prefix import PrefixIndex
from extproc.scheduling.profile import Profile
from extproc.settings.schema import SchedulingSettings, ScorerSettings


def build(filters: tuple[str, ...], weights: dict[str, float], picker: str) -> Profile:
    loads = Loads(in_flight=InFlight(), staleness_s=2.0)
    return build_profile(
        filters=filters,
        scorer_weights=weights,
        picker=picker,
        loads=loads,
        tokens=loads.tokens,
        prefixes=PrefixIndex(1000),
    )


def test_settings_name_exactly_what_the_catalogue_holds() -> None:
    (filter_names, _) = get_args(SchedulingSettings.model_fields["filters"].annotation)
    assert set(get_args(filter_names)) == set(FILTERS)
    assert set(get_args(ScorerSettings.model_fields["name"].annotation)) == set(SCORERS)
    assert set(get_args(SchedulingSettings.model_fields["picker"].annotation)) == set(PICKERS)


def test_each_is_called_what_the_table_calls_it() -> None:
    assert {name: make().name for name, make in FILTERS.items()} == {name: name for name in FILTERS}
    assert {name: make().name for name, make in SCORERS.items()} == {name: name for name in SCORERS}
    assert {name: make().name for name, make in PICKERS.items()} == {name: name for name in PICKERS}


def test_the_default_profile_is_what_the_settings_say() -> None:
    settings = SchedulingSettings()
    weights: dict[str, float] = {scorer.name: scorer.weight for scorer in settings.scorers}
    profile = build(settings.filters, weights, settings.picker)
    assert repr(profile) == "<Profile role ▸ ttft × 1, lora-affinity × 1 ▸ max-score>"


@pytest.mark.parametrize(
    ("filters", "scorer", "picker"),
    [
        pytest.param(("nonsense",), "ttft", "max-score", id="filter"),
        pytest.param((), "nonsense", "max-score", id="scorer"),
        pytest.param((), "ttft", "nonsense", id="picker"),
    ],
)
def test_a_name_that_is_not_there(filters: tuple[str, ...], scorer: str, picker: str) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        build(filters, {scorer: 1.0}, picker)
