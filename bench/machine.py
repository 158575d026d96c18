"""What the figures were measured on: CPU, cores and the versions that matter."""

import os
import platform
import re
import subprocess
from pathlib import Path

import grpc

from extproc.cli.demo.envoy import find_envoy


def describe_machine() -> str:
    """One line: CPU model, cores that may be used, and the versions of Python, grpcio and Envoy."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{_cpu_model()}, {cores} cores; Python {platform.python_version()}, grpcio {grpc.__version__}, "
        f"Envoy {_envoy_version()}"
    )


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _envoy_version() -> str:
    shown = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)", shown)
    return found[1] if found else "of unknown version"
