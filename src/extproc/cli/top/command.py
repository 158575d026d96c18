"""`extproc top`: the pool, live."""

import json
import signal
import time
from functools import partial

import click
from google.protobuf import json_format
from rich.console import Console
from rich.live import Live

from extproc.cli.admin_client import AdminError, admin_options, open_admin
from extproc.cli.durations import DURATION
from extproc.cli.top.feed import MOST_DECISIONS, Feed, find_rate
from extproc.cli.top.keys import Keys
from extproc.cli.top.view import Frame, render
from extproc.cli.wording import LONGEST_ERROR, plain

LEAST_INTERVAL_S = 0.1
REFRESH_S = 0.25


@click.command()
@admin_options
@click.option("--interval", type=DURATION, default="1s", show_default=True, help="How often the picker is asked.")
@click.option("--once", is_flag=True, help="Print one frame and exit, as where standard output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one snapshot as JSON, as grpcurl does, and exit.")
def top(target: str, token_file: str | None, interval: float, once: bool, as_json: bool) -> None:
    """Endpoints, models, load and decisions of a running picker.

    Ends by q or Ctrl-C.
    """
    if interval < LEAST_INTERVAL_S:
        raise click.BadParameter("at least 100ms", param_hint="--interval")
    console = Console(highlight=False, markup=False)
    if not (once or as_json) and console.is_terminal and not console.is_dumb_terminal:
        with open_admin(target, token_file):
            pass  # a token that cannot be read is told before the screen is taken
        _show_live(console, target, token_file, interval)
        return
    try:
        with open_admin(target, token_file) as client:
            snapshot = client.snapshot(most_decisions=MOST_DECISIONS)
    except AdminError as exc:
        click.echo(plain(str(exc), LONGEST_ERROR), err=True)
        raise click.exceptions.Exit(1) from exc
    if as_json:
        message = json_format.MessageToDict(
            snapshot, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        click.echo(json.dumps(message, indent=2))
        return
    frame = Frame(target, snapshot, find_rate(None, snapshot))
    console.print(render(frame, width=console.width, height=console.height), soft_wrap=True)


def _show_live(console: Console, target: str, token_file: str | None, interval_s: float) -> None:
    """Until q, or a signal. The terminal is as before then."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    feed = Feed(partial(open_admin, target, token_file), target=target, interval_s=interval_s, clock=time.monotonic)
    try:
        with feed, Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(render(feed.frame(), width=console.width, height=console.height), refresh=True)
                if set(keys.wait(REFRESH_S)) & {"q", "Q"}:
                    return
    except KeyboardInterrupt:
        return
