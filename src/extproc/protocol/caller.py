"""Who opened an ext_proc stream: Envoy itself, something else in front of us, or `extproc probe`."""

import enum
from collections.abc import Iterable

HOP_SIGNS = frozenset({"x-request-id", "x-forwarded-proto", "via", "forwarded"})
"""What HTTP proxies add. Envoy's own calls have none of them."""
PROBE_MARK = "x-extproc-probe"
"""gRPC metadata by which `extproc probe` says that it is no gateway."""


class Origin(enum.Enum):
    """Who calls."""

    ENVOY = enum.auto()
    """An Envoy without an HTTP proxy between."""
    OTHER = enum.auto()
    """A proxy between, or a data plane that is not Envoy."""
    PROBE = enum.auto()
    """`extproc probe`: answered as Envoy is, and told of nowhere as a gateway."""

    @property
    def is_direct(self) -> bool:
        """True for those that are answered as Envoy is."""
        return self is not Origin.OTHER


_ENVOY, _OTHER = Origin.ENVOY, Origin.OTHER
"""Looked up once, as in `protocol.stream`."""


def find_origin(metadata: Iterable[tuple[str, object]]) -> Origin:
    """Who opened a stream, by its gRPC metadata.

    Envoy marks its own calls `x-envoy-internal: true`. A second Envoy takes the mark away and adds `x-request-id`. An
    Envoy that hides its headers (`skip_envoy_headers`), or another data plane, has no mark either: nothing is lost by
    taking it for the harder case. A proxy that adds nothing at all is not seen. Source: measured, docs/decisions/010.
    """
    is_marked = has_hop = False
    for key, value in metadata:
        if key in HOP_SIGNS:
            has_hop = True
        elif key == "x-envoy-internal":
            is_marked = value == "true"
        elif key == PROBE_MARK:
            return Origin.PROBE
    return _ENVOY if is_marked and not has_hop else _OTHER
