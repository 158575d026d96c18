"""Spans reach a collector, in the trace of Envoy or of the client, and hold nothing of a prompt."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream
from tests.otlp_receiver import OtlpReceiver, read_attributes

from extproc.cli.demo.bootstrap import envoy_config
from extproc.cli.demo.envoy import Envoy, GatewaySettings

CANARY = "canary"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENT = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"{CLIENT[:-2]}00"
EXT_PROC_SPAN = "async envoy.service.ext_proc.v3.ExternalProcessor.Process egress"
PATH = "/v1/chat/completions"


def traced(settings: GatewaySettings, collector: str) -> dict[str, Any]:
    """The gateway, with Envoy's own spans sent to `collector` as well."""
    config: dict[str, Any] = envoy_config(settings)
    static = config["static_resources"]
    host, _, port = collector.rpartition(":")
    picker = next(cluster for cluster in static["clusters"] if "picker" in cluster["name"])
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    static["clusters"].append(
        {
            "name": "collector",
            "type": "STATIC",
            "typed_extension_protocol_options": picker["typed_extension_protocol_options"],
            "load_assignment": {"cluster_name": "collector", "endpoints": endpoints},
        }
    )
    tracer = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}},
        "service_name": "envoy",
    }
    manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["tracing"] = {"provider": {"name": "otel", "typed_config": tracer}}
    flush = {"tracing.opentelemetry.flush_interval_ms": 100}
    config["layered_runtime"] = {"layers": [{"name": "here", "static_layer": flush}]}
    return config


class Site(NamedTuple):
    """A gateway with the picker behind it, and the collector of both."""

    receiver: OtlpReceiver
    picker: Picker
    url: str
    endpoint: str

    async def ask(self, model: str, headers: Mapping[str, str]) -> int:
        body = {"model": model, "messages": [{"role": "user", "content": f"{CANARY} in a prompt"}]}
        given = {"authorization": f"Bearer {CANARY}", "x-session": CANARY, **headers}
        path = f"{self.url}{PATH}?key={CANARY}"
        async with aiohttp.ClientSession() as http, http.post(path, data=json.dumps(body), headers=given) as response:
            await response.read()
            return response.status

    async def ours(self) -> list[Span]:
        """The picker's spans, once it has stopped and so sent them all."""
        await self.picker.stop()
        sent = [raw for raw in self.receiver.raw if b"extproc.decide" in raw]
        assert sent
        assert CANARY.encode() not in b"".join(sent)
        return by_name(self.receiver, "extproc.decide")


@asynccontextmanager
async def gateway(*, envoy_traces: bool) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(OtlpReceiver())
        upstream = await stack.enter_async_context(InstantUpstream())
        config = {"telemetry": {"tracing": {"sampleRatio": 0}}, "scheduling": {"sessionHeader": "x-session"}}
        flags = [f"--tracing-endpoint={receiver.url}"]
        picker = await stack.enter_async_context(Picker({"only": upstream.address}, config=config, flags=flags))
        settings = GatewaySettings(endpoints=(upstream.address,), picker=picker.address)
        collector = receiver.url.removeprefix("http://")
        envoy = Envoy(traced(settings, collector) if envoy_traces else envoy_config(settings))
        await stack.enter_async_context(envoy)
        yield Site(receiver, picker, envoy.url, upstream.address)


async def test_behind_an_envoy_that_traces() -> None:
    """Its context comes in the call's metadata, also where the client sent none, and it is the nearer one."""
    async with gateway(envoy_traces=True) as site:
        assert await site.ask("llama", {"traceparent": UNSAMPLED}) == 200
        assert await site.ask("llama", {"traceparent": CLIENT}) == 200
        assert await site.ask("llama", {}) == 200
        ours = await site.ours()
        await site.receiver.wait_until(lambda: len(by_name(site.receiver, EXT_PROC_SPAN)) == 2)
        parents = by_name(site.receiver, EXT_PROC_SPAN)
    assert [span.parent_span_id for span in ours] == [parent.span_id for parent in parents]
    assert [span.trace_id for span in ours] == [parent.trace_id for parent in parents]
    assert ours[0].trace_id.hex() == TRACE != ours[1].trace_id.hex()


async def test_behind_one_that_does_not() -> None:
    """The client's context is continued. Of a request without one nothing is told here, for the ratio is 0."""
    async with gateway(envoy_traces=False) as site:
        assert await site.ask("llama", {"traceparent": UNSAMPLED}) == 200
        assert await site.ask("llama", {}) == 200
        assert await site.ask("llama", {"traceparent": CLIENT}) == 200
        assert await site.ask("unknown", {"traceparent": CLIENT}) == 404
        async with aiohttp.ClientSession() as http, http.get(site.picker.metrics_url) as page:
            assert "extproc_spans_dropped_total 0" in await page.text()
        routed, refused = await site.ours()
        assert await site.picker.process.wait() == 0
    for span in (routed, refused):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    said = read_attributes(routed.attributes)
    assert said.pop("extproc.request_id")
    assert len(said.pop("extproc.best.scores")) == 1
    assert said.pop("extproc.snapshot_version") > 0
    assert said == {
        "http.request.method": "POST",
        "url.path": PATH,
        "gen_ai.request.model": "llama",
        "extproc.model": "llama",
        "extproc.outcome": "routed",
        "extproc.endpoint": "only",
        "extproc.destination": site.endpoint,
        "extproc.candidates": 1,
        "extproc.best.endpoints": ["only"],
        "extproc.held_seconds": 0,
    }
    said = read_attributes(refused.attributes)
    assert (said["extproc.reason"], said["http.response.status_code"]) == ("model_unknown", 404)


def by_name(receiver: OtlpReceiver, name: str) -> list[Span]:
    """Spans of that name, in the order in which they began."""
    return sorted([span for span in receiver.spans if span.name == name], key=lambda span: span.start_time_unix_nano)
