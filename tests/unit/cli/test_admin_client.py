"""cli/admin_client: what is asked of the admin service, and what is said where no answer comes."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import grpc
import grpc_testing
import pytest

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import AdminClient, AdminError, open_admin

SERVICE = admin_pb2.DESCRIPTOR.services_by_name["Admin"]
OK = grpc.StatusCode.OK


class Exchange:
    """A client on a channel whose other side is this test."""

    def __init__(self, threads: ThreadPoolExecutor, *, token: str = "") -> None:
        self._threads = threads
        self._channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
        self.client = AdminClient(self._channel, target="10.0.0.1:9004", token=token)

    def ask(self, ask: Callable[[AdminClient], Any]) -> "Future[Any]":
        return self._threads.submit(ask, self.client)

    def take(self, method: str) -> tuple[Any, Any, Any]:
        """Metadata, request and the call."""
        return self._channel.take_unary_unary(SERVICE.methods_by_name[method])  # type: ignore[no-any-return]


def shown_in(metadata: Any) -> list[str]:
    return [value for key, value in metadata if key == "authorization"]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize(
    ("ask", "method", "request_", "answer"),
    [
        pytest.param(
            lambda client: client.snapshot(),
            "GetSnapshot",
            admin_pb2.GetSnapshotRequest(),
            admin_pb2.Snapshot(pool="a/b"),
            id="the snapshot",
        ),
        pytest.param(
            lambda client: client.snapshot(most_decisions=7),
            "GetSnapshot",
            admin_pb2.GetSnapshotRequest(most_decisions=7),
            admin_pb2.Snapshot(pool="a/b"),
            id="the snapshot with decisions",
        ),
        pytest.param(
            lambda client: client.explain(admin_pb2.ExplainRequest(model="m")),
            "Explain",
            admin_pb2.ExplainRequest(model="m"),
            admin_pb2.Explanation(outcome="routed"),
            id="an explanation",
        ),
        pytest.param(
            lambda client: client.config(),
            "GetConfig",
            admin_pb2.GetConfigRequest(),
            admin_pb2.Config(yaml="x: 1"),
            id="the settings",
        ),
    ],
)
def test_a_question_gets_the_services_answer(
    threads: ThreadPoolExecutor, ask: Callable[[AdminClient], Any], method: str, request_: Any, answer: Any
) -> None:
    exchange = Exchange(threads)
    asked = exchange.ask(ask)
    metadata, request, call = exchange.take(method)
    call.terminate(answer, (), OK, "")
    assert (shown_in(metadata), request, asked.result()) == ([], request_, answer)


def test_the_token_is_shown(threads: ThreadPoolExecutor) -> None:
    exchange = Exchange(threads, token="s3cret")
    asked = exchange.ask(lambda client: client.config())
    metadata, _, call = exchange.take("GetConfig")
    call.terminate(admin_pb2.Config(), (), OK, "")
    asked.result()
    assert shown_in(metadata) == ["Bearer s3cret"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        pytest.param("UNAVAILABLE", "no picker answers at 10.0.0.1:9004 (because): --target", id="nobody there"),
        pytest.param("DEADLINE_EXCEEDED", "no picker answers at 10.0.0.1:9004 (because): --target", id="too slow"),
        pytest.param("UNAUTHENTICATED", "the picker at 10.0.0.1:9004 wants its token: give --token-file", id="a token"),
        pytest.param("UNIMPLEMENTED", "what answers at 10.0.0.1:9004 is no admin service of a picker", id="another"),
        pytest.param("INTERNAL", "10.0.0.1:9004: INTERNAL: because", id="a defect"),
    ],
)
def test_where_no_answer_comes_the_error_says_what_to_do(threads: ThreadPoolExecutor, code: str, text: str) -> None:
    exchange = Exchange(threads)
    asked = exchange.ask(lambda client: client.config())
    exchange.take("GetConfig")[2].terminate(admin_pb2.Config(), (), grpc.StatusCode[code], "because")
    with pytest.raises(AdminError) as raised:
        asked.result()
    assert str(raised.value).startswith(text)
    assert raised.value.code is grpc.StatusCode[code]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("localhost", id="no port"),
        pytest.param("http://localhost:9004", id="a URL"),
        pytest.param("localhost:admin", id="no number"),
        pytest.param("", id="empty"),
    ],
)
def test_a_target_that_is_none_is_bad_usage(target: str) -> None:
    with pytest.raises(click.UsageError, match="--target takes host:port"), open_admin(target, None):
        pass


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(None, "cannot be read: No such file", id="absent"),
        pytest.param(b"", "holds no token", id="empty"),
        pytest.param(b"\n \n", "holds no token", id="blank"),
        pytest.param(b"one\ntwo\n", "holds no token", id="two lines"),
        pytest.param("schlüssel".encode(), "holds no token", id="no ASCII"),
        pytest.param(b"\xff\xfe", "cannot be read: it is no text", id="no text"),
    ],
)
def test_a_token_file_without_a_token_is_bad_usage(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(click.UsageError, match=text), open_admin("127.0.0.1:9004", str(file)):
        pass


def test_nobody_listens() -> None:
    with open_admin("127.0.0.1:1", None) as client, pytest.raises(AdminError, match="no picker answers at 127"):
        client.config()
