"""How requests are routed in peace: the same measurement with and without the picker."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp

from extproc.cli.demo.client import Outcome, complete, complete_with_retries, list_models
from extproc.cli.demo.fleet import MODELS, SERVERS, Fleet

REQUESTS_PER_MODEL = 50
LISTINGS = 10
STEPS = REQUESTS_PER_MODEL * len(MODELS) + LISTINGS
"""Answers that one `measure_routing` waits for."""
AT_ONCE = 8
UNKNOWN_MODEL = "meta-llama/Llama-3-8B"
# In a fixed order that has no rhythm: requests in turn would lock into step with a round robin over servers in turn.
_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What came of the requests of one part."""

    requests: Sequence[Sequence[Outcome]]
    """The attempts of each request, one at least."""
    listings: Sequence[tuple[str, ...]]
    """The ids of each `GET /v1/models`."""
    wrong_counted: int
    """Requests that the servers themselves counted as meant for another."""

    @property
    def attempts(self) -> Sequence[Outcome]:
        """Every attempt of every request."""
        return [attempt for attempts in self.requests for attempt in attempts]

    @property
    def first_good_ratio(self) -> float:
        """Share of requests whose first attempt got a whole answer, in [0, 1]."""
        return sum(attempts[0].is_good for attempts in self.requests) / len(self.requests)

    @property
    def average_attempts(self) -> float:
        """Attempts per request."""
        return len(self.attempts) / len(self.requests)

    @property
    def most_attempts(self) -> int:
        """Attempts of the unluckiest request."""
        return max(len(attempts) for attempts in self.requests)

    @property
    def wrong_seen(self) -> int:
        """Attempts answered by a server that does not serve the model, by its name in the answer."""
        return sum(is_wrong(attempt) for attempt in self.attempts)


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The answer to a request for a model that nobody serves."""

    status: int
    named: int
    """How many of the served models its text names."""


def is_wrong(outcome: Outcome) -> bool:
    """Whether a server answered that does not serve the model."""
    return outcome.served_by != "" and SERVERS.get(outcome.served_by) != outcome.model


async def measure_routing(
    session: aiohttp.ClientSession, fleet: Fleet, url: str, *, advance: Callable[[], None]
) -> Routing:
    """Sends each model's requests, half of them streaming, eight at a time, and asks for the list of models.

    `advance` is called after each of `STEPS` answers. Raises ChildNotReadyError when a server does not tell its count.
    """
    wrong_before = await fleet.count_wrong(session)
    requests: list[list[Outcome]] = []
    wanted = [(model, streams) for model in MODELS for streams in (True, False) * (REQUESTS_PER_MODEL // 2)]
    random.Random(_SEED).shuffle(wanted)  # noqa: S311 - an order, no secret

    async def work(rest: Iterator[tuple[str, bool]]) -> None:
        for model, streams in rest:
            requests.append(await complete_with_retries(session, url, model=model, streams=streams))
            advance()

    rest = iter(wanted)
    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work(rest))
    listings = []
    for _ in range(LISTINGS):
        listings.append(await list_models(session, url))
        advance()
    wrong = await fleet.count_wrong(session) - wrong_before
    return Routing(requests=requests, listings=listings, wrong_counted=wrong)


async def ask_unknown(session: aiohttp.ClientSession, url: str) -> Unknown:
    """Asks for a model that nobody serves."""
    outcome = await complete(session, url, model=UNKNOWN_MODEL, streams=False)
    return Unknown(status=outcome.status, named=sum(model in outcome.error for model in MODELS))
