"""`extproc sim`: a simulated vLLM-like model server, until SIGINT or SIGTERM."""

import asyncio
import signal
import sys

import click

from extproc.cli.durations import DURATION
from extproc.sim.engine import KV_BLOCKS, EngineSettings
from extproc.sim.failures import KINDS, Failures
from extproc.sim.server import SimServer


class CannotListenError(click.ClickException):
    """The port is taken, forbidden, or no port of this machine."""

    exit_code = 2


def _failures(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> Failures:
    try:
        return Failures.parse(texts)
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


_FAIL_HELP = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())


@click.command(short_help="A simulated model server.", context_settings={"show_default": True})
@click.option("--model", "models", multiple=True, required=True, help="A model to serve. Repeat for more names.")
@click.option("--lora", multiple=True, help="A LoRA adapter of the first model, loaded from the start. Repeatable.")
@click.option("--name", default="", show_default="HOST:PORT", help="What the x-served-by header of each reply says.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--api-key", help="Bearer token that /v1/* asks for. None by default.")
@click.option(
    "--time-to-first-token", type=DURATION, default="20ms", help="Time from the computed prompt to the first token."
)
@click.option("--token-delay", type=DURATION, default="5ms", help="Time per token.")
@click.option(
    "--prefill-rate",
    type=click.IntRange(0),
    default=0,
    metavar="TOKENS/S",
    help="Speed at which prompts are computed, one at a time, but for what is cached of them. 0: they cost nothing.",
)
@click.option("--kv-blocks", type=click.IntRange(1), default=KV_BLOCKS, help="Size of the KV cache, in 16 tokens.")
@click.option("--tokens", type=click.IntRange(1), default=16, help="Length of an answer whose request sets none.")
@click.option("--max-model-len", type=click.IntRange(1), default=4096, help="Context length to list.")
@click.option("--startup-delay", type=DURATION, default="0", help="Time before the port opens.")
@click.option("--unload-grace", type=DURATION, default="0", help="Time an unloaded adapter, unlisted, is still served.")
@click.option("--max-running", type=click.IntRange(1), default=256, help="Requests beyond this many wait.")
@click.option(
    "--fail", multiple=True, callback=_failures, metavar="KIND[:RATE]", help=f"Inject failures. {_FAIL_HELP}."
)
def sim(
    *,
    models: tuple[str, ...],
    lora: tuple[str, ...],
    name: str,
    host: str,
    port: int,
    api_key: str | None,
    time_to_first_token: float,
    token_delay: float,
    prefill_rate: int,
    kv_blocks: int,
    tokens: int,
    max_model_len: int,
    startup_delay: float,
    unload_grace: float,
    max_running: int,
    fail: Failures,
) -> None:
    """Run a simulated vLLM-like model server."""
    settings = EngineSettings(
        name=name,
        models=models,
        lora=lora,
        api_key=api_key,
        time_to_first_token_s=time_to_first_token,
        token_delay_s=token_delay,
        prefill_tokens_per_s=prefill_rate,
        kv_blocks=kv_blocks,
        default_tokens=tokens,
        max_model_len=max_model_len,
        startup_delay_s=startup_delay,
        unload_grace_s=unload_grace,
        max_running=max_running,
        failures=fail,
    )
    asyncio.run(_serve(settings, host, port))


async def _serve(settings: EngineSettings, host: str, port: int) -> None:
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, signalled.set)
    server = SimServer(settings)
    start = asyncio.create_task(server.start(host, port), name="start")
    stop = asyncio.create_task(signalled.wait(), name="signal")
    try:
        await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            try:
                start.result()
            except OSError as exc:
                reason = exc.strerror or str(exc)
                raise CannotListenError(f"cannot listen on port {port} of {host}: {reason}") from exc
            serving = ", ".join((*settings.models, *settings.lora))
            click.echo(f"sim {server.engine.name} listening on http://{server.address} serving {serving}")
            sys.stdout.flush()
            await stop
    finally:
        start.cancel()
        await server.stop()
