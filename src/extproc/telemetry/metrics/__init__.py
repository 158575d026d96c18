"""The picker's Prometheus metrics: what they are (`catalogue`), what is counted, and how a scrape is answered."""

from extproc.telemetry.metrics.labels import MODEL_LABELS
from extproc.telemetry.metrics.recorder import Metrics, SourceState

__all__ = ["MODEL_LABELS", "Metrics", "SourceState"]
