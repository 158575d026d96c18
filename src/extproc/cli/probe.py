"""`extproc probe`: plays Envoy. Built on envoy-data-plane, a codec that shares nothing with the server's own."""

import json
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, NamedTuple

import click
import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)

from extproc.cli.durations import DURATION
from extproc.protocol.caller import PROBE_MARK

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
DESTINATION = "x-gateway-destination-endpoint"
DIRECT_ENVOY = (("x-envoy-internal", "true"),)
"""What an Envoy without a proxy in between sends as gRPC metadata."""


class Verdict(NamedTuple):
    """What a picker answered."""

    destination: str | None
    metadata_destination: str | None
    status: int | None
    body: str

    @property
    def is_routed(self) -> bool:
        """True for a destination that stands in the header and, identical, in the metadata."""
        return self.destination is not None and self.destination == self.metadata_destination


def build_requests(method: str, path: str, headers: dict[str, str], body: bytes) -> list[bytes]:
    """The messages that a full-duplex Envoy sends for a request: headers, then the body, if any, in one piece."""
    fields = {":method": method, ":path": path, ":authority": "probe", ":scheme": "http", **headers}
    first = ProcessingRequest(
        request_headers=HttpHeaders(
            headers=HeaderMap(headers=[HeaderValue(key=k, raw_value=v.encode()) for k, v in fields.items()]),
            end_of_stream=not body,
        ),
        protocol_config=ProtocolConfiguration(
            request_body_mode=ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED,
            response_body_mode=ProcessingModeBodySendMode.NONE,
        ),
    )
    if not body:
        return [bytes(first)]
    return [bytes(first), bytes(ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True)))]


def read_verdict(data: bytes) -> Verdict:
    """What a serialized ProcessingResponse says."""
    response = ProcessingResponse.parse(data)
    if (immediate := response.immediate_response) is not None:
        status = int(immediate.status.code) if immediate.status is not None else 200
        return Verdict(None, None, status, immediate.body.decode(errors="replace"))
    destination = None
    if response.request_headers is not None and (common := response.request_headers.response) is not None:
        for option in common.header_mutation.set_headers if common.header_mutation is not None else []:
            if option.header is not None and option.header.key == DESTINATION:
                destination = option.header.raw_value.decode()
    return Verdict(destination, _metadata_destination(response), None, "")


def _metadata_destination(response: ProcessingResponse) -> str | None:
    metadata: Any = response.dynamic_metadata
    if metadata is None or "envoy.lb" not in metadata.fields:
        return None
    namespace = metadata.fields["envoy.lb"].struct_value
    return namespace.fields[DESTINATION].string_value if DESTINATION in namespace.fields else None


