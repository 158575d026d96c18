"""The admin service through a real channel."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.servers.admin.site import AdminSite
from tests.unit.known import answered, listed

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.registry.changes import PoolListed
from extproc.servers.admin.service import PIECE, SERVICE_NAME, AdminService
from extproc.telemetry.journal import MOST_PER_S, MOST_UNREAD, MOST_WATCHES
from extproc.values import admin
from extproc.values.decision import Reply
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import Reason, Reject
from extproc.values.request import RequestHead

CANARY = "canary-of-a-client"
TIMEOUT_S = 10.0


@pytest.fixture(autouse=True)
def _logs_seen(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("extproc"), "propagate", True)
    caplog.set_level(logging.WARNING, "extproc")


@pytest.fixture
async def site() -> AsyncIterator[AdminSite]:
    async with AdminSite().serve() as site:
        yield site


async def ask(stub: Any, method: str, request: Any = None, **options: Any) -> Any:
    """An answer of whatever method: of the streaming one, once it is known to be on."""
    requests = {
        "GetSnapshot": admin_pb2.GetSnapshotRequest,
        "Explain": admin_pb2.ExplainRequest,
        "WatchDecisions": admin_pb2.WatchDecisionsRequest,
        "GetConfig": admin_pb2.GetConfigRequest,
    }
    call = getattr(stub, method)(request or requests[method](), timeout=TIMEOUT_S, **options)
    if method != "WatchDecisions":
        return await call
    await call.initial_metadata()
    if call.done():
        await call.read()  # raises what ended it
    return call


METHODS = ("GetSnapshot", "Explain", "WatchDecisions", "GetConfig")


async def test_snapshot(site: AdminSite) -> None:
    site.apply(listed("ab"), answered("a", "phi"))
    async with site.stub() as stub:
        snapshot = await ask(stub, "GetSnapshot")
    assert (snapshot.pool, [each.name for each in snapshot.endpoints]) == ("default/test", ["a", "b"])
    assert [(each.id, list(each.endpoints)) for each in snapshot.models] == [("phi", ["a"])]
    assert snapshot.HasField("config_file") is False


async def test_of_many_endpoints_none_is_lost_and_others_are_served_meanwhile(site: AdminSite) -> None:
    count = 2 * PIECE + 1
    site.apply(PoolListed.of(Endpoint(f"{number:05}", f"{number:05}", "10.0.0.1:80") for number in range(count)))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    context: Any = None
    others = asyncio.create_task(count_turns())
    snapshot = await AdminService(site.views).GetSnapshot(admin_pb2.GetSnapshotRequest(), context)
    others.cancel()
    assert [each.id for each in snapshot.endpoints] == [f"{number:05}" for number in range(count)]
    assert turns == 3


async def test_of_many_candidates_none_is_lost_and_others_are_served_meanwhile(site: AdminSite) -> None:
    rows = tuple([admin.Candidate(f"{number:05}", "10.0.0.1:80", ()) for number in range(2 * PIECE + 1)])
    site.explanations.says = admin.Explanation("default/test", 1, 0.0, "phi", "phi", "routed", "", candidates=rows)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    context: Any = None
    others = asyncio.create_task(count_turns())
    told = await AdminService(site.views).Explain(admin_pb2.ExplainRequest(model="phi"), context)
    others.cancel()
    assert [each.name for each in told.candidates] == [row.name for row in rows]
    assert turns == 3


@pytest.mark.parametrize(("asked", "told"), [(0, 0), (2, 2), (1000, 5)])
async def test_the_last_decisions_come_with_the_snapshot_if_asked_for(site: AdminSite, asked: int, told: int) -> None:
    site.decide(4)
    site.decide(model="last")
    async with site.stub() as stub:
        snapshot = await ask(stub, "GetSnapshot", admin_pb2.GetSnapshotRequest(most_decisions=asked))
    assert [each.model for each in snapshot.decisions] == ["last", "phi", "phi", "phi", "phi"][:told]


async def test_config(site: AdminSite) -> None:
    site.config_file = admin.ConfigFile("/etc/x.yaml", 1.0, problems=("bad",))
    async with site.stub() as stub:
        config = await ask(stub, "GetConfig")
    origins = {each.key: (json.loads(each.value), each.origin) for each in config.settings}
    assert origins["server.grpcPort"] == (9012, "flag")
    assert origins["probes.bearerTokenFile"] == ("/run/token", "file")
    assert origins["server.metricsPort"][1] == "default"
    assert "grpcPort: 9012" in config.yaml
    assert list(config.file.problems) == ["bad"]


async def test_explain(site: AdminSite) -> None:
    async with site.stub() as stub:
        answer = await ask(stub, "Explain", admin_pb2.ExplainRequest(model="phi", prompt="hi"))
    assert (answer.pool, answer.outcome) == ("default/test", "routed")
    [(head, body)] = site.explanations.asked
    assert (head.method, json.loads(body)["model"]) == ("POST", "phi")


async def test_a_compressed_body_is_read_in_a_thread(site: AdminSite) -> None:
    """A few KB can inflate to the limit of a body, which takes longer than requests should wait."""
    request = admin_pb2.ExplainRequest(headers={"Content-Encoding": "gzip"}, body=b"zipped")
    async with site.stub() as stub:
        await ask(stub, "Explain", request)
        assert site.explanations.parsed == [Reject(Reason.BODY_NOT_OBJECT)]
        assert site.explanations.reading_thread not in (None, threading.current_thread())
        await ask(stub, "Explain", admin_pb2.ExplainRequest(body=b"plain"))
    assert site.explanations.parsed[1:] == [None]


@pytest.mark.parametrize("method", METHODS)
async def test_what_fails_inside_is_logged_and_tells_the_caller_nothing(
    site: AdminSite, method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **_options: object) -> None:
        raise ValueError(CANARY)

    site.explanations.says = ValueError(CANARY)
    monkeypatch.setattr(site.views, "snapshot", fail)
    monkeypatch.setattr(site.views, "config", fail)
    monkeypatch.setattr(site.journal, "watch", fail)
    async with site.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask(stub, method)
        assert error.value.code() is grpc.StatusCode.INTERNAL
        assert CANARY not in str(error.value)
        assert "an admin call failed" in caplog.messages


class TestToken:
    """Of an admin server that wants one."""

    @pytest.fixture
    async def site(self, tmp_path: Path) -> AsyncIterator[AdminSite]:
        (tmp_path / "token").write_text("secret\n")
        async with AdminSite(token_file=str(tmp_path / "token")).serve() as site:
            yield site

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        ("metadata", "is_allowed"),
        [
            pytest.param([("authorization", "Bearer secret")], True, id="the token"),
            pytest.param([("authorization", "Bearer other")], False, id="another"),
            pytest.param([("x", "Bearer secret")], False, id="elsewhere"),
            pytest.param([], False, id="none"),
        ],
    )
    async def test_methods(
        self, site: AdminSite, method: str, metadata: list[tuple[str, str]], is_allowed: bool
    ) -> None:
        async with site.stub() as stub:
            if is_allowed:
                await ask(stub, method, metadata=metadata)
                return
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await ask(stub, method, metadata=metadata)
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "authorization: Bearer TOKEN" in str(error.value.details())
        assert site.explanations.asked == []
        assert "0 watches" in repr(site.journal)

    @pytest.mark.parametrize(("token", "code"), [("secret", grpc.StatusCode.OK), ("", grpc.StatusCode.UNAUTHENTICATED)])
    async def test_reflection(self, site: AdminSite, token: str, code: grpc.StatusCode) -> None:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async with site.channel() as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(iter([request]), metadata=[("authorization", f"Bearer {token}")])
            names = []
            try:
                async for answer in call:
                    names = [service.name for service in answer.list_services_response.service]
            except grpc.aio.AioRpcError:
                pass
            assert await call.code() is code
        assert names == ([SERVICE_NAME, "grpc.reflection.v1alpha.ServerReflection"] if token else [])

    async def test_a_file_that_is_gone_lets_nobody_in(self, site: AdminSite, tmp_path: Path) -> None:
        (tmp_path / "token").unlink()
        async with site.stub() as stub:
            for shown in ("Bearer secret", "Bearer "):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await ask(stub, "GetConfig", metadata=[("authorization", shown)])
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


class TestWatch:
    """`WatchDecisions`."""

    async def test_decisions_as_they_are_made(self, site: AdminSite) -> None:
        site.decide(model="before")
        async with site.stub() as stub:
            call = await ask(stub, "WatchDecisions", admin_pb2.WatchDecisionsRequest(model="phi", refusals_only=True))
            site.decide(model="x", named="x")
            site.decide(outcome=Reply(200, b""))
            site.decide()
            event = await call.read()
            assert (event.model, event.outcome, event.request_id) == ("phi", "model_not_found", "r1")
            call.cancel()

    async def test_a_cap(self, site: AdminSite) -> None:
        async with site.stub() as stub:
            call = await ask(stub, "WatchDecisions", admin_pb2.WatchDecisionsRequest(most_per_s=2))
            site.decide(5)
            site.now += 1.0
            site.decide(model="later")
            events = [await call.read() for _ in range(3)]
            assert [(event.model, event.left_out) for event in events] == [("phi", 0), ("phi", 0), ("later", 3)]
            call.cancel()

    async def test_one_who_does_not_read_costs_a_bounded_amount_and_hears_of_what_was_left_out(
        self, site: AdminSite
    ) -> None:
        """gRPC takes some messages that nobody reads; then the watch fills, and then it leaves out the oldest."""
        path = "/" + "x" * 199
        async with site.stub() as stub:
            call = await ask(stub, "WatchDecisions", admin_pb2.WatchDecisionsRequest(most_per_s=MOST_PER_S))
            [watch] = site.journal._watches  # nothing else shows what it holds
            for _ in range(10):
                site.now += 1.0
                site.decide(MOST_PER_S, head=RequestHead("POST", path, {}))
                assert len(watch._unread) <= MOST_UNREAD
                await asyncio.sleep(0)
            told = 0
            async with asyncio.timeout(TIMEOUT_S):
                while told < 10 * MOST_PER_S:
                    event = await call.read()
                    told += 1 + event.left_out
            assert told == 10 * MOST_PER_S
            call.cancel()

    @pytest.mark.parametrize("how", ["cancelled", "hung up", "cancelled amid a write"])
    async def test_who_is_gone_leaves_nothing(self, site: AdminSite, how: str) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            async with site.stub() as stub:
                call = await ask(stub, "WatchDecisions", admin_pb2.WatchDecisionsRequest(most_per_s=MOST_PER_S))
                assert "1 watches" in repr(site.journal)
                if how == "cancelled amid a write":
                    [watch] = site.journal._watches
                    while len(watch._unread) < MOST_UNREAD:  # nobody reads: the flow stops
                        site.now += 1.0
                        site.decide(500, head=RequestHead("POST", "/" + "x" * 199, {}))
                        await asyncio.sleep(0)
                if how != "hung up":
                    call.cancel()
            while "0 watches" not in repr(site.journal):
                await asyncio.sleep(0)

    async def test_watches_are_limited(self, site: AdminSite) -> None:
        async with site.stub() as stub:
            calls = [await ask(stub, "WatchDecisions") for _ in range(MOST_WATCHES)]
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await ask(stub, "WatchDecisions")
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            for call in calls:
                call.cancel()

    async def test_an_open_watch_does_not_hold_up_the_stop(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            async with AdminSite().serve() as site:
                async with site.stub() as stub:
                    call = await ask(stub, "WatchDecisions")
                    await site.server.stop()
                    assert await call.code() is not grpc.StatusCode.OK
                    assert "0 watches" in repr(site.journal)
