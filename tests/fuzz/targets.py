"""What is fuzzed: each target takes any bytes and raises where a promise of the code is broken.

`run` is the one way in, for hypothesis (`test_fuzz`) and for atheris (`make fuzz`) alike.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse
from tests.fuzz.bodies import ANY, PIECES, compress, read_extent, read_head, read_text
from tests.fuzz.messages import read_step
from tests.fuzz.tape import Tape

from extproc.admission.held import HeldBytes
from extproc.parsers.encoding import decode_content
from extproc.parsers.json_body import model_of_json
from extproc.parsers.json_prefix import model_of_json_prefix
from extproc.parsers.model_span import find_model_span
from extproc.parsers.prompt_text import MOST_BYTES
from extproc.parsers.request import parse_request
from extproc.parsers.usage import MOST_EVENT_BYTES, UsageReader
from extproc.protocol.codec import decode, encode
from extproc.protocol.commands import (
    Abort,
    Answer,
    Chunk,
    Command,
    Decide,
    Finish,
    Immediate,
    RenewPiece,
    Replace,
    RouteBody,
    Send,
)
from extproc.protocol.events import (
    BodyMode,
    DeadlineExpired,
    EndOfInput,
    Event,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    Unknown,
)
from extproc.protocol.plan import Policy
from extproc.protocol.stream import ANSWERED, State, Stream
from extproc.values.decision import Edit, Reply, Route
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, InferenceRequest, RequestHead, RouteToModel

MOST_CPU_S = 2.0
"""Any input takes milliseconds. This is far above what a slow machine makes of that, and below what is quadratic."""
MOST_DEPTH = 200
"""Nested deeper, `json` and we may differ in when the interpreter's stack is full."""


def run(data: bytes) -> None:
    """One input to the target that its first byte names. Raises AssertionError, or what escaped."""
    tape = Tape(data)
    target = tape.choice(tuple(TARGETS.values()))
    began_at_s = time.process_time()
    target(tape)
    took_s = time.process_time() - began_at_s
    assert took_s < MOST_CPU_S, f"{took_s:.1f} s of CPU time"


