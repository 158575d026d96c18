"""R1: two models in one pool whose pods restart one after another, and where each request goes. Routing alone.

One pod serves model `b`, the others `a`. A restart is a rolling one: the pod is NotReady first and stops later. It
comes back in its place with another process or as a pod with another address, and now and then serves the other model.
What the picker is told comes late by random times: readiness as from a watch, model lists as from probes.
"""

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

import msgspec

from extproc.director.decider import Decider
from extproc.registry.changes import Change, Listing, ModelsListed, PoolListed, RoundCompleted
from extproc.registry.store import Store
from extproc.settings.schema import Settings
from extproc.values.decision import Hold, Route
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.pool import Pool
from extproc.values.refusal import Reject
from extproc.values.request import InferenceRequest, RouteToModel

PODS = 6
RATE_PER_S = 200.0
RESTART_EACH_S = 3.0
STOPS_AFTER_S = 2.0
"""From NotReady to the end of the process: what was sent before the news arrived is still answered."""
AWAY_S = (0.5, 4.0)
"""From then to Ready."""
WATCH_TOOK_S = (0.001, 0.05)
ANSWER_TOOK_S = (0.002, 0.05)
"""Of `/v1/models`."""
PROBE_EACH_S = 5.0
HAD_S = 0.3
"""A ready endpoint that had the model for so long makes a refusal a wrong one."""


class Count(msgspec.Struct):
    """What became of the requests."""

    requests: int = 0
    routed: int = 0
    """To a pod that had the model."""
    refused: int = 0
    """When no pod had it, or none for long enough."""
    wrong_pods: int = 0
    """The pod at that address had another model."""
    lost: int = 0
    """Nobody was at that address."""
    wrong_refusals: int = 0
    unanswered: int = 0
    restarts: int = 0
    blind: int = 0
    """Requests that any ready pod, drawn at random, would have served: what a picker does that does not ask."""


class _Pod:
    """What there is: a place in the pool."""

    def __init__(self, number: int, model: str) -> None:
        self.number = number
        self.life = 0
        self.address = number
        self.model: str | None = model
        """Of the process; None while there is none."""
        self.ready_since_s: float | None = 0.0

    def endpoint(self) -> Endpoint:
        return Endpoint(f"uid-{self.address}", f"pod-{self.number}", f"10.0.0.{self.address}:8000")

    def listing(self) -> Listing:
        return Listing(self.endpoint(), self.ready_since_s is not None, str(self.life))


