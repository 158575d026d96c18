"""The signals of a server."""

import asyncio
import os
import signal

import pytest

from extproc.servers.signals import signals_call
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.logs import configure_logs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_is_asked_to_stop(number: signal.Signals) -> None:
    stopping = asyncio.Event()
    before = signal.getsignal(number)
    with signals_call(stopping.set):
        os.kill(os.getpid(), number)
        await stopping.wait()
    assert signal.getsignal(number) is before


async def test_a_hangup_does_nothing_but_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings())
    stopping = asyncio.Event()
    before = signal.getsignal(signal.SIGHUP)  # ignored where the tests run under nohup
    with signals_call(stopping.set):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await stopping.wait()
    assert "SIGHUP has no effect: the config file is followed without it" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGHUP) is before
