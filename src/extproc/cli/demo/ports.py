"""The ports of the demo: those that the documentation names where they are free, any other free one where not."""

import secrets
import socket
from collections.abc import Mapping
from typing import Final

GATEWAY: Final = "gateway"
ENVOY_ADMIN: Final = "Envoy admin"
EXT_PROC: Final = "ext_proc"
HEALTH: Final = "health"
METRICS: Final = "metrics"
ADMIN: Final = "admin"
PAGE: Final = "admin page"
PICKER_AND_ENVOY: Final = {
    GATEWAY: 8080,
    ENVOY_ADMIN: 9901,
    EXT_PROC: 9002,
    HEALTH: 9003,
    METRICS: 9090,
    ADMIN: 9004,
    PAGE: 9091,
}
FIRST_SERVER: Final = 8000

# Below what the kernel gives to outgoing connections: one of those could take a killed server's port.
_FREE: Final = range(10_000, 32_000)
_TRIES: Final = 100


class NoFreePortError(OSError):
    """None of many ports tried could be opened."""


def choose_ports(wanted: Mapping[str, int], *, anywhere: bool = False) -> dict[str, int]:
    """A port of 127.0.0.1 for each purpose: the wanted one where it is free, and unless `anywhere` is set.

    All are free when this returns, none is held. Raises NoFreePortError.
    """
    held: dict[str, socket.socket] = {}
    try:
        for purpose, port in wanted.items():
            held[purpose] = (None if anywhere else _try_open(port)) or _open_any()
        return {purpose: sock.getsockname()[1] for purpose, sock in held.items()}
    finally:
        for sock in held.values():
            sock.close()


def _open_any() -> socket.socket:
    for _ in range(_TRIES):
        if sock := _try_open(secrets.choice(_FREE)):
            return sock
    raise NoFreePortError(f"no free port found between {_FREE.start} and {_FREE.stop}")


def _try_open(port: int) -> socket.socket | None:
    sock = socket.socket()
    # As servers do it: a port is not taken because connections of an earlier server linger on it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen()  # two sockets with SO_REUSEADDR may be bound to one port; only one may listen
    except OSError:
        sock.close()
        return None
    return sock
