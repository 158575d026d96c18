"""Whether a stream comes from Envoy itself, by its gRPC metadata as they were measured."""

import pytest

from extproc.protocol.caller import PROBE_MARK, Origin, find_origin

DIRECT = (("x-envoy-internal", "true"), ("x-forwarded-for", "10.0.0.7"))
THROUGH_A_HOP = (("x-forwarded-proto", "http"), ("x-request-id", "1f0c"), ("x-forwarded-for", "10.0.0.7"))
ENVOY, OTHER, PROBE = Origin


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        (DIRECT, ENVOY),
        (THROUGH_A_HOP, OTHER),
        ((*DIRECT, ("x-request-id", "1f0c")), OTHER),
        ((("x-request-id", "1f0c"), *DIRECT), OTHER),
        ((), OTHER),
        ((("user-agent", "grpc-go/1.76"),), OTHER),
        ((("x-trace-bin", b"\xff"), *DIRECT), ENVOY),
        ((*DIRECT, ("via", "2 proxy")), OTHER),
        ((*DIRECT, ("x-forwarded-proto", "http")), OTHER),
        ((("x-envoy-internal", "false"),), OTHER),
        ((*DIRECT, (PROBE_MARK, "1")), PROBE),
        ((*THROUGH_A_HOP, (PROBE_MARK, "1")), PROBE),
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
        "a probe",
        "a probe through a hop",
    ],
)
def test_who_opened_a_stream(metadata: tuple[tuple[str, object], ...], origin: Origin) -> None:
    assert find_origin(metadata) is origin


def test_a_probe_is_answered_as_envoy_is() -> None:
    assert {origin: origin.is_direct for origin in Origin} == {
        Origin.ENVOY: True,
        Origin.OTHER: False,
        Origin.PROBE: True,
    }
