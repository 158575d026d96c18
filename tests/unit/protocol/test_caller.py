"""Whether a stream comes from Envoy itself, by its gRPC metadata as they were measured."""

import pytest

from extproc.protocol.caller import is_direct_envoy

DIRECT = (("x-envoy-internal", "true"), ("x-forwarded-for", "10.0.0.7"))
THROUGH_A_HOP = (("x-forwarded-proto", "http"), ("x-request-id", "1f0c"), ("x-forwarded-for", "10.0.0.7"))


@pytest.mark.parametrize(
    ("metadata", "is_direct"),
    [
        (DIRECT, True),
        (THROUGH_A_HOP, False),
        ((*DIRECT, ("x-request-id", "1f0c")), False),
        ((("x-request-id", "1f0c"), *DIRECT), False),
        ((), False),
        ((("user-agent", "grpc-go/1.76"),), False),
        ((("x-trace-bin", b"\xff"), *DIRECT), True),
        ((*DIRECT, ("via", "2 proxy")), False),
        ((*DIRECT, ("x-forwarded-proto", "http")), False),
        ((("x-envoy-internal", "false"),), False),
    ],
    ids=[
        "Envoy",
        "a hop",
        "a hop that keeps the mark",
        "in another order",
        "hidden",
        "not Envoy",
        "binary metadata",
        "a proxy that says so",
        "a proxy that says how it was called",
        "marked as not internal",
    ],
)
def test_is_direct_envoy(metadata: tuple[tuple[str, object], ...], is_direct: bool) -> None:
    assert is_direct_envoy(metadata) == is_direct
