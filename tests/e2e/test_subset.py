"""Subset hints through Envoy, written by filters of its own before ext_proc: no request leaves the subset.

Present: only inside it, whatever the request; nothing of it eligible, or present and empty: 503. Absent: the whole
pool. Source: endpoint-picker protocol (GIE proposal 004).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from tests.e2e.modes import streams_end
from tests.e2e.picker import Picker

from extproc.cli.demo.envoy import DETACHED, Envoy, GatewaySettings, ProcessingMode
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

PHI, GEMMA = "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"
NAMESPACE, KEY = "envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset"
FORWARDED = {
    "metadata_options": {
        "receiving_namespaces": {"untyped": ["envoy.lb"]},
        "forwarding_namespaces": {"untyped": ["envoy.lb", NAMESPACE]},
    }
}
MODES = {"full duplex": DETACHED, "buffered": ProcessingMode(request_body="BUFFERED", message_timeout_s=5.0)}
FLEET = {"phi-a": (PHI,), "phi-b": (PHI,), "gemma": (GEMMA,), "phi-6": (PHI,)}
IPV6 = "phi-6"
REQUESTS = 6
"""So many of each row: one alone could stay inside its subset by chance."""

# A list per request: the filters meant for this write one that stands in their config.
AS_LIST = f"""
function envoy_on_request(request)
  local hint = request:headers():get("x-list")
  if hint then
    local list = {{}}
    for address in string.gmatch(hint, "[^,]+") do table.insert(list, address) end
    request:streamInfo():dynamicMetadata():set("{NAMESPACE}", "{KEY}", list)
  end
