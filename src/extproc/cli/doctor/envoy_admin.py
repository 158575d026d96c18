"""Asks an Envoy's admin port for its config, clusters and statistics. Nothing is changed there."""

import asyncio
import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from extproc.cli.doctor.envoy_dump import read_listeners, read_passages
from extproc.cli.doctor.envoy_facts import EnvoyFacts
from extproc.cli.doctor.envoy_members import read_clusters
from extproc.errors import ExtprocError

TIMEOUT_S = 3.0
AGAIN_S = 1.0
MOST_BYTES = 128 << 20
"""Of one answer. The config of a large mesh has some ten MB."""
_STATS = r"^(cluster\..*\.(ssl|upstream_cx|upstream_rq|membership|health_check)|.*ext_proc)"
PATHS = {
    "config": "/config_dump?include_eds",
    "clusters": "/clusters?format=json",
    "stats": f"/stats?format=json&filter={_STATS}",
    "server": "/server_info",
}


class EnvoyAdminError(ExtprocError):
    """What answers at `url`, if anything does, is no admin port of an Envoy."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"no admin port of an Envoy at {self.url}: {self.reason}"


def check_url(url: str) -> str:
    """The URL of an admin port, as paths are put behind it. Raises EnvoyAdminError for what is none."""
    base = url.rstrip("/")
    try:
        parts = urlsplit(base)
        has_address = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_address = False
    if not has_address or parts.scheme not in ("http", "https") or parts.path or parts.query or "@" in parts.netloc:
        # What stands before it would be a password, and is repeated nowhere.
        raise EnvoyAdminError(url.rpartition("@")[2], "give it as http://HOST:PORT, such as http://127.0.0.1:9901")
    return base


async def read_envoy(
    url: str, *, timeout_s: float = TIMEOUT_S, most_bytes: int = MOST_BYTES, again_after_s: float = AGAIN_S
) -> EnvoyFacts:
    """What the Envoy with its admin port at `url`, `http://host:port`, tells. Raises EnvoyAdminError.

    Where streams failed, its counters are read again: what counts since its start may be of the past.
    """
    base = check_url(url)
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(timeout_s):
                answers = await asyncio.gather(*(_ask(session, base, path, most_bytes) for path in PATHS.values()))
            told = dict(zip(PATHS, answers, strict=True))
            if _has_failed(told["stats"]):
                await asyncio.sleep(again_after_s)
                # Without it the first reading has to do.
                with suppress(TimeoutError, aiohttp.ClientError, OSError, ValueError):
                    async with asyncio.timeout(timeout_s / 2):
                        told["stats_later"] = await _ask(session, base, PATHS["stats"], most_bytes)
    except TimeoutError as exc:
        raise EnvoyAdminError(url, f"no answer within {timeout_s:g} s") from exc
    except aiohttp.ClientConnectorError as exc:
        why = os.strerror(exc.os_error.errno) if exc.os_error.errno and exc.os_error.errno > 0 else "no such host"
        raise EnvoyAdminError(url, f"no connection: {why}") from exc
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as exc:
        raise EnvoyAdminError(url, "what answers there does not speak HTTP as an admin port does") from exc
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise EnvoyAdminError(url, str(exc) or type(exc).__name__) from exc
    try:
        # The dump of a large mesh takes a while to go through: not on the event loop.
        return await asyncio.to_thread(read_facts, base, **told)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise EnvoyAdminError(url, f"what it tells cannot be understood: {exc!r}") from exc


def read_facts(url: str, *, config: Any, clusters: Any, stats: Any, server: Any, stats_later: Any = None) -> EnvoyFacts:
    """The facts out of what the four paths answer, and of the numbers a while later."""
    numbers = _numbers(stats)
    later = _numbers(stats_later) if stats_later is not None else numbers
    every_cluster = read_clusters(config, clusters)
    passages = [
        passage
        for passage in read_passages(config)
        if passage.filters or (passage.cluster in every_cluster and every_cluster[passage.cluster].pick is not None)
    ]
    named = {passage.cluster for passage in passages}
    named |= {each.cluster for passage in passages for each in passage.filters}
    return EnvoyFacts(
        url=url,
        version=_version(server.get("version", "")),
        listeners=sum(1 for _ in read_listeners(config)),
        passages=tuple(passages),
        clusters={name: cluster for name, cluster in every_cluster.items() if name in named},
        stats=later,
        grown={name: value - numbers.get(name, 0) for name, value in later.items() if value > numbers.get(name, 0)},
    )


def _numbers(stats: Any) -> dict[str, int]:
    return {stat["name"]: stat["value"] for stat in stats.get("stats", ()) if isinstance(stat.get("value"), int)}


def _has_failed(stats: Any) -> bool:
    try:
        return any(value for name, value in _numbers(stats).items() if name.endswith(".ext_proc.streams_failed"))
    except (AttributeError, KeyError, TypeError):
        return False  # told of by who reads the facts


def _version(text: str) -> str:
    """`1.40.0` out of `<commit>/1.40.0/Clean/RELEASE/BoringSSL`."""
    parts = text.split("/")
    return parts[1] if len(parts) > 1 else text


async def _ask(session: aiohttp.ClientSession, base: str, path: str, most_bytes: int) -> Any:
    async with session.get(f"{base}{path}", allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"{path.partition('?')[0]} answers {response.status}")
        data = bytearray()
        async for chunk in response.content.iter_chunked(1 << 20):
            data += chunk
            if len(data) > most_bytes:
                raise ValueError(f"{path.partition('?')[0]} answers more than {most_bytes >> 20} MiB")
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise ValueError(f"{path.partition('?')[0]} answers no JSON") from exc
    if not isinstance(found, dict):
        raise ValueError(f"{path.partition('?')[0]} answers no JSON object")
    return found
