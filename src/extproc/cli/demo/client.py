"""What a client of the gateway sees: one completion, judged whole or cut, and the list of models."""

import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

TOKENS = 16
"""Length of every answer asked for."""
MOST_RETRIES = 10
_TIMEOUT_S = 20.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One attempt, as the client saw it. Times are monotonic seconds."""

    model: str
    sent_at_s: float = 0.0
    head_at_s: float | None = None
    """When status and headers had come; None: they never did."""
    ended_at_s: float = 0.0
    status: int = 0
    """0: none came."""
    served_by: str = ""
    """The server's name by its `x-served-by`; empty when no server answered."""
    is_whole: bool = False
    """A 200 with every token, the last chunk of a stream included."""
    is_altered: bool = False
    """The server received another body than was sent, by the SHA-256 that it sends back."""
    error: str = ""

    @property
    def is_good(self) -> bool:
        """What a client wants: a whole answer."""
        return self.status == 200 and self.is_whole

    @property
    def is_cut(self) -> bool:
        """A 200 that is not whole; no status shows it."""
        return self.status == 200 and not self.is_whole


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with as many connections as there are requests at a time, and a bound on each request."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def complete(session: aiohttp.ClientSession, url: str, *, model: str, streams: bool) -> Outcome:
    """One chat completion over the gateway at `url`. Never raises for what servers do: see `Outcome.error`."""
    fields = {
        "model": model,
        "messages": [{"role": "user", "content": "Say sixteen words."}],
        "max_tokens": TOKENS,
        "stream": streams,
    }
    body = json.dumps(fields).encode()
    outcome = Outcome(model=model, sent_at_s=time.monotonic())
    headers = {"content-type": "application/json"}
    try:
        async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as response:
            outcome.head_at_s = time.monotonic()
            outcome.status = response.status
            outcome.served_by = response.headers.get("x-served-by", "")
            digest = response.headers.get("x-received-body-sha256")
            outcome.is_altered = digest is not None and digest != hashlib.sha256(body).hexdigest()
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as exc:
        outcome.error = f"{type(exc).__name__}: {exc}".rstrip(": ")
    else:
        if outcome.status == 200:
            outcome.is_whole = is_whole_stream(content) if streams else is_whole_reply(content)
        else:
            outcome.error = content.decode(errors="replace")
    outcome.ended_at_s = time.monotonic()
    return outcome


async def complete_with_retries(
    session: aiohttp.ClientSession, url: str, *, model: str, streams: bool
) -> list[Outcome]:
    """Every attempt of a client that tries again on 404, at once and ten times at most."""
    attempts: list[Outcome] = []
    while len(attempts) <= MOST_RETRIES:
        attempts.append(await complete(session, url, model=model, streams=streams))
        if attempts[-1].status != 404:
            break
    return attempts


async def list_models(session: aiohttp.ClientSession, url: str) -> tuple[str, ...]:
    """The ids that `GET /v1/models` lists, in its order; none when there was no list."""
    try:
        async with session.get(f"{url}/v1/models") as response:
            return tuple(entry["id"] for entry in (await response.json())["data"])
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError):
        return ()


def is_whole_stream(content: bytes) -> bool:
    """True for server-sent events with every token and `data: [DONE]` at the end."""
    *events, last, rest = content.decode(errors="replace").split("\n\n") if b"\n\n" in content else ["", "", ""]
    try:
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        tokens = sum(1 for chunk in chunks for choice in chunk["choices"] if choice["delta"].get("content"))
    except (ValueError, LookupError, TypeError):
        return False
    return (last, rest, tokens) == ("data: [DONE]", "", TOKENS)


def is_whole_reply(content: bytes) -> bool:
    """True for a JSON answer with every token."""
    try:
        words = json.loads(content)["choices"][0]["message"]["content"].split()
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return len(words) == TOKENS
