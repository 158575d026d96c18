"""What an Envoy's admin port tells of the filters, routes and clusters that lead to a picker."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EnvoyFacts:
    """Read from /config_dump, /clusters and /stats of one Envoy."""

    version: str
