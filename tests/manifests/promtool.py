"""Prometheus's own promtool, out of Debian's package (`make tools`), else the one on PATH."""

import shutil
import subprocess
import sys
from pathlib import Path


class PromtoolNotFoundError(RuntimeError):
    """There is no promtool, so nothing can be said about the alert rules."""

    def __str__(self) -> str:
        return "no promtool: `make tools` puts one into .venv/bin where apt-get is; elsewhere install 2.42 or newer"


def find_promtool() -> str:
    """Path of the one beside this Python, else of the one on PATH. Raises PromtoolNotFoundError."""
    found = shutil.which("promtool", path=str(Path(sys.executable).parent)) or shutil.which("promtool")
    if found is None:
        raise PromtoolNotFoundError
    return found


def run_promtool(*arguments: str) -> str:
    """What it says against it; empty where it has nothing to say."""
    result = subprocess.run([find_promtool(), *arguments], capture_output=True, text=True, check=False, timeout=60)
    return "" if result.returncode == 0 else f"{result.stdout}{result.stderr}"
