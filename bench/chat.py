"""The requests of the benchmarks: chat completions of a given size for three models."""

from dataclasses import dataclass

MODELS = ("llama-8b", "mixtral7", "qwen3-4b")
"""All of one length, so that every body and every answer is of one size."""
ENDPOINT_MODELS = tuple(MODELS[index % 3] for index in range(10))
"""What each of ten endpoints serves."""
PATH = "/v1/chat/completions"
SMALL_BYTES = 512


@dataclass(frozen=True)
class Request:
    """A POST to `PATH`."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)

    def to_http1(self) -> bytes:
        """Its bytes as HTTP/1.1, for a connection that is kept."""
        lines = [f"{name}: {value}\r\n" for name, value in (*self.headers, ("content-length", str(len(self.body))))]
        return f"POST {PATH} HTTP/1.1\r\nhost: bench\r\n{''.join(lines)}\r\n".encode() + self.body


def chat_request(model: str, *, body_bytes: int = SMALL_BYTES, names_model_in_header: bool = False) -> Request:
    """A chat completion whose body has `body_bytes` bytes."""
    head, tail = f'{{"model":"{model}","messages":[{{"role":"user","content":"', '"}],"max_tokens":64}'
    body = (head + "a" * (body_bytes - len(head) - len(tail)) + tail).encode()
    request = Request(body)
    return Request(body, (*request.headers, ("x-gateway-model-name", model))) if names_model_in_header else request


def chat_requests(*, body_bytes: int = SMALL_BYTES, names_model_in_header: bool = False) -> list[Request]:
    """One for each model."""
    return [chat_request(model, body_bytes=body_bytes, names_model_in_header=names_model_in_header) for model in MODELS]


def varied_request(model: str, number: int) -> Request:
    """One of `SMALL_BYTES` whose prompt begins like no other's."""
    plain = chat_request(model)
    return Request(plain.body.replace(b"a" * 16, b"%016d" % number, 1))
