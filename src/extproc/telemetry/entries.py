"""What the journal keeps of a decision, and what it tells of it to who looks."""

from heapq import nlargest

import msgspec

from extproc.telemetry.changes import LONGEST_NAME
from extproc.telemetry.decided import Decided
from extproc.values.admin import DecisionEvent, Ranked
from extproc.values.decision import Route, Scores
from extproc.values.endpoint import Endpoint
from extproc.values.refusal import REFUSALS, Reason, Reject

MOST_BEST = 5
MOST_KEPT = 32
"""Of a decision among more candidates only the best are kept: a data plane can name thousands as its subset."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a decision: what costs nothing to keep now, and nothing that holds a body or a long name."""

    began_at_s: float
    seconds: float
    snapshot_version: int
    request_id: str
    path: str
    named: str
    model: str
    endpoints: tuple[Endpoint, ...] = ()
    """Of a routed request: the one that gets it, then those that are its fallbacks."""
    scores: Scores | None = None
    reason: Reason | None = None
    """Of a refusal."""
    status: int = 0
    """Of a reply."""

    @property
    def made_at_s(self) -> float:
        """Monotonic seconds of the decision."""
        return self.began_at_s + self.seconds


def shorten(decided: Decided) -> Entry:
    """What is kept of a decision. It is made at every request: in half a microsecond."""
    head, outcome = decided.head, decided.outcome
    named, model = decided.named or "", decided.model or ""
    endpoints: tuple[Endpoint, ...] = ()
    scores, reason, status = None, None, 0
    if isinstance(outcome, Route):
        endpoints, scores = outcome.endpoints, outcome.scores
        if len(scores.totals) > MOST_KEPT:
            scores = _only_best(scores)
    elif isinstance(outcome, Reject):
        reason = outcome.reason
    else:
        status = outcome.status
    return Entry(
        decided.began_at_s,
        decided.seconds,
        decided.snapshot_version,
        head.headers.get("x-request-id", "")[:LONGEST_NAME],
        head.path[:LONGEST_NAME],
        named[:LONGEST_NAME],
        model[:LONGEST_NAME],
        endpoints,
        scores,
        reason,
        status,
    )


def tell(entry: Entry, *, at_unix_s: float, left_out: int = 0) -> DecisionEvent:
    """A decision in full. `at_unix_s`: when it was made; `left_out`: how many before it are not told."""
    outcome, status = ("routed", 0) if entry.endpoints else ("replied", entry.status)
    if entry.reason is not None:
        refusal = REFUSALS[entry.reason]
        outcome, status = refusal.code, refusal.status
    return DecisionEvent(
        at_unix_s=at_unix_s,
        request_id=replace_halves(entry.request_id),
        path=replace_halves(entry.path.partition("?")[0]),
        named_model=replace_halves(entry.named),
        model=replace_halves(entry.model),
        outcome=outcome,
        reason=entry.reason.value if entry.reason is not None else "",
        status=status,
        endpoint=entry.endpoints[0].name if entry.endpoints else "",
        destination=",".join([endpoint.address for endpoint in entry.endpoints]),
        seconds=entry.seconds,
        snapshot_version=entry.snapshot_version,
        best=rank(entry.scores) if entry.scores is not None else (),
        left_out=left_out,
    )


def _only_best(scores: Scores) -> Scores:
    best = nlargest(MOST_BEST, range(len(scores.totals)), key=scores.totals.__getitem__)
    candidates, totals = scores.candidates, scores.totals
    return Scores(tuple([candidates[index] for index in best]), {}, tuple([totals[index] for index in best]))


def rank(scores: Scores) -> tuple[Ranked, ...]:
    best = nlargest(MOST_BEST, zip(scores.totals, scores.candidates, strict=True), key=lambda pair: pair[0])
    return tuple([Ranked(endpoint.name, total) for total, endpoint in best])


def replace_halves(text: str) -> str:
    """`text` as it can be sent: what a client names may hold half a character, which becomes `?`."""
    return text.encode("utf-8", "replace").decode()
