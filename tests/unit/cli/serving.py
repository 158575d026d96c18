"""An admin service of a test's own, as the commands ask it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc

from extproc._gen.extproc.admin.v1 import admin_pb2_grpc

HOSTILE, SHOWN = "evil\x1b]0;title\x07\nFAULT", "evil\\x1b]0;title\\x07\\nFAULT"
"""What a terminal would obey, and how it is shown."""


class Refusing(admin_pb2_grpc.AdminServicer):
    """Is no friend of terminals."""

    def GetSnapshot(self, request: object, context: Any) -> NoReturn:  # noqa: N802
        self._refuse(context)

    def Explain(self, request: object, context: Any) -> NoReturn:  # noqa: N802
        self._refuse(context)

    def _refuse(self, context: Any) -> NoReturn:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, HOSTILE)
        raise AssertionError


@contextmanager
def serving(admin: admin_pb2_grpc.AdminServicer) -> Iterator[str]:
    """`host:port` of a server."""
    server = grpc.server(ThreadPoolExecutor(1))
    add: Any = admin_pb2_grpc.add_AdminServicer_to_server  # protoc writes no types of services
    add(admin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
