"""The settings in effect, for a person: as a config file, and value by value with where each comes from."""

import json
import sys
from collections.abc import Iterator

import yaml

from extproc.settings.keys import all_keys
from extproc.settings.load import Loaded
from extproc.values import admin

DEFAULT = "default"
INDENT = 2
"""Of PyYAML's block style."""


def describe_settings(loaded: Loaded, file: admin.ConfigFile | None) -> admin.Config:
    """The settings of `loaded`, which come from `file`."""
    document = loaded.settings.model_dump(mode="json", by_alias=True)
    settings = []
    for key in all_keys():
        value = document
        for part in key.path:
            value = value[part]
        origin = loaded.origins.get(str(key), DEFAULT)
        settings.append(admin.Setting(str(key), json.dumps(value), origin, key.needs_restart))
    flags = [f"--{name} has no effect here" for name in loaded.command_line.without_effect]
    return admin.Config(
        yaml=yaml.safe_dump(document, sort_keys=False),
        settings=tuple(settings),
        file=file,
        without_effect=(*flags, *map(str, loaded.notes)),
    )


def render_annotated(loaded: Loaded) -> str:
    """The settings as a config file, in which a comment says where each comes from that is no default."""
    document = loaded.settings.model_dump(mode="json", by_alias=True)
    text = yaml.safe_dump(document, sort_keys=False, width=sys.maxsize)
    return "".join(f"{line}\n" for line in _annotate(text.splitlines(), loaded))


def _annotate(lines: list[str], loaded: Loaded) -> Iterator[str]:
    keys = {key.path for key in all_keys()}
    path: list[str] = []
    for line in lines:
        name = line.lstrip(" ")
        depth = (len(line) - len(name)) // INDENT
        if len(path) < depth or tuple(path[:depth]) in keys:
            yield line  # inside a value
            continue
        path[depth:] = [name.partition(":")[0]]
        origin = loaded.origins.get(".".join(path))
        yield f"{line}  # {origin}" if origin and tuple(path) in keys else line
