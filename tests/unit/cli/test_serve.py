"""cli/serve: what is logged before anything is served."""

import pytest

from extproc.cli.flags import Given
from extproc.cli.serve import log_what_has_no_effect
from extproc.settings.llmd import Note
from extproc.settings.load import CommandLine, Loaded
from extproc.settings.schema import Settings
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.logs import configure_logs

NOTES = (Note("plugins[0]", "there is no scorer like queue-scorer here"), Note("dataLayer", "has no effect here"))


@pytest.mark.parametrize(
    ("without_effect", "notes", "lines"),
    [
        pytest.param((), (), [], id="nothing"),
        pytest.param(
            ("tracing", "zap-encoder"), (), ["flags without effect here: --tracing, --zap-encoder"], id="flags"
        ),
        pytest.param(
            (),
            NOTES,
            [
                "parts of the EndpointPickerConfig without effect here "
                'parts="plugins[0]: there is no scorer like queue-scorer here; dataLayer: has no effect here" '
                'scorers="ttft=1,lora-affinity=1" picker=max-score'
            ],
            id="parts of a document",
        ),
    ],
)
def test_what_has_no_effect_is_logged_once(
    without_effect: tuple[str, ...], notes: tuple[Note, ...], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    log_what_has_no_effect(Given(Loaded(Settings(), notes, {}, CommandLine(without_effect=without_effect))))
    logged = capsys.readouterr().err.splitlines()
    assert [line.partition("extproc.cli.serve ")[2] for line in logged] == lines
    assert all(" WARNING " in line for line in logged)
