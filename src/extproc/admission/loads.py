"""What is known of the load of each endpoint: its last reading, and what was sent since that it cannot show yet.

The work that depends on readings is done when they arrive, so that a request only reads what stands here.
"""

import math
from collections import deque

from extproc.admission.inflight import InFlight
from extproc.admission.recent import RecentRoutes
from extproc.admission.speed import Speed
from extproc.admission.tokens import TokenRatios
from extproc.values.load import EngineLoad

SENDING_S = 0.05
"""A request on its way to an engine when its page is read does not show there: so much longer it counts as unseen."""
LONGEST_UNSEEN_S = 10.0
"""Where no reading comes any more, what was sent counts as unseen for so long."""
MEAN_DECAY = 0.9
"""By which each request makes those before it count less in the mean and the largest work of requests."""
USUAL_TOKENS = 1000.0
"""To compute of a prompt, where none was sent yet that would tell."""
LEAST_QUEUE, MOST_QUEUE = 0.75, 2.0
"""What waits is between so many times the mean work of as many requests."""


class Load:
    """What is known of one endpoint. Times are monotonic seconds; work is that of prefills, in seconds of its own.

    The backlog is an estimate of the work that stands before a new request. It grows by what is sent there, shrinks
    with time at the pace that was seen, and is set right by each reading: an engine with nothing to do has none; who
    waits there stands in it, whoever sent it; and where nobody waits, no more is left than a part of one prompt.

    What a request asks of each candidate stands in attributes, kept up as something is sent or read: calls took twice
    as long. Source: docs/performance.md, "What was tried".
    """

    __slots__ = (
        "_in_flight",
        "_largest_s",
        "_mean_s",
        "_recent",
        "_sent",
        "_sent_s",
        "_sent_tokens",
        "endpoint_id",
        "free_at_s",
        "fresh_until_s",
        "kv_free_ratio",
        "kv_token_ratio",
        "kv_used_ratio",
        "reading",
        "running",
        "speed",
        "staleness_s",
        "told",
        "waiting",
    )

    def __init__(
        self, endpoint_id: str, *, in_flight: InFlight, recent: RecentRoutes, staleness_s: float, typical: Speed
    ) -> None:
        self.endpoint_id = endpoint_id
        self.reading: EngineLoad | None = None
        """The last one; None before the first."""
        self.speed = Speed(typical)
        self.staleness_s = staleness_s
        """Age at which a reading begins to fade; at twice that age nothing of it is believed."""
        self.fresh_until_s = -math.inf
        """Until then the reading is believed in full."""
        self.waiting: float | None = None
        """Requests in the queue, with those sent since the reading; None where nobody says."""
        self.running: float | None = None
        """Requests in the batch, likewise."""
        self.told: float | None = None
        """Requests there, waiting or running, likewise."""
        self.kv_free_ratio: float | None = None
        """Free share of the KV cache by the reading; None where nobody says."""
        self.kv_used_ratio = 0.0
        """Share of the KV cache in use, with those sent since the reading; 0.0 where nobody says: what is not known
        keeps nothing away."""
        self.kv_token_ratio = 0.0
        """What a token more adds to it; 0.0 where nobody says how large the cache is."""
        self.free_at_s = -math.inf
        """When the backlog will be done, as far as its work alone tells: see `backlog_s`."""
        self._in_flight = in_flight
        self._recent = recent
        self._sent: deque[tuple[float, float, float]] = deque()
        """When, how many tokens and how much work was sent that the last reading cannot show, the oldest first."""
        self._sent_tokens = self._sent_s = 0.0
        self._mean_s = self._largest_s = 0.0

    def __repr__(self) -> str:
        return f"<Load of {self.endpoint_id}: {self.reading}, {len(self._sent)} unseen>"

    @property
    def is_exact(self) -> bool:
        """The ends of all responses are seen: `requests` knows more than `told`."""
        return self._in_flight.is_exact

    def confidence(self, now: float) -> float:
        """How much the last reading still says: 1 while it is fresh, then less and less, 0 where there is none."""
        if now <= self.fresh_until_s:
            return 1.0
        return max(0.0, 1.0 - (now - self.fresh_until_s) / self.staleness_s)

    def requests(self, now: float) -> float:
        """Requests there, waiting or running.

        By the reading and what was sent since, as far as it is fresh; without one by what was sent lately. Where the
        ends of responses are seen it is never less than those that have not ended, and others may send there too.
        """
        told, in_flight = self.told, self._in_flight
        if told is not None:
            own = in_flight.count(self.endpoint_id) if in_flight.is_exact else 0.0
            confidence = self.confidence(now)
            if confidence == 1.0 or told <= own:
                return told if told > own else own
            own = own or self._recent.count(self.endpoint_id, now=now)
            return own + (told - own) * confidence
        if in_flight.is_exact:
            return in_flight.count(self.endpoint_id)
        return self._recent.count(self.endpoint_id, now=now)

    def backlog_s(self, now: float) -> float:
        """Seconds until the prefill of a request would begin that is sent now."""
        left_s = self.free_at_s - now
        if left_s <= 0.0:
            return 0.0
        return self._left_s(now) / self.speed.pace if self._in_flight.is_exact else left_s

    def _left_s(self, now: float) -> float:
        """The work that is left of the backlog."""
        left_s = (self.free_at_s - now) * self.speed.pace
        if left_s <= 0.0:
            return 0.0
        if self._in_flight.is_exact:
            count, tokens = self._in_flight.count(self.endpoint_id), self._in_flight.tokens(self.endpoint_id)
            queued_s = self._queued_s(self.reading.waiting or 0.0) if self.reading is not None else 0.0
            return min(left_s, count * self.speed.request_s + tokens * self.speed.token_s + queued_s)
        return left_s

    def send(self, tokens: float, *, now: float) -> None:
        """A request of which so many tokens must be computed was sent there."""
        speed = self.speed
        work_s = speed.work_s(tokens)
        left_s = self._left_s(now) if self.free_at_s > now else 0.0
        self.free_at_s = now + (left_s + work_s) / speed.pace
        self._sent.append((now, tokens, work_s))
        self._sent_tokens += tokens
        self._sent_s += work_s
        self._mean_s = work_s + (self._mean_s - work_s) * MEAN_DECAY if self._mean_s else work_s
        self._largest_s = max(work_s, self._largest_s * MEAN_DECAY)
        if self._sent[0][0] < now - LONGEST_UNSEEN_S:
            self._drop_sent(now - LONGEST_UNSEEN_S)
        self._count()

    def read(self, reading: EngineLoad, *, now: float) -> None:
        """Takes over a reading. One that is older than the last says nothing."""
        before = self.reading
        if before is not None and reading.asked_at_s <= before.asked_at_s:
            return
        left_s = self._left_s(now)
        if before is not None:
            self.speed.learn(before, reading)
        self._drop_sent(reading.asked_at_s - SENDING_S)
        self.reading = reading
        self.fresh_until_s = reading.asked_at_s + self.staleness_s
        self.kv_free_ratio = None if reading.kv_used_ratio is None else 1.0 - reading.kv_used_ratio
        cache_tokens = reading.cache_tokens if reading.kv_used_ratio is not None else None
        self.kv_token_ratio = 1.0 / cache_tokens if cache_tokens else 0.0
        self._count()
        if reading.waiting is not None:
            seen_s = max(0.0, left_s - self._sent_s)
            left_s = self._sent_s + self._correct(seen_s, reading.waiting, reading.running)
        self.free_at_s = now + left_s / self.speed.pace

    def _count(self) -> None:
        """Brings up to date what the reading and what was sent since come to together."""
        reading, unseen = self.reading, float(len(self._sent))
        if reading is None:
            return
        waiting, running, kv_used_ratio = reading.waiting, reading.running, reading.kv_used_ratio
        self.waiting = None if waiting is None else waiting + unseen
        self.running = None if running is None else running + unseen
        is_told = waiting is not None or running is not None
        self.told = (waiting or 0.0) + (running or 0.0) + unseen if is_told else None
        self.kv_used_ratio = 0.0 if kv_used_ratio is None else kv_used_ratio + self._sent_tokens * self.kv_token_ratio

    def _correct(self, left_s: float, waiting: float, running: float | None) -> float:
        """What is left to do of what the engine has, as far as its word allows."""
        if not waiting and running is not None and not running:
            return 0.0
        queued_s = self._queued_s(waiting)
        return min(max(left_s, LEAST_QUEUE * queued_s), MOST_QUEUE * queued_s + self._largest_s)

    def _queued_s(self, waiting: float) -> float:
        """The work of so many requests, like those sent there; of usual ones where only others have sent any."""
        return waiting * (self._mean_s or self.speed.work_s(USUAL_TOKENS))

    def _drop_sent(self, before_s: float) -> None:
        sent = self._sent
        while sent and sent[0][0] < before_s:
            _, tokens, work_s = sent.popleft()
            self._sent_tokens -= tokens
            self._sent_s -= work_s
        if not sent:
            self._sent_tokens = self._sent_s = 0.0


