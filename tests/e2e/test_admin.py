"""The admin ports of a running picker: what was decided on real streams, and how they end."""

import asyncio
from typing import Any

import aiohttp
import grpc
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as Mode
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingRequest
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.cli.probe import DIRECT_ENVOY, METHOD, build_requests

CANARY = "canary-of-a-client"
CONFIG = {"requests": {"maxBodyBytes": "1KiB"}, "envoy": {"decisionTimeout": "300ms"}}
FLAGS = ("--drain-timeout=1h", "-v=10")


def request(path: str, body: str, *, mode: Mode = Mode.FULL_DUPLEX_STREAMED) -> list[bytes]:
    """A request with the canary in its query, its headers and its body."""
    headers = {"x-request-id": f"id-of-{path}", "authorization": f"Bearer {CANARY}", "x-session-id": CANARY}
    first, *rest = build_requests("POST", f"{path}?key={CANARY}", headers, body.encode())
    message = ProcessingRequest.parse(first)
    assert message.protocol_config is not None
    message.protocol_config.request_body_mode = mode
    return [bytes(message), *rest]


PROMPT = f'"prompt": "{CANARY}"'
REQUESTS = {
    "/routed": request("/routed", f'{{"model": "llama", {PROMPT}}}'),
    "/unknown": request("/unknown", f'{{"model": "other", {PROMPT}}}'),
    "/bad": request("/bad", f"[{PROMPT}"),
    "/large": request("/large", f'{{"model": "llama", {PROMPT}, "more": "{CANARY * 100}"}}'),
    "/streamed": request("/streamed", "{}", mode=Mode.STREAMED)[:1],
    "/unfinished": request("/unfinished", f'{{"model": "llama", {PROMPT}}}')[:1],
}
TOLD = {
    "/routed": ("routed", "", 0, "llama", "only"),
    "/unknown": ("model_not_found", "model_unknown", 404, "other", ""),
    "/bad": ("invalid_request", "body_not_object", 400, "", ""),
    "/large": ("request_too_large", "body_too_large", 413, "", ""),
    "/streamed": ("unsupported_mode", "streamed_unsupported", 500, "", ""),
    "/unfinished": ("decision_timeout", "decision_timed_out", 503, "", ""),
}


async def process(channel: grpc.aio.Channel, messages: list[bytes]) -> None:
    """A stream to its first answer."""
    call = channel.stream_stream(METHOD)(metadata=DIRECT_ENVOY)
    for message in messages:
        await call.write(message)
    assert await call.read() is not grpc.aio.EOF
    call.cancel()


async def test_every_decision_is_told_and_never_a_prompt_and_open_ports_do_not_hold_up_the_stop() -> None:
    """Refusals too of which no decision was made: for what a stream is, for its size, at its deadline."""
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, config=CONFIG, flags=FLAGS) as picker:
        async with (
            grpc.aio.insecure_channel(picker.admin_address) as admin_channel,
            grpc.aio.insecure_channel(picker.address) as channel,
            aiohttp.ClientSession() as session,
        ):
            build: Any = admin_pb2_grpc.AdminStub  # protoc writes no types of services
            stub = build(admin_channel)
            watch = stub.WatchDecisions(admin_pb2.WatchDecisionsRequest())
            await watch.initial_metadata()
            events = {}
            async with asyncio.timeout(20):
                for path, messages in REQUESTS.items():
                    await process(channel, messages)
                    events[path] = await watch.read()
            told = {
                path: (event.outcome, event.reason, event.status, event.named_model, event.endpoint)
                for path, event in events.items()
            }
            assert told == TOLD
            assert [event.path for event in events.values()] == list(REQUESTS)
            assert [event.request_id for event in events.values()] == [f"id-of-{path}" for path in REQUESTS]
            snapshot = await stub.GetSnapshot(admin_pb2.GetSnapshotRequest(most_decisions=200))
            assert len(snapshot.decisions) == len(REQUESTS)
            for shown in (*events.values(), snapshot):
                assert CANARY.encode() not in shown.SerializeToString()
            async with session.get(picker.page_url) as page:  # and its connection stays open
                assert page.status < 500
            picker.process.terminate()
            async with asyncio.timeout(20):
                assert await picker.stop_code() == 0
        assert CANARY not in picker.log_text()
        assert "Traceback" not in picker.log_text()
