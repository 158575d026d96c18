"""What a client asks for, as far as picking an endpoint is concerned."""

import enum
import math
from collections.abc import Mapping

import msgspec


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """The request line and headers of an HTTP request, names in lower case."""

    method: str
    path: str
    """With its query string."""
    headers: Mapping[str, str]
    """Those that the codec reads (`protocol.codec.HEADERS_READ`); repeated ones are joined with a comma."""
    subset: tuple[str, ...] | None = None
    """`ip:port` of the endpoints that the data plane allows, None for all. Source: endpoint-picker protocol."""


class BodyExtent(enum.Enum):
    """How much of a request's body the gateway shows."""

    WHOLE = enum.auto()
    """All of it; none where the request has none."""
    PARTIAL = enum.auto()
    """Its beginning, as far as the gateway buffers: mode BUFFERED_PARTIAL, of a body above the limit."""
    UNSEEN = enum.auto()
    """Nothing, though the request has one: mode NONE."""


class RouteToModel(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Bring this request to an endpoint that serves `model`."""

    model: str


class RouteToAny(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Bring this request, which names no model, to any endpoint."""


class ListModels(msgspec.Struct, frozen=True, tag=True):
    """`GET /v1/models`: answered by the picker for the pool as a whole."""


class DescribeModel(msgspec.Struct, frozen=True, tag=True):
    """`GET /v1/models/{model}`: answered by the picker."""

    model: str


Intent = RouteToModel | RouteToAny | ListModels | DescribeModel


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """What of a request an engine's prefix cache can know, in the order in which a chat template puts it."""

    text: bytes
    """The beginning, at most `parsers.prompt.MOST_BYTES`. Two prompts that begin alike for an engine do so here."""
    size_bytes: int
    """Of the whole prompt, as text: what lies beyond `text` included."""
    salt: str = ""
    """The request's `cache_salt`: engines share no cached prefix between two of them."""


class Span(msgspec.Struct, frozen=True):
    """Where the model's name stands in a body: bytes `start` to `end`, quotes included where `is_json`."""

    start: int
    end: int
    is_json: bool = True
    """It is written as a JSON string; else as the bytes of a form field."""


class InferenceRequest(msgspec.Struct, frozen=True, gc=False):
    """A parsed request, ready to be decided on."""

    intent: Intent
    arrived_s: float
    """Monotonic seconds at which the request was whole."""
    subset: tuple[str, ...] | None = None
    may_wait_s: float = math.inf
    """How long the data plane will wait for the decision, from then on."""
    prompt: Prompt | None = None
    """None where there is none to read."""
    is_editable: bool = False
    """Another name for the model could be put where `parsers.model_span` finds it: the body names it, is there as a
    whole, and is not compressed."""
    rewrite: str | None = None
    """The model that the header `x-gateway-model-name-rewrite` wants instead."""
    objective: str | None = None
    """The name of its InferenceObjective, from the header `x-gateway-inference-objective`."""
    session: str | None = None
    """What tells the client's session apart, from the header of `scheduling.sessionHeader`."""

    @property
    def model(self) -> str | None:
        """The model named by the request, None where it names none."""
        intent = self.intent
        return intent.model if isinstance(intent, RouteToModel | DescribeModel) else None
