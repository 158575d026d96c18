"""The settings in effect, for a person: as a config file, and value by value with where each comes from."""

import json
from collections.abc import Iterator, Mapping

import yaml

from extproc.settings.load import Loaded
from extproc.values import admin

DEFAULT = "default"


def describe_settings(loaded: Loaded, file: admin.ConfigFile | None) -> admin.Config:
    """The settings of `loaded`, which come from `file`."""
    document = loaded.settings.model_dump(mode="json", by_alias=True)
    settings = [
        admin.Setting(key, json.dumps(value), loaded.origins.get(key, DEFAULT)) for key, value in _flatten(document, "")
    ]
    return admin.Config(
        yaml=yaml.safe_dump(document, sort_keys=False),
        settings=tuple(settings),
        file=file,
        without_effect=tuple(map(str, loaded.notes)),
    )


def _flatten(group: Mapping[str, object], path: str) -> Iterator[tuple[str, object]]:
    for key, value in group.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, where)
        else:
            yield where, value
