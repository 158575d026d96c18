"""The modes that are measured: what the filter sends, and how the picker is told to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from extproc.cli.demo.envoy import DETACHED, ISTIO, TRACKING, ProcessingMode


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run the filter and the picker."""

    name: str
    filter: ProcessingMode
    response_phase: Literal["detach", "track", "observe"] = "detach"
    """What comes of it. `detach` is left to the picker's own default."""
    names_model_in_header: bool = False
    """The body is not shown: a request has to name its model in `x-gateway-model-name`."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Further settings of the picker's group `envoy`."""

    @property
    def picker_config(self) -> dict[str, object]:
        """The picker's configuration file."""
        phase = {} if self.response_phase == "detach" else {"responsePhase": self.response_phase}
        return {"envoy": {**phase, **self.settings}}


FULL_DUPLEX = Mode(name="full duplex, detach", filter=DETACHED)
ISTIO_DETACH = Mode(name="Istio's filter, detach", filter=ISTIO)
FULL_DUPLEX_TRACK = Mode(name="full duplex, track", filter=TRACKING, response_phase="track")
ISTIO_OBSERVE = Mode(name="Istio's filter, observe", filter=ISTIO, response_phase="observe")
BUFFERED = Mode(name="buffered", filter=ProcessingMode(request_body="BUFFERED"))

MODES = (
    FULL_DUPLEX,
    ISTIO_DETACH,
    FULL_DUPLEX_TRACK,
    ISTIO_OBSERVE,
    BUFFERED,
    Mode(name="buffered partial", filter=ProcessingMode(request_body="BUFFERED_PARTIAL")),
    Mode(name="streamed without waiting", filter=ProcessingMode(request_body="STREAMED", sends_body_early=True)),
    Mode(
        name="none, model in a header",
        filter=ProcessingMode(request_body="NONE"),
        names_model_in_header=True,
    ),
)
