"""What the filter's modes and the settings make of one stream: how its body comes, how it is answered, who stays.

`plan_for` is the table of docs/envoy.md, "Modes", as a function; `protocol.stream` carries out what it says.
"""

import enum
from functools import lru_cache
from typing import Literal

import msgspec

from extproc.protocol.events import BodyMode, Modes, RequestHeaders

ResponsePhase = Literal["auto", "detach", "track", "observe"]
BodyAnswer = Literal["auto", "whole", "chunks"]


class Policy(msgspec.Struct, frozen=True, cache_hash=True):
    """The settings that bear on how streams are answered."""

    max_body_bytes: int
    request_body: BodyMode = BodyMode.FULL_DUPLEX_STREAMED
    """The filter's mode where the data plane does not tell it."""
    response_body: BodyMode = BodyMode.NONE
    response_phase: ResponsePhase = "auto"
    body_answer: BodyAnswer = "auto"
    allows_mode_override: bool = False
    """The filter takes a `mode_override`: nothing tells, so somebody has to say so."""


class Timer(enum.Enum):
    """Since when Envoy's `message_timeout` runs against the answer that decides."""

    NONE = enum.auto()
    """It does not: in full duplex Envoy waits for ever."""
    SINCE_HEADERS = enum.auto()
    SINCE_BODY = enum.auto()


class Body(enum.Enum):
    """How the request's body comes here, and with that how it is answered."""

    ABSENT = enum.auto()
    """The request has none."""
    UNSEEN = enum.auto()
    """It has one that is not shown (NONE)."""
    STREAMED = enum.auto()
    """In pieces that are held until it is whole, the headers unanswered till then."""
    BUFFERED = enum.auto()
    """In one piece, after an answer to the headers."""
    PARTIAL = enum.auto()
    """As BUFFERED, but perhaps only its beginning."""
    UNSUPPORTED = enum.auto()
    """In a way in which no request can be routed by its body."""


_FULL_DUPLEX, _NO_TIMER = BodyMode.FULL_DUPLEX_STREAMED, Timer.NONE
"""Looked up once: each stream asks for them, and Python 3.11 takes 1,000 instructions for a member of an enum."""


class Plan(msgspec.Struct, frozen=True, cache_hash=True):
    """How a stream is carried out."""

    body: Body
    request_body: BodyMode
    """The mode in force."""
    response_body: BodyMode
    tells_modes: bool = True
    """The data plane told its modes; else they are those of the settings."""
    overrides: bool = False
    """The mode in force is one that the filter must first be told."""
    is_whole: bool = False
    """Where the body is STREAMED: the answer is one message with the whole body."""
    stays: bool = False
    """The stream stays open for the response. Else it ends with the answer."""

    @property
    def timer(self) -> Timer:
        """Since when the data plane's patience is being spent."""
        if self.request_body is _FULL_DUPLEX:
            return _NO_TIMER
        return Timer.SINCE_BODY if self.body in (Body.BUFFERED, Body.PARTIAL) else Timer.SINCE_HEADERS

    @property
    def may_end_early(self) -> bool:
        """Ending a staying stream with OK cuts no response: Envoy goes on by itself with what it holds.

        In full duplex it holds nothing: what it sent here is gone. Source: docs/decisions/002.
        """
        return self.response_body is not _FULL_DUPLEX


def plan_for(event: RequestHeaders, *, policy: Policy, is_direct: bool) -> Plan:
    """The plan for a request by its headers message. `is_direct`: the caller is Envoy, with no proxy between."""
    return _plan(event.modes, event.end_of_stream, policy, is_direct)


@lru_cache(maxsize=256)
def _plan(told: Modes | None, is_whole_request: bool, policy: Policy, is_direct: bool) -> Plan:
    """Kept, as the filters of a gateway have few modes between them."""
    modes, tells_modes = told or _assumed(policy), told is not None
    mode, response_body = modes.request_body, modes.response_body
    match mode:
        case _ if is_whole_request:
            body = Body.ABSENT
        case BodyMode.FULL_DUPLEX_STREAMED:
            body = Body.STREAMED
        case BodyMode.STREAMED if modes.sends_body_early:
            body = Body.STREAMED
        case BodyMode.NONE | BodyMode.STREAMED | BodyMode.BUFFERED_PARTIAL if _may_override(policy, response_body):
            plan = _overriding(policy, response_body=response_body, is_direct=is_direct)
            return msgspec.structs.replace(plan, tells_modes=tells_modes)
        case BodyMode.BUFFERED:
            body = Body.BUFFERED
        case BodyMode.BUFFERED_PARTIAL:
            body = Body.PARTIAL
        case BodyMode.NONE:
            body = Body.UNSEEN
        case _:
            body = Body.UNSUPPORTED
    is_whole = body is Body.STREAMED and _answers_whole(policy, is_direct)
    stays = wants_to_stay(policy, is_direct=is_direct)
    if body is Body.STREAMED and not is_whole and response_body is BodyMode.FULL_DUPLEX_STREAMED:
        # Leaving after several messages cuts responses, whatever is wished for.
        stays = True
    return Plan(body, mode, response_body, tells_modes, is_whole=is_whole, stays=stays)


def _assumed(policy: Policy) -> Modes:
    """The modes of a data plane that does not tell them. What comes of a response all the same, beside a request in
    full duplex, is taken to be in full duplex too: any other answer would lose it.
    """
    if policy.request_body is BodyMode.FULL_DUPLEX_STREAMED and policy.response_body is BodyMode.NONE:
        return Modes(policy.request_body, BodyMode.FULL_DUPLEX_STREAMED)
    return Modes(policy.request_body, policy.response_body)


def _may_override(policy: Policy, response_body: BodyMode) -> bool:
    """Envoy takes no override where either body is in full duplex."""
    return policy.allows_mode_override and response_body is not BodyMode.FULL_DUPLEX_STREAMED


def _overriding(policy: Policy, *, response_body: BodyMode, is_direct: bool) -> Plan:
    """BUFFERED for the request. The response comes here only if somebody is to see it, its body only if asked for."""
    stays = wants_to_stay(policy, is_direct=is_direct)
    if policy.response_phase != "observe":
        response_body = BodyMode.NONE
    return Plan(Body.BUFFERED, BodyMode.BUFFERED, response_body, overrides=True, stays=stays)


def wants_to_stay(policy: Policy, *, is_direct: bool) -> bool:
    """Whether the streams of such a caller stay open for the response, whatever their modes."""
    return not is_direct if policy.response_phase == "auto" else policy.response_phase != "detach"


def _answers_whole(policy: Policy, is_direct: bool) -> bool:
    return is_direct if policy.body_answer == "auto" else policy.body_answer == "whole"
