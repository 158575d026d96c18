"""The program as its users start, ask and stop it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import grpc
import pytest
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.picker import FLAGS, Picker
from tests.e2e.upstreams import InstantUpstream

from extproc.cli import GRPC_EXPERIMENTS
from extproc.cli.probe import METHOD, build_requests, read_verdict
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer


async def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `extproc …`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extproc", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.fixture
def pool_file(tmp_path: Path) -> str:
    path = tmp_path / "pool.yaml"
    path.write_text("pools: [{name: test, endpoints: [{name: a, address: '127.0.0.1:1'}]}]")
    return str(path)


async def test_everything_wrong_is_told_at_once_before_a_port_opens(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text("pools: [{name: a, endpoints: [{name: x, address: nowhere}]}]")
    (tmp_path / "config.yaml").write_text("server: {grpcPrt: 1}\nrequests: {hold: 5}")
    config = f"--config-file={tmp_path / 'config.yaml'}"
    code, output = await run("serve", config, "-grpcPort", "x", f"--endpoints-file={tmp_path / 'pool.yaml'}")
    assert code == 2
    assert output.splitlines()[0].endswith("config.yaml: 3 problems")
    for part in (
        "--grpc-port: ",
        "server.grpcPrt: unknown key, did you mean grpcPort?",
        "requests.hold: a duration needs",
    ):
        assert part in output
    code, output = await run("serve", f"--endpoints-file={tmp_path / 'pool.yaml'}", f"--cert-path={tmp_path}")
    assert code == 2
    assert f"{tmp_path}/tls.crt: cannot be read: No such file or directory" in output
    assert "pools[0].endpoints[0].address: 'nowhere' is not ip:port" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--secure-serving=false"],
            "--pool-name: is required, or --endpoint-selector, --dns-name or --endpoints-file",
        ),
        (["--secure-serving=false", "--endpoints-file=/nowhere/x"], "/nowhere/x: cannot be read: No such file"),
        (["--secure-serving=false", "--config-file=/"], "/: 1 problem\n  cannot be read: Is a directory"),
        (["-poolName", "x", "--kubeconfig=/nowhere"], "source.kubeconfig: /nowhere: there is no such file"),
        (["--pool-name=x", "--dns-name=x.y:80"], "source: one source of endpoints to a server; poolName and dnsName"),
        (["--grpc-prt=1"], "did you mean --grpc-port?"),
        (["stray"], "unexpected extra argument"),
    ],
)
async def test_usage_errors_exit_with_2(arguments: list[str], text: str) -> None:
    for command in (["serve"], []) if arguments[0].startswith("-") else (["serve"],):
        code, output = await run(*command, *arguments)
        assert code == 2
        assert text in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "flag", ["--grpc-port", "--grpc-health-port", "--metrics-port", "--admin-grpc-port", "--admin-http-port"]
)
async def test_a_port_in_use_exits_with_2_and_is_named(flag: str, pool_file: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = await run("serve", f"--endpoints-file={pool_file}", *FLAGS, f"{flag}={port}")
    assert code == 2
    [line] = output.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert flag in line


async def test_an_empty_config_file_serves(tmp_path: Path) -> None:
    """A picker that crashed on it started this project."""
    (tmp_path / "config.yaml").write_text("")
    async with InstantUpstream() as upstream:
        flags = (f"--config-file={tmp_path / 'config.yaml'}",)
        async with Picker({"only": upstream.address}, flags=flags) as picker:
            assert await picker.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_peace_and_requests_are_still_served(number: signal.Signals) -> None:
    """The request comes on a connection that was open before, a moment after the picker said that it leaves."""
    flags = ("--drain-delay=2s",)
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, flags=flags) as picker:
        async with grpc.aio.insecure_channel(picker.address) as channel:
            await channel.channel_ready()
            await picker.send_signal(number)
            call = channel.stream_stream(METHOD)()
            for message in build_requests("POST", "/v1/completions", {}, b'{"model": "llama"}'):
                await call.write(message)
            assert read_verdict(await call.read()).destination == upstream.address
            async with asyncio.timeout(20):
                assert await picker.stop_code() == 0
        assert "stopped" in picker.log_text()
        assert "Traceback" not in picker.log_text()


async def test_a_second_signal_ends_it_at_once() -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, flags=("--drain-delay=1h",)) as picker:
        await picker.send_signal(signal.SIGTERM)
        picker.process.terminate()
        async with asyncio.timeout(20):
            assert await picker.stop_code() == 0


async def test_a_watcher_of_the_health_service_does_not_hold_up_the_stop() -> None:
    async with InstantUpstream() as upstream:
        async with Picker({"only": upstream.address}, flags=("--drain-timeout=1h",)) as picker:
            async with grpc.aio.insecure_channel(picker.address) as channel:
                watch = HealthStub(channel).Watch(HealthCheckRequest(service="readiness"))
                await watch.read()
                picker.process.terminate()
                async with asyncio.timeout(20):
                    assert await picker.stop_code() == 0


async def test_a_second_signal_ends_streams_that_are_still_open() -> None:
    """The upload is never finished, and nothing else would end it for an hour."""
    config = {"envoy": {"decisionTimeout": "1h"}}
    flags = ("--drain-timeout=1h",)
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}, config=config, flags=flags) as picker:
        async with grpc.aio.insecure_channel(picker.address) as channel:
            call = channel.stream_stream(METHOD)()
            await call.write(build_requests("POST", "/v1/completions", {}, b"{}")[0])
            async with asyncio.timeout(20):
                while await picker.metric("extproc_streams") < 1:
                    pass
                await picker.send_signal(signal.SIGTERM)
                assert not call.done()
                picker.process.terminate()
                assert await picker.stop_code() == 0
                assert await call.code() is not grpc.StatusCode.OK


async def test_readiness_waits_for_the_first_probes_but_not_for_ever() -> None:
    """One endpoint never answers: ready when its budget is spent, and the other's model is served."""
    async with SimServer(EngineSettings(models=("phi",))) as good, SimServer(EngineSettings(models=("x",))) as slow:
        slow.engine.failures.set("slow-models", delay_s=60)
        models = {"firstAnswerBudget": "500ms", "timeout": "30s"}
        addresses = {"good": good.address, "slow": slow.address}
        async with Picker(addresses, config={"probes": {"models": models}}) as picker:
            await picker.wait_for_log(" ready ")
            assert "models=phi" in picker.log_text().partition(" ready ")[2]
            assert await picker.metric("extproc_endpoint_ready", endpoint="slow") == 0
            code, output = await run("probe", f"--target={picker.address}", "--model=phi", "--json")
            assert (code, json.loads(output)["destination"]) == (0, good.address)


