"""director/verdicts: what is said of each endpoint is what is known of it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.director.explained import (
    bodies,
    explain,
    heads,
    known,
)
from tests.unit.director.test_decider import (
    NOW,
    decider,
    snapshots,
)
from tests.unit.known import answered, listed, refused, said

from extproc.director.explain import Explainer
from extproc.registry.changes import Change
from extproc.scheduling.filters import ROLES_WITHOUT_ANSWERS
from extproc.values.request import RequestHead
from extproc.values.snapshot import Snapshot


@given(snapshot=snapshots(), head=heads, body=bodies, seed=st.integers(0, 3))
def test_a_verdict_is_what_is_known_of_the_endpoint(
    snapshot: Snapshot, head: RequestHead, body: bytes, seed: int
) -> None:
    told = Explainer(decider()).explain(head, body, snapshot, now=NOW, rng=Random(seed))
    states = {state.endpoint.name: state for state in snapshot.endpoints.values()}
    for row in told.candidates:
        state = states[row.name]
        truth = {
            "ready": state.is_ready,
            "confirmed": state.is_confirmed,
            "model": told.model in [card.id for card in state.cards],
            "subset": head.subset is None or row.address in head.subset,
            "role": state.endpoint.role not in ROLES_WITHOUT_ANSWERS,
        }
        said_ = {verdict.filter: verdict.allows for verdict in row.verdicts if verdict.filter in truth}
        relaxed = {"confirmed"} if not told.model else set()
        assert all(truth[name] == allows for name, allows in said_.items() if name not in relaxed)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param([said("a")], "its source says so", id="said by Kubernetes"),
        pytest.param([listed("a")], "nothing says that it is not", id="said by nobody"),
        pytest.param([said("a", ready=False)], "its source says that it is not", id="denied by Kubernetes"),
        pytest.param([listed("a"), refused("a")], "its probes fail: refused by a", id="denied by a probe"),
    ],
)
def test_who_says_that_an_endpoint_is_ready(changes: list[Change], why: str) -> None:
    assert explain(known(*changes)).candidates[0].verdicts[0].why == why


@pytest.mark.parametrize(
    ("models", "why"),
    [
        pytest.param([], "it lists no model", id="none"),
        pytest.param(["n", "o", "p"], "it lists n, o, p", id="a few"),
        pytest.param(["n", "o", "p", "q", "r"], "it lists n, o, p and 2 more", id="many"),
    ],
)
def test_what_another_endpoint_lists(models: list[str], why: str) -> None:
    told = explain(known(listed("ab"), answered("a", "m"), answered("b", *models)))
    assert told.candidates[1].verdicts[-1].why == why