@contextmanager
def noted(what: str, *values: object) -> Iterator[None]:
    """Says with whatever escapes what it escaped from: an input's bytes tell nobody."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{what}: {', '.join(repr(value)[:2000] for value in values)}")
        raise


def check_codec(tape: Tape) -> None:
    """Bytes of the wire, as they are and as changed messages: an event, never an exception."""
    step = read_step(tape)
    while tape and not isinstance(step, bytes):
        step = read_step(tape)
    if isinstance(step, bytes):
        for message in (step, tape.mutated(step)):
            with noted("message", message):
                assert isinstance(decode(message), Event)


def check_answer(answer: Answer) -> None:
    """The answer on the wire is one that a codec which shares nothing with ours can read."""
    with noted("answer", answer):
        response = ProcessingResponse.parse(encode(answer))
        assert getattr(response, answer.kind) is not None
    if isinstance(answer, Immediate):
        assert response.immediate_response is not None
        body = response.immediate_response.body
        if isinstance(answer.outcome, Reject):
            assert json.loads(body)["error"]["code"] == answer.outcome.refusal.code
        else:
            assert body == answer.outcome.body


class Witness:
    """Sees a stream's commands go by and holds it to its promises: those of tests/streams, and the body's bytes."""

    def __init__(self, stream: Stream, budget: HeldBytes, most_bytes: int) -> None:
        self.states = {stream.state}
        self.steps: list[object] = []
        self._stream = stream
        self._budget = budget
        self._most_bytes = most_bytes
        self._came = bytearray()
        self._decisions = 0
        self._endings = 0
        self._immediates = 0

    def play(self, step: Event | Route | Reject | Reply) -> Command | None:
        """Gives the step to the stream and returns its command. Raises AssertionError where a promise is broken."""
        self.steps.append(step)
        with noted("steps", self.steps):
            return self._play(step)

    def _play(self, step: Event | Route | Reject | Reply) -> Command | None:
        stream, before = self._stream, self._stream.state
        if isinstance(step, RequestBody) and before is State.BODY:
            self._came += step.chunk
        command = stream.decided(step) if isinstance(step, Route | Reject | Reply) else stream.receive(step)
        self.states.add(stream.state)
        self._decisions += isinstance(command, Decide)
        self._endings += isinstance(command, Finish | Abort)
        assert self._decisions <= 1, "one decision at most"
        assert self._endings <= 1, "ended once"
        assert isinstance(command, Decide) == (stream.state is State.DECIDING and before is not State.DECIDING)
        assert isinstance(command, Finish | Abort) == (stream.state is State.DONE and before is not State.DONE)
        assert not isinstance(step, Unknown) or (command is None and stream.state is before)
        if before in ANSWERED:
            assert stream.state in ANSWERED, "an answered stream owes no second answer"
        if before is State.WATCHING:
            assert command is None or command == Finish(), "nothing may be said, least of all an error"
        if isinstance(command, Decide):
            assert command.body == bytes(self._came), "the decision is about all that came"
        if isinstance(command, Send | Finish):
            self._check_answers(command.answers, step)
            is_owed_nothing = isinstance(step, EndOfInput) or stream.state is State.WATCHING
            assert command.answers or is_owed_nothing, "only an end of input, or who only shows, is owed nothing"
        held = self._budget.held_bytes
        assert 0 <= held <= min(self._most_bytes, self._budget.limit_bytes)
        assert sum(map(len, stream._pieces)) + len(stream._body) <= held
        assert len(stream._pieces) <= 2 + held // 2048, "pieces below SMALL_BYTES are put together"
        return command

    def _check_answers(self, answers: tuple[Answer, ...], step: Event | Route | Reject | Reply) -> None:
        self._immediates += sum(isinstance(answer, Immediate) for answer in answers)
        assert self._immediates <= 1
        for answer in answers:
            check_answer(answer)
        sent = b"".join(bytes(answer.piece) for answer in answers if isinstance(answer, Chunk))
        if isinstance(step, ResponseBody):
            assert sent in (b"", step.chunk)
        elif isinstance(step, Route):
            replaced = b"".join(answer.body or b"" for answer in answers if isinstance(answer, Replace | RouteBody))
            renewed = b"".join(answer.piece for answer in answers if isinstance(answer, RenewPiece))
            is_all = any(isinstance(answer, Chunk | Replace | RenewPiece) for answer in answers)
            if is_all or (step.edit is not None and any(isinstance(answer, RouteBody) for answer in answers)):
                assert sent + replaced + renewed == self._expected(step.edit), "what is sent on is what came, edited"
            else:
                assert sent + replaced + renewed == b""
        else:
            assert sent == b""

    def _expected(self, edit: Edit | None) -> bytes:
        came = bytes(self._came)
        return came if edit is None else came[: edit.start] + edit.replacement + came[edit.end :]


def check_stream(tape: Tape) -> set[State]:
    """One stream, by whatever comes, until the tape ends: answered once, bounded, everything given back.

    Returns the states that it was in.
    """
    policy = Policy(
        tape.choice([10, 100, 100_000]),
        BodyMode(tape.number() % 6),
        BodyMode(tape.number() % 6),
        tape.choice(["auto", "detach", "track", "observe"]),
        tape.choice(["auto", "whole", "chunks"]),
        tape.flag(),
    )
    budget = HeldBytes(tape.choice([200_000, 20, 1_000, 0]))
    stream = Stream(policy=policy, budget=budget, is_direct=not tape.flag())
    witness = Witness(stream, budget, policy.max_body_bytes)
    usage = UsageReader()
    while tape:
        step, aside = read_step(tape), tape.number()
        if isinstance(step, Route | Reject | Reply) and stream.state is not State.DECIDING:
            continue
        event = decode(step) if isinstance(step, bytes) else step
        if isinstance(event, ResponseBody):
            usage.take(event.chunk)
        command = witness.play(event)
        if isinstance(command, Decide):
            refused = check_request(command.head, command.body, command.extent, policy.max_body_bytes)
            if refused is not None and aside % 2:
                witness.play(refused)
        elif aside % 8 == 1 and stream.state in ANSWERED:
            stream.drop_body()
    late, end, again = DeadlineExpired("10s"), EndOfInput(), RequestHeaders(RequestHead("", "", {}), False)
    if stream.state not in ANSWERED:
        assert isinstance(witness.play(late), Finish)
    elif stream.state is not State.DONE:
        assert witness.play(late) is None
        assert witness.play(end) == Finish()
    assert witness.play(again) is None
    stream.close()
    stream.close()
    assert budget.held_bytes == 0
    return witness.states


def check_request(head: RequestHead, body: bytes, extent: BodyExtent, most_bytes: int) -> Reject | None:
    """Parses the request and returns its refusal. Raises AssertionError where that is none that can be shown."""
    with noted("request", head, body, extent, most_bytes):
        parsed = parse_request(head, body, extent=extent, max_body_bytes=most_bytes, now=1.0)
        if isinstance(parsed, InferenceRequest):
            assert parsed.subset == head.subset
            assert not isinstance(parsed.intent, RouteToModel) or parsed.intent.model
            if parsed.prompt is not None:
                assert len(parsed.prompt.text) <= min(parsed.prompt.size_bytes, MOST_BYTES)
            if parsed.is_editable:
                check_span(body, head.headers.get("content-type", ""), parsed.model)
            return None
        assert isinstance(parsed, Reject)
        assert json.loads(parsed.body())["error"]["message"]
        return parsed


def check_span(body: bytes, content_type: str, model: str | None) -> None:
    """What stands where the model's name is said to stand is that name."""
    span = find_model_span(body, content_type)
    if span is not None:
        value = body[span.start : span.end]
        assert (json.loads(value) if span.is_json else value.decode()) == model


