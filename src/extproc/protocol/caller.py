"""Who opened an ext_proc stream: Envoy itself, or something else in front of us."""

from collections.abc import Iterable

HOP_SIGNS = frozenset({"x-request-id", "x-forwarded-proto", "via", "forwarded"})
"""What HTTP proxies add. Envoy's own calls have none of them."""


def is_direct_envoy(metadata: Iterable[tuple[str, object]]) -> bool:
    """True where a stream's gRPC metadata are those of an Envoy without an HTTP proxy between.

    Envoy marks its own calls `x-envoy-internal: true`. A second Envoy takes the mark away and adds `x-request-id`. An
    Envoy that hides its headers (`skip_envoy_headers`), or another data plane, has no mark either: nothing is lost by
    taking it for the harder case. A proxy that adds nothing at all is not seen. Source: measured, docs/decisions/010.
    """
    is_marked = False
    for key, value in metadata:
        if key in HOP_SIGNS:
            return False
        if key == "x-envoy-internal":
            is_marked = value == "true"
    return is_marked
