"""`extproc explain`: why a request would go where, from a running picker or from an endpoints file."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from random import Random

import click
from google.protobuf.json_format import MessageToJson
from rich.console import Console

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import AdminError, admin_options, open_admin
from extproc.cli.explain.offline import Knowledge, learn
from extproc.cli.explain.view import show_explanation
from extproc.cli.flags import read_settings
from extproc.cli.wording import LONGEST_ERROR, plain
from extproc.director.explain import Explainer
from extproc.errors import ConfigError, Problem
from extproc.parsers.request import METHODS_WITHOUT_BODY
from extproc.servers.admin.messages import to_message
from extproc.servers.admin.requests import DEFAULT_PATH, read_request
from extproc.settings.schema import Settings
from extproc.values.endpoint import canonical_address

LARGEST_BODY_BYTES = 2 << 20
"""The admin service takes messages of up to 4 MiB, and what stands around the body must fit in as well."""
MODELS_PATH = "/v1/models"
RUNNING_ONLY = ("target", "token_file")


@click.command(short_help="Why a request would go where.")
@click.option("--model", help="A chat completion that asks for this model.")
@click.option("--prompt", help="What the user says in it.")
@click.option("--header", "headers", multiple=True, metavar="K=V", help="Request header, repeatable.")
@click.option("--path", help=f"[default: {DEFAULT_PATH}, or {MODELS_PATH} without a model and a body]")
@click.option("--method", help="[default: POST, or GET without a model and a body]")
@click.option("--body", metavar="FILE|-", help="The request's body, instead of --model and --prompt.")
@click.option("--subset", metavar="IP:PORT,…", help="The only endpoints that the data plane allows.")
@admin_options
@click.option("--endpoints-file", help="No running picker: the endpoints of this file, each asked once.")
@click.option("--config-file", help="With --endpoints-file: the picker's settings.")
@click.option("--config-text", help="The same as text.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: Explanation of admin.proto.")
@click.pass_context
def explain(
    ctx: click.Context,
    /,
    *,
    model: str | None,
    prompt: str | None,
    headers: tuple[str, ...],
    path: str | None,
    method: str | None,
    body: str | None,
    subset: str | None,
    target: str,
    token_file: str | None,
    as_json: bool,
    **offline: str | None,
) -> None:
    """Says where a request would go and why: every endpoint, what keeps it from the request, and its scores.

    The picker decides on it as it would on a real one, and changes nothing.

    Exit code 0 where the request is routed or answered with a 2xx, 1 where it is refused or no picker answers, 2 for
    bad usage or settings.
    """
    request = build_request(
        model=model, prompt=prompt, headers=headers, path=path, method=method, body=body, subset=subset
    )
    if model is None and body is None and path is None:
        click.echo(f"no --model, --body or --path is given: this is about {request.method} {request.path}", err=True)
    if any(offline.values()):
        given = click.core.ParameterSource.COMMANDLINE
        if clash := next((name for name in RUNNING_ONLY if ctx.get_parameter_source(name) is given), None):
            flag = f"--{clash.replace('_', '-')}"
            raise click.UsageError(f"{flag} names a running picker: leave it out, or --endpoints-file and the config")
        told = _explain_offline(request, offline)
    else:
        told = _ask(request, target, token_file)
    if as_json:
        click.echo(MessageToJson(told, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    else:
        console = Console(highlight=False, emoji=False)
        show_explanation(told, asked=f"{request.method} {request.path}", console=console)
    sys.exit(0 if told.outcome == "routed" or 200 <= told.answer.status < 300 else 1)


def build_request(
    *,
    model: str | None,
    prompt: str | None,
    headers: Iterable[str],
    path: str | None,
    method: str | None,
    body: str | None,
    subset: str | None,
) -> admin_pb2.ExplainRequest:
    """The request that the options stand for. Errors: click.UsageError."""
    if body is not None and (model is not None or prompt is not None):
        unread = _complaint_of(body)
        raise click.UsageError(f"{unread}--body is the whole body: leave out --model and --prompt")
    if prompt is not None and model is None:
        raise click.UsageError("--prompt needs --model")
    has_body = body is not None or model is not None
    method = (method or ("POST" if has_body else "GET")).upper()
    if has_body != (method not in METHODS_WITHOUT_BODY):
        needs = "takes no body: leave out --model and --body" if has_body else "needs --model or --body"
        raise click.UsageError(f"--method {plain(method)} {needs}")
    if model is not None and method != "POST":
        raise click.UsageError("--model is asked for by a POST: with another method give --body")
    try:
        return admin_pb2.ExplainRequest(
            model=model or "",
            prompt=prompt or "",
            method=method,
            path=path or (DEFAULT_PATH if has_body else MODELS_PATH),
            headers=_read_headers(headers),
            body=b"" if body is None else _read_body(body),
            subset=None if subset is None else admin_pb2.Subset(addresses=_read_subset(subset)),
        )
    except UnicodeEncodeError as exc:
        raise click.UsageError("what is given is not UTF-8: give it in a file, by --body") from exc


def _read_headers(headers: Iterable[str]) -> Mapping[str, str]:
    """As a data plane shows them: of those that stand twice the values are joined."""
    values: dict[str, list[str]] = defaultdict(list)
    for header in headers:
        name, equals, value = header.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--header takes K=V, not {plain(header)}")
        values[name.lower()].append(value)
    return {name: ",".join(each) for name, each in values.items()}


def _read_body(file: str) -> bytes:
    try:
        # One byte more than it may have: what never ends is not read to its end.
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as source:
            body = source.read(LARGEST_BODY_BYTES + 1)
    except OSError as exc:
        raise click.UsageError(f"--body {plain(file)} cannot be read: {exc.strerror}") from exc
    if not body:
        raise click.UsageError("--body is empty: for a request without one name a --method such as GET")
    if len(body) > LARGEST_BODY_BYTES:
        raise click.UsageError(f"--body has more than {LARGEST_BODY_BYTES} bytes: the admin service takes no more")
    return body


def _complaint_of(file: str) -> str:
    """What is wrong with the file of a body, empty for nothing. Standard input is not waited for."""
    try:
        if file != "-":
            _read_body(file)
    except click.UsageError as exc:
        return f"{exc.message}; "
    return ""


def _read_subset(text: str) -> list[str]:
    try:
        return [canonical_address(address) for address in text.split(",") if address.strip()]
    except ValueError as exc:
        raise click.UsageError(f"--subset: {exc}") from exc


def _ask(request: admin_pb2.ExplainRequest, target: str, token_file: str | None) -> admin_pb2.Explanation:
    try:
        with open_admin(target, token_file) as admin:
            return admin.explain(request)
    except AdminError as exc:
        click.echo(plain(str(exc), LONGEST_ERROR), err=True)
        click.echo("without a running picker: --endpoints-file names a pool to look at", err=True)
        raise SystemExit(1) from exc


def _explain_offline(request: admin_pb2.ExplainRequest, options: Mapping[str, str | None]) -> admin_pb2.Explanation:
    try:
        settings = read_settings(options).settings
        known = asyncio.run(learn(settings, _require_file(settings)))
    except ConfigError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from exc
    _tell_unread(known)
    head, body = read_request(request)
    rng = Random()  # noqa: S311 - as the picker draws among equals
    told = Explainer(known.decider).explain(head, body, known.store.snapshot, now=time.monotonic(), rng=rng)
    return to_message(told, admin_pb2.Explanation)


def _require_file(settings: Settings) -> str:
    if not settings.source.endpoints_file:
        raise ConfigError("flags", [Problem("--endpoints-file", "is required where no running picker is asked")])
    return settings.source.endpoints_file


def _tell_unread(known: Knowledge) -> None:
    if known.unread:
        more = f", and of {len(known.unread) - 1} more" if len(known.unread) > 1 else ""
        click.echo(f"the load of {plain(known.unread[0])}{more} is not known", err=True)
