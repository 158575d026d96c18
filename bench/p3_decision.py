"""P3: time to parse and decide, one model on ten endpoints, 4 KB prompt, against `msgspec.json.decode` of 1 KB.

The real parser and director on a snapshot made by the real registry. Nothing is hashed: no scorer needs it yet. The
lines below it are the other pure parts of a request, to show where the rest of its time goes.
"""

import time
from collections.abc import AsyncIterator, Callable
from random import Random
from statistics import median

import msgspec
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode
from envoy_data_plane.envoy.service.ext_proc.v3 import HttpBody, HttpHeaders, ProcessingRequest, ProtocolConfiguration

from bench.results import BenchError, Ratio, Result
from extproc.admission.held import HeldBytes
from extproc.admission.recent import RecentRoutes
from extproc.director.decide import Director, DirectorPolicy
from extproc.parsers.request import parse_request
from extproc.protocol.codec import decode, encode
from extproc.protocol.commands import Decide, Replace
from extproc.protocol.events import RequestBody, RequestHeaders
from extproc.protocol.plan import Policy
from extproc.protocol.stream import Stream
from extproc.registry.changes import ModelsListed, PoolListed
from extproc.registry.store import Store
from extproc.scheduling.catalogue import SCORERS, build_profile
from extproc.values.decision import Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.pool import Pool

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
ENDPOINTS = 10
PROMPT_BYTES = 4096
REFERENCE_BYTES = 1024
MAX_BODY_BYTES = 64 << 20
ROUNDS = 15
CALLS = 2_000
GOAL_US = 40.0


def json_body(prompt_bytes: int) -> bytes:
    """A chat completion whose prompt has `prompt_bytes` bytes."""
    words = ("The quick brown fox jumps over the lazy dog. " * (prompt_bytes // 45 + 1))[:prompt_bytes]
    messages = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": words}]
    return msgspec.json.encode({"model": MODEL, "messages": messages, "max_tokens": 64, "stream": True})


def headers_message() -> bytes:
    """What Envoy sends for a POST by an OpenAI client: 16 headers and the body modes, not written by our own codec."""
    pairs = {
        ":authority": "gateway.example.com",
        ":path": "/v1/chat/completions",
        ":method": "POST",
        ":scheme": "http",
        "accept-encoding": "gzip, deflate",
        "accept": "application/json",
        "content-type": "application/json",
        "user-agent": "OpenAI/Python 1.109.1",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "1.109.1",
        "x-stainless-os": "Linux",
        "x-stainless-arch": "x64",
        "authorization": "Bearer sk-0123456789abcdef0123456789abcdef",
        "content-length": "4242",
        "x-forwarded-proto": "http",
        "x-request-id": "bcc43a25-6d32-43b6-b29d-b32d2e1fa8a1",
    }
    headers = HeaderMap(headers=[HeaderValue(key=key, raw_value=value.encode()) for key, value in pairs.items()])
    mode = ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED
    return bytes(
        ProcessingRequest(
            request_headers=HttpHeaders(headers=headers), protocol_config=ProtocolConfiguration(request_body_mode=mode)
        )
    )


class _Parts:
    """Each part of a request as a function without arguments, on inputs made before."""

    def __init__(self) -> None:
        self._rng = Random(3)
        self._body = json_body(PROMPT_BYTES)
        self._headers_message = headers_message()
        self._body_message = bytes(ProcessingRequest(request_body=HttpBody(body=self._body, end_of_stream=True)))
        headers, body = decode(self._headers_message), decode(self._body_message)
        assert isinstance(headers, RequestHeaders)
        assert isinstance(body, RequestBody)
        self._headers_event, self._body_event = headers, body
        self._budget = HeldBytes(MAX_BODY_BYTES)
        self._policy = Policy(MAX_BODY_BYTES)
        self._recent = RecentRoutes()
        profile = build_profile(dict.fromkeys(SCORERS, 1.0), "max-score", recent=self._recent)
        self._director = Director(profile=profile, policy=DirectorPolicy())
        self._store = Store(Pool("bench"))
        endpoints = tuple(Endpoint(f"pod-{n}", f"pod-{n}", f"10.0.0.{n}:8000") for n in range(ENDPOINTS))
        now = time.monotonic()
        self._store.apply(PoolListed.of(endpoints), now=now)
        for endpoint in endpoints:
            self._store.apply(ModelsListed(endpoint.id, now, (ModelCard(MODEL),)), now=now)
        self._route = Route(endpoints[:1], Scores())

    def parse_and_decide(self) -> None:
        now = time.monotonic()
        request = parse_request(self._headers_event.head, self._body, max_body_bytes=MAX_BODY_BYTES, now=now)
        route = self._director.decide(request, self._store.snapshot, now=now, rng=self._rng)  # type: ignore[arg-type]
        self._recent.add(route.endpoints[0].id, now=now)  # type: ignore[union-attr]

    def parse(self) -> None:
        parse_request(self._headers_event.head, self._body, max_body_bytes=MAX_BODY_BYTES, now=0.0)

    def decode_headers(self) -> None:
        decode(self._headers_message)

    def decode_body(self) -> None:
        decode(self._body_message)

    def run_stream(self) -> None:
        stream = Stream(policy=self._policy, budget=self._budget, is_direct=True)
        stream.receive(self._headers_event)
        if not isinstance(stream.receive(self._body_event), Decide):
            raise BenchError("the stream asked for no decision")
        stream.decided(self._route)
        stream.close()

    def encode(self) -> None:
        encode(Replace(self._route.destination, self._body))


async def run() -> AsyncIterator[Result]:
    """The goal's line, then one for each other part."""
    parts = _Parts()
    document = json_body(REFERENCE_BYTES)
    document = json_body(2 * REFERENCE_BYTES - len(document))
    decode_document = msgspec.json.Decoder().decode
    for name, part, goal_us in (
        (f"P3 parse and decide, {ENDPOINTS} endpoints", parts.parse_and_decide, GOAL_US),
        ("   of that: parse", parts.parse, None),
        ("   decode the headers message", parts.decode_headers, None),
        ("   decode the body message", parts.decode_body, None),
        ("   stream machine, all its steps", parts.run_stream, None),
        ("   encode the answer", parts.encode, None),
    ):
        ours, reference = _interleave(part, lambda: decode_document(document))
        yield Result(
            name=name,
            figure=f"{median(ours):.2f} µs",
            reference=f"{median(reference):.2f} µs",
            ratio=str(Ratio.of(ours, reference)),
            goal=f"≤ {goal_us:g} µs" if goal_us else "",
            is_ok=median(ours) <= goal_us if goal_us else None,
        )


def _interleave(part: Callable[[], object], reference: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Microseconds per call of both, round by round."""
    pairs = [(_time_us(part), _time_us(reference)) for _ in range(ROUNDS)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def _time_us(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        function()
    return (time.perf_counter() - began) / CALLS * 1e6
