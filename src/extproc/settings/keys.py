"""Every key of the settings, as the schema states it: what flags, documents and comparisons are made from."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from extproc.settings.group import Group
from extproc.settings.schema import Settings

G = TypeVar("G", bound=Group)


class Key(NamedTuple):
    """One setting that is no group of others."""

    path: tuple[str, ...]
    """The keys that lead to it in the file."""
    names: tuple[str, ...]
    """The same as attributes of `Settings`."""
    field: FieldInfo

    def __str__(self) -> str:
        return ".".join(self.path)

    @property
    def flag(self) -> str | None:
        """Name of the flag that sets it, if there is one."""
        return self._extra.get("flag")

    @property
    def needs_restart(self) -> bool:
        """True where a change counts at the next start only."""
        return bool(self._extra.get("needs_restart"))

    @property
    def _extra(self) -> dict[str, Any]:
        extra = self.field.json_schema_extra
        return extra if isinstance(extra, dict) else {}

    def value_in(self, settings: Settings) -> Any:
        """Its value."""
        value: Any = settings
        for name in self.names:
            value = getattr(value, name)
        return value


def is_group(field: FieldInfo) -> bool:
    """True for a field that is a group of settings itself."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def all_keys(group: type[BaseModel] = Settings) -> Iterator[Key]:
    """The settings below `group`, in the order of the schema."""
    for name, field in group.model_fields.items():
        key = field.alias or name
        if not is_group(field):
            yield Key((key,), (name,), field)
            continue
        assert isinstance(field.annotation, type)  # noqa: S101 - as `is_group` says
        for inner in all_keys(field.annotation):
            yield Key((key, *inner.path), (name, *inner.names), inner.field)


def keep_until_restart(started: Settings, fresh: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`fresh` with the values of `started` for the keys whose change needs a restart, and those of them that differ."""
    differing = []
    for key in all_keys():
        if key.needs_restart and (value := key.value_in(started)) != key.value_in(fresh):
            fresh = _replace(fresh, key.names, value)
            differing.append(str(key))
    return fresh, tuple(differing)


def _replace(group: G, names: tuple[str, ...], value: object) -> G:
    name, *rest = names
    return group.model_copy(update={name: _replace(getattr(group, name), tuple(rest), value) if rest else value})
