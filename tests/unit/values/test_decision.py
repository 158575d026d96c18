"""values/decision: the destination of a route, and that the four answers can be told apart when encoded."""

import msgspec
import pytest
from tests.unit.known import endpoint

from extproc.values.decision import Decision, Edit, Hold, Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject


@pytest.mark.parametrize(
    ("endpoints", "destination"),
    [
        pytest.param((endpoint("a"),), "10.0.0.1:8000", id="one"),
        pytest.param((endpoint("b"), endpoint("a")), "10.0.0.2:8000,10.0.0.1:8000", id="with a fallback, in order"),
        pytest.param((Endpoint("x", "x", "[2001:db8::1]:8000"),), "[2001:db8::1]:8000", id="IPv6"),
    ],
)
def test_destination_of_a_route(endpoints: tuple[Endpoint, ...], destination: str) -> None:
    assert Route(endpoints, Scores()).destination == destination


@pytest.mark.parametrize(
    "decision",
    [
        Route((endpoint("a"),), Scores((endpoint("a"),), {"inflight": (1.0,)}, (1.0,))),
        Route((endpoint("a"),), Scores(), model="phi", edit=Edit(9, 15, b'"phi"')),
        Reject(Reason.MODEL_EMPTY),
        Reply(200, b"{}"),
        Hold(1.5, probe=True),
    ],
    ids=lambda decision: type(decision).__name__,
)
def test_every_decision_survives_encoding(decision: Decision) -> None:
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision
