"""Who opened an ext_proc stream: Envoy itself, or something else in front of us."""

from collections.abc import Iterable


def is_direct_envoy(metadata: Iterable[tuple[str, object]]) -> bool:
    """True where a stream's gRPC metadata are those of an Envoy without an HTTP proxy between.

    Envoy marks its own calls `x-envoy-internal`. A proxy in between takes the mark away and adds `x-request-id`. An
    Envoy that hides its headers (`skip_envoy_headers`), or another data plane, has no mark either: nothing is lost by
    taking it for the harder case. Source: measured, docs/decisions/010.
    """
    is_marked = False
    for key, _ in metadata:
        if key == "x-request-id":
            return False
        if key == "x-envoy-internal":
            is_marked = True
    return is_marked
