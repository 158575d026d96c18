"""What streams are served by: everything of the settings that bears on one of them, whole."""

import msgspec

from extproc.director.decide import Director
from extproc.protocol.codec import HEADERS_READ
from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Policy
from extproc.servers.deadlines import Deadlines
from extproc.settings.schema import Settings
from extproc.values.snapshot import Snapshot


class Terms:
    """A stream is served from its start to its end by the terms that were in force when it began, so that none sees
    half of a change of the settings. They are few: streams that are open at a change keep the former ones alive.
    """

    def __init__(
        self,
        *,
        director: Director,
        policy: Policy,
        decision_timeout_s: float,
        message_timeout_s: float,
        session_header: str | None = None,
        reads_usage: bool = False,
    ) -> None:
        """`decision_timeout_s`: from a stream's start to its answer; `message_timeout_s`: the data plane's patience
        with one message. `session_header`: the name, in lower case, of the request header that tells sessions apart.
        With `reads_usage`, streamed answers that pass by are read for their tokens.
        """
        self.director = director
        self.policy = policy
        self.deadlines = Deadlines(decision_timeout_s)
        # Of the data plane's patience half may be spent on waiting; the rest is for the way and the work.
        self.longest_wait_s = message_timeout_s / 2
        self.session_header = session_header
        self.headers_read = HEADERS_READ | {session_header} if session_header else HEADERS_READ
        self.reads_usage = reads_usage
        self._last: Snapshot | None = None

    def __repr__(self) -> str:
        return f"<Terms {self.policy}{' of before' if self._last is not None else ''}>"

    def retire(self, snapshot: Snapshot) -> None:
        """Others come into force. `snapshot` is the last with the names that the settings stated until now."""
        self._last = snapshot

    def view(self, snapshot: Snapshot) -> Snapshot:
        """What is known, as those who are served by these terms see it: names and objectives are settings too."""
        if (last := self._last) is None:
            return snapshot
        return msgspec.structs.replace(snapshot, aliases=last.aliases, objectives=last.objectives)


def terms_of(settings: Settings, director: Director) -> Terms:
    """The terms that the settings state."""
    envoy = settings.envoy
    policy = Policy(
        max_body_bytes=settings.requests.max_body_bytes,
        request_body=BodyMode[envoy.request_body_mode],
        response_body=BodyMode[envoy.response_body_mode],
        response_phase=envoy.response_phase,
        body_answer=envoy.request_body_answer,
        allows_mode_override=envoy.allow_mode_override,
    )
    return Terms(
        director=director,
        policy=policy,
        decision_timeout_s=envoy.decision_timeout_s,
        message_timeout_s=envoy.message_timeout_s,
        session_header=settings.scheduling.session_header,
        reads_usage=envoy.read_usage,
    )
