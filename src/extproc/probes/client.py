"""One question to one endpoint: `GET` of its models, or of its metrics."""

import asyncio
import errno
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple, TypeVar

import aiohttp
import msgspec
from yarl import URL

from extproc.errors import ConfigError, ExtprocError, Problem
from extproc.registry.changes import Failure
from extproc.settings.problems import read_text
from extproc.settings.schema import ProbeSettings
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard

CONNECT_TIMEOUT_S = 0.3
"""Short, so that three failures to connect fit into the second that makes an endpoint suspect."""
KNOCK_AFTER_S = 0.5
METRICS_KEY_AGE_S = 1.0
"""Hundreds of pages a second need no hundreds of readings of the file with the key."""
LARGEST_ANSWER_BYTES = 4 << 20
MOST_MODELS = 10_000
LONGEST_NAME = 512
KEEP_URLS_S = 600.0
"""So often all are made anew, and those of endpoints that are gone are let go with the others: each takes 1.3 KB."""
_FIELDS = {"User-Agent": "extproc", "Accept": "*/*", "Accept-Encoding": "identity"}
"""Of every question. Not compressed: that would cost the engine more than it saves."""

T = TypeVar("T")


class ProbeError(ExtprocError):
    """An endpoint did not answer with what was asked for. `status` is its answer's, 0 unless that is the cause."""

    def __init__(self, failure: Failure, detail: str, *, status: int = 0) -> None:
        super().__init__(failure, detail)
        self.failure = failure
        self.detail = detail
        self.status = status

    def __str__(self) -> str:
        return f"{self.failure.value}: {self.detail}" if self.detail else self.failure.value


class _Card(msgspec.Struct):
    """What an engine says of a model. Only the id must be right: a list is not lost to a field nobody needs, and what
    stands there is not built before its type is known.
    """

    id: str
    created: msgspec.Raw = msgspec.Raw(b"0")
    owned_by: msgspec.Raw = msgspec.Raw(b'""')
    root: msgspec.Raw = msgspec.Raw(b"null")
    parent: msgspec.Raw = msgspec.Raw(b"null")
    max_model_len: msgspec.Raw = msgspec.Raw(b"null")


class _Listing(msgspec.Struct):
    data: list[_Card]


_decode = msgspec.json.Decoder(_Listing).decode
_decode_int = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]).decode
_decode_str = msgspec.json.Decoder(Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]).decode


def parse_models(content: bytes) -> tuple[ModelCard, ...]:
    """The models of an answer. Errors: ProbeError for what is no list of models, or one beyond all reason."""
    try:
        cards = _decode(content).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProbeError(Failure.INVALID, str(exc)) from exc
    if len(cards) > MOST_MODELS or any(len(card.id) > LONGEST_NAME for card in cards):
        raise ProbeError(Failure.INVALID, f"more than {MOST_MODELS} models, or a name of over {LONGEST_NAME} letters")
    return tuple(
        ModelCard(
            id=card.id,
            created=_value(_decode_int, card.created) or 0,
            owned_by=_value(_decode_str, card.owned_by) or "",
            root=_value(_decode_str, card.root),
            parent=_value(_decode_str, card.parent),
            max_model_len=_value(_decode_int, card.max_model_len),
        )
        for card in cards
        if card.id
    )


