"""sim/completions, sim/requests, sim/replies: what a client sends and what comes back."""

import gzip
import hashlib
import io
import json
import time
import zlib
from typing import Any

import aiohttp
import pytest
from tests.sim.conftest import StartSim

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "a" * 400}]  # 100 tokens


def events(body: bytes) -> list[Any]:
    """The payloads of an event stream; its end mark must be there."""
    *data, done, rest = body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(each.removeprefix("data: ")) for each in data]


@pytest.mark.parametrize(
    ("path", "fields", "kind", "tokens"),
    [
        pytest.param(CHAT, {"messages": MESSAGES}, "chat.completion", 16, id="chat-default-length"),
        pytest.param(CHAT, {"messages": MESSAGES, "max_tokens": 3}, "chat.completion", 3, id="chat-max-tokens"),
        pytest.param(
            CHAT,
            {"messages": MESSAGES, "max_completion_tokens": 2, "max_tokens": 9},
            "chat.completion",
            2,
            id="chat-max-completion-tokens-first",
        ),
        pytest.param("/v1/completions", {"prompt": "a" * 400, "max_tokens": 5}, "text_completion", 5, id="completions"),
        pytest.param("/v1/embeddings", {"input": "a" * 400}, "list", 0, id="embeddings"),
    ],
)
async def test_plain_answers(
    start_sim: StartSim, http: aiohttp.ClientSession, path: str, fields: dict[str, Any], kind: str, tokens: int
) -> None:
    server = await start_sim()
    async with http.post(f"http://{server.address}{path}", json={"model": "phi", **fields}) as response:
        assert response.status == 200
        answer = await response.json()
    assert (answer["object"], answer["model"]) == (kind, "phi")
    assert answer["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": tokens,
        "total_tokens": 100 + tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_tells_what_of_its_prompt_was_cached(
    start_sim: StartSim, http: aiohttp.ClientSession, stream: bool
) -> None:
    server = await start_sim()
    cached = []
    for content in ("a" * 400, "a" * 400, "a" * 320 + "b" * 80, "c" * 400):
        messages = [{"role": "user", "content": content}]
        fields = {"messages": messages, "stream": stream, "stream_options": {"include_usage": True}}
        async with http.post(f"http://{server.address}{CHAT}", json={"model": "phi", **fields}) as response:
            answer = events(await response.read())[-1] if stream else await response.json()
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 96, 80, 0]


async def test_a_length_asked_for_ends_with_length_and_none_with_stop(
    start_sim: StartSim, http: aiohttp.ClientSession
) -> None:
    server = await start_sim(default_tokens=2, max_model_len=32)

    async def choice(**fields: object) -> tuple[str, int]:
        async with http.post(f"http://{server.address}{CHAT}", json={"model": "phi", **fields}) as response:
            (only,) = (await response.json())["choices"]
            return only["finish_reason"], len(only["message"]["content"].split())

    assert await choice() == ("stop", 2)
    assert await choice(max_tokens=7) == ("length", 7)
    assert await choice(max_tokens=1000) == ("length", 32)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
