"""sources/config_file: what becomes of edits of the config file while a server runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.errors import ConfigError, Problem
from extproc.settings.load import load
from extproc.settings.schema import Settings
from extproc.settings.telling import TelemetrySettings
from extproc.sources.config_file import FIRST_PAUSE_S, ConfigInUse
from extproc.telemetry.logs import configure_logs
from extproc.values import admin

DEFECT_S = 13.0
"""With this `requests.hold` an edit cannot be put into effect."""


class Site:
    """A config file and what follows it. Its settings name one file: the engines' key."""

    def __init__(self, folder: Path, text: str = "", **flags: str) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(text)
        self.key = folder / "key"
        self.now = 100.0
        self.taken: list[Settings] = []
        self.edits: list[bool] = []
        self.notes: list[tuple[str, str]] = []
        self.prepare: Callable[[Settings], str] = self._read_key
        loaded = load(file=str(self.path), flag_values={name.replace("_", "-"): value for name, value in flags.items()})
        self.config = ConfigInUse[str](
            loaded,
            prepare=lambda settings: self.prepare(settings),
            take_over=self._take,
            meters=self,
            notes=self,
            clock=lambda: self.now,
        )

    def _take(self, settings: Settings, _: str) -> None:
        if settings.requests.hold_s == DEFECT_S:
            raise ZeroDivisionError
        self.taken.append(settings)

    def _read_key(self, settings: Settings) -> str:
        if settings.probes.bearer_token_file is not None and not self.key.exists():
            raise ConfigError("probes", [Problem("probes.bearerTokenFile", "is not there")])
        return ""

    def say_config(self, is_good: bool) -> None:
        self.edits.append(is_good)

    def note(self, what: str, *, detail: str = "") -> None:
        self.notes.append((what, detail))

    async def edit(self, text: str) -> None:
        """Writes it, and looks until it has settled."""
        self.path.write_text(text)
        await self.look(2)

    async def look(self, times: int) -> None:
        for _ in range(times):
            await self.config.look()

    @property
    def file(self) -> admin.ConfigFile:
        file = self.config.file()
        assert file is not None
        return file

    @property
    def settings(self) -> Settings:
        return self.config.loaded.settings


GOOD = "requests: {hold: 2s}"
BAD = "requests: {hold: 2}\nnonsense: 1"
BAD_PROBLEMS = (
    "requests.hold: a duration needs a unit, such as 500ms or 2s; got 2",
    "nonsense: unknown key (known: server, source, probes, requests, envoy, scheduling, admission, telemetry, admin)",
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_good_edit_is_taken_over_once(site: Site) -> None:
    site.now = 107.0
    assert site.file == admin.ConfigFile(str(site.path), 7.0)
    await site.edit(GOOD)
    assert [settings.requests.hold_s for settings in site.taken] == [2.0]
    assert site.settings is site.taken[0]
    assert site.config.loaded.origins == {"requests.hold": "file"}
    site.now = 108.0
    assert site.file == admin.ConfigFile(str(site.path), 1.0)
    await site.look(3)
    assert (len(site.taken), site.edits) == (1, [True])
    assert site.notes == [("config taken over", "requests.hold")]


async def test_it_counts_when_two_looks_have_found_it(site: Site) -> None:
    site.path.write_text(GOOD)
    await site.look(1)
    assert site.taken == []
    await site.look(1)
    assert len(site.taken) == 1


async def test_flags_stay_laid_over_it(tmp_path: Path) -> None:
    site = Site(tmp_path, v="5", drain_delay="7s")
    await site.edit("telemetry: {verbosity: 1}\nserver: {drainDelay: 1s, drainTimeout: 2s}")
    server = site.settings.server
    assert (site.settings.telemetry.verbosity, server.drain_delay_s, server.drain_timeout_s) == (5, 7.0, 2.0)
    assert site.config.loaded.origins["telemetry.verbosity"] == "flag"


async def test_a_bad_edit_keeps_the_last_good_and_says_so_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings())
    await site.edit(GOOD)
    capsys.readouterr()
    await site.edit(BAD)
    await site.look(3)
    assert site.settings.requests.hold_s == 2.0
    assert site.file.problems == BAD_PROBLEMS
    assert site.edits == [True, False]
    assert site.notes[1:] == [("config is bad, the last good one is kept", "; ".join(BAD_PROBLEMS))]
    warnings = [line for line in capsys.readouterr().err.splitlines() if " WARNING " in line]
    assert len(warnings) == len(BAD_PROBLEMS)
    site.now += 5
    assert site.file.age_s == 5.0
    await site.edit(GOOD)
    assert not site.file.problems
    assert site.edits == [True, False, True]
    assert site.file.age_s == 0.0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(lambda path: path.write_text("a: ["), "is not YAML", id="half-written"),
        pytest.param(lambda path: path.unlink(), "No such file", id="gone"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), "Is a directory", id="a folder in its place"),
        pytest.param(lambda path: path.write_bytes(b"\xff\x00"), "is not UTF-8", id="binary"),
        pytest.param(lambda path: path.write_text("- a"), "must be a mapping", id="a list"),
    ],
)
async def test_what_is_no_config_is_bad_too(site: Site, spoil: Callable[[Path], object], problem: str) -> None:
    await site.edit(GOOD)
    spoil(site.path)
    await site.look(4)
    [told] = site.file.problems
    assert problem in told
    assert str(site.path) not in told, "who shows it names the file"
    assert (site.settings.requests.hold_s, site.edits) == (2.0, [True, False])


