"""Who may ask the page's server for what, told from the head of a request."""

import re
from collections.abc import Mapping
from ipaddress import ip_address

import msgspec

from extproc.servers.admin.access import Access

EXPLAIN_PATH = "/api/explain"

_HOST = re.compile(r"(?:\[(?P<bracketed>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::\d*)?")


class Refused(msgspec.Struct, frozen=True):
    """What is answered to a request that may not be made."""

    status: int
    why: str
    headers: dict[str, str] = {}


def find_refusal(method: str, path: str, headers: Mapping[str, str], access: Access) -> Refused | None:
    """Why this request is refused, None where it is not. `headers` is looked up in lower case.

    Without a token whoever reaches the port may ask. A browser on this machine reaches it for any page that it shows:
    so only the names of this machine are taken (another name that resolves to it is DNS rebinding), and the browser's
    word on where a request comes from is believed. Source: Fetch, "Sec-Fetch-Site"; RFC 6454.
    """
    if not access.needs_token and not _is_this_machine(headers.get("host", "")):
        what = "This page is served to localhost, 127.0.0.1 and [::1] alone; elsewhere it needs --admin-token-file."
        return Refused(403, what)
    if not access.allows(headers.get("authorization", "")):
        challenge = {"www-authenticate": 'Basic realm="extproc", charset="UTF-8"'}
        return Refused(401, "Show the admin token: as the password, or as `authorization: Bearer TOKEN`.", challenge)
    allowed = ("POST",) if path == EXPLAIN_PATH else ("GET", "HEAD")
    if method not in allowed:
        return Refused(405, f"{method} is not for {path}.", {"allow": ", ".join(allowed)})
    if path.startswith("/api/") and _is_of_another_site(headers):
        return Refused(403, "Pages of other sites may not ask this.")
    return None


def _is_this_machine(host: str) -> bool:
    """Whether a `host` header names the machine itself, on whatever port: a forwarded one is any."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["bracketed"] or match["name"]
    if name.lower() == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that another page than ours asks. Scripts and curl say nothing of the kind."""
    site = headers.get("sec-fetch-site", "")
    if site and site not in ("same-origin", "none"):
        return True
    origin = headers.get("origin", "")
    return bool(origin) and origin.partition("://")[2].lower() != headers.get("host", "").lower()
