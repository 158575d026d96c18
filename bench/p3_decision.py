"""P3: time to parse, hash and decide with all scorers on, against `msgspec.json.decode` of 1 KB.

The real parser and decider, on a snapshot made by the real registry: one model on 10, 1,000 and 10,000 endpoints that
all have been read, prompts of 4 and 64 KB of which half is known. The lines below are the decision alone, the default
scorers, and the other pure parts of a request, to show where the rest of its time goes.
"""

import time
from collections.abc import AsyncIterator, Callable
from itertools import cycle
from random import Random
from statistics import median

import msgspec
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode
from envoy_data_plane.envoy.service.ext_proc.v3 import HttpBody, HttpHeaders, ProcessingRequest, ProtocolConfiguration

from bench.results import BenchError, Ratio, Result
from extproc.admission.held import HeldBytes
from extproc.director.decider import Decider
from extproc.parsers.request import parse_request
from extproc.protocol.codec import decode, encode
from extproc.protocol.commands import Decide, Replace
from extproc.protocol.events import RequestBody, RequestHeaders
from extproc.protocol.plan import Policy
from extproc.protocol.stream import Stream
from extproc.registry.index import rebuild
from extproc.scheduling.catalogue import SCORERS
from extproc.settings.schema import Settings
from extproc.values.decision import Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.load import Adapters, EngineLoad
from extproc.values.model import ModelCard
from extproc.values.pool import Pool
from extproc.values.request import InferenceRequest, RequestHead
from extproc.values.snapshot import EndpointState, Snapshot

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
GOALS_US = {10: 40.0, 1_000: 70.0, 10_000: 200.0}
"""By endpoints, with a prompt of 4 KB."""
PROMPT_BYTES = 4096
LONG_PROMPT_BYTES = 64 << 10
PROMPTS = 64
"""Different ones, in turn."""
REFERENCE_BYTES = 1024
MAX_BODY_BYTES = 64 << 20
ROUNDS = 15
CALLS = 500
KNOWING = 8
FRESH_S = 600.0


def json_body(prompt_bytes: int, number: int = 0) -> bytes:
    """A chat completion whose prompt has `prompt_bytes` bytes; the second half tells one number from others."""
    words = "The quick brown fox jumps over the lazy dog. " * (prompt_bytes // 90 + 1)
    other = f"{number} bottles of beer on the wall. " * (prompt_bytes // 50 + 1)
    words = words[: prompt_bytes // 2] + other[: prompt_bytes - prompt_bytes // 2]
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


class _Requests:
    """Requests with prompts of one size to a pool of one size, as functions without arguments."""

    def __init__(self, endpoints: int, prompt_bytes: int, *, settings: Settings) -> None:
        self._rng = Random(3)
        self._numbers = cycle(range(PROMPTS))
        self._head = RequestHead("POST", "/v1/chat/completions", {"content-type": "application/json"})
        self._bodies = [json_body(prompt_bytes, number) for number in range(PROMPTS)]
        self._decider = Decider(settings)
        self._snapshot = _snapshot(endpoints)
        now = time.monotonic()
        for id_ in self._snapshot.endpoints:
            self._decider.report(id_, _reading(now, self._rng), now=now)
        self._requests = [self._parse(body, now) for body in self._bodies]
        # Half of each prompt is known where a few of them went: none of these is asked for again.
        for number in range(PROMPTS, PROMPTS + KNOWING):
            request = self._parse(json_body(prompt_bytes, number), now)
            self._decider.record(self._decide(request, now), now=now)

    def parse_and_decide(self) -> None:
        now = time.monotonic()
        self._decide(self._parse(self._bodies[next(self._numbers)], now), now)

    def decide(self) -> None:
        self._decide(self._requests[next(self._numbers)], time.monotonic())

    def _parse(self, body: bytes, now: float) -> InferenceRequest:
        request = parse_request(self._head, body, max_body_bytes=MAX_BODY_BYTES, now=now)
        assert isinstance(request, InferenceRequest)
        return request

    def _decide(self, request: InferenceRequest, now: float) -> Route:
        route = self._decider.director.decide(request, self._snapshot, now=now, rng=self._rng)
        assert isinstance(route, Route)
        return route


def _snapshot(endpoints: int) -> Snapshot:
    now = time.monotonic()
    states = [
        EndpointState(
            Endpoint(f"pod-{n:05}", f"pod-{n:05}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:8000"),
            is_confirmed=True,
            cards=(ModelCard(MODEL),),
        )
        for n in range(endpoints)
    ]
    return rebuild(Snapshot(Pool("bench"), is_synced=True), {state.endpoint.id: state for state in states}, now=now)


def _reading(now: float, rng: Random) -> EngineLoad:
    """Of an engine with something to do. It stays fresh for as long as the benchmark takes."""
    return EngineLoad(
        asked_at_s=now + FRESH_S,
        waiting=rng.randrange(3),
        running=rng.randrange(40),
        kv_used_ratio=rng.random() * 0.8,
        adapters=Adapters(most=4),
        block_tokens=16,
        blocks=8192,
    )


class _Parts:
    """Each other part of a request as a function without arguments, on inputs made before."""

    def __init__(self) -> None:
        self._body = json_body(PROMPT_BYTES)
        self._headers_message = headers_message()
        self._body_message = bytes(ProcessingRequest(request_body=HttpBody(body=self._body, end_of_stream=True)))
        headers, body = decode(self._headers_message), decode(self._body_message)
        assert isinstance(headers, RequestHeaders)
        assert isinstance(body, RequestBody)
        self._headers_event, self._body_event = headers, body
        self._budget = HeldBytes(MAX_BODY_BYTES)
        self._policy = Policy(MAX_BODY_BYTES)
        self._route = Route((Endpoint("pod-0", "pod-0", "10.0.0.0:8000"),), Scores())

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


def _all_scorers() -> Settings:
    scorers = [{"name": name} for name in SCORERS]
    return Settings.model_validate({"scheduling": {"scorers": scorers, "sessionHeader": "x-session-id"}})


async def run() -> AsyncIterator[Result]:
    """The goals' lines, then one for each other part."""
    for endpoints, goal_us in GOALS_US.items():
        requests = _Requests(endpoints, PROMPT_BYTES, settings=_all_scorers())
        yield _measure(f"P3 parse, hash, decide, {endpoints:,} endpoints", requests.parse_and_decide, goal_us)
        yield _measure("   of that: hash and decide", requests.decide)
        long = _Requests(endpoints, LONG_PROMPT_BYTES, settings=_all_scorers())
        yield _measure("   a prompt of 64 KB", long.parse_and_decide)
        yield _measure("   of that: hash and decide", long.decide)
        usual = _Requests(endpoints, PROMPT_BYTES, settings=Settings())
        yield _measure("   4 KB, the default scorers", usual.parse_and_decide)
    parts = _Parts()
    yield _measure("   parse 4 KB", parts.parse)
    yield _measure("   decode the headers message", parts.decode_headers)
    yield _measure("   decode the body message", parts.decode_body)
    yield _measure("   stream machine, all its steps", parts.run_stream)
    yield _measure("   encode the answer", parts.encode)


def _measure(name: str, part: Callable[[], object], goal_us: float | None = None) -> Result:
    document = json_body(REFERENCE_BYTES)
    document = json_body(2 * REFERENCE_BYTES - len(document))
    decode_document = msgspec.json.Decoder().decode
    ours, reference = _interleave(part, lambda: decode_document(document))
    return Result(
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
