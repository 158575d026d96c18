"""The admin server on free ports of loopback, with knowledge that the test feeds."""

import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc

from extproc._gen.extproc.admin.v1 import admin_pb2_grpc
from extproc.admission.inflight import InFlight
from extproc.registry.changes import Change
from extproc.registry.store import Store
from extproc.servers.admin.server import AdminServer
from extproc.servers.admin.views import Views
from extproc.settings.load import Loaded, load
from extproc.settings.telling import AdminSettings
from extproc.telemetry.callers import Callers
from extproc.telemetry.decided import Decided
from extproc.telemetry.journal import Journal
from extproc.telemetry.metrics import SourceState
from extproc.values import admin
from extproc.values.load import EngineLoad
from extproc.values.pool import Pool
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead
from extproc.values.snapshot import Snapshot


class Explanations:
    """Explains every request with what it is told to say."""

    def __init__(self) -> None:
        self.says: admin.Explanation | Exception = admin.Explanation("default/test", 1, 0.0, "phi", "phi", "routed", "")
        self.asked: list[tuple[RequestHead, bytes]] = []

        self.parsed: list[Reject | None] = []
        self.reading_thread: threading.Thread | None = None

    def read(self, _head: RequestHead, _body: bytes, *, now: float) -> Reject:
        self.reading_thread = threading.current_thread()
        return Reject(Reason.BODY_NOT_OBJECT)

    def explain(
        self,
        head: RequestHead,
        body: bytes,
        _snapshot: Snapshot,
        *,
        now: float,
        rng: Random,
        parsed: Reject | None = None,
    ) -> admin.Explanation:
        self.asked.append((head, body))
        self.parsed.append(parsed)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class AdminSite:
    """Everything that the views gather from, and the server."""

    def __init__(self, *, token_file: str | None = None, port: int = 0) -> None:
        self.now = 100.0
        self.store = Store(Pool("test"), now=self.now)
        self.explanations = Explanations()
        self.readings: dict[str, EngineLoad] = {}
        self.reading_problems: dict[str, str] = {}
        self.in_flight = InFlight()
        self.sources: dict[str, SourceState] = {}
        self.counted: dict[tuple[str, str], int] = {}
        self.callers = Callers(clock=lambda: self.now)
        self.journal = Journal(clock=lambda: self.now, wall_clock=time.time)
        self.open_streams = 0
        self.is_ready = False
        self.loaded: Loaded = load(text="{probes: {bearerTokenFile: /run/token}}", flag_values={"grpc-port": "9012"})
        self.config_file: admin.ConfigFile | None = None
        self.views = Views(
            store=self.store,
            explainer=self.explanations,  # type: ignore[arg-type]
            readings=lambda: self.readings,
            reading_problem=lambda id_: self.reading_problems.get(id_, ""),
            in_flight=self.in_flight,
            counts=self,
            callers=self.callers,
            open_streams=lambda: self.open_streams,
            is_ready=lambda: self.is_ready,
            journal=self.journal,
            config=self,
            clock=lambda: self.now,
            rng=Random(1),
        )
        settings = AdminSettings.model_validate({"grpcPort": port, "httpPort": 0, "tokenFile": token_file})
        self.server = AdminServer(self.views, settings)
        self.port = 0

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        return self.counted

    def file(self) -> admin.ConfigFile | None:
        return self.config_file

    def apply(self, *changes: Change) -> None:
        for change in changes:
            self.store.apply(change, now=self.now)

    def decide(self, number: int = 1, **fields: Any) -> None:
        """Decisions are made."""
        given: dict[str, Any] = {
            "head": RequestHead("POST", "/v1/completions", {"x-request-id": "r1"}),
            "named": "phi",
            "model": "phi",
            "outcome": Reject(Reason.MODEL_UNKNOWN),
        }
        for _ in range(number):
            self.journal.note_decision(Decided(**given | fields, began_at_s=self.now, seconds=0.0, snapshot_version=1))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["AdminSite"]:
        try:
            self.port = (await self.server.start())["admin_grpc"]
            yield self
        finally:
            await self.server.stop()

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            yield channel

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[Any]:
        async with self.channel() as channel:
            build: Any = admin_pb2_grpc.AdminStub  # protoc writes no types of services
            yield build(channel)
