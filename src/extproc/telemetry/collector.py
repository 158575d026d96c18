"""Where spans go: the collector that the settings name, or the environment in OpenTelemetry's own variables."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from extproc.errors import ConfigError, Problem
from extproc.settings.telling import TracingSettings, check_collector

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

EXTRA = "pip install 'extproc[tracing]'"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
"""They mostly hold keys, and are never shown. Source of all: OpenTelemetry's "OTLP Exporter Configuration"."""


QUIET = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",  # of each batch and each new try: the outbox tells of both
    "opentelemetry.util.re",  # it quotes the exporter's headers
    "opentelemetry.trace.span",  # it quotes a client's tracestate
)
"""OpenTelemetry's own loggers that tell too much."""


class Collector(NamedTuple):
    """Where spans go, and what sends them."""

    url: str
    exporter: SpanExporter


def open_collector(settings: TracingSettings, *, environ: Mapping[str, str]) -> Collector | None:
    """What sends spans to the collector, None where there is none. It connects when there is something to send.

    Errors: ConfigError for one that cannot be used, or without the extra.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    name, url = "telemetry.tracing.endpoint", settings.endpoint
    if url is None:
        name, url = _find_endpoint(environ)
    if not url:
        return None
    problems = _find_problems(environ)
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as exc:
        what = f"tracing needs OpenTelemetry, which is not installed ({exc}): {EXTRA}"
        raise ConfigError("tracing", [*problems, Problem(name, what)]) from exc
    if problems:
        raise ConfigError("tracing", problems)
    for logger in QUIET:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        return Collector(url, OTLPSpanExporter(endpoint=url))
    except Exception as exc:  # of a variable that the library reads itself: a number, a file, a compression
        what = f"OpenTelemetry does not take what OTEL_EXPORTER_OTLP_… in the environment say: {exc}"
        raise ConfigError("tracing", [Problem(name, what)]) from exc


def _find_endpoint(environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names an endpoint, and its value; empty where none does.

    Errors: ConfigError where spans cannot be sent there.
    """
    if environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return "", ""
    name, url = next(((name, url) for name in ENDPOINTS if (url := environ.get(name, "").strip())), ("", ""))
    if not url:
        return "", ""
    protocol = next((value for key in PROTOCOLS if (value := environ.get(key, "").strip())), "grpc")
    try:
        if protocol != "grpc":
            raise ValueError(
                f"spans are sent over gRPC only, and {PROTOCOLS[1]} is {protocol!r}; set telemetry.tracing."
                "endpoint to a gRPC receiver, or OTEL_TRACES_EXPORTER=none for no traces"
            )
        check_collector(url)
    except ValueError as exc:
        raise ConfigError("tracing", [Problem(name, str(exc))]) from exc
    return name, url


def _find_problems(environ: Mapping[str, str]) -> list[Problem]:
    """Headers that the library would leave out, with no more than a line in the log that quotes them."""
    return [
        Problem(name, "must be name=value, several separated by commas")
        for name in HEADERS
        if not all(_is_header(text.strip()) for text in environ.get(name, "").split(","))
    ]


def _is_header(text: str) -> bool:
    name, equals, value = text.partition("=")
    return not text or bool(name.strip() and equals and value.isprintable())
