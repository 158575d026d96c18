"""The one table of filters, scorers and pickers by the names that configuration uses."""

from collections.abc import Callable, Iterable, Mapping

from extproc.scheduling.filters import RoleFilter
from extproc.scheduling.first_token import FirstTokenScorer
from extproc.scheduling.interfaces import Filter, Picker, Scorer
from extproc.scheduling.pickers import MaxScorePicker, PowerOfTwoPicker
from extproc.scheduling.prefix import PrefixIndex
from extproc.scheduling.profile import Loads, Profile, Tokens, WeightedScorer
from extproc.scheduling.scorers import (
    InFlightScorer,
    KvCacheScorer,
    LoraAffinityScorer,
    PrefixScorer,
    QueueScorer,
    RunningScorer,
    SessionScorer,
)

FILTERS: Mapping[str, Callable[[], Filter]] = {RoleFilter.name: RoleFilter}
SCORERS: Mapping[str, Callable[[], Scorer]] = {
    FirstTokenScorer.name: FirstTokenScorer,
    LoraAffinityScorer.name: LoraAffinityScorer,
    QueueScorer.name: QueueScorer,
    KvCacheScorer.name: KvCacheScorer,
    RunningScorer.name: RunningScorer,
    InFlightScorer.name: InFlightScorer,
    PrefixScorer.name: PrefixScorer,
    SessionScorer.name: SessionScorer,
}
PICKERS: Mapping[str, Callable[[], Picker]] = {
    MaxScorePicker.name: MaxScorePicker,
    PowerOfTwoPicker.name: PowerOfTwoPicker,
}


def build_profile(
    *,
    filters: Iterable[str],
    scorer_weights: Mapping[str, float],
    picker: str,
    loads: Loads,
    tokens: Tokens,
    prefixes: PrefixIndex,
) -> Profile:
    """A profile of the named filters, the scorers with their weights, and the picker.

    Errors: KeyError for a name that is not in the tables; settings are checked against them when they are loaded.
    """
    return Profile(
        filters=[FILTERS[name]() for name in filters],
        scorers=[WeightedScorer(SCORERS[name](), weight) for name, weight in scorer_weights.items()],
        picker=PICKERS[picker](),
        loads=loads,
        tokens=tokens,
        prefixes=prefixes,
    )
