"""What InferenceModelRewrites and InferenceObjectives state for one pool: aliases and priorities.

Source: gateway-api-inference-extension, apix/v1alpha2 (group inference.networking.x-k8s.io), and llm-d-router, which
serves both kinds as llm-d.ai/v1alpha2; docs/decisions/016.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from extproc.sources.kubernetes.objects import KubernetesObject, Metadata
from extproc.sources.kubernetes.pools import Group
from extproc.values.names import Alias, Target

NAME_GROUPS = (Group("llm-d.ai", "v1alpha2"), Group("inference.networking.x-k8s.io", "v1alpha2"))
"""The groups and versions in which both kinds are served, the newer one first."""

EXACT = "Exact"


class _Field(msgspec.Struct, frozen=True, rename="camel"):
    """The base of what is read below the top."""


class DatedMetadata(Metadata, frozen=True):
    """What every object says of itself, and since when it is there."""

    creation_timestamp: str = ""
    """RFC 3339 in UTC, in whole seconds: the order of the texts is that of the times."""


class PoolReference(_Field, frozen=True):
    """The InferencePool, in the same namespace, that an object is for."""

    name: str = ""


class ModelMatch(_Field, frozen=True):
    """How a model's name is compared."""

    value: str = ""
    type: str | None = None
    """`Exact`, which is the default and all there is."""


class Match(_Field, frozen=True):
    """One of the things by which a rule takes a request."""

    model: ModelMatch | None = None


class TargetModel(_Field, frozen=True):
    """A model that a request is rewritten to."""

    model_rewrite: str = ""
    weight: int | None = None


class Rule(_Field, frozen=True):
    """What requests a rewrite takes, and what becomes of them."""

    matches: list[Match] | None = None
    """Any of them; none takes every request."""
    targets: list[TargetModel] | None = None


class RewriteSpec(_Field, frozen=True):
    """The spec of an InferenceModelRewrite."""

    pool_ref: PoolReference | None = None
    rules: list[Rule] | None = None


class InferenceModelRewrite(KubernetesObject, frozen=True):
    """An InferenceModelRewrite of either group."""

    metadata: DatedMetadata
    spec: RewriteSpec = RewriteSpec()


class ObjectiveSpec(_Field, frozen=True):
    """The spec of an InferenceObjective."""

    pool_ref: PoolReference | None = None
    priority: int | None = None


class InferenceObjective(KubernetesObject, frozen=True):
    """An InferenceObjective of either group."""

    spec: ObjectiveSpec = ObjectiveSpec()


class Doubtful(NamedTuple):
    """Something in a rewrite that has no effect."""

    rewrite: str
    """Its name."""
    what: str


def aliases_of(rewrites: Iterable[InferenceModelRewrite], pool: str) -> tuple[tuple[Alias, ...], tuple[Doubtful, ...]]:
    """The aliases that rewrites state for the pool of that name, each name once, and what of them has no effect.

    Of two rules for one model that of the older rewrite counts, then that of the first name; within one rewrite the
    first rule. A rule that takes every request is left out: in a pool of several models it would have one that is
    served answer for another.
    """
    aliases: dict[str, Alias] = {}
    doubtful: dict[Doubtful, None] = {}
    for rewrite in sorted(rewrites, key=lambda each: (each.metadata.creation_timestamp, each.metadata.name)):
        if rewrite.spec.pool_ref is None or rewrite.spec.pool_ref.name != pool:
            continue
        for rule in rewrite.spec.rules or ():
            names, targets = _names(rule), _targets(rule)
            if not names or not targets:
                what = "a rule without targets" if names else "a rule that names no model to match exactly"
                doubtful[Doubtful(rewrite.metadata.name, what)] = None
                continue
            for name in names:
                if aliases.setdefault(name, Alias(name, targets)).targets is not targets:
                    what = f"a rule for {name!r}, which an older one is for"
                    doubtful[Doubtful(rewrite.metadata.name, what)] = None
    return tuple(aliases.values()), tuple(doubtful)


def _names(rule: Rule) -> tuple[str, ...]:
    models = (match.model for match in rule.matches or ())
    return tuple(model.value for model in models if model and model.value and model.type in (None, "", EXACT))


def _targets(rule: Rule) -> tuple[Target, ...]:
    """Without weights, equal ones."""
    return tuple(
        Target(target.model_rewrite, 1 if target.weight is None else max(0, target.weight))
        for target in rule.targets or ()
        if target.model_rewrite
    )


def objectives_of(objectives: Iterable[InferenceObjective], pool: str) -> dict[str, int]:
    """The priorities, by name, that objectives state for the pool of that name; of two of one name the first counts."""
    priorities: dict[str, int] = {}
    for objective in objectives:
        if objective.spec.pool_ref is not None and objective.spec.pool_ref.name == pool:
            priorities.setdefault(objective.metadata.name, objective.spec.priority or 0)
    return priorities
