"""cli/sim: the command as a real process."""

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from tests.sim.conftest import Until

Run = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Starts `sim` with these arguments; kills what is left at the end."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from extproc.cli.sim import sim; sim()",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def end_of(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """Its exit code and the rest of what it wrote."""
    async with asyncio.timeout(10):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_serves_as_told_until_a_signal(run: Run, http: aiohttp.ClientSession, signum: signal.Signals) -> None:
    arguments = "--model phi --model gemma --lora sql --name pod-0 --port 0 --api-key k --tokens 3 --token-delay 60s"
    process = await run(
        *arguments.split(), "--time-to-first-token", "0", "--max-model-len", "99", "--fail", "models-500"
    )
    line = await line_of(process)
    found = re.fullmatch(r"sim pod-0 listening on (http://127\.0\.0\.1:\d+) serving phi, gemma, sql", line)
    assert found
    http.headers["authorization"] = "Bearer k"
    async with http.get(f"{found[1]}/v1/models") as response:
        assert (response.status, response.headers["x-served-by"]) == (500, "pod-0")
    async with http.post(f"{found[1]}/v1/completions", json={"model": "gemma", "stream": True}) as response:
        assert await response.content.readline()
        process.send_signal(signum)  # with a response under way
        assert await end_of(process) == (0, "", "")


async def test_the_name_defaults_to_the_address(run: Run, http: aiohttp.ClientSession) -> None:
    process = await run("--model", "phi", "--port", "0")
    _, name, *_, address, _, _ = (await line_of(process)).split(" ")
    assert f"http://{name}" == address
    async with http.get(f"{address}/health") as response:
        assert response.headers["x-served-by"] == name


async def test_the_cost_of_a_prompt_is_as_told(run: Run, http: aiohttp.ClientSession) -> None:
    process = await run("--model", "phi", "--port", "0", "--prefill-rate", "1", "--kv-blocks", "2048")
    address = (await line_of(process)).split(" ")[4]
    fields, timeout = {"model": "phi", "prompt": "a" * 4_000}, aiohttp.ClientTimeout(total=0.5)
    with pytest.raises(TimeoutError):
        await http.post(f"{address}/v1/completions", json=fields, timeout=timeout)
    async with http.get(f"{address}/metrics") as response:
        page = await response.text()
    assert 'num_gpu_blocks="2048"' in page
    assert 'vllm:prefix_cache_queries_total{engine="0",model_name="phi"} 1000.0' in page
    assert 'vllm:prompt_tokens_total{engine="0",model_name="phi"} 0.0' in page


async def test_a_signal_during_startup_ends_it(run: Run, until: Until) -> None:
    process = await run("--model", "phi", "--port", "0", "--startup-delay", "1h")
    await until(lambda: catches(process.pid, signal.SIGTERM))
    process.terminate()
    assert await end_of(process) == (0, "", "")


def catches(pid: int, signum: signal.Signals) -> bool:
    """Whether that process has a handler for the signal."""
    (mask,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (signum - 1) & 1)


async def test_a_port_in_use_is_named(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await run("--model", "phi", "--port", str(port))
        code, out, err = await end_of(process)
    assert (code, out) == (2, "")
    assert err == f"Error: cannot listen on port {port} of 127.0.0.1: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "0"], "Missing option '--model'"),
        (["--model", "phi", "--token-delay", "5"], "duration '5' has no unit: write 5s or 5ms"),
        (["--model", "phi", "--fail", "dorp"], "no failure kind 'dorp': there are 500, hang"),
        (["--model", "phi", "--max-running", "0"], "0 is not in the range x>=1"),
        (["--model", "phi", "--prefill-rate", "-1"], "-1 is not in the range x>=0"),
        (["--model", "phi", "--kv-blocks", "0"], "0 is not in the range x>=1"),
    ],
)
async def test_wrong_usage_is_explained(run: Run, arguments: list[str], complaint: str) -> None:
    process = await run(*arguments)
    code, out, err = await end_of(process)
    assert (code, out) == (2, "")
    assert complaint in " ".join(err.split())
