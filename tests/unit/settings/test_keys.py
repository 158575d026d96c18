"""settings/keys: what counts at the next start only, and what becomes of it in an edit."""

from typing import Any

import pytest

from extproc.settings.keys import all_keys, keep_until_restart
from extproc.settings.load import load_settings
from extproc.settings.schema import Settings

LIVE_GROUPS = {"probes", "requests", "envoy", "scheduling", "admission"}
LIVE = {"server.drainDelay", "server.drainTimeout", "telemetry.verbosity", "telemetry.logFormat"}


def test_what_is_live_and_what_needs_a_restart() -> None:
    live = {str(key) for key in all_keys() if not key.needs_restart}
    assert live == (LIVE | {str(key) for key in all_keys() if key.path[0] in LIVE_GROUPS}) - {"requests.maxBodyBytes"}


def test_keys_are_those_of_the_document() -> None:
    document: Any = Settings().model_dump(mode="json", by_alias=True)
    for key in all_keys():
        value = document
        for part in key.path:
            value = value[part]
    assert len({str(key) for key in all_keys()}) == len(list(all_keys())) > 60


@pytest.mark.parametrize(
    ("started", "fresh", "kept", "differing"),
    [
        pytest.param("", "", "", (), id="nothing"),
        pytest.param("", "envoy: {fallbackEndpoints: 2}", "envoy: {fallbackEndpoints: 2}", (), id="live"),
        pytest.param("", "server: {grpcPort: 1}", "", ("server.grpcPort",), id="a port"),
        pytest.param(
            "server: {grpcPort: 1}", "server: {drainDelay: 1s}", "server: {grpcPort: 1, drainDelay: 1s}",
            ("server.grpcPort",), id="live beside what is taken away",
        ),
        pytest.param(
            "source: {poolName: a}", "source: {dnsName: 'b:80'}", "source: {poolName: a}",
            ("source.poolName", "source.dnsName"), id="another source",
        ),
        pytest.param(
            "", "telemetry: {tracing: {sampleRatio: 1}, verbosity: 5}", "telemetry: {verbosity: 5}",
            ("telemetry.tracing.sampleRatio",), id="a group within a group",
        ),
        pytest.param("server: {grpcPort: 1}", "server: {grpcPort: 1}", "server: {grpcPort: 1}", (), id="as before"),
    ],
)  # fmt: skip
def test_keep_until_restart(started: str, fresh: str, kept: str, differing: tuple[str, ...]) -> None:
    settings = [load_settings(text=text, flag_values={}) for text in (started, fresh, kept)]
    assert keep_until_restart(settings[0], settings[1]) == (settings[2], differing)
