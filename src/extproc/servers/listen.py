"""Opening gRPC servers on ports that nobody else has."""

from collections.abc import Sequence
from typing import Any

import grpc

from extproc.errors import PortInUseError


def build_grpc_server(*, max_receive_bytes: int | None = None) -> grpc.aio.Server:
    """A gRPC server that shares its ports with nobody and advertises no limit of concurrent streams.

    Source: docs/architecture.md, "gRPC": SO_REUSEPORT would hide that a port is taken, and an advertised
    max_concurrent_streams made Envoy answer cold bursts with 500.
    """
    options: list[tuple[str, Any]] = [("grpc.so_reuseport", 0)]
    if max_receive_bytes is not None:
        options.append(("grpc.max_receive_message_length", max_receive_bytes))
    return grpc.aio.server(options=options)


def open_port(server: grpc.aio.Server, address: str, port: int, *, purpose: str, setting: str) -> int:
    """Opens a plaintext port and returns its number, chosen by the system where `port` is 0.

    Errors: PortInUseError, naming the flag `setting`.
    """
    try:
        opened = server.add_insecure_port(f"{address}:{port}")
    except RuntimeError as exc:
        raise PortInUseError(purpose, f"{address}:{port}", setting) from exc
    return int(opened)


def hosts(listen_address: str) -> Sequence[str] | None:
    """The address as asyncio's servers take it: without brackets, None for every interface."""
    bare = listen_address.removeprefix("[").removesuffix("]")
    return None if bare == "::" else [bare]
