"""All that the checks judge by: gathered once, then only read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.asking import EngineLook
from extproc.cli.doctor.cluster import ClusterFacts
from extproc.cli.doctor.envoy_facts import EnvoyFacts
from extproc.cli.doctor.health import HealthLook
from extproc.cli.doctor.ports import PortLook
from extproc.settings.schema import Settings


@dataclass(frozen=True, kw_only=True)
class ProbeLook:
    """A probe that the kubelet asks the picker's container, and what it gets."""

    kind: str
    """startup, liveness or readiness."""
    port: int
    service: str | None
    """The name that is asked for over gRPC; None of a probe over HTTP."""
    port_look: PortLook
    answer: str = ""
    """To that name at that port; empty where the port does not speak plaintext gRPC."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen. None is what could not be seen, for the reason beside it."""

    settings: Settings
    """Those of the running picker; without one those of the flags and file that were given."""
    knows_settings: bool = True
    """False: no picker told its settings, and no flags did; `settings` are the defaults."""
    unused_flags: Sequence[str] = ()
    """Flags of serve that were given although a picker answers, whose own settings count."""
    target: str = "127.0.0.1:9004"
    """Where the running picker was asked."""
    snapshot: admin_pb2.Snapshot | None = None
    """What the running picker knows."""
    snapshot_problem: str = ""
    is_refused: bool = False
    """A picker, or something else, answers there, and not with what was asked for."""
    config_problem: str = ""
    """Why `settings` are not the picker's although it answers."""
    own: admin_pb2.Snapshot | None = None
    """Without a running picker: what its source and probes gave when they were run here for a moment."""
    start_problems: Sequence[str] = ()
    """Without a running picker: what would keep one from starting with these settings."""
    ext_proc_port: PortLook | None = None
    health_port: PortLook | None = None
    health: HealthLook | None = None
    """What the health port says to the usual names."""
    probes: Sequence[ProbeLook] = ()
    """Of the picker's own pod."""
    cluster: ClusterFacts | None = None
    cluster_problem: str = ""
    engines: Mapping[str, EngineLook] = field(default_factory=dict)
    """By address: of some endpoints that something is wrong with, what they say to the doctor itself."""
    envoy: EnvoyFacts | None = None
    """What Envoy's admin port tells (`--envoy-admin`)."""
    wants_envoy: bool = False
    """`--envoy-admin` was given."""
    envoy_problem: str = "give --envoy-admin http://HOST:PORT to look at the gateway too"

    @property
    def knowledge(self) -> admin_pb2.Snapshot | None:
        """The pool as the running picker knows it, else as it was seen here."""
        return self.snapshot if self.snapshot is not None else self.own

    @property
    def names_source(self) -> bool:
        """The settings say where the pool's endpoints are."""
        source = self.settings.source
        return bool(source.endpoints_file or source.pool_name or source.endpoint_selector or source.dns_name)

    @property
    def is_on_kubernetes(self) -> bool:
        """The pool's endpoints are pods."""
        return bool(self.settings.source.pool_name or self.settings.source.endpoint_selector)

    @property
    def served(self) -> Sequence[admin_pb2.Endpoint]:
        """The endpoints that should answer: those that are ready; where only answers tell who is, all."""
        endpoints = self.knowledge.endpoints if self.knowledge is not None else ()
        return [each for each in endpoints if each.is_ready or not self.is_on_kubernetes]