class Loads:
    """The loads of a pool's endpoints, by id. One that is asked for is there from then on, until it is forgotten."""

    def __init__(self, *, in_flight: InFlight, staleness_s: float) -> None:
        self.staleness_s = staleness_s
        """The age at which a reading begins to fade, of those that come from now on: it grows with the time between
        two."""
        self.tokens = TokenRatios()
        self._in_flight = in_flight
        self._recent = RecentRoutes()
        self._typical = Speed()
        self._loads: dict[str, Load] = {}

    def __repr__(self) -> str:
        return f"<Loads of {len(self._loads)} endpoints>"

    def of(self, endpoint_id: str) -> Load:
        """The load of an endpoint: the same object until it is forgotten."""
        load = self._loads.get(endpoint_id)
        if load is None:
            load = self._loads[endpoint_id] = Load(
                endpoint_id,
                in_flight=self._in_flight,
                recent=self._recent,
                staleness_s=self.staleness_s,
                typical=self._typical,
            )
        return load

    def readings(self) -> dict[str, EngineLoad]:
        """The last reading of each endpoint that has one, by id."""
        return {id_: load.reading for id_, load in self._loads.items() if load.reading is not None}

    def report(self, endpoint_id: str, reading: EngineLoad, *, now: float) -> None:
        """Takes over a reading of an endpoint."""
        load = self.of(endpoint_id)
        load.staleness_s = self.staleness_s
        load.read(reading, now=now)

    def send(self, endpoint_id: str, tokens: float, *, now: float) -> None:
        """A request with so many prompt tokens to compute was routed there."""
        self.of(endpoint_id).send(tokens, now=now)
        self._recent.add(endpoint_id, now=now)

    def clear(self) -> None:
        """Forgets every endpoint's reading, and what was learned from them. Loads that were given out before are of no
        use any more.
        """
        self._loads.clear()

    def forget(self, endpoint_id: str) -> None:
        """Forgets an endpoint that is gone or began anew."""
        self._loads.pop(endpoint_id, None)
        self._recent.forget(endpoint_id)
