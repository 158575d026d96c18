"""No answer is cut, however the upstream's answer and the end of the picker's stream race.

Envoy drops what it has sent to a picker when the picker's stream ends, so how a picker leaves decides whether clients
get 200 with half a body. Source: docs/decisions/002.
"""

from contextlib import AsyncExitStack

import pytest
from tests.e2e.load import cpu_hogs, post, run_load
from tests.e2e.picker import Picker
from tests.e2e.trailers_proxy import TrailersProxy
from tests.e2e.upstreams import EarlyRefusal, InstantUpstream, Upstream

from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings, ProcessingMode

SMALL = b'{"model": "llama", "prompt": "Hello"}'
LARGE = b'{"prompt": "' + b"p" * 900_000 + b'", "model": "llama"}'


@pytest.mark.parametrize(("body", "requests"), [(SMALL, 2_000), (LARGE, 800)], ids=["small bodies", "900 KB bodies"])
@pytest.mark.parametrize(
    ("make_upstream", "status"),
    [(lambda: InstantUpstream(early=True), 200), (EarlyRefusal, 401)],
    ids=["an instant answer", "a 401 before the body"],
)
async def test_no_answer_is_cut_under_istios_settings(
    make_upstream: type[Upstream], status: int, body: bytes, requests: int
) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(make_upstream())
        picker = await stack.enter_async_context(Picker({"only": upstream.address}))
        settings = GatewaySettings(
            endpoints=(upstream.address,), picker=picker.address, pick_from="metadata", processing_mode=ISTIO
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        await stack.enter_async_context(cpu_hogs(2))
        request = post(body)
        known = upstream.body  # type: ignore[attr-defined]  # every upstream here has one
        outcomes = await run_load(envoy.port, requests, 64, lambda _: request, body_bytes=len(known), timeout_s=120)
    assert {outcome.status for outcome in outcomes} == {status}, outcomes[:3]
    assert sum(outcome.is_cut for outcome in outcomes) == 0
    assert all(outcome.whole for outcome in outcomes)


@pytest.mark.parametrize(
    ("mode", "hold_s", "least_cut", "most_cut"),
    [(ISTIO, 0.002, 0.8, 1.0), (DETACHED, 0.002, 0.0, 0.0), (DETACHED, 0.02, 0.0, 0.0)],
    ids=["Istio's settings", "no response phase", "no response phase, later still"],
)
async def test_late_trailers_cut_answers_only_where_there_is_a_response_phase(
    mode: ProcessingMode, hold_s: float, least_cut: float, most_cut: float
) -> None:
    """The bound of the method, and the proof that the tests above can fail."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream(early=True))
        picker = await stack.enter_async_context(Picker({"only": upstream.address}))
        proxy = await stack.enter_async_context(TrailersProxy(picker.address, hold_s))
        settings = GatewaySettings(
            endpoints=(upstream.address,), picker=proxy.address, pick_from="metadata", processing_mode=mode
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        request = post(SMALL)
        outcomes = await run_load(envoy.port, 100, 1, lambda _: request, body_bytes=len(upstream.body))
    assert proxy.held >= 100
    assert {outcome.status for outcome in outcomes} == {200}
    assert least_cut <= sum(outcome.is_cut for outcome in outcomes) / 100 <= most_cut
