"""What the picker tells of itself, and to whom."""

from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from extproc.settings.group import Group, setting
from extproc.settings.types import Address, OptionalText, Port


class AdminSettings(Group):
    """Where the picker explains itself: gRPC (`GetSnapshot`, `Explain`, `WatchDecisions`, `GetConfig`), which `extproc
    explain`, `top` and `doctor` ask, and a page for a browser.
    """

    address: Address = setting(
        "127.0.0.1",
        "IP address of both ports: by default this machine, or pod, alone. Any other needs `tokenFile`.",
        flag="admin-address",
        needs_restart=True,
    )
    grpc_port: Port = setting(
        9004, "Port of the admin service, always plaintext.", flag="admin-grpc-port", needs_restart=True
    )
    http_port: Port = setting(9091, "Port of the page.", flag="admin-http-port", needs_restart=True)
    token_file: OptionalText = setting(
        None,
        "File with a token that callers must show: as `authorization: Bearer TOKEN`, in a browser as the password. It "
        "can be rotated.",
        flag="admin-token-file",
        needs_restart=True,
    )

    @model_validator(mode="after")
    def _require_token(self) -> "AdminSettings":
        if not ip_address(self.address.strip("[]")).is_loopback and self.token_file is None:
            raise ValueError(
                f"address {self.address} can be reached from elsewhere: set tokenFile, or leave address at 127.0.0.1 "
                "and use `kubectl port-forward`"
            )
        return self


def check_collector(value: str | None) -> str | None:
    """The URL of a collector's gRPC receiver, as it is. Errors: ValueError, which never quotes a user's password."""
    if value is None:
        return None
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must be a URL such as http://collector:4317 (https:// for TLS)")
    if url.username is not None:
        raise ValueError("must hold no user and no password; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError("must end after the port: a path is for OTLP over HTTP, and spans are sent over gRPC")
    if not port:
        raise ValueError("must name the port of the collector's gRPC receiver, which mostly is 4317")
    return value


class TracingSettings(Group):
    """One span for each decision, sent to an OpenTelemetry collector as OTLP over gRPC (docs/telemetry.md)."""

    endpoint: Annotated[OptionalText, AfterValidator(check_collector)] = setting(
        None,
        "URL of the collector's gRPC receiver (`http://collector:4317`, `https://` for TLS). Without it "
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT in the environment, else OTEL_EXPORTER_OTLP_ENDPOINT; where there is none, "
        "nothing is traced.",
        flag="tracing-endpoint",
        needs_restart=True,
    )
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = setting(
        0.1,
        "Share of the requests that are traced, among those without a `traceparent` header. The others are traced "
        "where their header says so.",
        needs_restart=True,
    )


class TelemetrySettings(Group):
    """What the picker tells of itself."""

    verbosity: Annotated[int, Field(ge=0, le=10)] = setting(
        2, "0 errors, 1 warnings, 2 changes of what is known, 4 and more every decision (-v=4).", flag="v"
    )
    log_format: Literal["console", "json"] = setting(
        "console", "Form of the log on standard error: for people, or a JSON object a line.", flag="log-format"
    )
    tracing: TracingSettings = Field(default_factory=TracingSettings)
