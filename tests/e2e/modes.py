"""Every mode in which Envoy sends requests to a picker, the three ways of following responses, and a site in each."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from tests.e2e.picker import Picker

from extproc.cli.demo.bootstrap import BodyMode
from extproc.cli.demo.envoy import Envoy, GatewaySettings, ProcessingMode

Phase = Literal["detach", "track", "observe"]


class RequestMode(NamedTuple):
    """How the filter sends requests, and what a request needs in that mode."""

    body: BodyMode
    sends_body_early: bool = False
    allow_override: bool = False
    names_model_in_header: bool = False

    def headers(self, model: str) -> dict[str, str]:
        """The headers that a request for `model` needs."""
        return {"x-gateway-model-name": model} if self.names_model_in_header else {}


REQUEST_MODES = {
    "full duplex": RequestMode("FULL_DUPLEX_STREAMED"),
    "buffered": RequestMode("BUFFERED"),
    "buffered partial": RequestMode("BUFFERED_PARTIAL"),
    "streamed, no wait": RequestMode("STREAMED", sends_body_early=True),
    "streamed, overridden": RequestMode("STREAMED", allow_override=True),
    "partial, overridden": RequestMode("BUFFERED_PARTIAL", allow_override=True),
    "none, overridden": RequestMode("NONE", allow_override=True),
    "none, model in a header": RequestMode("NONE", names_model_in_header=True),
}
PHASES: list[Phase] = ["detach", "track", "observe"]


def processing_mode(mode: RequestMode, phase: Phase, *, message_timeout_s: float = 5.0) -> ProcessingMode:
    """The filter's modes: nothing of the response, its head and end, or all of it."""
    base = ProcessingMode(
        request_body=mode.body, sends_body_early=mode.sends_body_early, message_timeout_s=message_timeout_s
    )
    if phase == "detach":
        return base
    base = replace(base, response_headers="SEND", response_trailers="SEND")
    if phase == "track":
        return base
    return replace(base, response_body="FULL_DUPLEX_STREAMED" if mode.body == "FULL_DUPLEX_STREAMED" else "STREAMED")


@asynccontextmanager
async def gateway(
    mode: RequestMode,
    phase: Phase,
    endpoints: Mapping[str, str],
    *,
    config: Mapping[str, Any] | None = None,
    message_timeout_s: float = 5.0,
    **settings: Any,
) -> AsyncIterator[tuple[Envoy, Picker]]:
    """A gateway in one mode and the picker behind it. `config` is the picker's, laid over what the mode needs."""
    envoy_config = {
        "responsePhase": phase,
        "allowModeOverride": mode.allow_override,
        "messageTimeout": f"{message_timeout_s:g}s",
    }
    config = dict(config or {})
    config["envoy"] = envoy_config | config.get("envoy", {})
    async with AsyncExitStack() as stack:
        picker = await stack.enter_async_context(Picker(endpoints, config=config))
        ext_proc: dict[str, Any] = {"response_attributes": ["upstream.address"]}
        if mode.allow_override:
            ext_proc["allow_mode_override"] = True
        gateway_settings = GatewaySettings(
            endpoints=tuple(endpoints.values()),
            picker=picker.address,
            processing_mode=processing_mode(mode, phase, message_timeout_s=message_timeout_s),
            ext_proc=ext_proc,
            **settings,
        )
        yield await stack.enter_async_context(Envoy(gateway_settings)), picker


async def streams_end(picker: Picker) -> None:
    """Returns once no ext_proc stream is open: Envoy's last word may still be on its way when a client is answered."""
    await picker.wait_for_metric("extproc_streams", 0)
