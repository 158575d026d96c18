"""director/names: the model that a request is for, and the shares of an alias' targets."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.known import answered, endpoint, failed, known_after, listed, refused

from extproc.director.names import resolve
from extproc.registry.changes import Change, Failure, Listing, NamesListed, PoolListed
from extproc.registry.reduce import SUSPECT_FAILURES
from extproc.values.names import Alias, Target
from extproc.values.request import DescribeModel, InferenceRequest, RouteToModel
from extproc.values.snapshot import Snapshot

SERVED = (listed("abc"), answered("a", "phi"), answered("b", "gemma"))
SUSPECT_B = [failed("b", Failure.CONNECT)] * SUSPECT_FAILURES


def alias(name: str, **weights: int) -> Alias:
    return Alias(name, tuple(Target(model, weight) for model, weight in weights.items()))


def snapshot_of(*aliases: Alias, changes: Sequence[Change] = ()) -> Snapshot:
    return known_after(*SERVED, *changes, NamesListed(aliases))


def shares(snapshot: Snapshot, model: str = "fast", *, rewrite: str | None = None, draws: int = 1000) -> dict[str, int]:
    rng = Random(7)
    request = InferenceRequest(RouteToModel(model), arrived_s=0.0, rewrite=rewrite)
    return dict(Counter(resolve(request, snapshot, rng) for _ in range(draws)))


@pytest.mark.parametrize(
    ("aliases", "model", "rewrite", "resolved"),
    [
        pytest.param([], "phi", None, "phi", id="its own name"),
        pytest.param([], "nothing", None, "nothing", id="a name that nobody knows"),
        pytest.param([alias("fast", phi=1)], "fast", None, "phi", id="an alias"),
        pytest.param([alias("fast", phi=1)], "FAST", None, "FAST", id="an alias in another case: no match"),
        pytest.param([alias("fast", phi=1)], "fas", None, "fas", id="the beginning of an alias: no match"),
        pytest.param([alias("fast", nothing=1)], "fast", None, "nothing", id="the only target is not known"),
        pytest.param([alias("phi", gemma=1)], "phi", None, "gemma", id="an alias with a model's name"),
        pytest.param([alias("phi", phi=1)], "phi", None, "phi", id="an alias for itself"),
        pytest.param([alias("a", b=1), alias("b", phi=1)], "a", None, "b", id="no chains"),
        pytest.param([], "phi", "gemma", "gemma", id="the header"),
        pytest.param([], "phi", "", "phi", id="an empty header"),
        pytest.param([alias("fast", phi=1)], "fast", "gemma", "gemma", id="the header before an alias"),
        pytest.param([alias("fast", phi=1)], "gemma", "fast", "fast", id="the header names no alias"),
    ],
)
def test_the_model_that_a_request_is_for(aliases: list[Alias], model: str, rewrite: str | None, resolved: str) -> None:
    assert shares(snapshot_of(*aliases), model, rewrite=rewrite, draws=3) == {resolved: 3}


@pytest.mark.parametrize(
    ("of", "changes", "expected"),
    [
        pytest.param(alias("fast", phi=90, gemma=10), [], {"phi": 893, "gemma": 107}, id="90 to 10"),
        pytest.param(alias("fast", phi=1, gemma=1), [], {"phi": 537, "gemma": 463}, id="equal"),
        pytest.param(alias("fast", phi=0, gemma=1), [], {"gemma": 1000}, id="0 gets nothing"),
        pytest.param(alias("fast", phi=1, gemma=9), [refused("b")], {"phi": 1000}, id="one has no endpoint"),
        pytest.param(alias("fast", phi=0, gemma=9), [refused("b")], {"phi": 1000}, id="0 where no other can serve"),
        pytest.param(alias("fast", phi=1, nothing=9), [], {"phi": 1000}, id="one is not known"),
        pytest.param(
            alias("fast", phi=1, gemma=1), [refused("a"), refused("b")], {"phi": 537, "gemma": 463}, id="none can serve"
        ),
        pytest.param(
            alias("fast", gemma=1, nothing=9), [refused("b")], {"gemma": 1000}, id="none can serve: a known one"
        ),
        pytest.param(alias("fast", x=1, y=3), [], {"x": 277, "y": 723}, id="none is known: by weight all the same"),
        pytest.param(alias("fast", phi=0, gemma=0), [], {"phi": 537, "gemma": 463}, id="no weights at all: equal"),
        pytest.param(alias("fast", phi=1, gemma=1), SUSPECT_B, {"phi": 1000}, id="one was lost: its endpoint is gone"),
    ],
)
def test_the_shares_of_targets(of: Alias, changes: list[Change], expected: dict[str, int]) -> None:
    assert shares(snapshot_of(of, changes=changes)) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(alias("fast", gemma=9, phi=1), {"phi": 1000}, id="not while another has a better one"),
        pytest.param(alias("fast", gemma=1, qwen=9), {"gemma": 1000}, id="rather than one without any"),
    ],
)
def test_a_target_with_a_suspect_endpoint_alone_is_the_last_choice(of: Alias, expected: dict[str, int]) -> None:
    """As where Kubernetes says ready of what cannot be reached."""
    listings = tuple(Listing(endpoint(letter), letter != "c", "1") for letter in "abc")
    answers = [answered("a", "phi"), answered("b", "gemma"), answered("c", "qwen")]
    snapshot = known_after(PoolListed(listings), *answers, *SUSPECT_B, NamesListed((of,)))
    assert (snapshot.models["gemma"].candidates, snapshot.models["gemma"].routable_count) == ((), 1)
    assert snapshot.models["qwen"].routable_count == 0
    assert shares(snapshot) == expected


def test_one_target_takes_nothing_from_the_randomness() -> None:
    rng = Random(7)
    for model in ("fast", "phi"):
        resolve(InferenceRequest(RouteToModel(model), 0.0), snapshot_of(alias("fast", phi=1)), rng)
    assert rng.random() == Random(7).random()


def test_a_model_is_described_by_the_name_that_it_was_asked_for() -> None:
    assert resolve(InferenceRequest(DescribeModel("phi"), 0.0), snapshot_of(), Random(1)) == "phi"


TARGETS = st.lists(
    st.builds(Target, st.sampled_from(["phi", "gemma", "x", "y"]), st.integers(0, 3)),
    min_size=1,
    max_size=4,
    unique_by=lambda target: target.model,
)


@given(TARGETS, st.integers(), st.sets(st.sampled_from("ab")))
def test_what_is_drawn_is_a_target_and_serves_if_any_does(targets: list[Target], seed: int, lost: set[str]) -> None:
    snapshot = snapshot_of(Alias("fast", tuple(targets)), changes=[refused(letter) for letter in sorted(lost)])
    drawn = resolve(InferenceRequest(RouteToModel("fast"), 0.0), snapshot, Random(seed))
    models = {target.model for target in targets}
    servable = {model for model in models if model in snapshot.models and snapshot.models[model].routable_count}
    weights = {target.model: target.weight for target in targets}
    assert drawn in (servable or models)
    if any(weights[model] for model in servable):
        assert weights[drawn], "a weight of 0 gets nothing while another can serve"
