"""All that the checks judge by: gathered once, then only read."""

from dataclasses import dataclass

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.envoy_facts import EnvoyFacts
from extproc.settings.schema import Settings


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen. None is what could not be seen, for the reason beside it."""

    settings: Settings
    """Those of the running picker; without one those of the flags and file that were given."""
    snapshot: admin_pb2.Snapshot | None = None
    """What the running picker knows."""
    snapshot_problem: str = ""
    envoy: EnvoyFacts | None = None
    """What Envoy's admin port tells (`--envoy-admin`)."""
    envoy_problem: str = "give --envoy-admin http://HOST:PORT to look at the gateway too"