class Churn:
    """One run of so many seconds."""

    def __init__(self, length_s: float, *, watch_took_s: tuple[float, float] = WATCH_TOOK_S, seed: int = 1) -> None:
        self._watch_took_s = watch_took_s
        self.count = Count()
        self._length_s = length_s
        self._rng = Random(seed)
        self._pods = [_Pod(number, "b" if number == 0 else "a") for number in range(PODS)]
        self._addresses = count(PODS)
        self._decider = Decider(Settings())
        self._store = Store(Pool("bench"))
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._held: dict[int, InferenceRequest] = {}
        self._told_s = 0.0

    def run(self) -> Count:
        """Plays it."""
        self._tell_pool(0.0)
        self._at(0.0, self._probe_regularly)
        at_s = RESTART_EACH_S
        while at_s < self._length_s:
            self._at(at_s, partial(self._leave, self._pods[int(at_s / RESTART_EACH_S) % PODS]))
            at_s += RESTART_EACH_S
        at_s = 1.0
        while (at_s := at_s + self._rng.expovariate(RATE_PER_S)) < self._length_s:
            self._at(at_s, self._arrive)
        while self._events and self._events[0][0] < self._length_s + 5.0:
            at_s, _, event = heappop(self._events)
            event(at_s)
        self.count.unanswered = len(self._held)
        return self.count

    def _at(self, at_s: float, event: Callable[[float], None]) -> None:
        heappush(self._events, (at_s, next(self._order), event))

    def _leave(self, pod: _Pod, now: float) -> None:
        if pod.ready_since_s is None:
            return
        self.count.restarts += 1
        pod.ready_since_s = None
        self._say(now)
        self._at(now + STOPS_AFTER_S, partial(self._stop, pod))

    def _stop(self, pod: _Pod, now: float) -> None:
        model, pod.model = pod.model, None
        swaps = self._rng.random() < 0.3 and pod.number != 0
        self._at(now + self._rng.uniform(*AWAY_S), partial(self._begin, pod, _other(model) if swaps else model))

    def _begin(self, pod: _Pod, model: str | None, now: float) -> None:
        pod.life += 1
        if self._rng.random() < 0.5:
            pod.address = next(self._addresses)
        pod.model, pod.ready_since_s = model, now
        self._say(now)

    def _say(self, now: float) -> None:
        """The cluster tells of its pods as they are now; news never overtakes news."""
        listing = PoolListed(tuple([pod.listing() for pod in self._pods]))
        self._told_s = max(self._told_s, now + self._rng.uniform(*self._watch_took_s))
        self._at(self._told_s, partial(self._hear, listing))

    def _tell_pool(self, now: float) -> None:
        self._hear(PoolListed(tuple([pod.listing() for pod in self._pods])), now)

    def _hear(self, change: PoolListed, now: float) -> None:
        before = self._store.snapshot.endpoints
        self._apply(change, now)
        for id_, state in self._store.snapshot.endpoints.items():
            old = before.get(id_)
            if state.is_ready and (old is None or not old.is_ready or old.incarnation != state.incarnation):
                self._decider.forget(id_)
                self._probe(state.endpoint, now)

    def _probe_regularly(self, now: float) -> None:
        for state in self._store.snapshot.endpoints.values():
            self._probe(state.endpoint, now)
        self._at(now + PROBE_EACH_S, self._probe_regularly)

    def _probe(self, endpoint: Endpoint, now: float) -> None:
        """Asks who is at the address; no answer where nobody is. The answer is what was so half-way."""
        took_s = self._rng.uniform(*ANSWER_TOOK_S)
        self._at(now + took_s / 2, partial(self._answer, endpoint, now, now + took_s))

    def _answer(self, endpoint: Endpoint, asked_at_s: float, at_s: float, now: float) -> None:
        model = self._model_at(endpoint.address)
        if model is not None:
            self._at(at_s, partial(self._apply, ModelsListed(endpoint.id, asked_at_s, (ModelCard(model),))))

    def _probe_round(self, now: float) -> None:
        for state in self._store.snapshot.endpoints.values():
            self._probe(state.endpoint, now)
        self._at(now + ANSWER_TOOK_S[1], partial(self._apply, RoundCompleted(now)))

    def _apply(self, change: Change, now: float) -> None:
        before = self._store.snapshot
        if self._store.apply(change, now=now) is not before:
            for number in list(self._held):
                self._decide(number, now)

    def _arrive(self, now: float) -> None:
        number = self.count.requests
        self.count.requests += 1
        model = "b" if self._rng.random() < 0.3 else "a"
        ready = [pod.model for pod in self._pods if pod.ready_since_s is not None]
        self.count.blind += bool(ready) and self._rng.choice(ready) == model
        self._held[number] = InferenceRequest(RouteToModel(model), now)
        self._decide(number, now)

    def _decide(self, number: int, now: float) -> None:
        request = self._held.get(number)
        if request is None:
            return
        decision = self._decider.director.decide(request, self._store.snapshot, now=now, rng=self._rng)
        if isinstance(decision, Hold):
            if decision.probe:
                self._probe_round(now)
            self._at(decision.until_s, partial(self._decide, number))
            return
        del self._held[number]
        assert isinstance(decision, Route | Reject)
        if isinstance(decision, Route):
            self._decider.record(decision, now=now)
        self._judge(request.model or "", decision, now)

    def _judge(self, model: str, decision: Route | Reject, now: float) -> None:
        if isinstance(decision, Reject):
            had = any(
                pod.model == model and pod.ready_since_s is not None and now - pod.ready_since_s >= HAD_S
                for pod in self._pods
            )
            self.count.wrong_refusals += had
            self.count.refused += not had
            return
        found = self._model_at(decision.endpoints[0].address)
        self.count.routed += found == model
        self.count.lost += found is None
        self.count.wrong_pods += found is not None and found != model

    def _model_at(self, address: str) -> str | None:
        return next((pod.model for pod in self._pods if pod.endpoint().address == address), None)


def _other(model: str | None) -> str:
    return "a" if model == "b" else "b"
