"""The server can be found out and called with nothing of ours at hand: by descriptors alone, and by real grpcurl."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream

from extproc.cli.probe import DIRECT_ENVOY

EXT_PROC = "envoy.service.ext_proc.v3.ExternalProcessor"
ADMIN = "extproc.admin.v1.Admin"
ADMIN_SERVICES = [ADMIN, "grpc.reflection.v1alpha.ServerReflection"]
SERVICES = [EXT_PROC, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
HEADERS = {
    "headers": {"headers": [{"key": ":method", "rawValue": "UE9TVA=="}, {"key": ":path", "value": "/v1/completions"}]}
}
BODY = {"body": "eyJtb2RlbCI6ICJsbGFtYSJ9", "endOfStream": True}
REQUESTS: list[dict[str, object]] = [{"requestHeaders": HEADERS}, {"requestBody": BODY}]


@pytest.fixture
async def site() -> AsyncIterator[tuple[Picker, str]]:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}) as picker:
        yield picker, upstream.address


def call_admin(address: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The services at `address`, and what those of its methods answer that answer once."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        answers = {}
        for name, method in DescriptorPool(database).FindServiceByName(ADMIN).methods_by_name.items():
            if method.server_streaming:
                continue
            request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            ask = channel.unary_unary(
                f"/{ADMIN}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            given = {"model": "llama"} if name == "Explain" else {}
            answers[name] = json_format.MessageToDict(ask(json_format.ParseDict(given, request()), timeout=10))
        return sorted(database.get_services()), answers


async def test_list_describe_and_call_from_the_descriptors_alone(site: tuple[Picker, str]) -> None:
    picker, endpoint = site

    def call() -> tuple[list[str], list[list[dict[str, Any]]]]:
        with grpc.insecure_channel(picker.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            services = sorted(database.get_services())
            method = DescriptorPool(database).FindServiceByName(EXT_PROC).methods_by_name["Process"]
            request_class, response_class = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            stub = channel.stream_stream(
                f"/{EXT_PROC}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response_class.FromString,
            )
            messages = [json_format.ParseDict(request, request_class()) for request in REQUESTS]
            calls = [stub(iter(messages), timeout=10, metadata=metadata) for metadata in ((), DIRECT_ENVOY)]
            return services, [[json_format.MessageToDict(answer) for answer in call] for call in calls]

    services, (as_anybody, as_envoy) = await asyncio.to_thread(call)
    assert services == SERVICES
    [routed, passed_on] = as_anybody
    assert routed["dynamicMetadata"] == {"envoy.lb": {"x-gateway-destination-endpoint": endpoint}}
    assert passed_on["requestBody"]["response"]["bodyMutation"]["streamedResponse"] == BODY
    [whole] = as_envoy
    assert whole["dynamicMetadata"] == routed["dynamicMetadata"]
    assert whole["requestHeaders"]["response"]["status"] == "CONTINUE_AND_REPLACE"
    assert whole["requestHeaders"]["response"]["bodyMutation"]["body"] == BODY["body"]
    services, answers = await asyncio.to_thread(call_admin, picker.admin_address)
    assert services == ADMIN_SERVICES
    assert answers["GetSnapshot"]["models"] == [{"id": "llama", "endpoints": ["only"]}]
    assert answers["Explain"]["endpoint"] == "only"
    assert "grpcPort: 0" in answers["GetConfig"]["yaml"]


def grpcurl_programs() -> list[str]:
    """Real grpcurl, where it is installed: beside this Python (`make test` puts it there where Go is), or on PATH."""
    found = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")
    return [found] if found else []


@pytest.mark.parametrize("grpcurl", grpcurl_programs(), ids=["grpcurl"] * len(grpcurl_programs()))
async def test_grpcurl(grpcurl: str, site: tuple[Picker, str]) -> None:
    picker, endpoint = site

    async def run(*arguments: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            grpcurl, "-plaintext", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate(stdin.encode())
        assert process.returncode == 0, output.decode()
        return output.decode()

    assert (await run(picker.address, "list")).split() == SERVICES
    described = await run(picker.address, "describe", EXT_PROC)
    assert "rpc Process ( stream .envoy.service.ext_proc.v3.ProcessingRequest )" in described
    stdin = "\n".join(json.dumps(request) for request in REQUESTS)
    as_envoy = ("-H", "x-envoy-internal: true")
    answer = json.loads(await run(*as_envoy, "-d", "@", picker.address, f"{EXT_PROC}/Process", stdin=stdin))
    assert answer["dynamic_metadata"] == {"envoy.lb": {"x-gateway-destination-endpoint": endpoint}}
    assert (await run(picker.admin_address, "list")).split() == ADMIN_SERVICES
    snapshot = json.loads(await run(picker.admin_address, f"{ADMIN}/GetSnapshot"))
    assert [each["models"] for each in snapshot["endpoints"]] == [["llama"]]
    explanation = json.loads(await run("-d", '{"model": "llama"}', picker.admin_address, f"{ADMIN}/Explain"))
    assert explanation["destination"] == endpoint
    for name in ("", "liveness", "readiness", EXT_PROC, "inference-extension"):
        health = await run("-d", json.dumps({"service": name}), picker.health_address, "grpc.health.v1.Health/Check")
        assert json.loads(health) == {"status": "SERVING"}
