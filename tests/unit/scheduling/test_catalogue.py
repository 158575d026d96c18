"""scheduling/catalogue: names that configuration can use are names that exist."""

from typing import get_args

import pytest

from extproc.admission.recent import RecentRoutes
from extproc.scheduling.catalogue import FILTERS, PICKERS, SCORERS, build_profile
from extproc.settings.schema import SchedulingSettings, ScorerSettings


def test_settings_name_exactly_what_the_catalogue_holds() -> None:
    assert set(get_args(ScorerSettings.model_fields["name"].annotation)) == set(SCORERS)
    assert set(get_args(SchedulingSettings.model_fields["picker"].annotation)) == set(PICKERS)


def test_each_is_called_what_the_table_calls_it() -> None:
    assert {name: make().name for name, make in FILTERS.items()} == {name: name for name in FILTERS}
    assert {name: make(RecentRoutes()).name for name, make in SCORERS.items()} == {name: name for name in SCORERS}
    assert {name: make().name for name, make in PICKERS.items()} == {name: name for name in PICKERS}


def test_the_default_profile_is_what_the_settings_say() -> None:
    settings = SchedulingSettings()
    weights: dict[str, float] = {scorer.name: scorer.weight for scorer in settings.scorers}
    profile = build_profile(weights, settings.picker, recent=RecentRoutes())
    assert repr(profile) == "<Profile subset ▸ recent-routes × 1 ▸ max-score>"


@pytest.mark.parametrize(("scorer", "picker"), [("nonsense", "max-score"), ("recent-routes", "nonsense")])
def test_a_name_that_is_not_there(scorer: str, picker: str) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        build_profile({scorer: 1.0}, picker, recent=RecentRoutes())
