"""What an Envoy's admin port tells of the filters, routes and clusters that lead to a picker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DESTINATION = "x-gateway-destination-endpoint"
"""What the picker calls its pick, as a header and in the metadata namespace `LB`."""
LB = "envoy.lb"
DEFAULT_LIMIT = 1024
"""Envoy's default for each threshold of a cluster's circuit breakers."""
DEFAULT_BUFFER_BYTES = 1 << 20
"""Envoy's default for `per_connection_buffer_limit_bytes`."""

BodyMode = Literal["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]
Tls = Literal["TLS", "plaintext", "either"]
"""`either`: it depends on the endpoint's metadata (`transport_socket_matches`)."""
Protocol = Literal["HTTP/2", "HTTP/1.1", "by ALPN", "as the client's"]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """An ext_proc filter as it is in force on one route: the listener's, with what the route overrides."""

    name: str
    cluster: str
    """Of the gRPC service; empty for one that is not Envoy's own gRPC."""
    sends_request_headers: bool = True
    request_body: BodyMode = "NONE"
    sends_body_early: bool = False
    sends_response_headers: bool = True
    response_body: BodyMode = "NONE"
    sends_response_trailers: bool = False
    message_timeout_s: float = 0.2
    allows_mode_override: bool = False
    fails_open: bool = False
    status_on_error: str | None = None
    """A name, such as ServiceUnavailable, or a number."""
    receives: tuple[str, ...] = ()
    """Namespaces of dynamic metadata that it takes from the picker."""
    is_observing: bool = False
    """`observability_mode`: nothing the picker says counts."""
    retries_stream: bool = False
    """Its gRPC service has a retry policy."""
    forbids_pick: bool = False
    """Its `mutation_rules` do not let the picker set its header."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One way through the gateway: a route to one cluster, with the ext_proc filters that requests meet on it."""

    where: str
    stat_prefix: str
    filters: tuple[Filter, ...]
    """In the order in which requests meet them."""
    cluster: str
    """Empty where the route names it by a header."""
    timeout_s: float = 15.0
    """Of the whole answer; 0 is none."""
    sets_timeout: bool = True
    """False: `timeout_s` is Envoy's default."""
    retries: int = 0
    buffer_limit_bytes: int = DEFAULT_BUFFER_BYTES


@dataclass(frozen=True, kw_only=True)
class Member:
    """An endpoint of a cluster."""

    address: str
    problems: tuple[str, ...] = ()
    """Envoy's flags, such as `failed_active_health_check`; none: it is healthy."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """How a cluster reads where to send a request."""

    sources: tuple[tuple[Literal["header", "metadata"], str], ...]
    """In order: a header by its name, metadata by `namespace/key`."""
    takes_list: bool
    """override_host goes on to the next address of a list; ORIGINAL_DST takes one address only."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster of upstream hosts."""

    name: str
    stat_name: str = ""
    """What its statistics call it, where that is not its name."""
    members: tuple[Member, ...] = ()
    tls: Tls = "plaintext"
    alpn: tuple[str, ...] = ()
    """What Envoy offers; none: it offers what it speaks."""
    protocol: Protocol = "HTTP/1.1"
    health_services: tuple[str, ...] = ()
    """Names that its gRPC health checks ask for."""
    health_ports: tuple[int, ...] = ()
    """Ports that they are sent to, where those are not the members'."""
    ejects: bool = False
    """It has outlier detection."""
    limits: Mapping[str, int] | None = None
    """Thresholds of its circuit breakers, such as `max_requests`; None where Envoy does not tell."""
    pick: Pick | None = None


@dataclass(frozen=True, kw_only=True)
class EnvoyFacts:
    """Read from /config_dump, /clusters, /stats and /server_info of one Envoy."""

    url: str
    version: str
    listeners: int
    passages: tuple[Passage, ...]
    """Those with an ext_proc filter, or to a cluster that reads a pick."""
    clusters: Mapping[str, Cluster]
    """Those that these name."""
    stats: Mapping[str, int]
    """Counters and gauges by name; Istio's Envoys leave most of them out."""
    grown: Mapping[str, int] = field(default_factory=dict)
    """What they grew by within a second, as they count since Envoy's start; looked at where streams failed."""

    def cluster_stat(self, cluster: str, name: str) -> int | None:
        """A number of a cluster, such as `ssl.handshake`; None where Envoy does not tell it."""
        known = self.clusters.get(cluster)
        prefix = f"cluster.{((known and known.stat_name) or cluster).replace(':', '_')}"
        # Istio ends the cluster's name with a semicolon, for its own statistics' sake.
        return self.stats.get(f"{prefix}.{name}", self.stats.get(f"{prefix};.{name}"))
