"""A host that swallows packets, as a dead node does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_host() -> Iterator[str]:
    """`ip:port` of a listener whose backlog is full: further SYNs are dropped, and connecting hangs."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for queued in (first, second):
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"
