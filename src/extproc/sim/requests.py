"""Reading a completion request: decompress, parse JSON or a form, find model, prompt and limits."""

import io
import json
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import python_multipart
from python_multipart.exceptions import FormParserError

from extproc.sim.replies import Answer, Dialect

MAX_BODY_BYTES = 64 * 1024 * 1024
_WINDOWS = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}  # deflate comes with zlib's header, or raw


@dataclass
class BadRequestError(Exception):
    """A request that vLLM refuses before it looks for the model."""

    message: str
    status: int = 400

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a request asks for. None as `model`: the engine's first, as in vLLM; as `max_tokens`: its default."""

    dialect: Dialect
    fields: Mapping[str, Any]
    model: str | None
    prompt: str
    max_tokens: int | None
    streams: bool
    includes_usage: bool

    def answer(self, *, model: str, prompt_tokens: int, cached_tokens: int, tokens: int, finish_reason: str) -> Answer:
        return Answer(
            id=f"{self.dialect.id_prefix}{secrets.token_hex(16)}",
            model=model,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            tokens=tokens,
            finish_reason=finish_reason,
            fields=self.fields,
        )


def read_generation(dialect: Dialect, body: bytes, *, content_type: str, content_encoding: str) -> Generation:
    """Raises `BadRequestError` on what cannot be read. Fields it does not need are not looked at, unlike in vLLM."""
    body = _decompressed(body, content_encoding)
    try:
        if content_type.lower().startswith("multipart/form-data"):
            fields = _form_fields(body, content_type)
        else:
            fields = json_object(body)
        prompt = _text(fields.get(dialect.prompt))
    except RecursionError as exc:
        raise BadRequestError("the body is nested too deeply") from exc
    model = fields.get("model")
    if model is not None and not isinstance(model, str):
        raise BadRequestError(_invalid("string_type", "model", "Input should be a valid string"))
    options = fields.get("stream_options")
    return Generation(
        dialect=dialect,
        fields=fields,
        model=model or None,
        prompt=prompt,
        max_tokens=_max_tokens(dialect, fields),
        streams=fields.get("stream") is True and dialect.chunk is not None,
        includes_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def json_object(body: bytes) -> dict[str, Any]:
    """Raises `BadRequestError`. The parser is vLLM's: it decides which of two "model" keys counts."""
    try:
        value = json.loads(body)
    except ValueError as exc:
        raise BadRequestError(
            f"[{{'type': 'json_invalid', 'loc': ('body',), 'msg': 'JSON decode error', 'ctx': {exc!s}}}]"
        ) from exc
    if not isinstance(value, dict):
        raise BadRequestError(
            "[{'type': 'model_attributes_type', 'loc': ('body',), 'msg': 'Input should be a valid dictionary'}]"
        )
    return value


def _form_fields(body: bytes, content_type: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    def on_field(part: python_multipart.multipart.Field) -> None:
        fields[(part.field_name or b"").decode("utf-8", "replace")] = (part.value or b"").decode("utf-8", "replace")

    try:
        parser = python_multipart.create_form_parser(
            {"Content-Type": content_type.encode()},
            on_field,
            lambda file: file.close(),
            config={"MAX_MEMORY_FILE_SIZE": MAX_BODY_BYTES},
        )
        stream = io.BytesIO(body)
        while chunk := stream.read(1 << 20):
            parser.write(chunk)
        parser.finalize()
    except FormParserError as exc:
        raise BadRequestError(f"There was an error parsing the body: {exc}") from exc
    return fields


def _max_tokens(dialect: Dialect, fields: Mapping[str, Any]) -> int | None:
    if not dialect.generates:
        return 0
    for key in dialect.limits:
        value = fields.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadRequestError(_invalid("int_type", key, "Input should be a valid integer"))
        if value < 1:
            raise BadRequestError(f"{key} must be at least 1, got {value}.")
        return value
    return None


def _invalid(kind: str, key: str, message: str) -> str:
    return f"[{{'type': '{kind}', 'loc': ('body', '{key}'), 'msg': '{message}'}}]"


def _text(value: object) -> str:
    """All text of a prompt, a list of messages, or token ids."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    if isinstance(value, dict):
        return _text(value.get("content", value.get("text")))
    return "" if value is None else str(value)


def _decompressed(body: bytes, content_encoding: str) -> bytes:
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    windows = _WINDOWS.get(encoding)
    if windows is None:
        raise BadRequestError(f"cannot read content-encoding {content_encoding!r}", status=415)
    for window in windows:
        inflater = zlib.decompressobj(window)
        try:
            plain = inflater.decompress(body, MAX_BODY_BYTES + 1)
        except zlib.error:
            continue
        if len(plain) > MAX_BODY_BYTES:
            raise BadRequestError("the body is larger than 64 MiB when decompressed", status=413)
        if inflater.eof:
            return plain
    raise BadRequestError(f"the body is no valid {encoding} stream")
