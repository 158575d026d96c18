"""The one table of refusals: why a request is refused, and what the client sees of it."""

import enum

import msgspec


class Reason(enum.StrEnum):
    """Why a request is refused. Several reasons can share one error code."""

    BODY_NOT_OBJECT = enum.auto()
    BODY_NOT_DECODABLE = enum.auto()
    BODY_MISSING = enum.auto()
    MODEL_MISSING = enum.auto()
    MODEL_NOT_STRING = enum.auto()
    MODEL_EMPTY = enum.auto()
    BODY_TOO_LARGE = enum.auto()
    ENCODING_UNSUPPORTED = enum.auto()
    MODEL_UNKNOWN = enum.auto()
    MODEL_UNAVAILABLE = enum.auto()
    NOTHING_ANSWERED_YET = enum.auto()
    NO_READY_ENDPOINTS = enum.auto()
    DECISION_TIMED_OUT = enum.auto()
    TOO_MUCH_HELD = enum.auto()
    MODEL_SATURATED = enum.auto()
    POOL_SATURATED = enum.auto()
    MODE_UNSUPPORTED = enum.auto()
    MODEL_BEYOND_BUFFER = enum.auto()
    BODY_UNSEEN = enum.auto()
    STREAMED_UNSUPPORTED = enum.auto()
    HEADERS_UNSEEN = enum.auto()
    RENAME_ENCODED = enum.auto()
    RENAME_UNPLACED = enum.auto()
    RENAME_PARTIAL = enum.auto()
    RENAME_UNSEEN = enum.auto()


class Refusal(msgspec.Struct, frozen=True):
    """What the client sees for one reason."""

    status: int
    code: str
    """The error code: in the body, in the header `x-extproc-reason`, and as metric label."""
    text: str
    """The message, a `str.format` template over the details of a `Reject`. Never an address."""
    param: str | None = None
    retry_after_s: int | None = None

    @property
    def type(self) -> str:
        """OpenAI's error type for the status."""
        if self.status == 429:
            return "overloaded_error"
        return "invalid_request_error" if self.status < 500 else "server_error"


