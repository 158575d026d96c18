"""Who may ask the page's server for what."""

from pathlib import Path

import pytest

from extproc.servers.admin.access import Access
from extproc.servers.admin.page_guard import find_refusal

LOCAL = {"host": "127.0.0.1:9091"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:9091", None, id="localhost"),
        pytest.param("LocalHost", None, id="localhost without a port"),
        pytest.param("127.0.0.1:31337", None, id="another port, as port-forward has it"),
        pytest.param("[::1]:9091", None, id="IPv6"),
        pytest.param("[::1]", None, id="IPv6 without a port"),
        pytest.param("127.0.0.2:9091", None, id="another loopback address"),
        pytest.param("evil.example:9091", 403, id="a name that resolves to this machine"),
        pytest.param("localhost.evil.example", 403, id="a name that begins like ours"),
        pytest.param("127.0.0.1.nip.io:9091", 403, id="a name that begins like our address"),
        pytest.param("10.0.0.7:9091", 403, id="another address"),
        pytest.param("[::1].evil.example", 403, id="a name that begins like our IPv6 address"),
        pytest.param("[2001:db8::1]:9091", 403, id="another IPv6 address"),
        pytest.param("", 403, id="none"),
    ],
)
def test_without_a_token_it_is_for_this_machine_alone(host: str, status: int | None) -> None:
    refused = find_refusal("GET", "/", {"host": host}, Access(None))
    assert (refused and refused.status) == status


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "/", {}, None, id="the page"),
        pytest.param("HEAD", "/api/snapshot", {}, None, id="HEAD"),
        pytest.param("POST", "/api/snapshot", {}, 405, id="POST of what is read"),
        pytest.param("DELETE", "/", {}, 405, id="another method"),
        pytest.param("OPTIONS", "/api/explain", {}, 405, id="what a browser asks before it sends to another site"),
        pytest.param("GET", "/api/explain", {}, 405, id="GET of what is asked"),
        pytest.param("POST", "/api/explain", {}, None, id="explain from a script"),
        pytest.param("POST", "/api/explain", {"sec-fetch-site": "same-origin"}, None, id="explain from the page"),
        pytest.param("POST", "/api/explain", {"origin": "http://127.0.0.1:9091"}, None, id="explain from our origin"),
        pytest.param("POST", "/api/explain", {"sec-fetch-site": "cross-site"}, 403, id="explain from another site"),
        pytest.param("POST", "/api/explain", {"sec-fetch-site": "same-site"}, 403, id="explain from another port"),
        pytest.param("POST", "/api/explain", {"origin": "https://evil.example"}, 403, id="explain of another origin"),
        pytest.param("POST", "/api/explain", {"origin": "http://127.0.0.1:8000"}, 403, id="origin on another port"),
        pytest.param("POST", "/api/explain", {"origin": "null"}, 403, id="explain from a sandboxed frame"),
        pytest.param("GET", "/api/snapshot", {"sec-fetch-site": "cross-site"}, 403, id="data for another site"),
        pytest.param("GET", "/api/snapshot", {"sec-fetch-site": "none"}, None, id="data by its address"),
        pytest.param("GET", "/", {"sec-fetch-site": "cross-site"}, None, id="the page by a link"),
    ],
)
def test_other_sites_learn_nothing(method: str, path: str, headers: dict[str, str], status: int | None) -> None:
    refused = find_refusal(method, path, LOCAL | headers, Access(None))
    assert (refused and refused.status) == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param("Bearer s3cret", None, id="the token"),
        pytest.param("Basic YWRtaW46czNjcmV0", None, id="the token as a browser's password"),
        pytest.param("Bearer s3cre", 401, id="another token"),
        pytest.param("Basic czNjcmV0", 401, id="the token as the user's name"),
        pytest.param("", 401, id="nothing"),
    ],
)
def test_with_a_token_it_is_for_who_shows_it(authorization: str, status: int | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    refused = find_refusal("GET", "/", {"host": "picker.example", "authorization": authorization}, Access(str(file)))
    assert (refused and refused.status) == status
    if refused:
        assert refused.headers["www-authenticate"].startswith("Basic ")
