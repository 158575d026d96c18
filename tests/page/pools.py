"""Pools for the page to show, and the page's own server over them: everything real but the endpoints."""

import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from extproc.director.decider import Decider
from extproc.director.explain import Explainer
from extproc.registry.changes import Change, Failure, Listing, ModelsListed, PoolChanged, PoolListed, ProbeFailed
from extproc.registry.store import Store
from extproc.servers.admin.access import Access
from extproc.servers.admin.page import PageServer
from extproc.servers.admin.views import Views
from extproc.settings.load import Loaded, load
from extproc.telemetry.callers import Callers
from extproc.telemetry.changes import telling
from extproc.telemetry.decided import Decided
from extproc.telemetry.journal import Journal
from extproc.telemetry.metrics import SourceState
from extproc.values.admin import ConfigFile
from extproc.values.decision import Reply, Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.load import Adapters, EngineLoad
from extproc.values.model import ModelCard
from extproc.values.pool import Pool
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead


class Counts:
    """What is counted, as it is told."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceState] = {}
        self.requests: dict[tuple[str, str], int] = {}

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        return self.requests


class Config:
    """The settings' defaults, from a file if one is told."""

    def __init__(self) -> None:
        self.told: ConfigFile | None = None

    @property
    def loaded(self) -> Loaded:
        return load(flag_values={})

    def file(self) -> ConfigFile | None:
        return self.told


