"""The command line: `extproc serve | check | explain | top | probe | doctor | sim | demo`.

Flags without a command are those of `serve`.

Exit codes everywhere: 0 good, 1 unhealthy or refused, 2 bad configuration or usage.
"""

import os
import signal
from importlib import import_module

import click

from extproc import __version__

COMMANDS = ("serve", "check", "explain", "top", "probe", "doctor", "sim", "demo")
OWN_FLAGS = ("-h", "--help", "--version")
GRPC_EXPERIMENTS = "-event_engine_listener"
"""gRPC's sockets are read by the thread that waits for what comes, not by others that wake it: one hop less for each
message. gRPC takes no other way to ask for it. Source: docs/decisions/024-grpcs-threads.md.
"""


class _Commands(click.Group):
    """Loads a command's module only when the command is asked for: some import much.

    Without a command, flags are `serve`'s: the image is started by the arguments that other pickers are started by.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in OWN_FLAGS:
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # gRPC's core writes lines of its own to stderr (a port in use, each connection that ends) unless told not to
        # before it is imported. What matters of them the commands say themselves.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        # Kubernetes' client library looks up the home directory when it is imported, and a container's user need not
        # have one.
        os.environ.setdefault("HOME", "/")
        if cmd_name == "serve":
            os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)
            _end_on_signals()
        command: click.Command = getattr(import_module(f"extproc.cli.{cmd_name}"), cmd_name)
        return command


def _end_on_signals() -> None:
    """Until the server handles signals itself, nothing is served and they just end it.

    Importing takes a while, and the first process of a container is sent no signal that it has no handler for: a
    SIGTERM in that time would be lost, and the kubelet would wait for the whole grace period. No exception ends it:
    amid an import one can be swallowed, or come out as another (3 of 340 starts).
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="extproc")
def main() -> None:
    """The model-aware endpoint picker for Envoy and Kubernetes InferencePools.

    Flags without a command are those of serve.
    """
