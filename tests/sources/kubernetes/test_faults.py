"""sources/kubernetes: whatever the API server and the way to it do, what is known stays, and becomes right again."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from tests.api_gate import How, Kind
from tests.api_objects import CREATED, PODS, POOLS_V1, Manifest, pod, pod_status, pool_v1
from tests.cluster import Cluster
from tests.real_apiserver import PICKER_USER
from tests.sources.kubernetes.following import HURRY, LABELS, POOL, Following, following

from extproc.sources.kubernetes.access import find_access
from extproc.sources.kubernetes.pools import Selection
from extproc.sources.kubernetes.reflector import Pace


def lose_events_of_a(cluster: Cluster) -> list[str]:
    """No watch tells of the pod `a` any more. The types of the events that were lost."""
    lost: list[str] = []

    def is_of_a(event: Manifest) -> bool:
        if event["object"]["metadata"].get("name") != "a":
            return False
        lost.append(event["type"])
        return True

    cluster.gate.drop_events(is_of_a, times=None)
    return lost


async def lose_deletion(cluster: Cluster) -> None:
    lost = lose_events_of_a(cluster)
    await cluster.delete(PODS, "a", grace_s=0)
    await cluster.gate.wait_until(lambda: "DELETED" in lost)


@asynccontextmanager
async def two_pods(cluster: Cluster, tmp_path: Path, *, pace: Pace = HURRY) -> AsyncIterator[Following]:
    """A pool of the pods `a` and `b`, followed, with its watches open."""
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    for number, name in enumerate("ab"):
        await cluster.create(pod(name, LABELS, f"10.0.0.{number}"))
    async with following(cluster, tmp_path, group=POOLS_V1.group, pace=pace) as told:
        await told.until_outline(a=True, b=True)
        await cluster.gate.wait_for_watch("pods")
        yield told


async def set_ready(cluster: Cluster, name: str, ready: bool) -> None:
    await cluster.patch_status(PODS, name, pod_status([f"10.0.0.{'ab'.index(name)}"], ready=ready))


@pytest.mark.parametrize("how", ["torn", "eof", "reset"])
async def test_a_broken_watch_is_listed_anew_and_leaves_no_ghost(cluster: Cluster, tmp_path: Path, how: How) -> None:
    async with two_pods(cluster, tmp_path) as told:
        await lose_deletion(cluster)
        assert told.outline() == {"a": True, "b": True}
        assert cluster.gate.cut_streams(how, path_part="pods")
        await told.until_outline(b=True)
        await set_ready(cluster, "b", False)
        await told.until_outline(b=False)


async def test_a_watch_that_ends_in_peace_goes_on_without_a_list(cluster: Cluster, tmp_path: Path) -> None:
    async with two_pods(cluster, tmp_path) as told:
        lists = cluster.gate.count("list", "/pods")
        for ready in (False, True):
            assert cluster.gate.cut_streams("clean", path_part="pods")
            await set_ready(cluster, "a", ready)
            await told.until_outline(a=ready, b=True)
            await cluster.gate.wait_for_watch("pods")
        assert cluster.gate.count("list", "/pods") == lists


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}', id="410 Expired"),
        pytest.param(b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError"}}', id="500"),
        pytest.param(b'{"type":"ERROR","object":{}}', id="an error that says nothing"),
        pytest.param(b'{"type":"SURPRISE","object":{"metadata":{}}}', id="an unknown event"),
        pytest.param(b'{"type":"ADDED","object":{"metadata":[]}}', id="a pod that is none"),
        pytest.param(b'{"type":"ADDED"}', id="an event without an object"),
        pytest.param(b"<html>", id="no JSON"),
        pytest.param(b'{"type":"ADDED","object":{"metadata":{"name":"\xff"}}}', id="no UTF-8"),
    ],
)
async def test_an_event_that_is_none_is_followed_by_a_list(cluster: Cluster, tmp_path: Path, line: bytes) -> None:
    async with two_pods(cluster, tmp_path) as told:
        await lose_deletion(cluster)
        assert cluster.gate.inject_event(line, path_part="pods")
        await told.until_outline(b=True)
        await told.until_connected("pods")


async def test_what_came_before_a_bad_line_counts(cluster: Cluster, tmp_path: Path) -> None:
    """Here it is all there is: no list can be had."""
    async with two_pods(cluster, tmp_path) as told:
        cluster.gate.answer(503, kinds=["list"])
        ending = await cluster.get(PODS, "a")
        ending["metadata"]["deletionTimestamp"] = CREATED
        event = json.dumps({"type": "MODIFIED", "object": ending}).encode()
        assert cluster.gate.inject_event(event + b"\n<html>", path_part="pods")
        await told.until_connected("pods", is_=False)
        await told.until_outline(a=False, b=True)


async def test_a_version_that_is_too_old_is_followed_by_a_list(cluster: Cluster, tmp_path: Path) -> None:
    async with two_pods(cluster, tmp_path) as told:
        gone = cluster.gate.answer(410, path_part="pods", kinds=["watch"], times=1)
        lists = cluster.gate.count("list", "/pods")
        cluster.gate.cut_streams("clean", path_part="pods")
        await set_ready(cluster, "a", False)
        await told.until_outline(a=False, b=True)
        assert gone.count == 1
        assert cluster.gate.count("list", "/pods") == lists + 1


async def test_a_server_that_has_forgotten(double: Cluster, tmp_path: Path) -> None:
    """It was compacted while nobody watched, and says so in the stream."""
    async with two_pods(double, tmp_path) as told:
        double.gate.refuse()
        await told.until_connected("pods", is_=False)
        await double.delete(PODS, "a", grace_s=0)
        await double.compact()
        await double.gate.accept()
        await told.until_outline(b=True)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_refusals_keep_what_is_known_and_heal(cluster: Cluster, tmp_path: Path, status: int) -> None:
    async with two_pods(cluster, tmp_path) as told:
        refusal = cluster.gate.answer(status)
        cluster.gate.cut_streams("reset")
        await cluster.gate.wait_until(lambda: refusal.count >= 4)
        await told.until_connected("pods", is_=False)
        await told.until_connected("inferencepools", is_=False)
        assert told.outline() == {"a": True, "b": True}
        await set_ready(cluster, "a", False)
        cluster.gate.pass_on()
        await told.until_outline(a=False, b=True)
        await told.until_connected("pods")
        await told.until_connected("inferencepools")


async def test_a_server_that_is_away_keeps_what_is_known(cluster: Cluster, tmp_path: Path) -> None:
    async with two_pods(cluster, tmp_path) as told:
        cluster.gate.refuse()
        await told.until_connected("pods", is_=False)
        await cluster.delete(PODS, "a", grace_s=0)
        assert told.outline() == {"a": True, "b": True}
        await cluster.gate.accept()
        await told.until_outline(b=True)


async def test_a_start_while_the_server_is_away(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(pod("a", LABELS, "10.0.0.1"))
    cluster.gate.refuse()
    async with following(cluster, tmp_path) as told:
        await told.until_connected("inferencepools", is_=False)
        assert not told.snapshot.is_synced
        await cluster.gate.accept()
        await told.until_outline(a=True)


async def test_a_stream_that_fell_silent_is_opened_anew(cluster: Cluster, tmp_path: Path) -> None:
    """A half-open connection: what happens meanwhile was sent to nobody."""
    pace = HURRY._replace(silence_s=0.5)
    async with two_pods(cluster, tmp_path, pace=pace) as told:
        lists = cluster.gate.count("list", "/pods")
        cluster.gate.go_silent()
        await set_ready(cluster, "a", False)
        await told.until_connected("pods", is_=False)
        assert told.outline() == {"a": True, "b": True}
        cluster.gate.speak()
        await told.until_outline(a=False, b=True)
        assert cluster.gate.count("list", "/pods") > lists


async def test_silence_alone_is_no_fault(cluster: Cluster, tmp_path: Path) -> None:
    async with two_pods(cluster, tmp_path, pace=HURRY._replace(silence_s=0.3)) as told:
        lists, watches = cluster.gate.count("list", "/pods"), cluster.gate.count("watch", "")
        await cluster.gate.wait_until(lambda: cluster.gate.count("watch", "") >= watches + 4)
        await set_ready(cluster, "a", False)
        await told.until_outline(a=False, b=True)
        assert told.connected == {"inferencepools": True, "pods": True}
        assert cluster.gate.count("list", "/pods") == lists


async def test_a_list_that_breaks_amid_its_pages_tells_nothing(double: Cluster, tmp_path: Path) -> None:
    assert double.double is not None
    for number in range(501):
        name = f"p{number}"
        double.double.create(pod(name, LABELS, f"10.1.{number >> 8}.{number & 255}", namespace=double.namespace))
    await double.install_crd(POOLS_V1)
    await double.create(pool_v1(POOL, LABELS))
    double.gate.answer(200, b"{}", path_part="/pods", kinds=["list"], times=1)
    async with following(double, tmp_path) as told:
        await told.until(lambda: bool(told.snapshot.endpoints) or told.reports["PoolListed"] > 0)
        await told.until(lambda: len(told.snapshot.endpoints) == 501)


async def test_an_event_of_a_megabyte(cluster: Cluster, tmp_path: Path) -> None:
    async with two_pods(cluster, tmp_path) as told:
        lists = cluster.gate.count("list", "/pods")
        await cluster.patch(PODS, "a", {"metadata": {"annotations": {f"a{n}": "x" * 50_000 for n in range(5)}}})
        await set_ready(cluster, "a", False)
        await told.until_outline(a=False, b=True)
        assert cluster.gate.count("list", "/pods") == lists


async def test_a_token_that_was_rotated_is_read_again(double: Cluster, tmp_path: Path) -> None:
    """The old one is refused: it does not wait until it would be read again by the clock."""
    assert double.double is not None
    file = tmp_path / "token"
    file.write_text(double.token)
    kubeconfig = tmp_path / "rotated"
    double.write_kubeconfig(kubeconfig, token_file=file)
    access = find_access(str(kubeconfig), environ={}, home=tmp_path)
    await double.install_crd(POOLS_V1)
    await double.create(pool_v1(POOL, LABELS))
    await double.create(pod("a", LABELS, "10.0.0.1"))
    async with following(double, tmp_path, access=access) as told:
        await told.until_outline(a=True)
        double.double.rotate_token("fresh")
        double.gate.cut_streams("reset")
        await told.until_connected("pods", is_=False)
        await double.create(pod("b", LABELS, "10.0.0.2"))
        file.write_text("fresh")
        await told.until_outline(a=True, b=True)


async def test_a_program_for_tokens_that_fails_at_first_is_run_again(cluster: Cluster, tmp_path: Path) -> None:
    """The client library goes on without a token then, as nobody: a 401 by some API servers, a 403 by most."""
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    answer = json.dumps(credential | {"status": {"token": cluster.token}})
    script = f"if [ -e {tmp_path}/tried ]; then echo '{answer}'; else touch {tmp_path}/tried; exit 1; fi"
    kubeconfig = tmp_path / "exec"
    cluster.write_kubeconfig(kubeconfig)
    document = yaml.safe_load(kubeconfig.read_text())
    program = {
        "apiVersion": credential["apiVersion"],
        "command": "sh",
        "args": ["-c", script],
        "interactiveMode": "Never",
    }
    document["users"][0]["user"] = {"exec": program}
    kubeconfig.write_text(yaml.safe_dump(document))
    await cluster.create(pod("a", LABELS, "10.0.0.1"))
    access = find_access(str(kubeconfig), environ={}, home=tmp_path)
    selection = Selection("app=llm", None, (8000,))
    async with following(cluster, tmp_path, access=access, selection=selection) as told:
        await told.until_outline(a=True)


async def test_a_right_that_is_missing_is_said_once_and_picked_up(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(pod("a", LABELS, "10.0.0.1"))
    await cluster.forbid(PODS)
    async with following(cluster, tmp_path, group=POOLS_V1.group) as told:
        before = cluster.gate.count("list", "/pods")
        await told.until_connected("pods", is_=False)
        await cluster.gate.wait_until(lambda: cluster.gate.count("list", "/pods") >= before + 5)
        assert not told.snapshot.is_synced
        fields = [vars(record)["fields"] for record in caplog.records if "does not let us list" in record.message]
        assert [str(said["problem"]) for said in fields if said["path"].endswith("/pods")] == [
            f'403: pods is forbidden: User "{PICKER_USER}" cannot list resource "pods" in API group "" '
            f'in the namespace "{cluster.namespace}"'
        ]
        await cluster.allow(PODS)
        await told.until_outline(a=True)


async def test_without_the_right_to_watch_it_lists_again_and_again(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(pod("a", LABELS, "10.0.0.1"))
    await cluster.forbid(PODS, "watch")
    async with following(cluster, tmp_path) as told:
        await told.until_outline(a=True)
        await cluster.delete(PODS, "a", grace_s=0)
        await told.until_outline()


@pytest.mark.parametrize(
    ("kinds", "status", "body"),
    [
        pytest.param(["watch"], 200, b"", id="a watch that ends at once"),
        pytest.param(["watch"], 200, b"{", id="a watch that breaks at once"),
        pytest.param(["watch"], 410, b"", id="a watch that is always too old"),
        pytest.param(["list"], 200, b"<html>", id="a list that is none"),
        pytest.param(["list"], 500, b"", id="a server in trouble"),
        pytest.param(["list"], 410, b"", id="a list that is always too old"),
        pytest.param(["list"], 200, b'{"metadata": {"continue": "x"}}', id="a list without an end"),
    ],
)
async def test_no_loop_spins(cluster: Cluster, tmp_path: Path, kinds: list[Kind], status: int, body: bytes) -> None:
    """With a back-off that is always 50 ms, ± 50 %, no kind of turn comes more often than each 25 ms."""
    pace = HURRY._replace(first_backoff_s=0.05, longest_backoff_s=0.05)
    async with two_pods(cluster, tmp_path, pace=pace):
        answer = cluster.gate.answer(status, body, path_part="pods", kinds=kinds)
        cluster.gate.cut_streams("reset", path_part="pods")
        started_s = time.monotonic()
        await cluster.gate.wait_until(lambda: answer.count >= 8)
        assert time.monotonic() - started_s >= 0.025 * 6


async def test_no_loop_spins_while_nobody_listens(cluster: Cluster, tmp_path: Path) -> None:
    pace = HURRY._replace(first_backoff_s=0.05, longest_backoff_s=0.05)
    async with two_pods(cluster, tmp_path, pace=pace) as told:
        cluster.gate.refuse()
        started_s = time.monotonic()
        await told.until(lambda: told.failures["pods"] >= 8)
        assert time.monotonic() - started_s >= 0.025 * 6


async def test_a_server_that_asks_for_time_gets_it(cluster: Cluster, tmp_path: Path) -> None:
    async with two_pods(cluster, tmp_path) as told:
        refusal = cluster.gate.answer(429, headers={"Retry-After": "1"}, path_part="pods", kinds=["list"])
        cluster.gate.cut_streams("reset", path_part="pods")
        await cluster.gate.wait_until(lambda: refusal.count == 1)
        started_s = time.monotonic()
        await cluster.gate.wait_until(lambda: refusal.count == 2)
        assert time.monotonic() - started_s >= 0.9
        cluster.gate.pass_on()
        await set_ready(cluster, "a", False)
        await told.until_outline(a=False, b=True)


async def lose_replacement(cluster: Cluster) -> None:
    lost = lose_events_of_a(cluster)
    await cluster.delete(PODS, "a", grace_s=0)
    await cluster.create(pod("a", LABELS, "10.0.0.9"))
    await cluster.gate.wait_until(lambda: "DELETED" in lost and lost[-1] == "MODIFIED")


async def lose_readiness(cluster: Cluster) -> None:
    lost = lose_events_of_a(cluster)
    await set_ready(cluster, "a", False)
    await cluster.gate.wait_until(lambda: bool(lost))


@pytest.mark.parametrize(
    ("lose", "found"),
    [
        pytest.param(lose_deletion, {"b": True}, id="deleted"),
        pytest.param(lose_replacement, {"b": True}, id="another of its name"),
        pytest.param(lose_readiness, {"a": False, "b": True}, id="not ready"),
    ],
)
async def test_a_doubted_endpoint_is_read_again(
    cluster: Cluster, tmp_path: Path, lose: Callable[[Cluster], Awaitable[None]], found: dict[str, bool]
) -> None:
    async with two_pods(cluster, tmp_path) as told:
        await lose(cluster)
        assert told.outline() == {"a": True, "b": True}
        lists = told.reports["PoolListed"]
        told.source.doubt(told.id_of("a"))
        await told.until(lambda: told.outline() == found)
        assert told.reports["PoolListed"] == lists


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(500, None, id="500"),
        pytest.param(401, None, id="401"),
        pytest.param(404, b"default backend - 404", id="a 404 of somebody on the way"),
        pytest.param(200, b"<html>", id="no list"),
    ],
)
async def test_doubt_stays_until_a_reading_tells(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, body: bytes | None
) -> None:
    async with two_pods(cluster, tmp_path) as told:
        await lose_deletion(cluster)
        refusal = cluster.gate.answer(status, body, path_part="pods", kinds=["list"])
        told.source.doubt(told.id_of("a"))
        told.source.doubt("nobody/8000")
        await cluster.gate.wait_until(lambda: refusal.count >= 4)
        assert told.outline() == {"a": True, "b": True}
        assert len([record for record in caplog.records if "read a pod" in record.message]) == 1
        cluster.gate.pass_on()
        await told.until_outline(b=True)


async def test_a_defect_in_reading_a_pod_does_not_end_it(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_pods(cluster, tmp_path) as told:
        cluster.gate.drop_events(lambda event: event["type"] != "BOOKMARK", times=None)
        await set_ready(cluster, "a", False)
        told.defects.append(ZeroDivisionError())
        told.source.doubt(told.id_of("a"))
        await told.until(lambda: not told.defects)
        await set_ready(cluster, "b", False)
        told.source.doubt(told.id_of("b"))
        await told.until_outline(a=True, b=False)
    assert "a pod was read in an unforeseen way" in caplog.text


async def test_a_defect_in_taking_one_answer_does_not_end_it(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(pod("a", LABELS, "10.0.0.1"))
    async with following(cluster, tmp_path) as told:
        told.defects.append(ZeroDivisionError())
        await told.until_outline(a=True)
        assert not told.defects
    assert "Kubernetes was read in an unforeseen way" in caplog.text


async def test_a_bookmark_is_where_the_next_watch_goes_on_from(double: Cluster, tmp_path: Path) -> None:
    """A quiet pool's version would grow too old: others' pods change, and the server forgets."""
    server = double.double
    assert server is not None
    async with two_pods(double, tmp_path) as told:
        other = await double.create(pod("other", {"app": "other"}, "10.0.0.9"))
        heard = told.heard["pods"]
        server.bookmark()
        await told.until(lambda: told.heard["pods"] > heard)
        watches = server.count("watch", PODS)
        assert double.gate.cut_streams("clean", path_part="pods")
        await double.gate.wait_until(lambda: server.count("watch", PODS) > watches)
        seen = [each for each in server.requests if (each.verb, each.plural) == ("watch", PODS.plural)]
        assert int(seen[-1].query["resourceVersion"]) >= int(other["metadata"]["resourceVersion"])


async def test_a_watch_ends_in_peace_before_it_would_count_as_silent(double: Cluster, tmp_path: Path) -> None:
    """Then the server sends a bookmark before the end."""
    async with two_pods(double, tmp_path, pace=HURRY._replace(silence_s=30.0)):
        assert double.double is not None
        [seen] = [each for each in double.double.requests if (each.verb, each.plural) == ("watch", PODS.plural)]
        assert 15 <= int(seen.query["timeoutSeconds"]) <= 27
