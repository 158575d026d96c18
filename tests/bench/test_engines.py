"""The benchmarks' engines: who serves what, what they saw, and answers in chunks."""

import aiohttp
import pytest
from bench.chat import varied_request
from bench.engines import EVENT_BRACES, Engines
from bench.http1 import read_streamed
from bench.results import BenchError

ADDRESS = "127.2.0.1"


async def test_models_are_those_of_the_net_until_told_otherwise() -> None:
    async with Engines(("phi", "gemma")) as engines, aiohttp.ClientSession() as session:
        url = f"http://{ADDRESS}:{engines.port}"

        async def listed() -> list[str]:
            async with session.get(f"{url}/v1/models") as response:
                return [card["id"] for card in (await response.json())["data"]]

        async def status(model: str) -> int:
            async with session.post(f"{url}/v1/chat/completions", data=varied_request(model, 1).body) as response:
                return response.status

        assert (await listed(), await status("gemma"), await status("phi")) == (["gemma"], 200, 404)
        await engines.serve({ADDRESS: ("gemma",)}, lingering=("lora",))
        assert (await listed(), await status("lora"), await status("phi")) == (["gemma"], 200, 404)
        seen = await engines.seen()
        assert (seen.wrong, {each.address for each in seen.asked}) == (2, {ADDRESS})
        assert [each.is_probe for each in seen.asked] == [True, False, False] * 2
        assert (await engines.seen()).asked == []


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with-a-length", "in-chunks"])
async def test_an_answer_has_the_chunks_that_were_asked_for(is_chunked: bool) -> None:
    body = b'{"model":"phi","chunks":70,"over_s":0.02}'
    async with Engines(("phi",)) as engines:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        if is_chunked:
            pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:9], body[9:])]
            request = head + b"transfer-encoding: chunked\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"
        else:
            request = head + b"content-length: %d\r\n\r\n%s" % (len(body), body)
        assert await read_streamed(f"http://127.1.0.1:{engines.port}", request, b"{") == 70 * EVENT_BRACES
        with pytest.raises(BenchError, match="404"):
            await read_streamed(f"http://127.1.0.1:{engines.port}", request.replace(b"phi", b"ph1"), b"{")
