"""Which model a request is for: the one that it names, or another that this name stands for.

The header that wants another model counts first, then an alias, then the name itself. What either of them names is a
model as engines list it: no alias is looked up twice. Source: docs/decisions/016.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from extproc.values.names import Alias, Target
from extproc.values.request import InferenceRequest
from extproc.values.snapshot import Snapshot

if TYPE_CHECKING:
    from random import Random


def resolve(request: InferenceRequest, snapshot: Snapshot, rng: "Random") -> str:
    """The model to route `request` to, which names one. It need not be known.

    Drawn anew at each call where an alias has several targets that can serve.
    """
    if request.rewrite:
        return request.rewrite
    model = request.model or ""
    alias = snapshot.aliases.get(model)
    return model if alias is None else _draw(alias, snapshot, rng)


def _draw(alias: Alias, snapshot: Snapshot, rng: "Random") -> str:
    """One of the best targets by weight. A weight of 0 gets nothing while one with more is among them."""
    targets = alias.targets if len(alias.targets) == 1 else _best_targets(alias, snapshot)
    if len(targets) == 1:
        return targets[0].model
    sums = _sums(targets)
    return targets[bisect_right(sums, rng.random() * sums[-1])].model


def _best_targets(alias: Alias, snapshot: Snapshot) -> Sequence[Target]:
    """The targets with an endpoint that serves them; else with one that is suspect; else the known ones; else all.

    So an alias is served while one of its targets is.
    """
    known = [(target, snapshot.models[target.model]) for target in alias.targets if target.model in snapshot.models]
    return (
        [target for target, model in known if model.candidates]
        or [target for target, model in known if model.suspects]
        or [target for target, _ in known]
        or alias.targets
    )


def _sums(targets: Iterable[Target]) -> list[int]:
    """The weights summed up one after another; those of equal weights where all are 0."""
    sums = list(accumulate(target.weight for target in targets))
    return sums if sums[-1] else list(range(1, len(sums) + 1))