async def test_it_comes_back_after_it_was_gone(site: Site) -> None:
    site.path.unlink()
    await site.look(2)
    assert site.file.problems
    await site.edit(GOOD)
    assert not site.file.problems
    assert site.settings.requests.hold_s == 2.0


async def test_an_emptied_file_means_defaults(tmp_path: Path) -> None:
    site = Site(tmp_path, GOOD)
    await site.edit("")
    assert site.settings == Settings()
    assert site.notes == [("config taken over", "requests.hold")]


async def test_what_needs_a_restart_waits_for_it_and_all_else_is_taken_over(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(TelemetrySettings())
    await site.edit("requests: {hold: 2s}\nserver: {grpcPort: 1}\nsource: {poolName: a}")
    assert site.file.needs_restart == ("server.grpcPort", "source.poolName")
    assert (site.settings.server.grpc_port, site.settings.requests.hold_s) == (9002, 2.0)
    assert site.config.loaded.origins == {"requests.hold": "file"}
    await site.edit("requests: {hold: 3s}\nserver: {grpcPort: 1}\nsource: {poolName: a}")
    assert capsys.readouterr().err.count("server.grpcPort, source.poolName") == 1
    await site.edit("requests: {hold: 3s}")
    assert not site.file.needs_restart


async def test_the_origin_of_what_waits_is_that_of_the_value_in_effect(tmp_path: Path) -> None:
    site = Site(tmp_path, "server: {grpcPort: 5}")
    await site.edit("")
    assert site.settings.server.grpc_port == 5
    assert site.config.loaded.origins == {"server.grpcPort": "file"}


async def test_what_an_edit_names_is_part_of_it_and_may_come_later(site: Site) -> None:
    await site.edit("probes: {bearerTokenFile: key}\nrequests: {hold: 2s}")
    assert site.file.problems == ("probes.bearerTokenFile: is not there",)
    assert (site.taken, site.edits) == ([], [False])
    site.key.write_text("secret")
    await site.look(1)
    assert site.file.problems, "what is missing is not looked for at every look"
    site.now += FIRST_PAUSE_S
    await site.look(1)
    assert not site.file.problems
    assert (site.settings.requests.hold_s, site.edits) == (2.0, [False, True])


async def test_an_unforeseen_error_is_a_problem_and_told_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings())
    site.prepare = lambda settings: str(1 // 0)
    await site.edit(GOOD)
    await site.look(3)
    assert site.file.problems == ("cannot be taken over: ZeroDivisionError",)
    assert capsys.readouterr().err.count("1 // 0)") == 1
    site.prepare = lambda settings: ""
    site.now += FIRST_PAUSE_S
    await site.look(1)
    assert not site.file.problems


async def test_what_is_missing_is_looked_for_more_and_more_rarely_until_another_edit(site: Site) -> None:
    looked_at_s: list[float] = []

    def prepare(settings: Settings) -> str:
        looked_at_s.append(site.now)
        raise ConfigError("probes", [Problem("probes.bearerTokenFile", "is not there")])

    site.prepare = prepare
    await site.edit(GOOD)
    for _ in range(50):
        site.now += 0.5
        await site.look(1)
    assert [at_s - 100.0 for at_s in looked_at_s] == [0.0, 1.0, 3.0, 7.0, 15.0, 25.0]
    await site.edit(f"{GOOD} # another")
    assert looked_at_s[-1] == site.now


async def test_an_endpoint_picker_config_is_followed_too(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings())
    head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
    await site.edit(f"{head}plugins: [{{type: queue-scorer}}, {{type: my-own-scorer}}]")
    assert [scorer.name for scorer in site.settings.scheduling.scorers] == ["queue"]
    assert "plugins[1]: my-own-scorer has no effect here" in capsys.readouterr().err


def test_without_a_file_there_is_none_to_show() -> None:
    class Nobody:
        def say_config(self, is_good: bool) -> None: ...

        def note(self, what: str, *, detail: str = "") -> None: ...

    for loaded in (load(flag_values={}), load(text=GOOD, flag_values={})):
        config = ConfigInUse(
            loaded,
            prepare=lambda _: None,
            take_over=lambda *_: None,
            meters=Nobody(),
            notes=Nobody(),
            clock=lambda: 0.0,
        )
        assert config.file() is None


async def test_a_defect_in_putting_an_edit_into_effect_ends_nothing(site: Site) -> None:
    await site.edit(f"requests: {{hold: {DEFECT_S:g}s}}")
    assert site.file.problems == ("cannot be taken over: ZeroDivisionError",)
    assert (site.settings, site.edits) == (Settings(), [False])
    await site.edit(GOOD)
    assert (site.settings.requests.hold_s, site.edits) == (2.0, [False, True])
    assert not site.file.problems
