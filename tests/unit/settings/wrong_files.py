"""Config files that are wrong in ways that are known, made from the settings' schema with a fixed seed."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

from extproc.settings.keys import Key, all_keys

MAPPINGS = ("requests.aliases", "admission.objectives")
OUT_OF_RANGE: dict[str, Any] = {
    "server.grpcPort": 65536,
    "server.metricsPort": -1,
    "server.drainTimeout": "-1s",
    "server.maxConnectionAge": "293y",
    "source.endpointTargetPorts": [8000, 70000],
    "probes.models.interval": "0s",
    "probes.models.path": "v1/models",
    "probes.metrics.staleness": "99999999h",
    "requests.maxBodyBytes": "1GiB",
    "requests.maxHeldBytes": 0,
    "envoy.fallbackEndpoints": 16,
    "envoy.messageTimeout": "0ms",
    "scheduling.prefixBlocks": -1,
    "scheduling.sessionHeader": "x session",
    "admission.kvUsedRatio": 1.5,
    "admission.inFlight": 0,
    "telemetry.verbosity": 11,
    "admin.grpcPort": 100000,
}
REFUSED: dict[str, Any] = {
    "server.listenAddress": "localhost",
    "source.endpointSelector": "app in (",
    "source.dnsName": "engines",
    "source.poolGroup": "example.com",
    "probes.scheme": "htps",
    "requests.unknownModel": "rejct",
    "requests.hold": 5,
    "envoy.responsePhase": "leave",
    "scheduling.picker": "best",
    "scheduling.scorers": [],
    "telemetry.logFormat": "xml",
}
"""A word, a reference or a form that is none."""


class WrongFile(NamedTuple):
    """A file, and the paths at which something is wrong with it."""

    id: str
    make: Callable[[Path], object]
    """Puts it at a path."""
    where: tuple[str, ...]
    """`FILE` is the file itself."""
    for_nobody: bool = False
    """Read by a user who may not: root may read everything."""


def _at(key: str) -> str:
    """Where a problem of the key's value is told: that of a list, of its first bad item."""
    return f"{key}[1]" if key == "source.endpointTargetPorts" else key


def _set(document: dict[str, Any], path: Sequence[str], value: object) -> None:
    *groups, last = path
    for group in groups:
        document = document.setdefault(group, {})
    document[last] = value


def _spoil(key: Key, rng: Random) -> tuple[tuple[str, ...], object, str]:
    """One problem with a key: the path and value to set, and where it is told."""
    kinds = ["type", "name"]
    name = str(key)
    kinds += ["range"] if name in OUT_OF_RANGE else ["form"] if name in REFUSED else []
    match rng.choice(kinds):
        case "type":
            return key.path, [1] if name in MAPPINGS else {"a": 1}, name
        case "name":
            path = (*key.path[:-1], key.path[-1] + "z")
            return path, 1, ".".join(path)
        case "range":
            return key.path, OUT_OF_RANGE[name], _at(name)
        case _:
            return key.path, REFUSED[name], name


def generate(count: int, seed: int) -> Iterator[WrongFile]:
    """Documents with one problem and more."""
    rng = Random(seed)
    keys = list(all_keys())
    for number in range(count):
        document: dict[str, Any] = {}
        where = []
        for key in rng.sample(keys, 1 + number % 7):
            path, value, at = _spoil(key, rng)
            _set(document, path, value)
            where.append(at)
        text = yaml.safe_dump(document)
        yield WrongFile(f"{number}: {', '.join(where)}", _text(text), tuple(where))


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _bomb(levels: int) -> str:
    """Each mapping merges the one before it ten times."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}], k{level}: 1}}" for level in range(1, levels)
    ]
    return "\n".join(lines)


def _unreadable(path: Path) -> None:
    path.write_text("server: {}")
    path.chmod(0)


NO_TEXTS = (
    WrongFile("half-written, within a list", _text("scheduling: {scorers: [{name: ttft}, {na"), ("FILE",)),
    WrongFile("half-written, within a word", _text("server:\n  grpcPort: 9002\n  metr"), ("FILE",)),
    WrongFile("half-written, within quotes", _text('probes:\n  models:\n    path: "/v1/mod'), ("FILE",)),
    WrongFile("a tab", _text("server:\n\tgrpcPort: 1"), ("FILE",)),
    WrongFile("two documents", _text("server: {}\n---\nprobes: {}"), ("FILE",)),
    WrongFile("a list", _text("- server"), ("FILE",)),
    WrongFile("a word", _text("server"), ("FILE",)),
    WrongFile("a template", _text("{{ .Values.config | toYaml }}"), ("FILE",)),
    WrongFile("binary", lambda path: path.write_bytes(bytes(range(256))), ("FILE",)),
    WrongFile("another encoding", lambda path: path.write_bytes("server: {} # ä".encode("latin-1")), ("FILE",)),
    WrongFile("UTF-16", lambda path: path.write_bytes("server: {}".encode("utf-16")), ("FILE",)),
    WrongFile("a directory", lambda path: path.mkdir(), ("FILE",)),
    WrongFile("a pipe that nobody writes to", lambda path: os.mkfifo(path), ("FILE",)),
    WrongFile("absent", lambda path: None, ("FILE",)),
    WrongFile("a link to nowhere", lambda path: path.symlink_to("nowhere"), ("FILE",)),
    WrongFile("a link to itself", lambda path: path.symlink_to(path.name), ("FILE",)),
    WrongFile("without permission", _unreadable, ("FILE",), for_nobody=True),
    WrongFile("huge", lambda path: path.write_bytes(b"# x\n" * (1 << 19)), ("FILE",)),
    WrongFile("nested deeply, in brackets", _text("server: " + "[" * 5_000), ("FILE",)),
    WrongFile("nested deeply, in lines", _text("\n".join(" " * depth + "a:" for depth in range(1_200))), ("FILE",)),
    WrongFile("a bomb of anchors", _text(_bomb(30)), ("FILE",)),
    WrongFile(
        "aliases of aliases",
        _text("\n".join(["a: &a [x]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefgh"))])),
        tuple("abcdefgh"),
    ),
    WrongFile("an anchor within itself", _text("server: &a {grpcPort: *a}"), ("server.grpcPort",)),
    WrongFile("an alias of nothing", _text("server: *a"), ("FILE",)),
    WrongFile("a foreign tag", _text("server: !!python/object:os.system {}"), ("FILE",)),
    WrongFile("a number without end", _text("server: {grpcPort: 1" + "0" * 5_000 + "}"), ("FILE",)),
    WrongFile("a date that is none", _text("server: {grpcPort: 2024-99-99}"), ("FILE",)),
    WrongFile("a key that is no text", _text("1: 2"), ("[1]",)),
    WrongFile(
        "keys twice, and more",
        _text("server: {grpcPort: 1, grpcPort: 2}\nprobes: {models: {interval: 5}}\nserver: {}\nnonsense: 1"),
        ("server.grpcPort", "server", "probes.models.interval", "nonsense"),
    ),
    WrongFile("a group that is a list", _text("server: []\nprobes: 5"), ("server", "probes")),
    WrongFile(
        "what keys mean for each other",
        _text(
            "source: {poolName: a, dnsName: 'b:1'}\nscheduling: {scorers: [{name: session}]}\nadmin: {address: 0.0.0.0}"
            "\nrequests: {aliases: {fast: {targets: [{model: a, weight: 0}]}}}"
        ),
        ("source", "scheduling", "admin", "requests.aliases.fast.targets"),
    ),
)
