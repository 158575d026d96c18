"""The JSON that vLLM's OpenAI server answers with: errors, the model list, and one dialect a path.

Source: vLLM `vllm/entrypoints/openai/` (`protocol.py`, `serving_models.py`, `api_server.py`).
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from extproc.sim.engine import Engine

_TYPE_OF_STATUS: Final = {404: "NotFoundError", 500: "InternalServerError"}
_EMBEDDING_SIZE = 8


def error(status: int, message: str, *, kind: str | None = None, param: str | None = None) -> dict[str, Any]:
    """vLLM's error body; `kind` is its "type", by default the one vLLM gives with that status (400: "Bad Request")."""
    kind = kind or _TYPE_OF_STATUS.get(status) or HTTPStatus(status).phrase
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def model_not_found(model: str) -> dict[str, Any]:
    return error(404, f"The model `{model}` does not exist.", param="model")


def model_list(engine: Engine) -> dict[str, Any]:
    """`GET /v1/models`. `created` and the permission ids differ at every call: vLLM builds the cards anew each time."""
    settings = engine.settings
    cards = [_card(name, root=name, parent=None, max_model_len=settings.max_model_len) for name in settings.models]
    cards += [
        _card(name, root=path, parent=settings.models[0], max_model_len=None) for name, path in engine.adapters.items()
    ]
    return {"object": "list", "data": cards}


def _card(name: str, *, root: str, parent: str | None, max_model_len: int | None) -> dict[str, Any]:
    now = int(time.time())
    permission = {
        "id": f"modelperm-{secrets.token_hex(16)}",
        "object": "model_permission",
        "created": now,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": now,
        "owned_by": "vllm",
        "root": root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [permission],
    }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every dialect tells, each in its own words. `fields` is the request."""

    id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    finish_reason: str
    fields: Mapping[str, Any]
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def text(self) -> str:
        return "".join(token_text(index) for index in range(self.tokens))

    @property
    def usage(self) -> dict[str, Any]:
        """With the cached part of the prompt, as of a vLLM that was started with --enable-prompt-tokens-details."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
            "completion_tokens": self.tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


def token_text(index: int) -> str:
    """The text of the token at `index`, from 0: `token0`, ` token1`, …"""
    return f" token{index}" if index else "token0"


Reply = dict[str, Any]
# (answer, index of the token or None for the last chunk) -> chunk
Chunk = Callable[[Answer, int | None], Reply]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One path: where its prompt and its token limit stand in the request, and the shape of its answers."""

    path: str
    id_prefix: str
    prompt: str
    limits: Sequence[str] = ()  # the first that is present counts
    generates: bool = True
    reply: Callable[[Answer], Reply]
    chunk: Chunk | None = None  # None: `stream` is ignored


def _base(answer: Answer, kind: str) -> Reply:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def _chat(answer: Answer) -> Reply:
    message = {"role": "assistant", "content": answer.text, "tool_calls": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return _base(answer, "chat.completion") | {"choices": [choice], "usage": answer.usage}


def _chat_chunk(answer: Answer, index: int | None) -> Reply:
    delta = {} if index is None else {"content": token_text(index)}
    if index == 0:
        delta = {"role": "assistant", **delta}
    finish = answer.finish_reason if index is None else None
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _base(answer, "chat.completion.chunk") | {"choices": [choice]}


def _completion(answer: Answer) -> Reply:
    choice = {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": answer.finish_reason}
    return _base(answer, "text_completion") | {"choices": [choice], "usage": answer.usage}


def _completion_chunk(answer: Answer, index: int | None) -> Reply:
    text = "" if index is None else token_text(index)
    finish = answer.finish_reason if index is None else None
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return _base(answer, "text_completion") | {"choices": [choice]}


def _embeddings(answer: Answer) -> Reply:
    given = answer.fields.get("input")
    # A list of token ids is one input, a list of texts (or of lists) is several.
    inputs = given if isinstance(given, list) and not any(isinstance(item, int) for item in given) else [given]
    data = [{"index": n, "object": "embedding", "embedding": _vector(item)} for n, item in enumerate(inputs)]
    return _base(answer, "list") | {"data": data, "usage": answer.usage}


def _vector(item: object) -> list[float]:
    """Always the same for the same input."""
    return [byte / 255 for byte in hashlib.sha256(repr(item).encode("utf-8", "replace")).digest()[:_EMBEDDING_SIZE]]


def _transcription(answer: Answer) -> Reply:
    return {"text": answer.text, "usage": {"type": "duration", "seconds": 1}}


def _response(answer: Answer) -> Reply:
    content = {"type": "output_text", "text": answer.text, "annotations": []}
    message = {
        "type": "message",
        "id": f"msg_{answer.id}",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": answer.tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
    }
    return {
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": "completed",
        "model": answer.model,
        "output": [message],
        "usage": usage,
    }


def _message(answer: Answer) -> Reply:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "max_tokens" if answer.finish_reason == "length" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": answer.tokens},
    }


DIALECTS: Final = (
    Dialect(
        path="/v1/chat/completions",
        id_prefix="chatcmpl-",
        prompt="messages",
        limits=("max_completion_tokens", "max_tokens"),
        reply=_chat,
        chunk=_chat_chunk,
    ),
    Dialect(
        path="/v1/completions",
        id_prefix="cmpl-",
        prompt="prompt",
        limits=("max_tokens",),
        reply=_completion,
        chunk=_completion_chunk,
    ),
    Dialect(path="/v1/embeddings", id_prefix="embd-", prompt="input", generates=False, reply=_embeddings),
    Dialect(path="/v1/audio/transcriptions", id_prefix="trsc-", prompt="prompt", reply=_transcription),
    Dialect(path="/v1/responses", id_prefix="resp_", prompt="input", limits=("max_output_tokens",), reply=_response),
    Dialect(path="/v1/messages", id_prefix="msg_", prompt="messages", limits=("max_tokens",), reply=_message),
)