def check_parsers(tape: Tape) -> None:
    """Any head, body and extent: a request or a refusal; and JSON is read as engines read it."""
    head, extent = read_head(tape), read_extent(tape)
    most_bytes = tape.choice([1 << 20, 1 << 16, 100, 0])
    is_form = "boundary" in head.headers["content-type"]
    content = read_text(tape, PIECES["form" if is_form != (tape.number() >= ANY) else "json"])
    body = compress(tape, content, head.headers["content-encoding"])
    refused = check_request(head, body, extent, most_bytes)
    if refused is not None:
        check_answer(Immediate(refused))
    if head.headers["content-encoding"] not in ("", "identity"):
        decoded = decode_content(
            body, head.headers["content-encoding"], max_bytes=most_bytes, is_whole=extent is BodyExtent.WHOLE
        )
        assert isinstance(decoded, Reject) or len(decoded) <= most_bytes
    cut_at = (tape.number() << 8 | tape.number()) % (len(content) + 1)
    with noted("JSON", content, cut_at):
        check_json(content, cut_at=cut_at)


def check_json(content: bytes, *, cut_at: int) -> None:
    """The model of a document is the one that Python's `json` finds, and its beginning names none but its own."""
    if content.count(b"{") + content.count(b"[") > MOST_DEPTH:
        model_of_json(content)
        model_of_json_prefix(content[:cut_at])
        return
    found, of_prefix = model_of_json(content), model_of_json_prefix(content)
    models: list[Any] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        models[:] = [value for key, value in pairs if key == "model"]  # the outermost object is built last
        return dict(pairs)

    try:
        document = json.loads(content, object_pairs_hook=note)
    except ValueError:
        return
    if not isinstance(document, dict):
        assert found == of_prefix == Reject(Reason.BODY_NOT_OBJECT)
        return
    expected = _expected(models[-1]) if models else Reject(Reason.MODEL_MISSING)
    assert found == expected, (found, expected)
    assert of_prefix == expected, (of_prefix, expected)
    if b"\0" not in content and cut_at > 2:  # UTF-16 and UTF-32 are read whole only, and so is half a byte order mark
        beginning = model_of_json_prefix(content[:cut_at])
        possible = [Reject(Reason.MODEL_BEYOND_BUFFER), expected, *map(_expected, models)]
        assert beginning in possible, (beginning, possible)


def _expected(model: Any) -> str | Reject:
    return model if isinstance(model, str) else Reject(Reason.MODEL_NOT_STRING)


def check_usage(tape: Tape) -> None:
    """A response cut anywhere is read as it is in one piece; little is kept; no count is negative."""
    cuts = [tape.number() for _ in range(tape.number() % 8)]
    text = read_text(tape, PIECES["stream"])
    whole, cut = UsageReader(), UsageReader()
    with noted("response", text, cuts):
        whole.take(text)
        at = 0
        for size in cuts:
            cut.take(text[at : at + size])
            at += size
        cut.take(text[at:])
        for reader in (whole, cut):
            assert len(reader._line) <= MOST_EVENT_BYTES + 1
            assert sum(map(len, reader._data)) <= MOST_EVENT_BYTES
        assert (cut.usage, cut.has_token) == (whole.usage, whole.has_token)
        if (usage := whole.usage) is not None:
            assert min(usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens) >= 0


TARGETS: dict[str, Callable[[Tape], object]] = {
    "stream": check_stream,
    "parsers": check_parsers,
    "usage": check_usage,
    "codec": check_codec,
}
