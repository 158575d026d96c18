"""Every line of the log that concerns a request carries its id, and none of what it holds."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from tests.servers.test_ext_proc import Site, until

from extproc.cli.probe import build_requests
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.logs import configure_logs

CANARY = "canary"
ID = {"x-request-id": "r-1"}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "extproc")]
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    logging.captureWarnings(False)
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def log_all() -> None:
    configure_logs(TelemetrySettings.model_validate({"verbosity": 4, "logFormat": "json"}))


def post(model: str, headers: Mapping[str, str]) -> list[bytes]:
    return build_requests("POST", "/v1/x", dict(headers), json.dumps({"model": model, "prompt": CANARY}).encode())


def lines(capfd: pytest.CaptureFixture[str], message: str) -> list[dict[str, Any]]:
    log = capfd.readouterr().err
    assert CANARY not in log
    entries: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry["message"] == message]


class BrokenSite(Site):
    """Has a defect in what holds requests."""

    def _count_round(self) -> None:
        raise ValueError(f"{CANARY} in an exception")


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        pytest.param(ID, "r-1", id="an id"),
        pytest.param({}, "", id="none"),
        pytest.param({"x-request-id": "x" * 999}, "x" * 200, id="a long one"),
    ],
)
async def test_a_held_request(headers: Mapping[str, str], request_id: str, capfd: pytest.CaptureFixture[str]) -> None:
    log_all()
    async with Site(hold_s=0.02).serve() as site:
        site.list_models("phi")
        call = await site.send(*post("unknown", headers))
        await call.read()
    (line,) = lines(capfd, "decided")
    assert line["request_id"] == request_id
    assert line["refused"] == "model_unknown"
    assert 0 < line["held_us"] <= line["us"]


async def test_one_that_is_not_held(capfd: pytest.CaptureFixture[str]) -> None:
    log_all()
    async with Site().serve() as site:
        site.list_models("phi")
        call = await site.send(*post("phi", ID))
        await call.read()
    (line,) = lines(capfd, "decided")
    assert line["request_id"] == "r-1"
    assert "held_us" not in line


@pytest.mark.parametrize(("given", "request_id"), [("r-1", "r-1"), ("x" * 999, "x" * 200)], ids=["an id", "a long one"])
async def test_a_defect(given: str, request_id: str, capfd: pytest.CaptureFixture[str]) -> None:
    log_all()
    async with BrokenSite().serve() as site:
        site.list_models("phi")
        call = await site.send(*post("unknown", {"x-request-id": given}))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
        assert CANARY not in str(error.value)
    (line,) = lines(capfd, "a stream failed")
    assert line["request_id"] == request_id
    assert line["exception"].endswith("ValueError")


async def test_a_client_that_goes_away(capfd: pytest.CaptureFixture[str]) -> None:
    log_all()
    async with Site(hold_s=60.0, timeout_s=60.0, message_timeout_s=200.0).serve() as site:
        call = await site.send(*post("phi", ID))
        await until(lambda: site.service.open_streams == 1)
        await asyncio.sleep(0)
        call.cancel()
        await site.idle()
    (line,) = lines(capfd, "no answer")
    assert line["outcome"] == "cancelled"