@pytest.mark.parametrize("with_usage", [True, False])
async def test_streams_one_chunk_a_token(
    start_sim: StartSim, http: aiohttp.ClientSession, path: str, with_usage: bool
) -> None:
    server = await start_sim()
    fields = {"model": "phi", "stream": True, "max_tokens": 3, "stream_options": {"include_usage": with_usage}}
    async with http.post(f"http://{server.address}{path}", json=fields) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-served-by"] == server.address
        chunks = events(await response.read())
    if with_usage:
        usage = chunks.pop()
        assert usage["choices"] == []
        assert usage["usage"] == {
            "prompt_tokens": 1,
            "completion_tokens": 3,
            "total_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "length"]
    texts = [chunk["choices"][0].get("text", chunk["choices"][0].get("delta", {}).get("content")) for chunk in chunks]
    assert "".join(text or "" for text in texts) == "token0 token1 token2"
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_takes_its_time(start_sim: StartSim, http: aiohttp.ClientSession, stream: bool) -> None:
    server = await start_sim(time_to_first_token_s=0.1, token_delay_s=0.05)
    begun = time.monotonic()
    async with http.post(
        f"http://{server.address}{CHAT}", json={"model": "phi", "max_tokens": 4, "stream": stream}
    ) as response:
        first = await response.content.readline()
        first_s = time.monotonic() - begun
        assert first
        await response.read()
    whole_s = time.monotonic() - begun
    assert 0.3 <= whole_s < 1
    assert (first_s < 0.25) == stream


async def test_other_dialects_answer_in_their_shape(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim()

    async def post(path: str, **fields: object) -> Any:
        async with http.post(f"http://{server.address}{path}", json={"model": "phi", **fields}) as response:
            assert response.status == 200
            return await response.json()

    response = await post("/v1/responses", input="hello", max_output_tokens=2)
    assert (response["object"], response["status"]) == ("response", "completed")
    assert response["output"][0]["content"][0]["text"] == "token0 token1"
    assert response["usage"] == {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2,
        "total_tokens": 3,
    }
    message = await post("/v1/messages", messages=MESSAGES, max_tokens=2)
    assert (message["type"], message["stop_reason"], message["content"][0]["text"]) == (
        "message",
        "max_tokens",
        "token0 token1",
    )
    assert message["usage"] == {"input_tokens": 100, "output_tokens": 2}
    vectors = [
        [each["embedding"] for each in (await post("/v1/embeddings", input=given))["data"]]
        for given in (["a", "b"], "a", [1, 2])
    ]
    assert [len(each) for each in vectors] == [2, 1, 1]
    assert vectors[0][0] == vectors[1][0] != vectors[0][1]


async def test_transcriptions_take_a_form(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim("whisper", default_tokens=2)
    url = f"http://{server.address}/v1/audio/transcriptions"

    def form(model: str) -> aiohttp.FormData:
        data = aiohttp.FormData()
        data.add_field("file", b"\r\n--RIFF\x00" * 100_000, filename="a.wav", content_type="audio/wav")
        data.add_field("model", model)
        return data

    async with http.post(url, data=form("whisper")) as response:
        assert response.status == 200
        assert (await response.json())["text"] == "token0 token1"
    async with http.post(url, data=form("other")) as response:
        assert response.status == 404
    async with http.post(url, data=b"x", headers={"content-type": "multipart/form-data"}) as response:
        assert response.status == 400
    assert (server.engine.served, server.engine.wrong_model) == ({"whisper": 1}, 1)


@pytest.mark.parametrize("model", ["PHI", "phi ", "ph", "org/phi", "fi\ud800"])
async def test_a_model_not_served_is_404_as_vllm_words_it(
    start_sim: StartSim, http: aiohttp.ClientSession, model: str
) -> None:
    server = await start_sim(name="pod-0")
    async with http.post(f"http://{server.address}{CHAT}", json={"model": model}) as response:
        assert response.status == 404
        assert response.headers["x-served-by"] == "pod-0"
        assert "x-received-body-sha256" in response.headers
        message = f"The model `{model}` does not exist."
        assert await response.json() == {
            "error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
        }
    assert (server.engine.served, server.engine.wrong_model) == ({}, 1)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"model": "phi"', id="cut"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b'{"model": 1}', id="model-no-string"),
        pytest.param(b'{"model": "phi", "max_tokens": "3"}', id="limit-no-number"),
        pytest.param(b'{"model": "phi", "max_tokens": 0}', id="limit-zero"),
        pytest.param(b'{"a":' * 100_000, id="too-deep"),
        pytest.param(b'{"model": "\xff"}', id="no-utf-8"),
    ],
)
async def test_a_body_that_cannot_be_read_is_400(start_sim: StartSim, http: aiohttp.ClientSession, body: bytes) -> None:
    server = await start_sim()
    async with http.post(f"http://{server.address}{CHAT}", data=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert (error["type"], error["param"], error["code"]) == ("Bad Request", None, 400)
    assert (server.engine.served, server.engine.wrong_model) == ({}, 0)


async def test_without_a_model_the_first_answers(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim("phi", "gemma")
    async with http.post(f"http://{server.address}{CHAT}", json={"messages": MESSAGES}) as response:
        assert (await response.json())["model"] == "phi"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda plain: zlib.compress(plain, wbits=-15)),
    ],
    ids=["identity", "gzip", "deflate", "deflate-raw"],
)
async def test_bytes_are_hashed_as_they_came(
    start_sim: StartSim, http: aiohttp.ClientSession, encoding: str, compress: Any
) -> None:
    server = await start_sim()
    body = compress(json.dumps({"model": "phi", "messages": MESSAGES}).encode())
    headers = {"content-encoding": encoding, "x-gateway-destination-endpoint": "10.0.0.1:8000"}
    async with http.post(f"http://{server.address}{CHAT}", data=body, headers=headers) as response:
        assert response.status == 200
        assert response.headers["x-received-body-sha256"] == hashlib.sha256(body).hexdigest()
        assert response.headers["x-received-body-bytes"] == str(len(body))
        assert response.headers["x-received-destination"] == "10.0.0.1:8000"
        assert (await response.json())["usage"]["prompt_tokens"] == 100


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        pytest.param("br", b"x", 415, id="unknown"),
        pytest.param("gzip", b"plain", 400, id="no-gzip"),
        pytest.param("gzip", gzip.compress(b"{}")[:-4], 400, id="cut"),
        pytest.param("gzip", gzip.compress(bytes(64 * 1024 * 1024 + 1), 1), 413, id="bomb"),
    ],
)
async def test_an_encoding_that_cannot_be_read_is_refused(
    start_sim: StartSim, http: aiohttp.ClientSession, encoding: str, body: bytes, status: int
) -> None:
    server = await start_sim()
    headers = {"content-encoding": encoding}
    async with http.post(f"http://{server.address}{CHAT}", data=body, headers=headers) as response:
        assert response.status == status
        assert "x-received-destination" not in response.headers


async def test_bodies_of_many_mebibytes_are_taken_up_to_64(start_sim: StartSim, http: aiohttp.ClientSession) -> None:
    server = await start_sim()
    head, tail = b'{"model": "phi", "pad": "', b'"}'
    body = head + b"x" * (64 * 1024 * 1024 - len(head) - len(tail)) + tail
    async with http.post(f"http://{server.address}{CHAT}", data=io.BytesIO(body)) as response:
        assert response.status == 200
        assert response.headers["x-received-body-bytes"] == str(64 * 1024 * 1024)
    async with http.post(f"http://{server.address}{CHAT}", data=io.BytesIO(body + b" ")) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == 413
