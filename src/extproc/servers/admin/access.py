"""Who may ask: everybody on this machine, or whoever shows the token."""

import base64
import hmac
import os

from extproc.telemetry.logs import Log

LONGEST_TOKEN_BYTES = 4096

_log = Log("servers.admin")


class Access:
    """Judges what callers show. Without a token file everybody may ask."""

    def __init__(self, token_file: str | None) -> None:
        self._token_file = token_file
        self._complaint = ""

    def __repr__(self) -> str:
        return f"<Access {'by token' if self.needs_token else 'for everybody'}>"

    @property
    def needs_token(self) -> bool:
        """Callers have to show the token."""
        return self._token_file is not None

    def allows(self, authorization: str) -> bool:
        """Whether a header `authorization` of this value is enough: `Bearer TOKEN`, or `Basic` with the token as the
        password. Nobody may ask while the file cannot be read.

        It is read each time, as it can be rotated, and on the event loop: that takes 10 µs, of a file in memory as
        Kubernetes mounts secrets, and what could block or go on for ever is not waited for.
        """
        if self._token_file is None:
            return True
        token, complaint = _read(self._token_file)
        if complaint and complaint != self._complaint:
            _log.warning("the admin token cannot be read, nobody may ask", problem=complaint)
        self._complaint = complaint
        return bool(token) and hmac.compare_digest(_shown(authorization), token)


def _read(file: str) -> tuple[bytes, str]:
    """The token in a file, or nothing and what is wrong with it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, LONGEST_TOKEN_BYTES + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as exc:
        return b"", f"{file}: {getattr(exc, 'strerror', None) or exc}"
    if len(text) > LONGEST_TOKEN_BYTES:
        return b"", f"{file} is no token: it is longer than {LONGEST_TOKEN_BYTES} bytes"
    token = text.strip()
    return token, "" if token else f"{file} is empty"


def _shown(authorization: str) -> bytes:
    """The token that a header shows, empty where it shows none."""
    kind, _, value = authorization.strip().partition(" ")
    try:
        match kind.lower():
            case "bearer":
                return value.strip().encode(errors="surrogateescape")
            case "basic":
                return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except ValueError:  # not base64, or characters that no header can hold
        pass
    return b""
