"""sources/kubernetes/pod_follower: old news, the dead, and what is reported of pods."""

from collections.abc import Callable, Sequence

import pytest

from extproc.registry.changes import PoolChanged, PoolListed
from extproc.sources.kubernetes.objects import Condition, Metadata, Pod, PodStatus
from extproc.sources.kubernetes.pod_follower import PodFollower
from extproc.sources.kubernetes.pools import Selection

SELECTION = Selection("app=llm", {"app": "llm"}, (8000,))


def pod(uid: str, version: int, *, ready: bool = True, app: str = "llm", name: str = "a") -> Pod:
    status = PodStatus(pod_ip="10.0.0.1", conditions=[Condition("Ready", str(ready))])
    return Pod(Metadata(name, uid, str(version), labels={"app": app}), status=status)


class Meters:
    """Hears nothing."""

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None: ...


class Told:
    """What a follower reports: `u1 ready`, `u1 unready`, `u1 gone`; a whole list in brackets."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.follower = PodFollower(report=self._report, meters=Meters())
        self.follower.select(SELECTION)

    def _report(self, change: PoolListed | PoolChanged) -> None:
        said = [
            f"{listing.endpoint.id.partition('/')[0]} {'ready' if listing.is_ready else 'unready'}"
            for listing in change.listings
        ]
        if isinstance(change, PoolListed):
            self.lines.append(f"[{', '.join(said)}]")
        else:
            self.lines += [*said, *(f"{id_.partition('/')[0]} gone" for id_ in change.gone)]


Step = Callable[[PodFollower], object]


def list_(*pods: Pod) -> Step:
    return lambda follower: follower.list_all(pods)


def see(*pods: Pod) -> Step:
    return lambda follower: follower.change(pods, ())


def lose(*pods: Pod) -> Step:
    return lambda follower: follower.change((), pods)


def find(before: Pod, found: Pod | None) -> Step:
    return lambda follower: follower.correct(before, found)


def select(selection: Selection | None) -> Step:
    return lambda follower: follower.select(selection)


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        pytest.param([list_()], ["[]"], id="an empty list is news"),
        pytest.param(
            [list_(pod("u1", 1)), see(pod("u1", 2, ready=False))], ["[u1 ready]", "u1 unready"], id="an event"
        ),
        pytest.param([list_(pod("u1", 1)), see(pod("u1", 2))], ["[u1 ready]"], id="an event that bears on no endpoint"),
        pytest.param(
            [list_(pod("u1", 1)), see(pod("u1", 5)), see(pod("u1", 4, ready=False))],
            ["[u1 ready]"],
            id="older than an event that bore on no endpoint",
        ),
        pytest.param([list_(pod("u1", 1)), lose(pod("u1", 2))], ["[u1 ready]", "u1 gone"], id="deleted"),
        pytest.param([list_(), lose(pod("u1", 2))], ["[]"], id="deleted, never known"),
        pytest.param(
            [list_(pod("u1", 1)), see(pod("u2", 2)), lose(pod("u1", 3))],
            ["[u1 ready]", "u2 ready", "u1 gone"],
            id="anew",
        ),
        pytest.param(
            [list_(pod("u1", 5)), see(pod("u1", 4, ready=False))], ["[u1 ready]"], id="older than what is known"
        ),
        pytest.param(
            [list_(pod("u1", 1)), find(pod("u1", 1), pod("u1", 7, ready=False)), see(pod("u1", 6))],
            ["[u1 ready]", "u1 unready"],
            id="read again: what the watch tells late is old",
        ),
        pytest.param(
            [list_(pod("u1", 1)), find(pod("u1", 1), None), see(pod("u1", 2)), lose(pod("u1", 3))],
            ["[u1 ready]", "u1 gone"],
            id="read again and dead: a late event does not raise it",
        ),
        pytest.param(
            [list_(pod("u1", 1)), find(pod("u1", 1), pod("u2", 2))], ["[u1 ready]", "u1 gone"], id="read again: another"
        ),
        pytest.param(
            [list_(pod("u1", 1)), lose(pod("u1", 2)), find(pod("u1", 1), pod("u1", 1))],
            ["[u1 ready]", "u1 gone"],
            id="gone while it was read: what the reading found is old",
        ),
        pytest.param(
            [list_(pod("u1", 1)), select(None), find(pod("u1", 1), pod("u1", 1))],
            ["[u1 ready]", "[]"],
            id="no longer selected while it was read",
        ),
        pytest.param(
            [list_(pod("u1", 1)), see(pod("u1", 2))],
            ["[u1 ready]"],
            id="a change that bears on nothing is not reported",
        ),
        pytest.param(
            [list_(pod("u1", 1)), lose(pod("u1", 2)), find(pod("u1", 1), None)],
            ["[u1 ready]", "u1 gone"],
            id="gone while it was read again",
        ),
        pytest.param(
            [list_(pod("u1", 1)), select(Selection("app=x", {"app": "x"}, (8000,)))],
            ["[u1 ready]", "[]"],
            id="no longer selected",
        ),
        pytest.param([list_(pod("u1", 1)), select(None)], ["[u1 ready]", "[]"], id="nothing is selected any more"),
        pytest.param([select(None)], [], id="nothing was ever selected: nothing is known"),
        pytest.param(
            [list_(pod("u1", 1)), select(Selection("app in (llm)", None, (8000,)))],
            ["[u1 ready]", "[u1 ready]"],
            id="a selector that is more than labels waits for its list",
        ),
    ],
)
def test_what_is_reported(steps: list[Step], lines: list[str]) -> None:
    told = Told()
    for step in steps:
        step(told.follower)
    assert told.lines == lines


def test_a_pod_that_ends_has_no_endpoint_any_more() -> None:
    told = Told()
    told.follower.list_all([pod("u1", 1)])
    ended = pod("u1", 2)
    told.follower.change((Pod(ended.metadata, status=PodStatus(phase="Failed", pod_ip="10.0.0.1")),), ())
    assert told.lines == ["[u1 ready]", "u1 gone"]
