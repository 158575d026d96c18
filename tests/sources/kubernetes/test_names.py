"""sources/kubernetes/names: what rewrites and objectives state for one pool."""

from typing import Any

import msgspec
import pytest
from tests.api_objects import LLMD_REWRITES, Manifest, objective, rewrite

from extproc.sources.kubernetes.names import InferenceModelRewrite, InferenceObjective, aliases_of, objectives_of
from extproc.sources.kubernetes.objects import Decoder

POOL = "llm"


def read(manifest: Manifest, created: str = "2026-01-01T00:00:00Z") -> InferenceModelRewrite:
    manifest["metadata"]["creationTimestamp"] = created
    return Decoder(InferenceModelRewrite).read(msgspec.json.encode(manifest))


def stated(spec: Any) -> InferenceModelRewrite:
    return read({"metadata": {"name": "r"}, "spec": spec})


def told(*rewrites: InferenceModelRewrite) -> dict[str, str]:
    aliases, _ = aliases_of(rewrites, POOL)
    return {alias.name: " ".join(f"{target.model}*{target.weight}" for target in alias.targets) for alias in aliases}


FAST = (["fast"], {"phi": 1})
OTHER = (["fast"], {"gemma": 1})
NEWER = "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("rewrites", "aliases"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([read(rewrite("r", POOL, FAST))], {"fast": "phi*1"}, id="one target"),
        pytest.param([read(rewrite("r", POOL, FAST, resource=LLMD_REWRITES))], {"fast": "phi*1"}, id="of llm-d"),
        pytest.param([read(rewrite("r", "another", FAST))], {}, id="of another pool"),
        pytest.param(
            [read(rewrite("r", POOL, (["fast"], {"phi": 90, "gemma": 10})))],
            {"fast": "phi*90 gemma*10"},
            id="weighted targets, in order",
        ),
        pytest.param(
            [read(rewrite("r", POOL, (["fast"], {"phi": None, "gemma": None})))],
            {"fast": "phi*1 gemma*1"},
            id="no weights: equal ones",
        ),
        pytest.param(
            [read(rewrite("r", POOL, (["a", "b"], {"phi": 1})))],
            {"a": "phi*1", "b": "phi*1"},
            id="either of two models",
        ),
        pytest.param(
            [read(rewrite("r", POOL, FAST, (["big"], {"gemma": 1})))],
            {"fast": "phi*1", "big": "gemma*1"},
            id="two rules",
        ),
        pytest.param([read(rewrite("r", POOL, FAST, OTHER))], {"fast": "phi*1"}, id="one model twice: the first rule"),
        pytest.param(
            [read(rewrite("a", POOL, OTHER), NEWER), read(rewrite("b", POOL, FAST))],
            {"fast": "phi*1"},
            id="of two rewrites the older",
        ),
        pytest.param(
            [read(rewrite("b", POOL, OTHER)), read(rewrite("a", POOL, FAST))],
            {"fast": "phi*1"},
            id="of the same age the first name",
        ),
        pytest.param(
            [read(rewrite("a", "another", FAST)), read(rewrite("b", POOL, OTHER), NEWER)],
            {"fast": "gemma*1"},
            id="an older one of another pool",
        ),
        pytest.param(
            [read(rewrite("r", POOL, (["fast"], {"phi": -5, "gemma": 0})))], {"fast": "phi*0 gemma*0"}, id="less than 0"
        ),
        pytest.param([read(rewrite("r", POOL, ([], {"phi": 1})))], {}, id="no match takes every request: left out"),
        pytest.param([read(rewrite("r", POOL, (["fast"], {})))], {}, id="no targets"),
        pytest.param(
            [read(rewrite("r", POOL, (["fast"], {}), OTHER))], {"fast": "gemma*1"}, id="no targets, and a rule that has"
        ),
        pytest.param([stated({})], {}, id="nothing stated"),
        pytest.param([stated({"poolRef": {"name": POOL}, "rules": None})], {}, id="no rules"),
        pytest.param(
            [
                stated(
                    {
                        "poolRef": {"name": POOL},
                        "rules": [{"matches": [{"model": {"value": "fast"}}], "targets": [{"modelRewrite": "phi"}]}],
                    }
                )
            ],
            {"fast": "phi*1"},
            id="the type is not said: exact",
        ),
        pytest.param(
            [
                stated(
                    {
                        "poolRef": {"name": POOL},
                        "rules": [
                            {
                                "matches": [{"model": {"type": "Prefix", "value": "f"}}, {}, {"model": {"value": ""}}],
                                "targets": [{"modelRewrite": "phi"}],
                            }
                        ],
                    }
                )
            ],
            {},
            id="no match that is exact",
        ),
    ],
)
def test_the_aliases_of_a_pool(rewrites: list[InferenceModelRewrite], aliases: dict[str, str]) -> None:
    assert told(*rewrites) == aliases


@pytest.mark.parametrize(
    ("rewrites", "doubtful"),
    [
        pytest.param([read(rewrite("r", POOL, FAST))], [], id="nothing"),
        pytest.param([read(rewrite("r", "another", ([], {"phi": 1})))], [], id="another pool's are its own affair"),
        pytest.param([read(rewrite("r", POOL, ([], {"phi": 1})))], [("r", "names no model")], id="takes every request"),
        pytest.param([read(rewrite("r", POOL, (["fast"], {})))], [("r", "without targets")], id="no targets"),
        pytest.param([read(rewrite("r", POOL, (["a", "a"], {"phi": 1})))], [], id="a model twice in a rule"),
        pytest.param(
            [read(rewrite("r", POOL, FAST, OTHER))], [("r", "'fast', which an older one")], id="a model in two rules"
        ),
        pytest.param(
            [read(rewrite("a", POOL, FAST), NEWER), read(rewrite("b", POOL, FAST))],
            [("a", "'fast', which an older one")],
            id="a model in two rewrites",
        ),
    ],
)
def test_what_has_no_effect_is_told(rewrites: list[InferenceModelRewrite], doubtful: list[tuple[str, str]]) -> None:
    _, found = aliases_of(rewrites, POOL)
    assert len(found) == len(doubtful)
    for each, (name, words) in zip(found, doubtful, strict=True):
        assert each.rewrite == name
        assert words in each.what


@pytest.mark.parametrize(
    ("objectives", "priorities"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([objective("batch", POOL, -1)], {"batch": -1}, id="one"),
        pytest.param([objective("chat", POOL, None)], {"chat": 0}, id="without a priority"),
        pytest.param([objective("batch", "another", -1)], {}, id="of another pool"),
        pytest.param([{"metadata": {"name": "batch"}, "spec": {"priority": 1}}], {}, id="of no pool"),
        pytest.param([objective("batch", POOL, -1), objective("batch", POOL, 5)], {"batch": -1}, id="in both groups"),
    ],
)
def test_the_objectives_of_a_pool(objectives: list[Manifest], priorities: dict[str, int]) -> None:
    decoder = Decoder(InferenceObjective)
    assert objectives_of([decoder.read(msgspec.json.encode(each)) for each in objectives], POOL) == priorities
