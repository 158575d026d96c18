"""What is recorded of a response that passes by on a stream that stayed open."""

from collections.abc import Callable

from extproc.admission.inflight import InFlight
from extproc.parsers.usage import UsageReader
from extproc.protocol.events import Event, ResponseBody, ResponseHeaders
from extproc.telemetry.metrics import Metrics
from extproc.values.decision import Route
from extproc.values.endpoint import Endpoint

EVENT_STREAM = "text/event-stream"


class ResponseRecord:
    """One request from its route to the end of its stream: where it is in flight, and what its response tells.

    `end` must follow the constructor, whatever becomes of the stream.
    """

    def __init__(
        self,
        route: Route,
        model: str | None,
        *,
        in_flight: InFlight,
        find_endpoint: Callable[[str], Endpoint | None],
        metrics: Metrics,
        clock: Callable[[], float],
        learn_tokens: Callable[[str, int, int], None],
        reads_usage: bool,
    ) -> None:
        """`learn_tokens` is told what an engine counted: model, bytes of the prompt, tokens of the prompt."""
        self._endpoint = route.endpoints[0]
        self._work = route.work
        self._served_model = route.model
        self._learn_tokens = learn_tokens
        self._model = model
        self._in_flight = in_flight
        self._find_endpoint = find_endpoint
        self._metrics = metrics
        self._clock = clock
        self._reads_usage = reads_usage
        self._decided_at_s = clock()
        self._usage: UsageReader | None = None
        self._has_token = False
        self.has_headers = False
        """The head of the response was shown."""
        in_flight.begin(self._endpoint, self._work)

    def take(self, event: Event) -> None:
        """Records what the response's next message tells. Nothing of it is kept."""
        if isinstance(event, ResponseBody):
            if self._usage is not None:
                self._read_usage(self._usage, event.chunk)
        elif isinstance(event, ResponseHeaders):
            self.has_headers = True
            self._in_flight.see()
            self._metrics.observe_headers(self._model, event.status, self._clock() - self._decided_at_s)
            if event.served_by is not None and event.served_by != self._endpoint.address:
                self._move(event.served_by)
            if self._reads_usage and event.content_type.startswith(EVENT_STREAM):
                self._usage = UsageReader()

    def end(self) -> None:
        """The request is over, one way or another."""
        self._in_flight.end(self._endpoint, self._work)
        if self._usage is not None and (usage := self._usage.usage) is not None:
            self._metrics.count_tokens(
                self._model,
                prompt=usage.prompt_tokens,
                cached_prompt=usage.cached_prompt_tokens,
                completion=usage.completion_tokens,
            )
            if self._work.prompt_bytes:
                self._learn_tokens(self._served_model, self._work.prompt_bytes, usage.prompt_tokens)

    def _move(self, address: str) -> None:
        """The data plane tried another endpoint than the picked one."""
        if (served_by := self._find_endpoint(address)) is not None:
            self._in_flight.end(self._endpoint, self._work)
            self._endpoint = served_by
            self._in_flight.begin(served_by, self._work)

    def _read_usage(self, usage: UsageReader, chunk: bytes) -> None:
        usage.take(chunk)
        if usage.has_token and not self._has_token:
            self._has_token = True
            self._metrics.observe_first_token(self._clock() - self._decided_at_s)
