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
    """

    __slots__ = (
        "_backlog_at_s",
        "_backlog_s",
        "_fresh_until_s",
        "_in_flight",
        "_kv_share",
        "_kv_used_ratio",
        "_largest_s",
        "_mean_s",
        "_recent",
        "_sent",
        "_sent_s",
        "_sent_tokens",
        "_told",
        "endpoint_id",
        "reading",
        "speed",
        "staleness_s",
    )

    def __init__(
        self, endpoint_id: str, *, in_flight: InFlight, recent: RecentRoutes, staleness_s: float, typical: Speed
    ) -> None:
        self.endpoint_id = endpoint_id
        self.reading: EngineLoad | None = None
        """The last one; None before the first."""
        self.speed = Speed(typical)
        self._in_flight = in_flight
        self._recent = recent
        self.staleness_s = staleness_s
        """Age at which a reading begins to fade; at twice that age nothing of it is believed."""
        self._sent: deque[tuple[float, float, float]] = deque()
        """When, how many tokens and how much work was sent that the last reading cannot show, the oldest first."""
        self._sent_tokens = self._sent_s = 0.0
        self._told: float | None = None
        """Requests there by the last reading."""
        self._kv_used_ratio: float | None = None
        self._kv_share = 0.0
        """Of a token in the cache; 0 where its size is not known."""
        self._fresh_until_s = -math.inf
        self._mean_s = self._largest_s = 0.0
        self._backlog_s = 0.0
        self._backlog_at_s = 0.0

    def __repr__(self) -> str:
        return f"<Load of {self.endpoint_id}: {self.reading}, {len(self._sent)} unseen>"

    def confidence(self, now: float) -> float:
        """How much the last reading still says: 1 while it is fresh, then less and less, 0 where there is none."""
        if now <= self._fresh_until_s:
            return 1.0
        return max(0.0, 1.0 - (now - self._fresh_until_s) / self.staleness_s)

    def waiting(self) -> float | None:
        """Requests in the queue, with those sent since the reading; None where nobody says."""
        reading = self.reading
        return None if reading is None or reading.waiting is None else reading.waiting + len(self._sent)

    def running(self) -> float | None:
        """Requests in the batch, with those sent since the reading; None where nobody says."""
        reading = self.reading
        return None if reading is None or reading.running is None else reading.running + len(self._sent)

    def requests(self, now: float) -> float:
        """Requests there, waiting or running.

        By the reading and what was sent since, as far as it is fresh; without one by what was sent lately. Where the
        ends of responses are seen it is never less than those that have not ended, and others may send there too.
        """
        told, in_flight = self._told, self._in_flight
        if told is not None:
            told += len(self._sent)
            own = in_flight.count(self.endpoint_id) if in_flight.is_exact else 0.0
            confidence = 1.0 if now <= self._fresh_until_s else self.confidence(now)
            if confidence == 1.0 or told <= own:
                return told if told > own else own
            own = own or self._recent.count(self.endpoint_id, now=now)
            return own + (told - own) * confidence
        if in_flight.is_exact:
            return in_flight.count(self.endpoint_id)
        return self._recent.count(self.endpoint_id, now=now)

    def kv_used_ratio(self, tokens: float, now: float) -> float:
        """Share of the KV cache that is in use once so many tokens more are there, with those sent since the reading.

        0.0 where nobody says: what is not known keeps nothing away. It fades with the age of the reading.
        """
        used = self._kv_used_ratio
        if used is None:
            return 0.0
        used += (self._sent_tokens + tokens) * self._kv_share
        return used if now <= self._fresh_until_s else used * self.confidence(now)

    def backlog_s(self, now: float) -> float:
        """Seconds until the prefill of a request would begin that is sent now."""
        if self._backlog_s <= 0.0:
            return 0.0
        left_s = self._left_s(now)
        return left_s / self.speed.pace if left_s > 0.0 else 0.0

    def _left_s(self, now: float) -> float:
        left_s = self._backlog_s - (now - self._backlog_at_s) * self.speed.pace
        if left_s <= 0.0:
            return 0.0
        if self._in_flight.is_exact:
            count, tokens = self._in_flight.count(self.endpoint_id), self._in_flight.tokens(self.endpoint_id)
            queued_s = self._queued_s(self.reading.waiting or 0.0) if self.reading is not None else 0.0
            return min(left_s, count * self.speed.request_s + tokens * self.speed.token_s + queued_s)
        return left_s

    def send(self, tokens: float, *, now: float) -> None:
        """A request of which so many tokens must be computed was sent there."""
        work_s = self.speed.work_s(tokens)
        self._backlog_s = self._left_s(now) + work_s
        self._backlog_at_s = now
        self._sent.append((now, tokens, work_s))
        self._sent_tokens += tokens
        self._sent_s += work_s
        self._mean_s = work_s + (self._mean_s - work_s) * MEAN_DECAY if self._mean_s else work_s
        self._largest_s = max(work_s, self._largest_s * MEAN_DECAY)
        self._drop_sent(now - LONGEST_UNSEEN_S)

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
        self._fresh_until_s = reading.asked_at_s + self.staleness_s
        is_told = reading.waiting is not None or reading.running is not None
        self._told = (reading.waiting or 0.0) + (reading.running or 0.0) if is_told else None
        self._kv_used_ratio = reading.kv_used_ratio
        self._kv_share = 1.0 / reading.cache_tokens if reading.cache_tokens else 0.0
        if reading.waiting is not None:
            seen_s = max(0.0, left_s - self._sent_s)
            left_s = self._sent_s + self._correct(seen_s, reading.waiting, reading.running)
        self._backlog_s, self._backlog_at_s = left_s, now

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
