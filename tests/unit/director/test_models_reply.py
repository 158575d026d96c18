"""director/models_reply: the list of models, and the names that come nearest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.known import answered, known_after, listed, refused, with_cards

from extproc.director.models_reply import SHOWN_NAMES, describe_model, known_names, list_models, nearest_names
from extproc.registry.changes import Change, NamesListed
from extproc.values.model import ModelCard
from extproc.values.names import Alias, Target


def test_lists_every_known_model_once_sorted_in_vllms_shape() -> None:
    snapshot = known_after(
        listed("abc"),
        with_cards("a", ModelCard("zeta", 7, "me", "org/zeta", None, 4096)),
        with_cards("b", ModelCard("zeta", 8, "me", "org/zeta", None, 2048), ModelCard("lora", 9, parent="zeta")),
        answered("c", "gone"),
        refused("c"),
    )
    zeta = {
        "id": "zeta",
        "object": "model",
        "created": 7,
        "owned_by": "me",
        "root": "org/zeta",
        "parent": None,
        "max_model_len": 2048,
        "endpoints": 2,
    }
    lora = {
        "id": "lora",
        "object": "model",
        "created": 9,
        "owned_by": "vllm",
        "root": None,
        "parent": "zeta",
        "max_model_len": None,
        "endpoints": 1,
    }
    gone = {**lora, "id": "gone", "created": 0, "parent": None, "endpoints": 0}
    assert json.loads(list_models(snapshot)) == {"object": "list", "data": [gone, lora, zeta]}
    assert json.loads(describe_model("zeta", snapshot) or "") == zeta


def test_no_model_makes_an_empty_list() -> None:
    assert json.loads(list_models(known_after(listed("a"), answered("a")))) == {"object": "list", "data": []}


PHI = ModelCard("phi", 7, "me", "org/phi", None, 4096)
GEMMA = ModelCard("gemma", 5, "you", "org/gemma", None, 2048)
SERVED: list[Change] = [listed("abc"), with_cards("a", PHI), with_cards("b", PHI, GEMMA), with_cards("c", GEMMA)]


def alias(name: str, *models: str) -> Alias:
    return Alias(name, tuple(Target(model) for model in models))


@pytest.mark.parametrize(
    ("of", "changes", "entry"),
    [
        pytest.param(alias("fast", "phi"), [], ("phi", 7, "me", 4096, 2), id="one target"),
        pytest.param(alias("fast", "phi"), [refused("a")], ("phi", 7, "me", 4096, 1), id="one of its endpoints away"),
        pytest.param(alias("fast", "phi"), [refused("a"), refused("b")], ("phi", 7, "me", 4096, 0), id="all away"),
        pytest.param(alias("fast", "phi", "gemma"), [], (None, 5, "me", 2048, 3), id="two: each endpoint once"),
        pytest.param(alias("fast", "phi", "nothing"), [], (None, 7, "me", 4096, 2), id="two, of which one is known"),
        pytest.param(alias("fast", "nothing"), [], None, id="not known"),
        pytest.param(alias("phi", "gemma"), [], ("gemma", 5, "you", 2048, 2), id="a model's name, for another"),
        pytest.param(alias("phi", "phi"), [], ("phi", 7, "me", 4096, 2), id="a model's name, for itself"),
        pytest.param(alias("phi", "nothing"), [], None, id="a model's name, for nothing"),
    ],
)
def test_an_alias_is_listed_while_a_target_is_known(
    of: Alias, changes: list[Change], entry: tuple[str | None, int, str, int, int] | None
) -> None:
    snapshot = known_after(*SERVED, *changes, NamesListed((of,)))
    described = describe_model(of.name, snapshot)
    names = sorted({"gemma", "phi"} - {of.name} | (set() if entry is None else {of.name}))
    assert list(known_names(snapshot)) == names
    listing = json.loads(list_models(snapshot))["data"]
    assert [each["id"] for each in listing] == names, "sorted, one entry each"
    if entry is None:
        assert described is None
        return
    keys = ("root", "created", "owned_by", "max_model_len", "endpoints")
    expected = {"id": of.name, "object": "model", "parent": None, **dict(zip(keys, entry, strict=True))}
    assert json.loads(described or "") == expected
    assert expected in listing


def test_an_unknown_name_is_not_described() -> None:
    assert describe_model("nothing", known_after(*SERVED)) is None


@pytest.mark.parametrize(
    ("model", "known", "names"),
    [
        pytest.param("phi", [], "none", id="nothing is known"),
        pytest.param("phi", ["gemma"], "gemma", id="the only one, however far"),
        pytest.param("phi-4", ["gemma", "phi-3", "llama"], "phi-3", id="a near one first"),
        pytest.param("GEMMA", ["phi", "gemma"], "gemma", id="upper case"),
        pytest.param("gemma", ["phi", "google/gemma"], "google/gemma", id="without the organisation"),
        pytest.param("x/gemma", ["x/phi", "google/gemma"], "google/gemma", id="another organisation"),
        pytest.param("gamma", ["phi", "gemma"], "gemma", id="a letter mistaken"),
        pytest.param("", ["b", "a"], "a", id="nothing to compare with: by name"),
    ],
)
def test_the_nearest_name_comes_first(model: str, known: list[str], names: str) -> None:
    assert nearest_names(model, known).split(", ")[0] == names


@pytest.mark.parametrize(("known", "shown"), [(SHOWN_NAMES, SHOWN_NAMES), (SHOWN_NAMES + 1, SHOWN_NAMES), (5000, 20)])
def test_no_more_than_twenty_names(known: int, shown: int) -> None:
    assert len(nearest_names("model-7", [f"model-{n}" for n in range(known)]).split(", ")) == shown


def test_the_near_one_is_found_among_thousands() -> None:
    names = [f"org/model-{n:04}" for n in range(5000)]
    assert nearest_names("org/model-4711x", names).startswith("org/model-4711,")


@given(model=st.text(max_size=20), known=st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), unique=True))
def test_shows_known_names_only_each_once(model: str, known: list[str]) -> None:
    names = [name for name in nearest_names(model, known).split(", ") if name != "none"]
    assert len(set(names)) == len(names) == min(len(known), SHOWN_NAMES)
    assert set(names) <= set(known)