async def test_probe_tells_routed_answered_refused_and_nobody_there() -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}) as picker:
        target = f"--target={picker.address}"
        code, output = await run("probe", target, "--model", "llama")
        assert (code, output) == (0, f"routed to {upstream.address} (header and metadata agree)\n")
        code, output = await run("probe", target)
        assert code == 0
        assert output.startswith('answered 200: {"data":[{"id":"llama"')
        code, output = await run("probe", target, "--model", "nothing")
        assert code == 1
        assert output.startswith("answered 404: ")
        health = f"--target={picker.health_address}"
        code, output = await run("probe", health, "--model", "llama")
        assert code == 1
        assert "UNIMPLEMENTED" in output
    code, output = await run("probe", target, "--model", "llama", "--timeout", "2s")
    assert code == 1
    assert "UNAVAILABLE" in output


async def test_the_metrics_page_has_what_is_promised() -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}) as picker:
        await run("probe", f"--target={picker.address}", "--model=llama")
        async with aiohttp.ClientSession() as session, session.get(picker.metrics_url) as response:
            families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    assert {name.removeprefix("extproc_") for name in families} >= {
        "requests",
        "decision_seconds",
        "streams",
        "stream_messages",
        "model_endpoints",
        "endpoint_ready",
        "probe_seconds",
        "probe_failures",
        "probe_age_seconds",
        "snapshot_version",
        "snapshot_age_seconds",
        "source_connected",
        "build_info",
    }
    [routed] = [sample for sample in families["extproc_requests"].samples if sample.name.endswith("_total")]
    assert routed.labels == {"pool": "default/test", "model": "llama", "outcome": "routed"}
    assert [sample.value for sample in families["extproc_model_endpoints"].samples] == [1.0]


async def test_check_is_the_servers_own_loader(tmp_path: Path, pool_file: str) -> None:
    code, output = await run("check", f"--endpoints-file={pool_file}", "--grpc-port=7")
    assert code == 0
    assert "grpcPort: 7" in output
    assert "# pool default/test: 1 endpoints" in output
    (tmp_path / "again.yaml").write_text(output)
    code, again = await run("check", str(tmp_path / "again.yaml"))
    assert (code, yaml.safe_load(again)) == (0, yaml.safe_load(output))


async def test_the_loop_keeps_its_core_from_grpcs_threads() -> None:
    """Decision 024: the thread that waits for messages, and gRPC's timer, take the core from nobody; all others may.
    Where a sandbox forbids the policy, none has it.
    """
    async with Picker() as picker:
        pid = picker.process.pid
        policies = {int(tid): os.sched_getscheduler(int(tid)) for tid in os.listdir(f"/proc/{pid}/task")}
    assert policies.pop(pid) == os.SCHED_OTHER
    tried = subprocess.run([sys.executable, "-c", "import os; os.sched_setscheduler(0, 3, os.sched_param(0))"])
    assert list(policies.values()).count(os.SCHED_BATCH) in ((1, 2) if tried.returncode == 0 else (0,))


@pytest.mark.parametrize(
    ("experiments", "complaint"),
    [
        pytest.param(GRPC_EXPERIMENTS, "", id="ours"),
        pytest.param("-no_such_listener", "Unknown experiment: no_such_listener", id="one-that-is-gone"),
    ],
)
async def test_grpc_knows_what_is_asked_of_it(experiments: str, complaint: str) -> None:
    """A newer grpcio may have the experiment no more; then decision 024 is to be looked at again."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import grpc; grpc.server(None)",
        env=os.environ | {"GRPC_EXPERIMENTS": experiments, "GRPC_VERBOSITY": "ERROR"},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 0
    assert ("xperiment" in said.decode()) == bool(complaint)
    assert complaint in said.decode()


@pytest.mark.parametrize(
    ("variable", "asked"),
    [pytest.param(None, GRPC_EXPERIMENTS, id="by-default"), pytest.param("-x", "-x", id="unless-the-variable-is-set")],
)
async def test_serve_asks_grpc_for_it_before_it_is_imported(variable: str | None, asked: str) -> None:
    code = (
        "import os, sys; from click import Context; from extproc import cli; is_early = 'grpc' not in sys.modules;"
        "cli.main.get_command(Context(cli.main), 'serve'); print(is_early, os.environ['GRPC_EXPERIMENTS'])"
    )
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code,
        env=environ | ({} if variable is None else {"GRPC_EXPERIMENTS": variable}),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert printed.decode().split() == ["True", asked]
