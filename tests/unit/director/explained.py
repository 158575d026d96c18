"""What the tests of explanations ask, of which pools, and how they read the answer."""

import gzip
import json
from random import Random

from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.director.test_decider import (
    NOW,
    TEXT,
    decider,
    fleet,
    letters,
    snapshots,
)
from tests.unit.known import answered, endpoint, failed, known_after, listed, round_of, said

from extproc.director.decider import Decider
from extproc.director.edits import rename
from extproc.director.explain import Explainer
from extproc.parsers.request import parse_request
from extproc.registry.changes import Change, Failure, Listing, PoolChanged
from extproc.registry.reduce import SUSPECT_FAILURES
from extproc.values.admin import Candidate, Explanation
from extproc.values.decision import Hold, Reply, Route
from extproc.values.names import Alias, Target
from extproc.values.refusal import Reject
from extproc.values.request import BodyExtent, RequestHead
from extproc.values.snapshot import Snapshot

FRESH = round_of(NOW)
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
ALIASES = (
    Alias("chat", (Target("m", 1),)),
    Alias("any", (Target("m", 3), Target("n", 1), Target("nobody's", 1))),
)


def chat(model: object = "m", prompt: str = "Hello") -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()


def explain(
    snapshot: Snapshot,
    body: bytes = chat(),
    *,
    by: Decider | None = None,
    method: str = "POST",
    path: str = CHAT,
    headers: dict[str, str] | None = None,
    subset: tuple[str, ...] | None = None,
    seed: int = 0,
) -> Explanation:
    head = RequestHead(method, path, JSON | (headers or {}), subset)
    return Explainer(by or decider()).explain(head, body, snapshot, now=NOW, rng=Random(seed))


def obstacle(row: Candidate) -> str:
    """The condition that is not met, empty where all are."""
    return next((verdict.filter for verdict in row.verdicts if not verdict.allows), "")


def obstacles(told: Explanation) -> dict[str, str]:
    return {row.name: obstacle(row) for row in told.candidates}


prompts = st.integers(0, len(TEXT)).map(lambda end: TEXT[:end].decode("latin-1"))
names = st.sampled_from(["m", "n", "lora", "nobody's", "chat", "any", "half \ud83d"])
bodies = st.one_of(
    *[st.builds(chat, names, prompts)] * 4,
    st.sampled_from([b"", b"[]", b"{", b"{}", chat(""), chat(3), gzip.compress(chat())]),
    st.just(b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n--x--\r\n'),
)
heads = st.builds(
    RequestHead,
    st.sampled_from(["POST", "POST", "POST", "GET", "DELETE"]),
    st.sampled_from([CHAT, CHAT, "/v1/models", "/v1/models/m", "/v1/models/any?x", "/v1/models/gone"]),
    st.fixed_dictionaries(
        {"content-type": st.sampled_from(["application/json", "application/json", "multipart/form-data; boundary=x"])},
        optional={
            "content-encoding": st.sampled_from(["identity", "identity", "gzip", "br"]),
            "x-session-id": st.sampled_from(["s", "t"]),
            "x-gateway-model-name": names,
            "x-gateway-model-name-rewrite": names,
            "x-gateway-inference-objective": st.sampled_from(["batch", "batch", "unheard-of"]),
        },
    ),
    subset=st.none() | st.lists(letters, unique=True).map(lambda ids: tuple(endpoint(each).address for each in ids)),
)


@st.composite
def pools(draw: st.DrawFn) -> Snapshot:
    """Small ones in every state, and some of which not all can be compared."""
    snapshot = draw(st.one_of(snapshots(), snapshots(), st.sampled_from([fleet(*range(size)) for size in (17, 40)])))
    if draw(st.booleans()):
        snapshot = replace(snapshot, probed_since_s=NOW, is_synced=True)
    return replace(snapshot, aliases={alias.name: alias for alias in ALIASES}, objectives={"batch": -1})


def settled(by: Decider, head: RequestHead, body: bytes, snapshot: Snapshot, seed: int) -> Route | Reply | Reject:
    """What becomes of a real request that is decided on now, or else when nothing new was learned while it was held."""
    rng, limit = Random(seed), by.settings.requests.max_body_bytes
    request = parse_request(head, body, max_body_bytes=limit, now=NOW, session_header="x-session-id")
    if isinstance(request, Reject):
        return request
    decision = by.director.decide(request, snapshot, now=NOW, rng=rng)
    if isinstance(decision, Hold):
        decision = by.director.decide(replace(request, may_wait_s=0.0), snapshot, now=NOW, rng=rng)
    assert not isinstance(decision, Hold)
    if isinstance(decision, Route):
        return rename(decision, request, head=head, body=body, extent=BodyExtent.WHOLE)
    return decision


def known(*changes: Change) -> Snapshot:
    return known_after(*changes, FRESH)


def suspected(letter: str, *models: str) -> list[Change]:
    return [said(letter), answered(letter, *models), *[failed(letter, Failure.CONNECT)] * SUSPECT_FAILURES]


def with_role(letter: str, role: str) -> PoolChanged:
    return PoolChanged((Listing(replace(endpoint(letter), role=role), True, "1"),), ())


TWO: list[Change] = [listed("ab"), answered("a", "m"), answered("b", "n")]
ALL: list[Change] = [listed("abc"), *[answered(each, "m") for each in "abc"]]
BOTH: list[Change] = [listed("ab"), answered("a", "m"), answered("b", "m")]
