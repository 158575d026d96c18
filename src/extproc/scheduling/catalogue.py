"""The one table of filters, scorers and pickers by the names that configuration uses."""

from collections.abc import Callable, Mapping

from extproc.scheduling.filters import SubsetFilter
from extproc.scheduling.interfaces import Filter, Picker, Scorer
from extproc.scheduling.pickers import MaxScorePicker
from extproc.scheduling.profile import Profile, WeightedScorer
from extproc.scheduling.scorers import RecentCounts, RecentRoutesScorer

FILTERS: Mapping[str, Callable[[], Filter]] = {SubsetFilter.name: SubsetFilter}
SCORERS: Mapping[str, Callable[[RecentCounts], Scorer]] = {RecentRoutesScorer.name: RecentRoutesScorer}
PICKERS: Mapping[str, Callable[[], Picker]] = {MaxScorePicker.name: MaxScorePicker}


def build_profile(scorer_weights: Mapping[str, float], picker: str, *, recent: RecentCounts) -> Profile:
    """A profile of every filter, the scorers with their weights, and the picker.

    Errors: KeyError for a name that is not in the tables; settings are checked against them when they are loaded.
    """
    return Profile(
        filters=[make() for make in FILTERS.values()],
        scorers=[WeightedScorer(SCORERS[name](recent), weight) for name, weight in scorer_weights.items()],
        picker=PICKERS[picker](),
    )