def _value(decode: Callable[[bytes], T], raw: msgspec.Raw) -> T | None:
    """The value, None where it is of another type."""
    try:
        return decode(bytes(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Manner(NamedTuple):
    """How endpoints are asked."""

    settings: ProbeSettings
    ssl_context: ssl.SSLContext | None
    """For https; None where all is plain HTTP."""


def prepare(settings: ProbeSettings) -> Manner:
    """Reads the files that the settings name. Errors: ConfigError with everything that would keep every probe from
    working: files that cannot be read, or that hold nothing of use.
    """
    problems: list[Problem] = []
    ssl_context = None
    try:
        ssl_context = build_ssl_context(settings)
    except ConfigError as exc:
        problems.extend(exc.problems)
    if settings.bearer_token_file is not None:
        try:
            read_text(settings.bearer_token_file)
        except ConfigError as exc:
            problems.append(Problem("probes.bearerTokenFile", " ".join(str(each) for each in exc.problems)))
    if problems:
        raise ConfigError("probes", problems)
    return Manner(settings, ssl_context)


def build_ssl_context(settings: ProbeSettings) -> ssl.SSLContext | None:
    """The TLS settings for the engines, None where all is plain HTTP.

    Errors: ConfigError for a CA file that cannot be used.
    """
    if "https" not in (settings.scheme, settings.metrics.scheme):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as exc:  # TLS's own errors are among the former, a path that is none among the latter
        raise ConfigError("probes", [Problem("probes.caFile", f"{settings.ca_file}: {exc}")]) from exc
    if settings.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """Asks endpoints for their models and for their metrics. Use as an async context manager.

    Connections are kept, as one for each question would cost more than the question.
    """

    def __init__(self, settings: ProbeSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._manner = Manner(settings, build_ssl_context(settings))
        self._clock = clock
        self._urls: dict[tuple[str, str, str], URL] = {}
        """Of what was asked lately, by scheme, address and path."""
        self._urls_made_at_s = float("-inf")
        self._session: aiohttp.ClientSession | None = None
        self._key = ""
        self._key_read_at_s = float("-inf")

    def configure(self, manner: Manner) -> None:
        """Asks in another manner from now on. What is being asked goes on as it began."""
        self._manner = manner
        self._key_read_at_s = float("-inf")

    async def __aenter__(self) -> "Client":
        connector = aiohttp.TCPConnector(limit=0)
        # Engines set no cookies, and to look for some takes longer than to write the question.
        cookies = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=cookies, headers=_FIELDS, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def list_models(self, endpoint: Endpoint, *, timeout_s: float) -> tuple[ModelCard, ...]:
        """The models that `endpoint` lists now. Errors: ProbeError, saying how it failed.

        On a kept connection a dead host is as silent as a slow engine, so whoever is silent for a while is knocked at.
        """
        settings = self._manner.settings
        url = self._url(settings.scheme, endpoint.address, settings.models.path)
        asking = asyncio.create_task(self._get(url, timeout_s=timeout_s))
        try:
            answered, _ = await asyncio.wait((asking,), timeout=KNOCK_AFTER_S)
            if not answered and timeout_s > KNOCK_AFTER_S:
                await _knock(endpoint)
            return parse_models(await asking)
        finally:
            asking.cancel()

    async def read_metrics(self, endpoint: Endpoint, *, timeout_s: float) -> bytes:
        """The metrics page of `endpoint`. Errors: ProbeError, saying how it failed."""
        settings = self._manner.settings
        metrics = settings.metrics
        address = endpoint.address
        if metrics.port:
            address = f"{address.rpartition(':')[0]}:{metrics.port}"
        url = self._url(metrics.scheme or settings.scheme, address, metrics.path)
        return await self._get(url, timeout_s=timeout_s, key_age_s=METRICS_KEY_AGE_S)

    def _url(self, scheme: str, address: str, path: str) -> URL:
        """Kept with all that aiohttp reads off it: to parse and check it each time took 6 % of a resting picker's CPU.

        Errors: ProbeError where it is none.
        """
        now = self._clock()
        if now >= self._urls_made_at_s + KEEP_URLS_S:
            self._urls.clear()
            self._urls_made_at_s = now
        url = self._urls.get((scheme, address, path))
        if url is None:
            try:
                url = self._urls[scheme, address, path] = URL(f"{scheme}://{address}{path}")
            except ValueError as exc:
                raise ProbeError(Failure.DROPPED, str(exc)) from exc
        return url

    async def _get(self, url: URL, *, timeout_s: float, key_age_s: float = 0.0) -> bytes:
        """The body of a 200, at most `LARGEST_ANSWER_BYTES`. Errors: ProbeError."""
        assert self._session is not None, "used outside of its context"  # noqa: S101
        # aiohttp's time to connect takes in the TLS handshake, and a slow handshake is no connect failure.
        connect_s = None if url.scheme == "https" else min(CONNECT_TIMEOUT_S, timeout_s)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_s)
        manner = self._manner
        # Connections of one manner are kept apart from those of another.
        context = manner.ssl_context if manner.ssl_context is not None else True
        get = partial(self._session.get, url, timeout=timeout, ssl=context, allow_redirects=False)
        try:
            async with get(headers=await self._authorization(manner, key_age_s=key_age_s)) as response:
                if response.status in (401, 403):
                    raise ProbeError(Failure.UNAUTHORIZED, f"status {response.status}", status=response.status)
                if response.status != 200:
                    raise ProbeError(Failure.STATUS, f"status {response.status}", status=response.status)
                return await _read(response)
        except aiohttp.ConnectionTimeoutError as exc:
            raise ProbeError(Failure.CONNECT, "no connection in time") from exc
        except aiohttp.ClientConnectorCertificateError as exc:
            raise ProbeError(Failure.INVALID, str(exc)) from exc
        except aiohttp.ClientConnectorError as exc:
            is_refused = exc.os_error.errno == errno.ECONNREFUSED
            raise ProbeError(Failure.REFUSED if is_refused else Failure.CONNECT, exc.os_error.strerror or "") from exc
        except TimeoutError as exc:
            raise ProbeError(Failure.TIMEOUT, f"no answer within {timeout_s:g} s") from exc
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as exc:
            # Their texts quote the answer, which is not for logs.
            raise ProbeError(Failure.DROPPED, "its answer is no HTTP, or broken off") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ProbeError(Failure.DROPPED, str(exc) or type(exc).__name__) from exc

    async def _authorization(self, manner: Manner, *, key_age_s: float) -> dict[str, str]:
        """The header with the engines' key, if they want one. Read anew unless it was within the last `key_age_s`."""
        file = manner.settings.bearer_token_file
        if file is None:
            return {}
        now = self._clock()
        if self._key_read_at_s > now - key_age_s:
            return {"Authorization": f"Bearer {self._key}"}
        try:
            key = (await asyncio.to_thread(read_text, file)).strip()
        except ConfigError as exc:
            raise ProbeError(Failure.UNAUTHORIZED, " ".join(str(each) for each in exc.problems)) from exc
        if not (key.isascii() and key.isprintable()):
            raise ProbeError(Failure.UNAUTHORIZED, f"{file}: is no key, which is one line of ASCII")
        if manner is self._manner:  # else it may be the key of before
            self._key, self._key_read_at_s = key, now
        return {"Authorization": f"Bearer {key}"}


async def _knock(endpoint: Endpoint) -> None:
    """Errors: ProbeError where no new connection to the endpoint comes about."""
    host, _, port = endpoint.address.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError as exc:
        raise ProbeError(Failure.CONNECT, "silent, and no new connection in time") from exc
    except ConnectionRefusedError as exc:
        raise ProbeError(Failure.REFUSED, "silent, and a new connection was refused") from exc
    except OSError as exc:
        raise ProbeError(Failure.CONNECT, exc.strerror or str(exc)) from exc
    writer.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_ANSWER_BYTES:
            raise ProbeError(Failure.INVALID, f"an answer of more than {LARGEST_ANSWER_BYTES} bytes")
    return b"".join(pieces)
