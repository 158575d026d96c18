"""Asking the API server, over the client library's authenticated HTTP client: whole answers, and lines of a watch."""

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import aiohttp
from aiohttp.connector import AddrInfoType
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

from extproc.errors import ApiAnswerError, ApiConnectionError, ApiStatusError, ConfigError
from extproc.sources.kubernetes.access import Access, header_of
from extproc.sources.kubernetes.objects import read_status

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
"""For a page of a list. The API server's own limit."""
LONGEST_LINE_BYTES = 64 << 20
"""etcd keeps objects of 1.5 MiB by default; what is this long is no event."""
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 15, 5, 3
"""A peer that vanished without a word is noticed by the kernel after half a minute."""


class ApiClient:
    """One connection pool to the API server. What reaching it takes is read at first use, and again after a 401, a 403
    to nobody, or a failed TLS handshake: tokens and certificates are rotated.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._rest: RESTClientObject | None = None

    def __repr__(self) -> str:
        return f"<ApiClient by {self._access.origin}>"

    async def close(self) -> None:
        """Ends all connections."""
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest.close()

    async def get(self, path: str, params: Mapping[str, str]) -> bytes:
        """The body of a good answer. Errors: ApiError."""
        limits = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        async with self._ask(path, params, limits) as response:
            return await response.read()

    @asynccontextmanager
    async def watch(
        self, path: str, params: Mapping[str, str], *, silence_s: float
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """The lines of a watch as they come, in lists of those that came together; the iteration ends when the server
        ends the watch in peace.

        Errors: ApiError; TimeoutError where the server answered and then was silent for `silence_s`.
        """
        limits = aiohttp.ClientTimeout(
            total=None, connect=2 * CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s
        )
        async with self._ask(path, {**params, "watch": "true"}, limits) as response:
            yield _read_lines(response)

    @asynccontextmanager
    async def _ask(
        self, path: str, params: Mapping[str, str], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        is_answered = False
        try:
            rest = await self._connect()
            configuration = rest.configuration
            headers = {"Accept": "application/json", **header_of(await configuration.auth_settings())}
            url = f"{configuration.host}{path}?{urlencode(params)}"
            answer = await rest.request("GET", url, headers=headers, _request_timeout=limits)
            async with answer.response as response:
                if response.status != 200:
                    await self._refuse(
                        response, is_anonymous=not ("authorization" in headers or configuration.cert_file)
                    )
                is_answered = True
                yield response
        except aiohttp.ConnectionTimeoutError as exc:
            raise ApiConnectionError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from exc
        except aiohttp.SocketTimeoutError as exc:
            if is_answered:
                raise TimeoutError from exc
            raise ApiConnectionError("no answer") from exc
        except (aiohttp.ClientSSLError, ssl.SSLError) as exc:
            await self.close()
            raise ApiConnectionError(f"TLS: {exc}") from exc
        except TimeoutError as exc:
            raise ApiConnectionError(f"no whole answer within {ANSWER_TIMEOUT_S:g} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ApiConnectionError(str(exc) or type(exc).__name__) from exc
        except ConfigError as exc:
            await self.close()
            raise ApiConnectionError("; ".join(str(problem) for problem in exc.problems)) from exc
        except ConfigException as exc:  # of a token that is read again, and is not there
            await self.close()
            raise ApiConnectionError(str(exc)) from exc

    async def _connect(self) -> RESTClientObject:
        if self._rest is None:
            self._rest = _RestClient(await self._access.load())
        return self._rest

    async def _refuse(self, response: aiohttp.ClientResponse, *, is_anonymous: bool) -> None:
        status = read_status(await response.read())
        # Anonymous: the library goes on without a token where the program that gives it has failed.
        if response.status == 401 or (response.status == 403 and is_anonymous):
            await self.close()
        retry_after = response.headers.get("Retry-After", "")
        raise ApiStatusError(
            response.status,
            status.message or response.reason or "",
            retry_after_s=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None,
        )


async def _read_lines(response: aiohttp.ClientResponse) -> AsyncIterator[list[bytes]]:
    """The lines of a body, in lists of those that came together. Errors: ApiError for one that is cut, or endless."""
    rest = bytearray()
    while chunk := await response.content.readany():
        rest += chunk
        if b"\n" in chunk:
            *lines, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            yield [line for line in lines if line.strip()]
        elif len(rest) > LONGEST_LINE_BYTES:
            raise ApiAnswerError(f"a line of more than {LONGEST_LINE_BYTES} bytes")
    if rest.strip():
        raise ApiConnectionError("the watch ended amid a line")


class _RestClient(RESTClientObject):
    """The library's client, on sockets that notice a peer that is gone."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0, ssl=self.ssl_context, socket_factory=_open_socket)


def _open_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol = address[:3]
    opened = socket.socket(family, kind, protocol)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": KEEPALIVE_IDLE_S, "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_S, "TCP_KEEPCNT": KEEPALIVE_PROBES}
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has them all
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened
