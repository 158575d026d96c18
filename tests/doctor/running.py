"""`extproc doctor` run as its users run it, and in this process."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.e2e.picker import START_TIMEOUT_S, Picker

from extproc.cli.admin_client import open_admin
from extproc.cli.doctor.gather import Asked, gather
from extproc.cli.doctor.report import judge
from extproc.cli.doctor.verdict import Verdict
from extproc.settings.load import load_settings


class Ran(NamedTuple):
    """A run of the command."""

    code: int
    output: str
    errors: str


async def run_doctor(*arguments: str) -> Ran:
    """The command in a process of its own, 80 columns wide."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extproc", "doctor", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
        env={"COLUMNS": "80", "PYTHONPATH": "src", "HOME": "/nowhere"},
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, output.decode(), errors.decode())


def read_states(ran: Ran) -> Mapping[str, str]:
    """State by check of a run with `--json`."""
    return {verdict["check"]: verdict["state"] for verdict in json.loads(ran.output)["verdicts"]}


async def diagnose(
    target: str = "127.0.0.1:1", *, flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> Sequence[Verdict]:
    """The verdicts, found in this process; without `target` there is no picker."""
    settings = load_settings(flag_values=flags or {})
    return judge(await gather(Asked(settings, target, None, None, environ or {})))


def of(verdicts: Sequence[Verdict], check: str) -> Verdict:
    """The one verdict of a check."""
    [verdict] = [verdict for verdict in verdicts if verdict.check == check]
    return verdict


async def until_known(picker: Picker, condition: Callable[[Any], bool]) -> None:
    """Returns once what the picker knows is so."""
    async with asyncio.timeout(START_TIMEOUT_S):
        with open_admin(picker.admin_address, None) as admin:
            while not condition(await asyncio.to_thread(admin.snapshot)):
                await asyncio.sleep(0.05)
