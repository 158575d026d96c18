"""Every module of the package can be imported with the runtime set alone: no Envoy, no test tools."""

import json
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROGRAM = """
import importlib, json, pkgutil, sys
forbidden = set(json.loads(sys.argv[1]))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"{name} is no part of the runtime set", name=name)

sys.meta_path.insert(0, Refuse())
import extproc
for module in pkgutil.walk_packages(extproc.__path__, "extproc."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""


def runtime_distributions() -> set[str]:
    """Names of everything that installing `extproc` without extras brings."""
    found: set[tuple[str, str]] = set()
    wanted = [("extproc", "")]
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted += [(canonicalize_name(requirement.name), extra) for extra in ["", *requirement.extras]]
    return {name for name, _ in found}


def test_the_runtime_set_is_enough() -> None:
    runtime = runtime_distributions()
    forbidden = [
        package
        for package, distributions in metadata.packages_distributions().items()
        if all(canonicalize_name(distribution) not in runtime for distribution in distributions)
    ]
    assert {"envoy", "pytest", "grpc_tools", "hypothesis"} <= set(forbidden)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", PROGRAM, json.dumps(forbidden)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert {"extproc.app", "extproc.cli.demo.envoy", "extproc.cli.probe"} <= set(result.stdout.split())
