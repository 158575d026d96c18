"""The page's server, through a real port."""

import asyncio
import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.page.pools import Shown, endpoint, fill, fill_many

from extproc.errors import PortInUseError
from extproc.values import admin
from extproc.values.refusal import Reason

JSON = {"content-type": "application/json"}


async def ask(
    shown: Shown,
    path: str = "",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    data: bytes | None = None,
) -> tuple[aiohttp.ClientResponse, bytes]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        async with session.request(
            method, shown.url + path, headers=headers, data=io.BytesIO(data) if data is not None else None
        ) as response:
            return response, await response.read()


async def test_the_page_is_one_document_of_which_nothing_else_may_run() -> None:
    async with Shown() as shown:
        response, body = await ask(shown)
    html = body.decode()
    policy = response.headers["content-security-policy"]
    for tag, directive in (("style", "style-src"), ('script type="module"', "script-src")):
        [inner] = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert len(inner) > 1000
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)|url\(|@import|innerHTML""", html) == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "", {}, 200, id="the page"),
        pytest.param("HEAD", "", {}, 200, id="its head"),
        pytest.param("GET", "api/snapshot", {}, 200, id="data"),
        pytest.param("GET", "nothing", {}, 404, id="no such path"),
        pytest.param("PUT", "", {}, 405, id="no such method"),
        pytest.param("GET", "", {"host": "evil.example"}, 403, id="rebound name"),
        pytest.param("GET", "api/decisions?after=x", {}, 400, id="bad query"),
    ],
)
async def test_every_answer_is_guarded(method: str, path: str, headers: dict[str, str], status: int) -> None:
    async with Shown() as shown:
        response, _ = await ask(shown, path, method=method, headers=headers)
    assert response.status == status
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["server"] == "extproc"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


async def test_the_snapshot_is_that_of_the_admin_service_as_json() -> None:
    async with Shown() as shown:
        fill(shown)
        _, body = await ask(shown, "api/snapshot")
    snapshot = msgspec.json.decode(body, type=admin.Snapshot)
    assert snapshot.endpoints[0].name == "gemma-5b8f6-4nlsd"
    assert {model.id: len(model.endpoints) for model in snapshot.models} == {
        "google/gemma-3-12b-it": 2,
        "microsoft/phi-4": 3,
        "phi-sql-lora": 2,
    }


async def test_decisions_are_told_once_to_who_says_what_he_has() -> None:
    async with Shown() as shown:
        one = endpoint("one")
        for model in ("a", "b", "c"):
            shown.route(model, one)
        answers: list[Any] = []
        for after in ("0", "2", "3", "1000"):
            _, body = await ask(shown, f"api/decisions?after={after}")
            answer = msgspec.json.decode(body)
            answers.append((answer["decided"], [each["model"] for each in answer["decisions"]]))
    assert answers == [(3, ["c", "b", "a"]), (3, ["c"]), (3, []), (3, [])]


async def test_half_a_character_in_a_models_name_is_no_fault() -> None:
    """Clients cut emoji in two, and YAML can name half of one."""
    question = {"body": base64.b64encode(b'{"model": "half \\ud83d"}').decode()}
    async with Shown() as shown:
        fill(shown)
        response, body = await ask(
            shown, "api/explain", method="POST", headers=JSON, data=msgspec.json.encode(question)
        )
        assert (response.status, json.loads(body)["outcome"]) == (200, "model_unavailable")
        shown.sync(endpoint("half \ud83d"))
        response, body = await ask(shown, "api/snapshot")
        assert [each["name"] for each in json.loads(body)["endpoints"]] == ["half \ud83d"]
        shown.refuse("unknown", Reason.MODEL_UNKNOWN, named="half \ud83d")
        response, body = await ask(shown, "api/decisions")
    assert response.status == 200
    assert msgspec.json.decode(body)["decisions"][0]["named_model"] == "half ?"


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "", "9" * 30, "٣"])
async def test_a_query_that_is_no_number_is_refused(after: str) -> None:
    async with Shown() as shown:
        response, body = await ask(shown, f"api/decisions?after={after}")
    assert response.status == 400
    assert b"`after` is a number" in body


@pytest.mark.parametrize(
    ("headers", "body", "status", "text"),
    [
        pytest.param({"content-type": "text/plain"}, b"{}", 415, "application/json", id="a form's type"),
        pytest.param(JSON, b"{", 400, "no ExplainRequest", id="half JSON"),
        pytest.param(JSON, b"\xff", 400, "no ExplainRequest", id="no text"),
        pytest.param(JSON, b'{"modle": "x"}', 400, "modle", id="unknown field"),
        pytest.param(JSON, b'{"model": 1}', 400, "model", id="wrong type"),
        pytest.param(JSON, b"[" * 50_000, 400, "no ExplainRequest", id="too deep"),
        pytest.param(JSON, b"null", 400, "no ExplainRequest", id="nothing"),
        pytest.param(JSON, b'"' + b"x" * (2 << 20) + b'"', 413, "", id="too large"),
        pytest.param({**JSON, "origin": "http://evil.example"}, b"{}", 403, "other sites", id="another site"),
    ],
)
async def test_what_cannot_be_explained_is_refused(
    headers: dict[str, str], body: bytes, status: int, text: str
) -> None:
    async with Shown() as shown:
        response, answer = await ask(shown, "api/explain", method="POST", headers=headers, data=body)
    assert response.status == status
    assert text in answer.decode()


async def test_explain_answers_as_the_admin_service_does() -> None:
    async with Shown() as shown:
        fill(shown)
        question = b'{"model": "google/gemma-3-12b-it", "prompt": "Hello"}'
        response, body = await ask(shown, "api/explain", method="POST", headers=JSON, data=question)
    assert response.status == 200
    explanation = msgspec.json.decode(body, type=admin.Explanation)
    assert (explanation.outcome, explanation.endpoint) == ("routed", "gemma-5b8f6-4nlsd")
    assert len(explanation.candidates) == 6


async def test_with_a_token_nothing_is_told_without_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret")
    async with Shown(token_file=str(file)) as shown:
        for path in ("", "api/snapshot", "api/decisions", "nothing"):
            response, body = await ask(shown, path)
            assert (response.status, b"llama" in body) == (401, False)
            assert response.headers["www-authenticate"].startswith("Basic ")
        response, _ = await ask(shown, "api/snapshot", headers={"authorization": "Bearer s3cret"})
        assert response.status == 200


async def test_who_sends_half_a_request_does_not_keep_it_from_stopping() -> None:
    async with Shown() as shown:
        _, writer = await asyncio.open_connection("127.0.0.1", shown.port)
        writer.write(b"POST /api/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: 9\r\n\r\n{")
        await writer.drain()
        await ask(shown, "api/snapshot")  # so the half is there
        async with asyncio.timeout(5):
            await shown.stop()
        writer.close()


async def test_a_port_in_use_is_named() -> None:
    async with Shown() as shown:
        other = Shown()._server
        with pytest.raises(PortInUseError, match="admin-http-port"):
            await other.start("127.0.0.1", shown.port)


async def test_a_large_pool_is_told_whole() -> None:
    async with Shown() as shown:
        fill_many(shown, 1000)
        _, body = await ask(shown, "api/snapshot")
    assert len(msgspec.json.decode(body, type=admin.Snapshot).endpoints) == 1000
