"""sources/kubernetes/pods: which endpoints a pod makes, one row each."""

from typing import Any

import msgspec
import pytest
from tests.api_objects import ACTIVE_PORTS, CREATED, pod

from extproc.registry.changes import Listing
from extproc.sources.kubernetes.objects import Decoder, Pod
from extproc.sources.kubernetes.pods import endpoints_of, is_selected
from extproc.values.endpoint import Endpoint

UID = "u-1"
OLDER = "inference.networking.k8s.io/engine-type"


def made(ports: tuple[int, ...] = (8000,), status: dict[str, Any] | None = None, **options: Any) -> tuple[Listing, ...]:
    manifest = pod("a", {"app": "llm"}, **{"ip": "10.0.0.1", "uid": UID} | options)
    manifest["status"] |= status or {}
    return endpoints_of(read(manifest), ports)


def read(manifest: dict[str, Any]) -> Pod:
    return Decoder(Pod).read(msgspec.json.encode(manifest))


@pytest.mark.parametrize(
    ("options", "is_ready"),
    [
        pytest.param({}, True, id="Ready"),
        pytest.param({"ready": False}, False, id="not Ready"),
        pytest.param({"terminating": True}, False, id="Ready and being deleted"),
        pytest.param({"status": {"conditions": None}}, False, id="without conditions"),
        pytest.param({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, False, id="Ready: Unknown"),
        pytest.param({"status": {"conditions": [{"type": "Other", "status": "True"}]}}, False, id="another condition"),
        pytest.param({"status": {"phase": "Succeeded"}}, None, id="ended well"),
        pytest.param({"status": {"phase": "Failed"}}, None, id="ended badly, as evicted pods do"),
        pytest.param({"ip": None}, None, id="without an address"),
        pytest.param({"status": {"podIP": "nowhere"}}, None, id="an address that is none"),
    ],
)
def test_whether_it_is_ready(options: dict[str, Any], is_ready: bool | None) -> None:
    assert [listing.is_ready for listing in made(**options)] == ([] if is_ready is None else [is_ready])


@pytest.mark.parametrize(
    ("ports", "options", "addresses"),
    [
        pytest.param((8000,), {}, {"a": "10.0.0.1:8000"}, id="one port"),
        pytest.param((8000, 8001), {}, {"a:8000": "10.0.0.1:8000", "a:8001": "10.0.0.1:8001"}, id="two ports"),
        pytest.param((8000,), {"ip": "2001:DB8:0::1"}, {"a": "[2001:db8::1]:8000"}, id="IPv6, canonical"),
        pytest.param(
            (8000,), {"ips": ["10.0.0.1", "2001:db8::1"]}, {"a": "10.0.0.1:8000"}, id="two families: the first"
        ),
        pytest.param(
            (1, 2, 3), {"annotations": {ACTIVE_PORTS: "3, 1"}}, {"a:1": "10.0.0.1:1", "a:3": "10.0.0.1:3"}, id="live"
        ),
        pytest.param((1,), {"annotations": {ACTIVE_PORTS: ""}}, {}, id="no live port"),
        pytest.param((1,), {"annotations": {ACTIVE_PORTS: "9"}}, {}, id="live ports that are not the pool's"),
        pytest.param((1,), {"annotations": {ACTIVE_PORTS: "x,1,²"}}, {"a": "10.0.0.1:1"}, id="no numbers among them"),
        pytest.param((1,), {"annotations": {"other": "9"}}, {"a": "10.0.0.1:1"}, id="another annotation"),
    ],
)
def test_its_names_and_addresses(ports: tuple[int, ...], options: dict[str, Any], addresses: dict[str, str]) -> None:
    listings = made(ports, **options)
    assert {listing.endpoint.name: listing.endpoint.address for listing in listings} == addresses


def test_an_endpoint_is_told_by_uid_and_port() -> None:
    [listing] = made()
    assert listing.endpoint == Endpoint(f"{UID}/8000", "a", "10.0.0.1:8000", node="node-a")


@pytest.mark.parametrize(
    ("labels", "key", "role", "engine"),
    [
        pytest.param({}, None, "", "", id="none"),
        pytest.param({"llm-d.ai/role": "prefill"}, None, "prefill", "", id="a role"),
        pytest.param({"llm-d.ai/engine-type": "sglang"}, None, "", "sglang", id="an engine"),
        pytest.param({OLDER: "sglang"}, None, "", "sglang", id="an engine by the older label"),
        pytest.param({"llm-d.ai/engine-type": "vllm", OLDER: "sglang"}, None, "", "vllm", id="by both labels"),
        pytest.param({"llm-d.ai/engine-type": "", OLDER: "sglang"}, None, "", "sglang", id="an empty label"),
        pytest.param({"llm-d.ai/engine-type": "vllm", "e": "sglang"}, "e", "", "sglang", id="by a label of one's own"),
        pytest.param({"llm-d.ai/engine-type": "vllm"}, "e", "", "", id="without the label of one's own"),
    ],
)
def test_the_role_and_the_engine(labels: dict[str, str], key: str | None, role: str, engine: str) -> None:
    listings = endpoints_of(read(pod("a", labels, ip="10.0.0.1", uid=UID)), (1, 2), engine_label=key)
    assert [(each.endpoint.role, each.endpoint.engine) for each in listings] == [(role, engine)] * 2


def readiness(since: str | None) -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}


@pytest.mark.parametrize(
    ("status", "is_same"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"containerStatuses": [{"restartCount": 1}]}, False, id="a restart"),
        pytest.param({"containerStatuses": [{"restartCount": 0}, {"restartCount": 1}]}, False, id="of a sidecar"),
        pytest.param(readiness("2026-01-01T00:00:01Z"), False, id="ready since another time"),
        pytest.param(readiness(CREATED), True, id="ready since the same time"),
        pytest.param({"phase": "Running", "message": "well"}, True, id="other words"),
    ],
)
def test_whether_it_is_the_same_life(status: dict[str, Any], is_same: bool) -> None:
    [before], [after] = made(), made(status=status)
    assert (before.incarnation == after.incarnation) == is_same


@pytest.mark.parametrize(
    ("labels", "is_"),
    [
        pytest.param({"app": "llm"}, True, id="its label"),
        pytest.param({"app": "other"}, False, id="another value"),
        pytest.param({"app": "llm", "gen": "2"}, False, id="one label more"),
        pytest.param({}, True, id="none"),
    ],
)
def test_selection_by_labels(labels: dict[str, str], is_: bool) -> None:
    assert is_selected(read(pod("a", {"app": "llm", "zone": "z"})), labels) == is_


def test_a_pod_without_labels_is_selected_by_none() -> None:
    assert not is_selected(Decoder(Pod).read(b'{"metadata":{"name":"a","labels":null}}'), {"app": "llm"})