class Shown:
    """A pool, and the page's server that shows it on a free port of 127.0.0.1 while it is entered."""

    def __init__(
        self, name: str = "llama", *, token_file: str | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self.clock = clock
        self.store = Store(Pool(name), now=clock())
        self.decider = Decider(load(flag_values={}).settings)
        self.loads: dict[str, EngineLoad] = {}
        self.load_problems: dict[str, str] = {}
        self.counts = Counts()
        self.config = Config()
        self.callers = Callers(clock=clock)
        self.journal = Journal(clock=clock, wall_clock=time.time)
        self.store.subscribe(telling(self.journal.note_changes))
        self.is_ready = True
        self._token_file = token_file
        self._server = self._build()
        self.port = 0

    def _build(self) -> PageServer:
        views = Views(
            store=self.store,
            explainer=Explainer(self.decider),
            readings=lambda: {id_: replace(load, asked_at_s=self.clock() - 0.2) for id_, load in self.loads.items()},
            reading_problem=lambda id_: self.load_problems.get(id_, ""),
            in_flight=self.decider.in_flight,
            counts=self.counts,
            callers=self.callers,
            open_streams=lambda: 3,
            is_ready=lambda: self.is_ready,
            journal=self.journal,
            config=self.config,
            clock=self.clock,
            rng=Random(1),
        )
        return PageServer(views, Access(self._token_file))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Self:
        self.port = await self._server.start("127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Closes the port: nobody answers there until `come_back`."""
        await self._server.stop()

    async def come_back(self) -> None:
        """The same picker answers again on the same port."""
        self._server = self._build()
        await self._server.start("127.0.0.1", self.port)

    def apply(self, change: Change) -> None:
        self.store.apply(change, now=self.clock())

    def add(self, endpoint: Endpoint, *models: str | ModelCard, load: EngineLoad | None = None) -> Endpoint:
        """One more endpoint, ready, which has answered with these models if there are any."""
        self.apply(PoolChanged((Listing(endpoint, True, "1"),), ()))
        if models:
            self.answer(endpoint, *models)
        if load is not None:
            self.loads[endpoint.id] = load
        return endpoint

    def answer(self, endpoint: Endpoint, *models: str | ModelCard) -> None:
        cards = tuple(model if isinstance(model, ModelCard) else ModelCard(model) for model in models)
        self.apply(ModelsListed(endpoint.id, self.clock(), cards))

    def fail(self, endpoint: Endpoint, failure: Failure, detail: str, *, times: int = 1) -> None:
        for _ in range(times):
            self.apply(ProbeFailed(endpoint.id, self.clock(), failure, detail))

    def sync(self, *endpoints: Endpoint) -> None:
        """The source has read the whole pool, and these are in it."""
        self.apply(PoolListed(tuple(Listing(endpoint, True, "1") for endpoint in endpoints)))
        self.counts.sources["kubernetes"] = SourceState(True, self.clock())

    def decide(self, model: str, outcome: Route | Reject | Reply, *, named: str = "", seconds: float = 84e-6) -> None:
        """A request was decided."""
        head = RequestHead("POST", "/v1/chat/completions", {"x-request-id": "5f1c"}, None)
        self.journal.note_decision(
            Decided(head, named or model, model, outcome, self.clock(), seconds, self.store.snapshot.version)
        )
        name = (
            "routed"
            if isinstance(outcome, Route)
            else "replied"
            if isinstance(outcome, Reply)
            else outcome.refusal.code
        )
        self.counts.requests[model, name] = self.counts.requests.get((model, name), 0) + 1

    def route(self, model: str, *endpoints: Endpoint, best: float = 0.87) -> None:
        """A request for `model` went to the first of `endpoints`; the others were next best."""
        totals = tuple(best - 0.07 * index for index in range(len(endpoints)))
        seconds = (61 + (self.journal.decided * 37) % 60) * 1e-6
        self.decide(model, Route(endpoints[:1], Scores(endpoints, {}, totals), model=model), seconds=seconds)

    def refuse(self, model: str, reason: Reason, *, named: str = "") -> None:
        """A request was refused."""
        self.decide(model, Reject(reason), named=named)


def endpoint(name: str, number: int = 1, *, node: str = "", role: str = "", engine: str = "") -> Endpoint:
    """An endpoint called `name`, at an address of its number."""
    return Endpoint(
        f"id-{name}-{number}",
        name,
        f"10.0.{number // 250}.{number % 250 + 1}:8000",
        node=node,
        role=role,
        engine=engine,
    )


def send_some(shown: Shown, rng: Random) -> None:
    """A little traffic for the pool of `fill` or `fill_many`, of which a few are refused."""
    for model, known in shown.store.snapshot.models.items():
        for _ in range(rng.randrange(5) if known.candidates else 0):
            shown.route(
                model, *rng.sample(known.candidates, min(3, len(known.candidates))), best=rng.uniform(0.7, 0.95)
            )
    if rng.random() < 0.25:
        shown.refuse("unknown", Reason.MODEL_UNKNOWN, named="gpt-4o")
    if rng.random() < 0.15:
        shown.refuse(next(iter(shown.store.snapshot.models)), Reason.MODEL_SATURATED)


def fill(shown: Shown) -> Sequence[Endpoint]:
    """A pool of two kinds of pods, each state of an endpoint among them, with some traffic."""
    node = "gke-l4-a7".__add__
    phi = [
        endpoint(f"phi-7d9c4-{tail}", number, node=node(tail[0]), engine="vllm")
        for number, tail in enumerate(("2xkqp", "8wzrt", "m4hvb"), 1)
    ]
    gemma = [
        endpoint(f"gemma-5b8f6-{tail}", number, node=node(tail[0]), engine="vllm")
        for number, tail in enumerate(("4nlsd", "c9tgx", "jjw52"), 11)
    ]
    shown.sync(*phi, *gemma)
    now = shown.clock()
    adapter = ModelCard("phi-sql-lora", parent="microsoft/phi-4")
    for number, each in enumerate(phi):
        shown.answer(each, "microsoft/phi-4", *([adapter] if number < 2 else []))
        adapters = Adapters(frozenset({"phi-sql-lora"}) if number == 0 else frozenset())
        shown.loads[each.id] = EngineLoad(
            now, [0.0, 3.0, 11.0][number], [9.0, 16.0, 24.0][number], [0.31, 0.64, 0.93][number], adapters
        )
    for number, each in enumerate(gemma[:2]):
        shown.answer(each, "google/gemma-3-12b-it")
        shown.loads[each.id] = EngineLoad(now, 0.0, 5.0 + number, 0.22 + number / 10)
    shown.fail(gemma[1], Failure.CONNECT, "no connection within 1 s", times=3)
    shown.fail(gemma[2], Failure.STATUS, "answers 503 Service Unavailable")
    shown.decider.in_flight.see()
    for each in (*phi, phi[1], gemma[0]):
        shown.decider.in_flight.begin(each)
    for number in range(14):
        shown.route(
            "microsoft/phi-4", phi[number % 3], phi[(number + 1) % 3], phi[(number + 2) % 3], best=0.91 - number / 50
        )
        if number % 3 == 0:
            shown.route("google/gemma-3-12b-it", gemma[0], best=0.78)
    shown.refuse("unknown", Reason.MODEL_UNKNOWN, named="gpt-4o")
    shown.refuse("microsoft/phi-4", Reason.MODEL_SATURATED)
    shown.decide("none", Reply(200, b"{}"))
    shown.refuse("none", Reason.MODEL_MISSING)
    shown.route("phi-sql-lora", phi[0], phi[1], best=0.83)
    return (*phi, *gemma)


MODEL_SETS = (
    ("meta-llama/Llama-3.3-70B-Instruct",),
    ("Qwen/Qwen3-32B", "qwen3-support-lora", "qwen3-sql-lora"),
    ("mistralai/Mistral-Small-3.2-24B", "mistral-legal-lora"),
    ("google/gemma-3-12b-it", "BAAI/bge-m3"),
)


def fill_many(shown: Shown, count: int) -> Sequence[Endpoint]:
    """A pool of `count` endpoints of four kinds, a few of them with trouble."""
    rng = Random(7)
    names = ("llama70b", "qwen32b", "mistral24b", "gemma12b")
    many = [endpoint(f"{names[i % 4]}-{i // 4:03}", i, node=f"gpu-{i // 8:03}", engine="vllm") for i in range(count)]
    shown.sync(*many)
    now = shown.clock()
    for number, each in enumerate(many):
        if number % 97 == 13:
            shown.fail(each, Failure.STATUS, "answers 503 Service Unavailable")
            continue
        shown.answer(each, *MODEL_SETS[number % 4])
        if number % 150 == 42:
            shown.fail(each, Failure.CONNECT, "no connection within 1 s", times=3)
        shown.loads[each.id] = EngineLoad(now, float(rng.randrange(4)), float(rng.randrange(32)), rng.random())
    for number in range(60):
        each = many[number * 7 % count]
        shown.route(MODEL_SETS[number * 7 % count % 4][0], each, many[(number * 7 + 4) % count])
    return many
