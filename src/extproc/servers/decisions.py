"""From a whole request to its decision on the event loop: what the pure director cannot do, wait and be told."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Protocol

import msgspec

from extproc.director.edits import rename
from extproc.parsers.request import parse_request
from extproc.protocol.commands import Decide
from extproc.protocol.plan import Timer
from extproc.registry.store import Store
from extproc.servers.terms import Terms
from extproc.telemetry.decided import Decided, Metadata, Observer
from extproc.telemetry.metrics import Metrics
from extproc.values.decision import Decision, Hold, Reply, Route
from extproc.values.refusal import Reject
from extproc.values.request import InferenceRequest, RequestHead

INFLATERS = 2
"""Compressed bodies read at one time, and with that the memory that they take beside what is held: each up to the
limit of a body."""

_NO_TIMER = Timer.NONE

Outcome = Route | Reject | Reply
"""A decision that is one: no `Hold`."""


class RouteLog(Protocol):
    """Where routes are kept in mind that were really given."""

    def record(self, route: Route, *, now: float) -> None:
        """The route is given now."""


class Account(msgspec.Struct):
    """What is known of one request while its stream is open, and what became of it."""

    began_at_s: float
    """Monotonic seconds at which its stream began."""
    terms: Terms
    metadata: Metadata = tuple
    held_s: float = 0.0
    """How long it was held for news."""
    named: str | None = None
    """The model that the client asks for."""
    model: str | None = None
    """The one that it is counted by: once it is routed, the model that serves it."""
    route: Route | None = None
    outcome: str = ""
    """As it is counted, empty while nothing has become of it."""
    is_counted: bool = False
    is_told: bool = False
    """Observers of decisions know of it."""


class Decisions:
    """Decides with the current snapshot, and where a request is held again with each next one."""

    def __init__(
        self,
        *,
        store: Store,
        routes: RouteLog,
        request_round: Callable[[], None],
        metrics: Metrics,
        clock: Callable[[], float],
        rng: Random,
        observers: Sequence[Observer] = (),
    ) -> None:
        """`observers` are told of each decision."""
        self._store = store
        self._routes = routes
        self._request_round = request_round
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._observers = tuple(observers)
        self._inflaters = ThreadPoolExecutor(INFLATERS, "inflate")
        self._waiters: set[asyncio.Future[None]] = set()
        store.subscribe(lambda *_: self._wake())

    def __repr__(self) -> str:
        return f"<Decisions {len(self._waiters)} held>"

    async def decide(self, command: Decide, about: Account) -> Outcome:
        """The decision on a request, waited for where it is held. Model and route are noted in `about`."""
        began_at_s, terms = self._clock(), about.terms
        if "content-encoding" in command.head.headers:
            # A few KB can inflate to the limit, for which everybody else would wait. zlib works without the lock.
            parse = partial(_parse, command, terms, now=began_at_s)
            request = await asyncio.get_running_loop().run_in_executor(self._inflaters, parse)
        else:
            request = _parse(command, terms, now=began_at_s)
        if isinstance(request, InferenceRequest):
            about.model = about.named = request.model
            if command.timer is not _NO_TIMER:
                request = self._hurry(request, command.timer, about)
            decision = self._decide(request, terms, now=began_at_s)
            if not isinstance(decision, Route):  # in most cases it is, and `isinstance` is quick only to say yes
                while isinstance(decision, Hold):
                    held_at_s = self._clock()
                    await self._wait_for_news(decision)
                    about.held_s += self._clock() - held_at_s
                    decision = self._decide(request, terms, now=self._clock())
            outcome: Outcome = decision
            if isinstance(decision, Route):
                outcome = rename(decision, request, head=command.head, body=command.body, extent=command.extent)
        else:
            outcome = request
        now = self._clock()
        if isinstance(outcome, Route):
            about.route = outcome
            about.model = outcome.model or about.model
            self._routes.record(outcome, now=now)
            self._metrics.count_prompt(about.model, outcome.work)
        self._metrics.observe_decision(now - began_at_s)
        self.tell(command.head, about, outcome, began_at_s=began_at_s, now=now)
        return outcome

    def _decide(self, request: InferenceRequest, terms: Terms, *, now: float) -> Decision:
        return terms.director.decide(request, terms.view(self._store.snapshot), now=now, rng=self._rng)

    def tell(self, head: RequestHead, about: Account, outcome: Outcome, *, began_at_s: float, now: float) -> None:
        """Tells the observers what became of a request, once."""
        about.is_told = True
        if not self._observers:
            return
        version = self._store.snapshot.version
        decided = Decided(
            head,
            about.named,
            about.model,
            outcome,
            began_at_s,
            now - began_at_s,
            version,
            about.held_s,
            about.metadata,
        )
        for observe in self._observers:
            observe(decided)

    def _hurry(self, request: InferenceRequest, timer: Timer, about: Account) -> InferenceRequest:
        """The request with what is left of the data plane's patience."""
        spent_s = request.arrived_s - about.began_at_s if timer is Timer.SINCE_HEADERS else 0.0
        return msgspec.structs.replace(request, may_wait_s=about.terms.longest_wait_s - spent_s)

    async def _wait_for_news(self, hold: Hold) -> None:
        """Returns at the next snapshot, at the latest when the hold is over."""
        if hold.probe:
            self._request_round()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(max(0.0, hold.until_s - self._clock())):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _parse(command: Decide, terms: Terms, *, now: float) -> InferenceRequest | Reject:
    return parse_request(
        command.head,
        command.body,
        extent=command.extent,
        max_body_bytes=terms.policy.max_body_bytes,
        now=now,
        session_header=terms.session_header,
    )