@click.command(short_help="Plays Envoy: one stream, and its answer.")
@click.option("--target", default="127.0.0.1:9002", show_default=True, help="ext_proc address of the picker.")
@click.option("--model", help="Model to ask for; without it a GET is sent.")
@click.option("--path", help="Path of the request. [default: /v1/chat/completions, or /v1/models for a GET]")
@click.option("--prompt", default="Hello", show_default=True, help="Text of the one user message.")
@click.option("--header", "headers", multiple=True, metavar="K=V", help="Further request header, repeatable.")
@click.option("--tls", is_flag=True, help="Speak TLS, and take any certificate, as gateways do.")
@click.option("--timeout", type=DURATION, default="10s", show_default=True, help="Longest wait for the answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def probe(
    target: str,
    model: str | None,
    path: str | None,
    prompt: str,
    headers: tuple[str, ...],
    timeout: float,
    tls: bool,
    as_json: bool,
) -> None:
    """Plays Envoy: opens one ext_proc stream and prints what the picker answers.

    Exit code 0 when the request was routed or answered, 1 when it was refused or nobody answered.
    """
    if not re.fullmatch(r".+:\d+", target) or "//" in target:
        raise click.UsageError(f"--target takes host:port, not {target!r}")
    pairs = [header.partition("=") for header in headers]
    if any(not key or not equals for key, equals, _ in pairs):
        raise click.UsageError("--header takes K=V")
    fields = {key.lower(): value for key, _, value in pairs}
    body = b""
    if model is not None:
        fields.setdefault("content-type", "application/json")
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
    path = path or ("/v1/chat/completions" if body else "/v1/models")
    try:
        requests = build_requests("POST" if body else "GET", path, fields, body)
        verdict = ask(target, requests, timeout, certificate=_fetch_certificate(target, timeout) if tls else None)
    except ssl.SSLError as exc:
        click.echo(f"no TLS with {target}: {exc}", err=True)
        click.echo("is it a plaintext port? then leave out --tls", err=True)
        sys.exit(1)
    except OSError as exc:
        click.echo(f"no answer from {target}: UNAVAILABLE: {exc}", err=True)
        sys.exit(1)
    except grpc.RpcError as exc:
        click.echo(f"no answer from {target}: {exc.code().name}: {exc.details()}", err=True)
        if exc.code() is grpc.StatusCode.UNIMPLEMENTED:
            click.echo("something else listens there: is this the port of ext_proc (9002)?", err=True)
        if not tls and exc.code() is grpc.StatusCode.UNAVAILABLE and _speaks_tls(target):
            click.echo("it speaks TLS there: add --tls", err=True)
        sys.exit(1)
    _print(verdict, as_json)
    sys.exit(0 if verdict.is_routed or verdict.status == 200 else 1)


def _fetch_certificate(target: str, timeout_s: float) -> x509.Certificate:
    """The certificate that a server shows, whatever it is. Errors: ssl.SSLError, other OSErrors."""
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    address = (host.removeprefix("[").removesuffix("]"), int(port))
    with socket.create_connection(address, timeout_s) as connection, context.wrap_socket(connection) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")


def _speaks_tls(target: str) -> bool:
    try:
        _fetch_certificate(target, timeout_s=1.0)
    except (OSError, ValueError):
        return False
    return True


def _name_in(certificate: x509.Certificate) -> str:
    """A name that the certificate holds for, since gRPC checks one whatever it trusts."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    found = [name.replace("*", "any") for name in names.get_values_for_type(x509.DNSName)]
    found += map(str, names.get_values_for_type(x509.IPAddress))
    found += [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return found[0] if found else ""


def _open_channel(target: str, certificate: x509.Certificate | None) -> grpc.Channel:
    """A channel that trusts exactly `certificate`, or a plaintext one."""
    if certificate is None:
        return grpc.insecure_channel(target)
    credentials = grpc.ssl_channel_credentials(certificate.public_bytes(serialization.Encoding.PEM))
    return grpc.secure_channel(target, credentials, [("grpc.ssl_target_name_override", _name_in(certificate))])


def ask(
    target: str, requests: list[bytes], timeout_s: float, *, certificate: x509.Certificate | None = None
) -> Verdict:
    """The answer to one stream, which stays open on our side until it came, as Envoy's does.

    Errors: grpc.RpcError.
    """
    done: SimpleQueue[None] = SimpleQueue()

    def messages() -> Iterator[bytes]:
        yield from requests
        done.get()

    with _open_channel(target, certificate) as channel:
        call = channel.stream_stream(METHOD)(messages(), timeout=timeout_s, metadata=(*DIRECT_ENVOY, (PROBE_MARK, "1")))
        try:
            return read_verdict(next(call))
        except StopIteration:
            return Verdict(None, None, None, "the stream ended without an answer")
        finally:
            done.put(None)
            call.cancel()


def _print(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(verdict._asdict()))
    elif verdict.is_routed:
        click.echo(f"routed to {verdict.destination} (header and metadata agree)")
    elif verdict.status is not None:
        click.echo(f"answered {verdict.status}: {verdict.body}")
    elif verdict.destination is not None or verdict.metadata_destination is not None:
        click.echo(f"header says {verdict.destination}, metadata says {verdict.metadata_destination}", err=True)
    else:
        click.echo(verdict.body or "an answer that routes nowhere", err=True)