end
"""


def http_filter(name: str, type_name: str, **fields: object) -> dict[str, object]:
    kind = f"type.googleapis.com/envoy.extensions.filters.http.{type_name}"
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **fields}}


LIST_FILTER = http_filter("lua", "lua.v3.Lua", default_source_code={"inline_string": AS_LIST})
STRING_FILTER = http_filter(
    "header_to_metadata",
    "header_to_metadata.v3.Config",
    request_rules=[
        {
            "header": "x-string",
            "on_header_present": {"metadata_namespace": NAMESPACE, "key": KEY, "type": "STRING"},
            "remove": True,
        }
    ],
)


class Site(NamedTuple):
    """Four servers of two models, one of them on IPv6, a picker, and a gateway in each mode."""

    addresses: Mapping[str, str]
    picker: Picker
    clients: Mapping[str, aiohttp.ClientSession]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        addresses = {}
        for name, models in FLEET.items():
            sim = SimServer(EngineSettings(name=name, models=models, time_to_first_token_s=0.0, token_delay_s=0.0))
            stack.push_async_callback(sim.stop)
            await sim.start(host="::1" if name == IPV6 else "127.0.0.1")
            addresses[name] = sim.address
        picker = await stack.enter_async_context(Picker(addresses, config={"envoy": {"messageTimeout": "5s"}}))
        clients = {}
        for name, mode in MODES.items():
            envoy = await stack.enter_async_context(Envoy(gateway(addresses, picker, mode, LIST_FILTER, STRING_FILTER)))
            clients[name] = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        yield Site(addresses, picker, clients)
        await streams_end(picker)
        assert "Traceback" not in picker.log_text()


def gateway(
    addresses: Mapping[str, str], picker: Picker, mode: ProcessingMode, *filters: Mapping[str, object]
) -> GatewaySettings:
    return GatewaySettings(
        endpoints=tuple(addresses.values()),
        picker=picker.address,
        processing_mode=mode,
        ext_proc=FORWARDED,
        filters=filters,
    )


async def ask(http: aiohttp.ClientSession, model: str | None, headers: Mapping[str, str]) -> str:
    """The name of the server that answered, or the code of the refusal. Without a model it is a GET."""
    path, body = ("/version", None) if model is None else ("/v1/completions", {"model": model, "max_tokens": 1})
    async with http.request("GET" if model is None else "POST", path, json=body, headers=headers) as response:
        await response.read()
        if response.status == 200:
            return response.headers["x-served-by"]
        return f"{response.status} {response.headers['x-extproc-reason']}"


def spell(subset: Sequence[str], addresses: Mapping[str, str]) -> str:
    """The hint for names of servers; what is no name stays as it is."""
    return ",".join(addresses.get(each, each).replace("[::1]", "[0:0:0:0:0:0:0:1]") for each in subset)


UNAVAILABLE, NOTHING_READY, UNKNOWN = "503 model_unavailable", "503 no_ready_endpoints", "404 model_not_found"
ROWS: dict[str, tuple[Sequence[str] | None, str | None, set[str]]] = {
    "no hint, POST": (None, GEMMA, {"gemma"}),
    "no hint, GET": (None, None, set(FLEET)),
    "one address, POST": (["phi-a"], PHI, {"phi-a"}),
    "one address, GET": (["gemma"], None, {"gemma"}),
    "one on IPv6, POST": ([IPV6], PHI, {IPV6}),
    "one on IPv6, GET": ([IPV6], None, {IPV6}),
    "two addresses, POST": (["phi-b", IPV6], PHI, {"phi-b", IPV6}),
    "one of another model beside it, POST": (["gemma", "phi-b"], PHI, {"phi-b"}),
    "one that nobody has beside it, POST": (["127.0.0.1:1", "phi-b"], PHI, {"phi-b"}),
    "other models only, POST": (["gemma"], PHI, {UNAVAILABLE}),
    "nobody has it, POST": (["127.0.0.1:1"], PHI, {UNAVAILABLE}),
    "nobody has it, GET": (["127.0.0.1:1"], None, {NOTHING_READY}),
    "no port, POST": (["127.0.0.1"], PHI, {UNAVAILABLE}),
    "unknown model, POST": (["phi-a"], "nobody", {UNKNOWN}),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("form", ["x-list", "x-string"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("subset", "model", "expected"), ROWS.values(), ids=ROWS)
async def test_no_request_leaves_its_subset(
    site: Site, mode: str, form: str, subset: Sequence[str] | None, model: str | None, expected: set[str]
) -> None:
    headers = {} if subset is None else {form: spell(subset, site.addresses)}
    answers = {await ask(site.clients[mode], model, headers) for _ in range(REQUESTS)}
    assert answers <= expected


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("hint", [[], "", " , "], ids=["empty list", "empty string", "a string of no address"])
async def test_present_and_empty_is_a_503(site: Site, hint: list[str] | str) -> None:
    """By Envoy's own `set_metadata`: the other filters write nothing for an empty header."""
    metadata = [{"metadata_namespace": NAMESPACE, "value": {KEY: hint}}]
    settings = gateway(
        site.addresses,
        site.picker,
        DETACHED,
        http_filter("set_metadata", "set_metadata.v3.Config", metadata=metadata),
    )
    async with Envoy(settings) as envoy, aiohttp.ClientSession(envoy.url) as http:
        assert await ask(http, PHI, {}) == UNAVAILABLE
        assert await ask(http, None, {}) == NOTHING_READY
        # What the picker answers by itself goes to no endpoint.
        async with http.get("/v1/models") as response:
            assert [entry["id"] for entry in (await response.json())["data"]] == [GEMMA, PHI]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_list_by_set_metadata(site: Site) -> None:
    metadata = [{"metadata_namespace": NAMESPACE, "value": {KEY: [site.addresses["phi-b"], site.addresses["gemma"]]}}]
    settings = gateway(
        site.addresses,
        site.picker,
        DETACHED,
        http_filter("set_metadata", "set_metadata.v3.Config", metadata=metadata),
    )
    async with Envoy(settings) as envoy, aiohttp.ClientSession(envoy.url) as http:
        assert {await ask(http, PHI, {}) for _ in range(REQUESTS)} == {"phi-b"}
        assert {await ask(http, GEMMA, {}) for _ in range(REQUESTS)} == {"gemma"}
        assert {await ask(http, None, {}) for _ in range(REQUESTS)} <= {"phi-b", "gemma"}
