"""Who may ask: everybody on this machine, or whoever shows the token."""

import base64
import binascii
import hmac
from pathlib import Path

from extproc.telemetry.logs import Log

_log = Log("servers.admin")


class Access:
    """Judges what callers show. Without a token file everybody may ask."""

    def __init__(self, token_file: str | None) -> None:
        self._token_file = token_file
        self._complaint = ""

    @property
    def needs_token(self) -> bool:
        """Callers have to show the token."""
        return self._token_file is not None

    def allows(self, authorization: str) -> bool:
        """Whether a header `authorization` of this value is enough: `Bearer TOKEN`, or `Basic` with the token as the
        password. The file is read each time, as it can be rotated; nobody may ask while it cannot be read.
        """
        if self._token_file is None:
            return True
        token = self._read(self._token_file)
        return bool(token) and hmac.compare_digest(_shown(authorization), token)

    def _read(self, file: str) -> bytes:
        try:
            token, complaint = Path(file).read_bytes().strip(), ""
        except OSError as exc:
            token, complaint = b"", f"{file}: {exc.strerror or exc}"
        if not token and not complaint:
            complaint = f"{file} is empty"
        if complaint and complaint != self._complaint:
            _log.warning("the admin token cannot be read, nobody may ask", problem=complaint)
        self._complaint = complaint
        return token


def _shown(authorization: str) -> bytes:
    """The token that a header shows, empty where it shows none."""
    kind, _, value = authorization.strip().partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode(errors="surrogateescape")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
