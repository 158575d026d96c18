"""The config file, followed while a server runs: a good edit is taken over, a bad one keeps the last good settings."""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Generic, NamedTuple, Protocol, TypeVar

from extproc.errors import ConfigError, Problem
from extproc.settings.keys import all_keys, keep_until_restart
from extproc.settings.load import LARGEST_BYTES, Loaded, load_document
from extproc.settings.schema import Settings
from extproc.sources.watched import WatchedFile
from extproc.telemetry.logs import Log
from extproc.values import admin

LOOK_INTERVAL_S = 0.25
"""The file is read this often, so that an edit is in effect half a second after it: Kubernetes takes up to a minute to
bring a changed ConfigMap to the pod."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
"""Between two looks for what a good text names and is not there."""

T = TypeVar("T")

_log = Log("sources.config_file")


class ConfigMeters(Protocol):
    """Where edits are counted."""

    def say_config(self, is_good: bool) -> None:
        """An edit was taken over, or is bad."""


class Notes(Protocol):
    """Where edits are noted down for whoever asks what changed."""

    def note(self, what: str, *, detail: str = "") -> None:
        """Something changed now."""


class _Edit(NamedTuple, Generic[T]):
    """A good edit."""

    loaded: Loaded
    """What is to be in effect: keys that need a restart keep their value."""
    prepared: T
    needs_restart: tuple[str, ...]


class ConfigInUse(Generic[T]):
    """The settings in effect, and where there is a file, that which follows it.

    An edit counts when two looks in a row have found it. It is judged as a whole: its text with the flags of the
    command line over it, and what it names (`prepare`, which reads files and may take its time). Then all of it is in
    effect at one moment (`take_over`, which must not fail), or nothing. Flags stay laid over it.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        prepare: Callable[[Settings], T],
        take_over: Callable[[Settings, T], None],
        meters: ConfigMeters,
        notes: Notes,
        clock: Callable[[], float],
    ) -> None:
        """`loaded` is in effect. `prepare` is called in another thread; its errors: ConfigError with every problem."""
        self.loaded = loaded
        self._started = loaded
        self._prepare = prepare
        self._take_over = take_over
        self._meters = meters
        self._notes = notes
        self._clock = clock
        self._path = loaded.command_line.file
        self._file = WatchedFile(self._path or "", loaded.text, most_bytes=LARGEST_BYTES)
        self._judged: str | ConfigError = loaded.text
        self._fresh: Loaded | None = None
        """A good text that is not in effect yet, or not any more: what it names has yet to come about."""
        self._prepare_at_s, self._pause_s = -inf, FIRST_PAUSE_S
        """From when on (monotonic seconds) what a good text names is looked for again."""
        self._read_at_s = clock()
        self._problems: tuple[Problem, ...] = ()
        self._needs_restart: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<ConfigInUse of {self.loaded.command_line.origin}>"

    def file(self) -> admin.ConfigFile | None:
        """The file that the settings come from, None where there is none."""
        if self._path is None:
            return None
        problems = tuple(each.what if each.where == self._path else str(each) for each in self._problems)
        return admin.ConfigFile(self._path, self._clock() - self._read_at_s, problems, self._needs_restart)

    async def run(self) -> None:
        """Follows the file for ever."""
        if self._path is None:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        """One look at the file. Nothing that stands there can end the server: what is unforeseen is a problem too."""
        try:
            edit = await asyncio.to_thread(self._judge)
            if edit is not None:
                self._put_into_effect(edit)
        except ConfigError as exc:
            self._complain(exc.problems)
        except Exception as exc:  # noqa: BLE001
            if self._complain([Problem(self._path or "", f"cannot be taken over: {type(exc).__name__}")]):
                _log.exception("the config file could not be taken over, in an unforeseen way")

    def _judge(self) -> _Edit[T] | None:
        """The edit that is to be taken over, None where there is nothing new. Errors: ConfigError.

        Each text is judged once, but what a good one names at every look until it is there.
        """
        found = self._file.look()
        if found is not self._judged:
            self._judged, self._fresh = found, None
            self._prepare_at_s, self._pause_s = -inf, FIRST_PAUSE_S
            if isinstance(found, ConfigError):
                raise found
            self._fresh = load_document(found, self.loaded.command_line)
        if (fresh := self._fresh) is None or self._clock() < self._prepare_at_s:
            return None
        try:
            prepared = self._prepare(fresh.settings)
        except BaseException:
            self._prepare_at_s = self._clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            raise
        settings, needs_restart = keep_until_restart(self._started.settings, fresh.settings)
        origins = {key: origin for key, origin in fresh.origins.items() if key not in needs_restart}
        origins |= {key: self._started.origins[key] for key in needs_restart if key in self._started.origins}
        return _Edit(fresh._replace(settings=settings, origins=origins), prepared, needs_restart)

    def _put_into_effect(self, edit: _Edit[T]) -> None:
        before = self.loaded
        self._take_over(edit.loaded.settings, edit.prepared)
        self.loaded, self._fresh, self._read_at_s = edit.loaded, None, self._clock()
        changed = ", ".join(
            [str(key) for key in all_keys() if key.value_in(before.settings) != key.value_in(edit.loaded.settings)]
        )
        self._meters.say_config(True)
        self._notes.note("config taken over", detail=changed or "nothing changed")
        _log.info("config taken over", file=self._path, changed=changed or "nothing")
        self._problems = ()
        if edit.loaded.notes and edit.loaded.notes != before.notes:
            parts = "; ".join(map(str, edit.loaded.notes))
            _log.warning("parts of the EndpointPickerConfig without effect here", parts=parts)
        if edit.needs_restart and edit.needs_restart != self._needs_restart:
            keys = ", ".join(edit.needs_restart)
            _log.warning("what the config file says of these settings counts at the next start", settings=keys)
            self._notes.note("config needs a restart", detail=keys)
        self._needs_restart = edit.needs_restart

    def _complain(self, problems: Sequence[Problem]) -> bool:
        """Says once that the file is bad, and each of its problems. False where that was said."""
        if tuple(problems) == self._problems:
            return False
        self._problems = tuple(problems)
        self._meters.say_config(False)
        for problem in problems:
            _log.warning("config is bad, the last good one is kept", problem=problem)
        self._notes.note("config is bad, the last good one is kept", detail="; ".join(map(str, problems)))
        return True
