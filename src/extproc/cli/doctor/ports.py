"""What a TCP port speaks: TLS, with which ALPN and certificate, plaintext HTTP/2 as gRPC, or something else."""

import asyncio
import os
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from cryptography import x509

LOOK_S = 2.0
"""For one connection."""
FIRST_ANSWER_S = 1.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""HTTP/2's greeting of a client, with an empty SETTINGS frame. Source: RFC 9113, 3.4."""
_SETTINGS = 4

Speech = Literal["TLS", "plaintext HTTP/2", "something else", "nothing"]


class PortLook(NamedTuple):
    """What was found at a port."""

    address: str
    speaks: Speech
    """`nothing`: no connection came about."""
    alpn: str = ""
    """The protocol that TLS agrees on when h2 and http/1.1 are offered; empty: none."""
    name: str = ""
    """Of the certificate: its first subject alternative name, else the common name."""
    ends_at: datetime | None = None
    """The end of the certificate's validity."""
    problem: str = ""
    """Why nothing came about."""


async def look_at_port(host: str, port: int) -> PortLook:
    """Connects, greets in plaintext, and where that is not answered as HTTP/2 does, in TLS. Never raises."""
    address = f"{host}:{port}"
    try:
        async with asyncio.timeout(LOOK_S):
            greeting = await _greet(host, port)
    except OSError as exc:  # TimeoutError among them
        return PortLook(address, "nothing", problem=os.strerror(exc.errno) if exc.errno else "no connection in time")
    if len(greeting) > 3 and greeting[3] == _SETTINGS:
        return PortLook(address, "plaintext HTTP/2")
    with suppress(OSError, ssl.SSLError):
        async with asyncio.timeout(LOOK_S):
            return await _shake_hands(address, host, port)
    return PortLook(address, "something else")


async def _greet(host: str, port: int) -> bytes:
    """What comes back first; nothing where the connection ends, or stays silent."""
    reader, writer = await asyncio.open_connection(host.strip("[]"), port)
    try:
        with suppress(OSError):
            writer.write(_PREFACE)
            async with asyncio.timeout(FIRST_ANSWER_S):
                return await reader.read(64)
        return b""
    finally:
        writer.transport.abort()


async def _shake_hands(address: str, host: str, port: int) -> PortLook:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(host.strip("[]"), port, ssl=context)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True)
        alpn = tls.selected_alpn_protocol() or ""
    finally:
        writer.transport.abort()
    name, ends_at = _read_certificate(shown) if shown else ("", None)
    return PortLook(address, "TLS", alpn=alpn, name=name, ends_at=ends_at)


def _read_certificate(der: bytes) -> tuple[str, datetime | None]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        names: list[str] = [
            str(each.value) for each in certificate.subject.get_attributes_for_oid(x509.OID_COMMON_NAME)
        ]
        with suppress(x509.ExtensionNotFound):
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = [str(each.value) for each in extension.value] + names
    except ValueError:
        return "", None
    return (names[0] if names else ""), certificate.not_valid_after_utc.astimezone(UTC)
