"""servers/admin/messages: every value becomes a message, whatever it holds."""

import math

import pytest

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.servers.admin.messages import LONGEST_TEXT, to_message
from extproc.values import admin

FULL = admin.Endpoint(
    "uid:8000", "phi-0", "10.0.0.1:8000", "node-1", "decode", "vllm", True, True, True, ("phi", "sql"), 1.5, "refused",
    admin.Load(0.5, 1.0, 2.0, 0.25, ("sql",)), "status 404", 3,
)  # fmt: skip
BARE = admin.Endpoint("uid:8000", "phi-0", "10.0.0.1:8000")
ZERO = admin.Endpoint("", "", "", probe_age_s=0.0, load=admin.Load(0.0, waiting=0.0), in_flight=0)


def test_every_field_that_is_set_is_sent() -> None:
    message = to_message(FULL, admin_pb2.Endpoint)
    assert {field.name for field, _ in message.ListFields()} == {field.name for field in message.DESCRIPTOR.fields}
    assert (message.id, message.node, message.is_suspect, message.in_flight) == ("uid:8000", "node-1", True, 3)
    assert (list(message.models), message.load_problem, message.probe_age_s) == (["phi", "sql"], "status 404", 1.5)
    assert (message.load.waiting, message.load.kv_used_ratio, list(message.load.adapters)) == (1.0, 0.25, ["sql"])


OPTIONAL = ("probe_age_s", "load", "in_flight")


@pytest.mark.parametrize(
    ("value", "set_fields"),
    [pytest.param(BARE, [], id="None is not set"), pytest.param(ZERO, list(OPTIONAL), id="0 is set")],
)
def test_not_known_is_not_0(value: admin.Endpoint, set_fields: list[str]) -> None:
    message = to_message(value, admin_pb2.Endpoint)
    assert [name for name in OPTIONAL if message.HasField(name)] == set_fields
    if value is ZERO:
        assert (message.load.HasField("waiting"), message.load.HasField("running")) == (True, False)


def test_mappings_and_bytes() -> None:
    answer = to_message(admin.Answer(404, {"content-type": "application/json"}, b"\xff\x00"), admin_pb2.Answer)
    assert (answer.status, dict(answer.headers), answer.body) == (
        404,
        {"content-type": "application/json"},
        b"\xff\x00",
    )
    snapshot = admin.Snapshot("p", "1", 0.0, 0, 0.0, True, True, objectives={"batch": -5})
    assert dict(to_message(snapshot, admin_pb2.Snapshot).objectives) == {"batch": -5}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_sent_as_such(value: float) -> None:
    sent = to_message(admin.Load(0.0, kv_used_ratio=value), admin_pb2.Load).kv_used_ratio
    assert sent == value or (math.isnan(sent) and math.isnan(value))


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        pytest.param("phi", "phi", id="plain"),
        pytest.param("φ", "φ", id="not ASCII"),
        pytest.param("a\ud800b", "a?b", id="half a character"),
        pytest.param("x" * LONGEST_TEXT, "x" * LONGEST_TEXT, id="as long as may be"),
        pytest.param("x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT - 1) + "…", id="longer"),
    ],
)
def test_texts(text: str, sent: str) -> None:
    """In a field, in a list, in a mapping and in a message within."""
    endpoint = to_message(admin.Endpoint(text, "", "", models=(text,)), admin_pb2.Endpoint)
    assert (endpoint.id, list(endpoint.models)) == (sent, [sent])
    answer = to_message(admin.Answer(200, {text: text}, b""), admin_pb2.Answer)
    assert dict(answer.headers) == {sent: sent}
    alias = to_message(admin.Alias("", (admin.Target(text, 1),)), admin_pb2.Alias)
    assert alias.targets[0].model == sent
    assert alias.SerializeToString()


def test_the_longest_text_can_be_told() -> None:
    text = "x" * (LONGEST_TEXT + 1)
    assert to_message(admin.Config(text), admin_pb2.Config, longest_text=LONGEST_TEXT + 1).yaml == text
