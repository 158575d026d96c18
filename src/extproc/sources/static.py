"""A pool from a YAML file, re-read when it changes.

```yaml
pools:
  - name: demo
    namespace: default            # optional
    endpoints:
      - {name: phi-0, address: "127.0.0.1:8000", labels: {zone: a}}   # labels optional
```

Of the labels, those that a pod would have tell an endpoint's role and engine.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from extproc.errors import ConfigError, Problem
from extproc.registry.changes import PoolListed
from extproc.settings.group import Group
from extproc.settings.problems import parse_mapping, problems_of, read_text
from extproc.sources.labels import engine_of, role_of
from extproc.sources.meters import SourceMeters
from extproc.sources.watched import WatchedFile
from extproc.telemetry.logs import Log
from extproc.values.endpoint import Endpoint, canonical_address
from extproc.values.pool import Pool

POLL_INTERVAL_S = 0.1
"""The file is read this often."""

_log = Log("sources.static")


class _EndpointEntry(Group):
    name: Annotated[str, Field(min_length=1)]
    address: Annotated[str, AfterValidator(canonical_address)]
    labels: dict[str, str] = Field(default_factory=dict)


class _PoolEntry(Group):
    name: Annotated[str, Field(min_length=1)]
    namespace: Annotated[str, Field(min_length=1)] = "default"
    endpoints: list[_EndpointEntry] = Field(default_factory=list)


class _Document(Group):
    pools: list[_PoolEntry]


def parse_endpoints(text: str, origin: str, *, engine_label: str | None = None) -> tuple[Pool, tuple[Endpoint, ...]]:
    """The pool and its endpoints in the text of an endpoints file. `engine_label` tells the engine where it is given.

    An endpoint is told by its name *and* address: one that moves is a new one, of which nothing is known.
    Errors: ConfigError with every problem, among them names or addresses that stand twice.
    """
    try:
        document = _Document.model_validate(parse_mapping(text, origin))
    except ValidationError as exc:
        raise ConfigError(origin, problems_of(exc, _Document)) from exc
    if len(document.pools) != 1:
        raise ConfigError(origin, [Problem("pools", f"one pool to a server; got {len(document.pools)}")])
    entry = document.pools[0]
    if problems := _repetitions(entry):
        raise ConfigError(origin, problems)
    endpoints = tuple(
        Endpoint(
            id=f"{e.name}/{e.address}",
            name=e.name,
            address=e.address,
            labels=e.labels,
            role=role_of(e.labels),
            engine=engine_of(e.labels, key=engine_label),
        )
        for e in entry.endpoints
    )
    return Pool(entry.name, entry.namespace), endpoints


def _repetitions(pool: _PoolEntry) -> list[Problem]:
    problems = []
    first_with: dict[tuple[str, str], str] = {}
    for index, entry in enumerate(pool.endpoints):
        for key, value in (("name", entry.name), ("address", entry.address)):
            if (key, value) in first_with:
                what = f"{value} stands twice (see {first_with[key, value]})"
                problems.append(Problem(f"pools[0].endpoints[{index}].{key}", what))
            first_with.setdefault((key, value), f"endpoints[{index}]")
    return problems


class EndpointsFile:
    """Reads an endpoints file, once at the start and again whenever its content changes."""

    name = "file"

    def __init__(self, path: str, *, engine_label: str | None = None) -> None:
        self._path = path
        self._engine_label = engine_label
        self._text = read_text(path)
        self._file = WatchedFile(path, self._text)
        self._judged: str | ConfigError = self._text
        self._problem: ConfigError | None = None
        self.pool, self.endpoints = parse_endpoints(self._text, path, engine_label=engine_label)

    @property
    def origin(self) -> str:
        """Where the pool comes from, for a person."""
        return f"{len(self.endpoints)} endpoints in {self._path}"

    def __repr__(self) -> str:
        return f"<EndpointsFile {self._path} {self.pool}>"

    def doubt(self, endpoint_id: str) -> None:
        """The file has nothing more to say of one endpoint."""

    async def run(self, report: Callable[[PoolListed], object], meters: SourceMeters) -> None:
        """Reports the endpoints, then follows the file for ever.

        A bad edit keeps the last good content and says so, once in the log, and in `meters` until the file is good
        again.
        """
        complaint = ""
        report(PoolListed.of(self.endpoints))
        meters.say_source(self.name, is_connected=True)
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            try:
                has_changed = await asyncio.to_thread(self._reread)
            except ConfigError as exc:
                if str(exc) != complaint:
                    complaint = str(exc)
                    for problem in exc.problems:
                        _log.warning("endpoints file is bad, the last good content is kept", problem=problem)
                    meters.say_source(
                        self.name, is_connected=False, problems=[self._place(each) for each in exc.problems]
                    )
                continue
            if complaint:
                complaint = ""
                _log.info("endpoints file is good again", file=self._path)
            meters.say_source(self.name, is_connected=True)
            if has_changed:
                report(PoolListed.of(self.endpoints))

    def _place(self, problem: Problem) -> str:
        """A problem with the file that it is in."""
        return str(problem) if problem.where == self._path else f"{self._path}: {problem}"

    def _reread(self) -> bool:
        """Takes over the file's content where it changed. Errors: ConfigError; then nothing was taken over.

        Each content is judged once; until another has settled, the verdict stands.
        """
        found = self._file.look()
        has_changed = False
        if found is not self._judged:
            self._judged, self._problem = found, None
            try:
                has_changed = self._take_over(found)
            except ConfigError as exc:
                self._problem = exc
        if self._problem is not None:
            raise self._problem.with_traceback(None)  # else that of each look would be added to it
        return has_changed

    def _take_over(self, found: str | ConfigError) -> bool:
        if isinstance(found, ConfigError):
            raise found
        if found == self._text:
            return False
        pool, endpoints = parse_endpoints(found, self._path, engine_label=self._engine_label)
        if pool != self.pool:
            what = f"is {pool}; this server was started for {self.pool}: restart it to change the pool"
            raise ConfigError(self._path, [Problem("pools[0]", what)])
        self._text, self.endpoints = found, endpoints
        return True
