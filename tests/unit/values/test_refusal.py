"""values/refusal: the one table of refusals."""

import json
import string

import pytest

from extproc.values.refusal import REFUSALS, Reason, Reject

DETAILS = {
    "format": "gzip",
    "limit": "100",
    "encoding": "br",
    "model": "phi",
    "available": "gemma",
    "timeout": "10s",
    "mode": "NONE",
}
TYPES = {429: "overloaded_error", 500: "server_error", 503: "server_error"}


@pytest.mark.parametrize(
    ("reason", "status", "code", "param", "retry_after_s"),
    [
        (Reason.BODY_NOT_OBJECT, 400, "invalid_request", None, None),
        (Reason.BODY_NOT_DECODABLE, 400, "invalid_request", None, None),
        (Reason.MODEL_MISSING, 400, "invalid_request", "model", None),
        (Reason.MODEL_NOT_STRING, 400, "invalid_request", "model", None),
        (Reason.MODEL_EMPTY, 400, "invalid_request", "model", None),
        (Reason.BODY_TOO_LARGE, 413, "request_too_large", None, None),
        (Reason.ENCODING_UNSUPPORTED, 415, "unsupported_encoding", None, None),
        (Reason.MODEL_UNKNOWN, 404, "model_not_found", "model", None),
        (Reason.MODEL_UNAVAILABLE, 503, "model_unavailable", "model", 1),
        (Reason.NOTHING_ANSWERED_YET, 503, "model_unavailable", "model", 1),
        (Reason.NO_READY_ENDPOINTS, 503, "no_ready_endpoints", None, 1),
        (Reason.DECISION_TIMED_OUT, 503, "decision_timeout", None, 1),
        (Reason.TOO_MUCH_HELD, 429, "overloaded", None, 1),
        (Reason.MODE_UNSUPPORTED, 500, "unsupported_mode", None, None),
        (Reason.MODEL_BEYOND_BUFFER, 500, "unsupported_mode", None, None),
        (Reason.BODY_UNSEEN, 500, "unsupported_mode", None, None),
        (Reason.STREAMED_UNSUPPORTED, 500, "unsupported_mode", None, None),
        (Reason.HEADERS_UNSEEN, 500, "unsupported_mode", None, None),
        (Reason.RENAME_ENCODED, 415, "unsupported_encoding", "model", None),
        (Reason.RENAME_UNPLACED, 400, "invalid_request", "model", None),
        (Reason.RENAME_PARTIAL, 500, "unsupported_mode", "model", None),
        (Reason.RENAME_UNSEEN, 500, "unsupported_mode", "model", None),
    ],
)
def test_each_reason_is_told_as_the_contract_says(
    reason: Reason, status: int, code: str, param: str | None, retry_after_s: int | None
) -> None:
    reject = Reject(reason, DETAILS)
    row = reject.refusal
    assert (row.status, row.code, row.param, row.retry_after_s) == (status, code, param, retry_after_s)
    assert json.loads(reject.body()) == {
        "error": {
            "message": reject.message,
            "type": TYPES.get(status, "invalid_request_error"),
            "param": param,
            "code": code,
        }
    }


def test_every_reason_has_a_row() -> None:
    assert set(REFUSALS) == set(Reason)


def test_details_are_named_in_the_table_and_filled_in() -> None:
    for reason, row in REFUSALS.items():
        named = {field for _, field, _, _ in string.Formatter().parse(row.text) if field is not None}
        assert named <= DETAILS.keys(), reason
        message = Reject(reason, {name: f"<{name}>" for name in named}).message
        assert all(f"<{name}>" in message for name in named), reason


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        (Reason.MODE_UNSUPPORTED, ["FULL_DUPLEX_STREAMED"]),
        (Reason.MODEL_BEYOND_BUFFER, ["FULL_DUPLEX_STREAMED", "BUFFERED)", "per_connection_buffer_limit_bytes"]),
        (Reason.BODY_UNSEEN, ["FULL_DUPLEX_STREAMED", "X-Gateway-Model-Name"]),
        (Reason.RENAME_PARTIAL, ["FULL_DUPLEX_STREAMED", "BUFFERED)", "per_connection_buffer_limit_bytes"]),
        (Reason.RENAME_UNSEEN, ["FULL_DUPLEX_STREAMED"]),
        (
            Reason.STREAMED_UNSUPPORTED,
            [
                "FULL_DUPLEX_STREAMED",
                "send_body_without_waiting_for_header_response: true",
                "allow_mode_override: true",
                "envoy.allowModeOverride: true",
            ],
        ),
    ],
)
def test_a_mode_is_refused_with_the_settings_that_help(reason: Reason, settings: list[str]) -> None:
    message = Reject(reason, DETAILS).message
    assert "processing_mode.request_body_mode" in message
    assert [setting for setting in settings if setting not in message] == []


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("{available} {0} {", id="braces are no template"),
        pytest.param('"quotes" and \\', id="JSON's own characters"),
        pytest.param("phi\n\x00", id="control characters"),
        pytest.param("πhi 🜁", id="beyond ASCII"),
    ],
)
def test_a_clients_text_arrives_as_it_came(model: str) -> None:
    body = Reject(Reason.MODEL_UNAVAILABLE, {"model": model}).body()
    assert json.loads(body)["error"]["message"] == f"The model `{model}` has no ready endpoint at the moment."


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("phi\ud83d", id="half an emoji, as JSON can escape it"),
        pytest.param("phi\udcff", id="a header's byte that is no UTF-8"),
    ],
)
def test_a_clients_text_that_is_no_unicode_is_refused_like_any_other(model: str) -> None:
    body = Reject(Reason.MODEL_UNAVAILABLE, {"model": model}).body()
    assert json.loads(body)["error"]["code"] == "model_unavailable"