REFUSALS: dict[Reason, Refusal] = {
    Reason.BODY_NOT_OBJECT: Refusal(400, "invalid_request", "The request body is not a JSON object."),
    Reason.BODY_NOT_DECODABLE: Refusal(400, "invalid_request", "The request body cannot be read as {format}."),
    Reason.BODY_MISSING: Refusal(400, "invalid_request", "The request has trailers but no body."),
    Reason.MODEL_MISSING: Refusal(400, "invalid_request", "The request names no `model`.", "model"),
    Reason.MODEL_NOT_STRING: Refusal(400, "invalid_request", "`model` must be a string.", "model"),
    Reason.MODEL_EMPTY: Refusal(400, "invalid_request", "`model` must not be empty.", "model"),
    Reason.BODY_TOO_LARGE: Refusal(413, "request_too_large", "The request body is larger than {limit} bytes."),
    Reason.ENCODING_UNSUPPORTED: Refusal(
        415, "unsupported_encoding", "The content-encoding `{encoding}` cannot be read; send identity, gzip or deflate."
    ),
    Reason.MODEL_UNKNOWN: Refusal(
        404, "model_not_found", "The model `{model}` does not exist. Available models: {available}", "model"
    ),
    Reason.MODEL_UNAVAILABLE: Refusal(
        503, "model_unavailable", "The model `{model}` has no ready endpoint at the moment.", "model", retry_after_s=1
    ),
    Reason.NOTHING_ANSWERED_YET: Refusal(
        503, "model_unavailable", "It is not yet known which models are served.", "model", retry_after_s=1
    ),
    Reason.NO_READY_ENDPOINTS: Refusal(
        503, "no_ready_endpoints", "The pool has no ready endpoint at the moment.", retry_after_s=1
    ),
    Reason.DECISION_TIMED_OUT: Refusal(
        503, "decision_timeout", "The request could not be routed within {timeout}.", retry_after_s=1
    ),
    Reason.TOO_MUCH_HELD: Refusal(
        429, "overloaded", "Too many request bodies are being received at the moment.", retry_after_s=1
    ),
    Reason.MODEL_SATURATED: Refusal(
        429,
        "overloaded",
        "Every endpoint of the model `{model}` is saturated, and requests of this priority are shed.",
        "model",
        retry_after_s=1,
    ),
    Reason.POOL_SATURATED: Refusal(
        429,
        "overloaded",
        "Every endpoint of the pool is saturated, and requests of this priority are shed.",
        retry_after_s=1,
    ),
    Reason.MODE_UNSUPPORTED: Refusal(
        500,
        "unsupported_mode",
        "The gateway's ext_proc filter has processing_mode.request_body_mode {mode}, in which the model cannot be "
        "read; set it to FULL_DUPLEX_STREAMED.",
    ),
    Reason.MODEL_BEYOND_BUFFER: Refusal(
        500,
        "unsupported_mode",
        "The gateway's ext_proc filter has processing_mode.request_body_mode BUFFERED_PARTIAL, which shows only the "
        "beginning of this body, and that names no model. Set it to FULL_DUPLEX_STREAMED (or BUFFERED), or raise the "
        "listener's per_connection_buffer_limit_bytes.",
    ),
    Reason.BODY_UNSEEN: Refusal(
        500,
        "unsupported_mode",
        "The gateway's ext_proc filter has processing_mode.request_body_mode NONE, which does not show the body. "
        "Set it to FULL_DUPLEX_STREAMED, or name the model in the header X-Gateway-Model-Name.",
    ),
    Reason.STREAMED_UNSUPPORTED: Refusal(
        500,
        "unsupported_mode",
        "The gateway's ext_proc filter has processing_mode.request_body_mode STREAMED, which works only with "
        "send_body_without_waiting_for_header_response: true, or with allow_mode_override: true in the filter and "
        "envoy.allowModeOverride: true in the picker's config. Set one of these, or set the mode to "
        "FULL_DUPLEX_STREAMED.",
    ),
    Reason.HEADERS_UNSEEN: Refusal(
        500,
        "unsupported_mode",
        "The gateway's ext_proc filter does not show the request's headers; set processing_mode.request_header_mode "
        "to SEND.",
    ),
    Reason.RENAME_ENCODED: Refusal(
        415,
        "unsupported_encoding",
        "The model `{model}` stands for another, whose name cannot be written into a body of content-encoding "
        "`{encoding}`; send identity.",
        "model",
    ),
    Reason.RENAME_UNPLACED: Refusal(
        400,
        "invalid_request",
        "The model `{model}` stands for another, whose name cannot be written into this body: `model` must stand there "
        "once.",
        "model",
    ),
    Reason.RENAME_PARTIAL: Refusal(
        500,
        "unsupported_mode",
        "The model `{model}` stands for another, whose name cannot be written into this body: the gateway's ext_proc "
        "filter shows only its beginning. Set processing_mode.request_body_mode to FULL_DUPLEX_STREAMED (or BUFFERED), "
        "or raise the listener's per_connection_buffer_limit_bytes.",
        "model",
    ),
    Reason.RENAME_UNSEEN: Refusal(
        500,
        "unsupported_mode",
        "The model `{model}` stands for another, whose name cannot be written into the body: the gateway's ext_proc "
        "filter has processing_mode.request_body_mode NONE. Set it to FULL_DUPLEX_STREAMED.",
        "model",
    ),
}


class Reject(msgspec.Struct, frozen=True, tag=True):
    """The request is refused for `reason`; `details` fills the reason's text."""

    reason: Reason
    details: dict[str, str] = {}

    @property
    def refusal(self) -> Refusal:
        """The row of the table."""
        return REFUSALS[self.reason]

    @property
    def message(self) -> str:
        """The text for the client, details filled in. What it named may hold half a character: that becomes `?`."""
        return self.refusal.text.format_map(self.details).encode("utf-8", "replace").decode()

    def body(self) -> bytes:
        """The JSON body for the client, in OpenAI's shape."""
        row = self.refusal
        error = {"message": self.message, "type": row.type, "param": row.param, "code": row.code}
        return msgspec.json.encode({"error": error})
