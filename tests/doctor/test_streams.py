"""A gateway that was mended is believed by its streams, though the picker has seen those of before: a real Envoy, a
real ext_proc service, and a clock that goes on when it is told to.
"""

import time
from contextlib import AsyncExitStack

from tests.doctor.gateways import add_listener, ask, bootstrap, ports_of
from tests.e2e.upstreams import InstantUpstream
from tests.servers.test_ext_proc import Site

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.demo.envoy import Envoy, GatewaySettings, hop_config
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.recent import PAST_S
from extproc.cli.doctor.streams import check
from extproc.cli.doctor.verdict import Verdict
from extproc.servers.admin.messages import to_message
from extproc.settings.load import load_settings
from extproc.values.endpoint import Endpoint

SETTINGS = load_settings(text="{envoy: {messageTimeout: 10s}, requests: {hold: 5s}}", flag_values={})
LISTENERS = {
    "impatient": {"processing_mode": {"request_body_mode": "BUFFERED"}, "message_timeout": "0.2s"},
    "patient": {"processing_mode": {"request_body_mode": "BUFFERED"}, "message_timeout": "10s"},
    "none": {"processing_mode": {"request_body_mode": "NONE"}},
    "streamed": {"processing_mode": {"request_body_mode": "STREAMED"}},
}


class Clock:
    """The time, and what was added to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


async def look(site: Site) -> dict[str, Verdict]:
    """What the streams say, once all are over."""
    await site.idle()
    callers = [to_message(each, admin_pb2.Caller) for each in site.callers.seen()]
    found = Evidence(settings=SETTINGS, snapshot=admin_pb2.Snapshot(uptime_s=99, callers=callers))
    return {verdict.check: verdict for verdict in check(found)}


async def test_each_fault_goes_with_its_mend() -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(Site(message_timeout_s=10, clock=clock).serve())
        upstream = await stack.enter_async_context(InstantUpstream())
        picker = f"127.0.0.1:{site.port}"
        hop = await stack.enter_async_context(Envoy(hop_config(picker)))
        config = bootstrap(GatewaySettings(endpoints=(upstream.address,), picker=picker))
        for listener, fields in LISTENERS.items():
            add_listener(config, listener)["http_filters"][0]["typed_config"].update(fields)
        through = bootstrap(GatewaySettings(endpoints=(upstream.address,), picker=f"127.0.0.1:{hop.port}"))
        envoy = await stack.enter_async_context(Envoy(config))
        beyond = await stack.enter_async_context(Envoy(through))
        ports = await ports_of(envoy)

        # No engine has answered yet: requests are held.
        assert await ask(ports["impatient"], times=2) == [504, 504]
        early = (await look(site))["streams: ended early"]
        assert early.state == "fault"
        assert early.evidence.startswith("2 of 2 streams were ended before their answer, the soonest after 0.2")
        site.list_models("llama", endpoints=(Endpoint("only", "only", upstream.address),))
        assert await ask(ports["patient"], times=2) == [200, 200]
        early = (await look(site))["streams: ended early"]
        assert (early.state, "If that is done already" in early.fix) == ("fault", True)
        clock.ahead_s += PAST_S + 1
        assert await ask(ports["patient"]) == [200]
        assert (await look(site))["streams: ended early"].state == "ok"

        # A mode that shows no body: those that do not name their model in a header are refused.
        assert await ask(ports["none"]) == [500]
        mode = (await look(site))["streams: request body mode"]
        assert (mode.state, "1 request was refused" in mode.evidence) == ("fault", True)
        clock.ahead_s += PAST_S + 1
        assert await ask(ports["none"], headers={"x-gateway-model-name": "llama"}) == [200]
        mode = (await look(site))["streams: request body mode"]
        assert (mode.state, "refused" in mode.evidence) == ("warning", False)

        for bad_port, name, state, next_state in (
            # At once where the mend makes a kind that was never seen before.
            (ports["streamed"], "streams: request body mode", "fault", "ok"),
            (beyond.port, "streams: who calls", "warning", "warning"),
        ):
            await ask(bad_port)
            assert (await look(site))[name].state == state
            assert await ask(envoy.port) == [200]
            still = (await look(site))[name]
            assert (still.state, "If that is done already" in still.fix) == (next_state, next_state != "ok")
            clock.ahead_s += PAST_S + 1
            assert await ask(envoy.port) == [200]
            mended = await look(site)
            assert {verdict.state for verdict in mended.values()} == {"ok"}
