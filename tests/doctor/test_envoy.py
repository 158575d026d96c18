"""A real Envoy before a real picker, broken on purpose: the doctor names each fault; then mended, and it names none."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.doctor.gateways import (
    add_listener,
    ask,
    bootstrap,
    cluster_of,
    examine,
    ext_proc_of,
    of_state,
    ports_of,
    route_of,
    until_configured,
)
from tests.doctor.istio import istio_gateway
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream
from tests.raw_server import raw_server

from extproc.cli.demo.envoy import TRACKING, Envoy, GatewaySettings, hop_config

RETRY = {"retry_on": "reset", "num_retries": 3}


async def test_a_filter_and_its_route_that_are_all_wrong() -> None:
    """Every fault of config that hides no other, in one gateway; then none."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(InstantUpstream()) for _ in range(2)]
        upstreams[1].model = "gemma"
        endpoints = {"phi-0": upstreams[0].address, "gemma-0": upstreams[1].address}
        settings = {"responsePhase": "track", "allowModeOverride": True, "messageTimeout": "1s"}
        picker = await stack.enter_async_context(Picker(endpoints, config={"envoy": settings}))
        config = bootstrap(GatewaySettings(endpoints=(upstreams[0].address,), picker=picker.address))
        _spoil(config)
        async with Envoy(config) as envoy:
            verdicts = await examine(picker, envoy)
        assert of_state(verdicts, "not checked").keys() == {"streams", "Envoy: how its streams went"}
        faults = of_state(verdicts, "fault")
        assert {check: _has(faults, check, words) for check, words in FAULTS.items()} == FAULTS
        assert faults.keys() == FAULTS.keys()
        warnings = of_state(verdicts, "warning")
        assert {check: _has(warnings, check, words) for check, words in WARNINGS.items()} == WARNINGS
        assert warnings.keys() == WARNINGS.keys()

        mended = GatewaySettings(endpoints=tuple(endpoints.values()), picker=picker.address, processing_mode=TRACKING)
        async with Envoy(mended) as envoy:
            assert await ask(envoy.port) == [200]
            verdicts = await examine(picker, envoy, seen=1)
        assert of_state(verdicts, "fault", "warning", "not checked") == {}
        assert len(verdicts) > 20


FAULTS = {
    "Envoy: mode override": "allow_mode_override in the filter: in BUFFERED_PARTIAL",
    "Envoy: response phase": "does not send both headers and trailers",
    "Envoy: message timeout": "message_timeout is 0.1 s, envoy.messageTimeout 1 s",
    "Envoy: failure mode": "the pool serves 2 models",
    "Envoy: the pick arrives": "the cluster pool reads the pick from metadata",
    "Envoy: streams are not retried": "retry_policy",
    "Envoy: limits to the picker": "1024",
    "Envoy: endpoints of the pool": "1 of 2 endpoints",
    "Envoy: limits of the pool": "1024",
}
WARNINGS = {
    "Envoy: request body mode": "BUFFERED_PARTIAL",
    "Envoy: time for an answer": "15 s, the default",
    "Envoy: retries": "up to 3 times more, and the picker lists 0",
    "Envoy: buffer of the listener": "1 MiB: a request with a longer body is a 413",
    "Envoy: health of the picker": "liveness",
    "Envoy: health of the pool": "outlier_detection",
}


def _has(found: dict[str, str], check: str, words: str) -> str:
    evidence = found.get(check, "")
    return words if words in evidence else evidence


