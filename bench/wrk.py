"""Load from `wrk`, whose own cost is small: it is installed where that is possible, and its answers are checked."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.chat import PATH, Request
from bench.results import BenchError

_SCRIPT = Path(__file__).with_name("wrk.lua")


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw."""

    requests: int
    duration_us: int
    non_2xx: int
    broken: int
    """Connections that failed, were cut or timed out."""
    p50_us: int
    p99_us: int

    @property
    def requests_per_s(self) -> float:
        """Answered requests per second."""
        return self.requests / self.duration_us * 1e6


def ensure_wrk() -> None:
    """Installs the Debian package where wrk is missing and that can be done. Errors: BenchError."""
    if shutil.which("wrk"):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise BenchError("wrk is not installed, and only root on Debian or Ubuntu gets it here: apt-get install wrk")
    install = ["apt-get", "install", "-y", "--no-install-recommends", "wrk"]
    if subprocess.run(install, capture_output=True).returncode == 0:
        return
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"cannot install wrk: `{' '.join(command)}` said:\n{done.stderr.strip()}")


async def run_wrk(url: str, requests: Sequence[Request], *, connections: int, duration_s: int) -> Load:
    """Sends `requests` in turn from one thread. Errors: BenchError unless every answer was good."""
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "-s", str(_SCRIPT), url, "--", PATH),
        *[_argument(request) for request in requests],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    lines = printed.decode().strip().splitlines()
    try:
        load = msgspec.json.decode(lines[-1], type=Load)
    except (IndexError, msgspec.DecodeError) as exc:
        raise BenchError(f"wrk failed:\n{printed.decode()}") from exc
    if load.non_2xx or load.broken or not load.requests:
        raise BenchError(f"of {load.requests} answers {load.non_2xx} were no 2xx, {load.broken} connections broke")
    return load


def _argument(request: Request) -> str:
    return "\n".join([f"{name}: {value}" for name, value in request.headers]) + "\n\n" + request.body.decode()
