"""What an ext_proc stream wants done next, and the answers that it can give."""

import msgspec

from extproc.values.decision import Reply
from extproc.values.refusal import Reject
from extproc.values.request import RequestHead


class Continue(msgspec.Struct, frozen=True):
    """Send the request, which has no body, to `destination`."""

    destination: str


class Replace(msgspec.Struct, frozen=True):
    """Send the request to `destination` with this, its own, body; nothing more will be said (CONTINUE_AND_REPLACE)."""

    destination: str
    body: bytes


class Immediate(msgspec.Struct, frozen=True):
    """Answer the client in place of an endpoint."""

    outcome: Reject | Reply


Answer = Continue | Replace | Immediate


class Decide(msgspec.Struct, frozen=True):
    """The request is whole: decide on it, then tell the stream (`Stream.decided`)."""

    head: RequestHead
    body: bytes


class Finish(msgspec.Struct, frozen=True):
    """Send the answer and end the stream with OK, both in one batch."""

    answer: Answer


class Abort(msgspec.Struct, frozen=True):
    """End the stream with an error. OK without an answer would send an empty body upstream."""

    details: str
    """For Envoy's log. Never text of the client's."""
    is_callers_end: bool = False
    """The caller ended its side first, or cancelled the call, which can look the same: nobody waits for an answer."""


Command = Decide | Finish | Abort
