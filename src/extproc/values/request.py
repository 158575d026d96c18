"""What a client asks for, as far as picking an endpoint is concerned."""

import enum
import math
from collections.abc import Mapping

import msgspec


class RequestHead(msgspec.Struct, frozen=True):
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


class RouteToModel(msgspec.Struct, frozen=True, tag=True):
    """Bring this request to an endpoint that serves `model`."""

    model: str


class RouteToAny(msgspec.Struct, frozen=True, tag=True):
    """Bring this request, which names no model, to any endpoint."""


class ListModels(msgspec.Struct, frozen=True, tag=True):
    """`GET /v1/models`: answered by the picker for the pool as a whole."""


class DescribeModel(msgspec.Struct, frozen=True, tag=True):
    """`GET /v1/models/{model}`: answered by the picker."""

    model: str


Intent = RouteToModel | RouteToAny | ListModels | DescribeModel


class InferenceRequest(msgspec.Struct, frozen=True):
    """A parsed request, ready to be decided on."""

    intent: Intent
    arrived_s: float
    """Monotonic seconds at which the request was whole."""
    subset: tuple[str, ...] | None = None
    may_wait_s: float = math.inf
    """How long the data plane will wait for the decision, from then on."""

    @property
    def model(self) -> str | None:
        """The model named by the request, None where it names none."""
        intent = self.intent
        return intent.model if isinstance(intent, RouteToModel | DescribeModel) else None
