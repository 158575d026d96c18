"""The admin service of a running picker, asked from the command line."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.errors import ExtprocError

DEFAULT_TARGET = "127.0.0.1:9004"
TIMEOUT_S = 5.0
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # the service is on this machine, or next to it
    ("grpc.max_receive_message_length", 64 << 20),  # pools of thousands
)

F = TypeVar("F", bound=Callable[..., Any])


class AdminError(ExtprocError):
    """The admin service did not answer. `code` is gRPC's."""

    def __init__(self, target: str, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(target, code, detail)
        self.target = target
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        match self.code:
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"no picker answers at {self.target} ({self.detail}): --target names its --admin-grpc-port"
            case grpc.StatusCode.UNAUTHENTICATED:
                return f"the picker at {self.target} wants its token: give --token-file"
            case grpc.StatusCode.UNIMPLEMENTED:
                return f"what answers at {self.target} is no admin service of a picker"
            case _:
                return f"{self.target}: {self.code.name}: {self.detail}"


class AdminClient:
    """Asks over `channel`, a sync gRPC channel. Every method raises AdminError where no answer comes."""

    def __init__(self, channel: grpc.Channel, *, target: str = DEFAULT_TARGET, token: str = "") -> None:
        self._stub = admin_pb2_grpc.AdminStub(channel)
        self._target = target
        self._metadata: Sequence[tuple[str, str]] = (("authorization", f"Bearer {token}"),) if token else ()

    def snapshot(self, *, most_decisions: int = 0) -> admin_pb2.Snapshot:
        """The pool as the picker knows it, and so many of its last decisions."""
        request = admin_pb2.GetSnapshotRequest(most_decisions=most_decisions)
        told: admin_pb2.Snapshot = self._ask(self._stub.GetSnapshot, request)
        return told

    def explain(self, request: admin_pb2.ExplainRequest) -> admin_pb2.Explanation:
        """Where a request would go, and why."""
        told: admin_pb2.Explanation = self._ask(self._stub.Explain, request)
        return told

    def config(self) -> admin_pb2.Config:
        """The settings in effect."""
        told: admin_pb2.Config = self._ask(self._stub.GetConfig, admin_pb2.GetConfigRequest())
        return told

    def _ask(self, call: Any, request: object) -> Any:
        try:
            return call(request, metadata=self._metadata, timeout=TIMEOUT_S)
        except grpc.RpcError as exc:
            raise AdminError(self._target, exc.code(), exc.details() or "") from exc


@contextmanager
def open_admin(target: str, token_file: str | None) -> Iterator[AdminClient]:
    """A client of the admin service at `target`, `host:port`.

    Errors: click.UsageError for a target that is none, or a file without a token.
    """
    if not re.fullmatch(r"[^/\s]+:\d+", target):
        raise click.UsageError(f"--target takes host:port, not {target!r}")
    token = "" if token_file is None else _read_token(token_file)
    with grpc.insecure_channel(target, CHANNEL_OPTIONS) as channel:
        yield AdminClient(channel, target=target, token=token)


def _read_token(file: str) -> str:
    try:
        token = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise click.UsageError(f"--token-file {file} cannot be read: {reason}") from exc
    if not token or not token.isascii() or not token.isprintable():
        raise click.UsageError(f"--token-file {file} holds no token: one line of printable ASCII")
    return token


def admin_options(command: F) -> F:
    """The options that name a running picker: `target` and `token_file`."""
    token = click.option("--token-file", help="File with the token that the picker's --admin-token-file names.")
    where = click.option(
        "--target",
        default=DEFAULT_TARGET,
        show_default=True,
        help="host:port of the picker's admin service.",
    )
    return where(token(command))