def _spoil(config: Any) -> None:
    ext_proc_of(config).update(
        {
            "failure_mode_allow": True,
            "message_timeout": "0.1s",
            "metadata_options": {},
            "processing_mode": {"request_body_mode": "BUFFERED_PARTIAL", "response_header_mode": "SKIP"},
        }
    )
    ext_proc_of(config)["grpc_service"]["retry_policy"] = {"num_retries": 2}
    del ext_proc_of(config)["status_on_error"]
    del config["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"]
    route_of(config)["route"] = {"cluster": "pool", "retry_policy": RETRY}
    pool, picker = cluster_of(config, "pool"), cluster_of(config, "picker")
    [policy] = pool["load_balancing_policy"]["policies"]
    source = {"metadata": {"key": "envoy.lb", "path": [{"key": "x-gateway-destination-endpoint"}]}}
    policy["typed_extension_config"]["typed_config"]["override_host_sources"] = [source]
    pool["outlier_detection"] = {}
    check = {"timeout": "1s", "interval": "60s", "unhealthy_threshold": 1, "healthy_threshold": 1}
    picker["health_checks"] = [check | {"grpc_health_check": {"service_name": "liveness"}}]
    del pool["circuit_breakers"], picker["circuit_breakers"]


async def test_what_each_connection_to_the_picker_can_have_wrong() -> None:
    """Several listeners of one Envoy, each with a cluster of its own for the same picker."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream())
        pickers = [
            await stack.enter_async_context(Picker({"only": upstream.address}, flags=flags))
            for flags in ((), ("--secure-serving=true",))
        ]
        plain, secure = pickers
        good = GatewaySettings(endpoints=(upstream.address,), picker=secure.address, picker_tls=True)
        config = bootstrap(good)
        for name, change in CONNECTIONS.items():
            cluster = bootstrap(good)["static_resources"]["clusters"][1] | {"name": name}
            cluster["load_assignment"]["cluster_name"] = name
            change(cluster)
            config["static_resources"]["clusters"].append(cluster)
            manager = add_listener(config, name)
            manager["http_filters"][0]["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = name
        nowhere = add_listener(config, "nowhere")["http_filters"][0]
        nowhere["typed_config"]["grpc_service"] = {"google_grpc": {"target_uri": secure.address, "stat_prefix": "x"}}
        port = int(secure.health_address.rpartition(":")[2])
        cluster = cluster_of(config, "health port")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
        cluster["endpoint"]["health_check_config"] = {"port_value": port}
        async with Envoy(config) as envoy:
            ports = await ports_of(envoy)
            assert {name: await ask(ports[name]) for name in CONNECTIONS if "health" not in name} == {
                "plaintext": [503],
                "no h2": [503],
                "HTTP/1.1": [503],
                "nobody": [503],
                "empty": [503],
            }
            assert await ask(envoy.port) == [200]
            verdicts = await examine(secure, envoy)
            seen_by_plain = await examine(plain, envoy)
        faults = of_state(verdicts, "fault")
        assert {check: _has(faults, check, words) for check, words in CONNECTION_FAULTS.items()} == CONNECTION_FAULTS
        assert faults.keys() == CONNECTION_FAULTS.keys()
        assert "connections fail: Envoy speaks TLS, the picker serves TLS (upstream_cx_connect_fail 1)" in faults[TLS]
        # It is plaintext there, and this cluster speaks TLS.
        assert f"its health checks go to port {port}" in faults["Envoy: health of the picker"]
        assert "Envoy speaks TLS, the picker serves plaintext" in of_state(seen_by_plain, "fault", "warning")[TLS]

        async with Envoy(good) as envoy:
            assert await ask(envoy.port) == [200]
            verdicts = await examine(secure, envoy, seen=2)
        assert of_state(verdicts, "fault", "warning", "not checked") == {}
        assert "ssl.handshake 1" in of_state(verdicts, "ok")[TLS]
        wrong = GatewaySettings(endpoints=(upstream.address,), picker=plain.address, picker_tls=True)
        async with Envoy(wrong) as envoy:
            assert await ask(envoy.port) == [503]
            faults = of_state(await examine(plain, envoy), "fault")
        assert faults.keys() == {TLS}  # and not what follows from it
        assert "Envoy speaks TLS, the picker serves plaintext (ssl.connection_error 1" in faults[TLS]


TLS = "Envoy: TLS to the picker"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _set_health(cluster: Any, **fields: Any) -> None:
    check = {"timeout": "1s", "interval": "60s", "unhealthy_threshold": 1, "healthy_threshold": 1}
    cluster["health_checks"] = [check | fields]


CONNECTIONS: dict[str, Any] = {
    "plaintext": lambda cluster: cluster.pop("transport_socket"),
    "no h2": lambda cluster: cluster["transport_socket"]["typed_config"]["common_tls_context"].update(
        alpn_protocols=["http/1.1"]
    ),
    "HTTP/1.1": lambda cluster: cluster.pop("typed_extension_protocol_options"),
    "nobody": lambda cluster: cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"][
        "socket_address"
    ].update(port_value=1),
    "empty": lambda cluster: cluster["load_assignment"].pop("endpoints"),
    "health port": lambda cluster: _set_health(cluster, grpc_health_check={"service_name": "readiness"}),
    "health name": lambda cluster: _set_health(cluster, grpc_health_check={"service_name": "epp"}),
}
CONNECTION_FAULTS = {
    TLS: "Envoy speaks plaintext, the picker serves TLS",
    "Envoy: ALPN to the picker": "Envoy offers http/1.1 and no h2",
    "Envoy: HTTP/2 to the picker": "upstream_cx_protocol_error 1",
    "Envoy: members of the picker's cluster": "the cluster empty has no members",
    "Envoy: health of the picker": "asks for the service 'epp'",
}


async def test_who_is_asked_and_who_is_heard() -> None:
    """One gateway with a route past the picker, one that asks two, one that heeds none, and more."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream())
        picker = await stack.enter_async_context(
            Picker({"only": upstream.address}, config={"envoy": {"fallbackEndpoints": 1}})
        )
        good = GatewaySettings(endpoints=(upstream.address,), picker=picker.address)
        config = bootstrap(good)
        add_listener(config, "past")["http_filters"].pop(0)
        twice = add_listener(config, "twice")["http_filters"]
        twice.insert(0, twice[0])
        deaf = add_listener(config, "deaf")["http_filters"][0]["typed_config"]
        deaf |= {"observability_mode": True, "processing_mode": {"request_body_mode": "NONE"}}
        ruled = add_listener(config, "ruled")["http_filters"][0]["typed_config"]
        ruled["mutation_rules"] = {"disallow_all": True}
        balanced = bootstrap(good)["static_resources"]["clusters"][0] | {"name": "balanced"}
        del balanced["load_balancing_policy"]
        original: Any = {"name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
        original["original_dst_lb_config"] = {"use_http_header": True, "http_header_name": "x-other"}
        for cluster in (balanced, original):
            config["static_resources"]["clusters"].append(cluster)
            manager = add_listener(config, cluster["name"])
            manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = cluster["name"]
        async with Envoy(config) as envoy:
            verdicts = await examine(picker, envoy)
        faults = of_state(verdicts, "fault")
        assert {check: _has(faults, check, words) for check, words in HEARING_FAULTS.items()} == HEARING_FAULTS
        assert faults.keys() == HEARING_FAULTS.keys()
        past = "go to pool with no picker asked"
        assert past in of_state(verdicts, "warning")["Envoy: one picker on each route"]
        assert "reads header x-other" in faults["Envoy: the pool's cluster heeds the pick"]
        async with Envoy(good) as envoy:
            assert await ask(envoy.port) == [200]
            verdicts = await examine(picker, envoy, seen=1)
        assert of_state(verdicts, "fault", "not checked") == {}
        assert set(HEARING_FAULTS) - {"Envoy: retries"} <= of_state(verdicts, "ok").keys()
        async with Envoy(GatewaySettings(endpoints=(upstream.address,))) as envoy:
            faults = of_state(await examine(picker, envoy), "fault")
        assert "no ext_proc filter in force" in faults["Envoy: one picker on each route"]


HEARING_FAULTS = {
    "Envoy: one picker on each route": "2 pickers are asked",
    "Envoy: the picker's word counts": "observability_mode is on",
    "Envoy: the pick arrives": "mutation_rules",
    "Envoy: retries": "takes one address",
    "Envoy: the pool's cluster heeds the pick": "balances by itself",
}


async def test_a_hop_and_a_mode_that_cannot_work_are_seen_in_the_streams() -> None:
    """Then a gateway as istiod makes it, and a picker that has seen no other."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream())
        endpoints = {"only": upstream.address}
        first, second = [await stack.enter_async_context(Picker(endpoints)) for _ in range(2)]
        hop = await stack.enter_async_context(Envoy(hop_config(first.address)))
        streamed = {"processing_mode": {"request_body_mode": "STREAMED"}}
        through = GatewaySettings(endpoints=(upstream.address,), picker=f"127.0.0.1:{hop.port}", ext_proc=streamed)
        assert of_state(await examine(first), "not checked").keys() >= {"streams"}
        async with Envoy(through) as envoy:
            assert await ask(envoy.port) == [500]
            verdicts = await examine(first, envoy, seen=1)
        assert "the body waits for an answer" in of_state(verdicts, "fault")["Envoy: request body mode"]
        assert "STREAMED" in of_state(verdicts, "fault")["streams: request body mode"]
        assert "1 request was refused" in of_state(verdicts, "fault")["streams: request body mode"]
        assert "an HTTP hop" in of_state(verdicts, "warning")["streams: who calls"]
        async with Envoy(istio_gateway(upstream.address, second.address)) as envoy:
            assert await ask(envoy.port) == [200]
            verdicts = await examine(second, envoy, seen=1)
        assert of_state(verdicts, "fault", "not checked") == {}
        assert of_state(verdicts, "warning").keys() == {"Envoy: status without a picker"}
        ok = of_state(verdicts, "ok")
        assert ok.keys() >= {"streams: who calls", "streams: request body mode", "Envoy: request body mode"}
        assert "as Istio has it" in ok["Envoy: response phase"]


async def test_a_message_timeout_shorter_than_the_hold_is_seen_in_the_streams(tmp_path: Path) -> None:
    """An engine that has not answered yet: its model's requests are held until a probe has failed, which takes a second
    that can have begun a quarter of it before, and Envoy's own limit is the shorter one.
    """
    file, text = tmp_path / "config.yaml", "{envoy: {messageTimeout: %s}, requests: {hold: 2s}}"
    file.write_text(text % "5s")
    async with AsyncExitStack() as stack:
        address = f"127.0.0.1:{await stack.enter_async_context(raw_server(_say_nothing))}"
        flags = [f"--config-file={file}"]
        picker = await stack.enter_async_context(Picker({"silent": address}, flags=flags, until_ready=False))
        buffered = {"processing_mode": {"request_body_mode": "BUFFERED"}, "message_timeout": "0.5s"}
        gateway = GatewaySettings(endpoints=(address,), picker=picker.address, ext_proc=buffered)
        async with Envoy(gateway) as envoy:
            assert await ask(envoy.port, times=2) == [504, 504]
            verdicts = await examine(picker, envoy, seen=2)
        file.write_text(text % "500ms")
        await until_configured(picker, "messageTimeout: 500ms")
        async with Envoy(gateway) as envoy:
            assert await ask(envoy.port, times=2) == [503, 503]  # before Envoy loses its patience
            mended = await examine(picker, envoy, seen=4)
    faults = of_state(verdicts, "fault")
    assert "2 of 2 streams were ended before their answer" in faults["streams: ended early"]
    assert "Envoy answers 504 before" in faults["Envoy: message timeout"]
    assert "message_timeouts 2" in of_state(verdicts, "fault", "warning")["Envoy: how its streams went"]
    assert of_state(mended, "fault", "warning", "not checked") == {}


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
