"""The settings as a Markdown document, made from the schema: `make docs` writes it to docs/configuration.md."""

import sys
from collections.abc import Iterator

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from extproc.settings.schema import Settings

INTRODUCTION = """\
# Settings

Generated from `src/extproc/settings/schema.py` by `make docs`.

A YAML file (`--config-file`) or text (`--config-text`). Every group and key is optional; unknown ones are errors. Flags
are laid over it. Durations are Go's (`50ms`, `2s`, `1m30s`), as a flag also integer nanoseconds; sizes are bytes, or
with `KiB`, `MiB`, `GiB`. `extproc check FILE` prints the effective settings, or every problem.
"""


def render_reference() -> str:
    """The document: one table for each group."""
    defaults = Settings().model_dump(mode="json", by_alias=True)
    lines = [INTRODUCTION]
    for path, group in _groups(Settings, ()):
        lines += [
            f"## `{'.'.join(path)}`",
            "",
            group.__doc__ or "",
            "",
            "| key | default | flag | what |",
            "|---|---|---|---|",
        ]
        for key, field in _values(group):
            value = defaults
            for part in (*path, key):
                value = value[part]
            lines.append(f"| `{key}` | `{_show(value)}` | {_flag(field)} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def _groups(group: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner = (*path, field.alias or name)
            if list(_values(field.annotation)):
                yield inner, field.annotation
            yield from _groups(field.annotation, inner)


def _values(group: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in group.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            yield field.alias or name, field


def _show(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 20}MiB"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip() if isinstance(value, list) else str(value)


def _flag(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return f"`--{extra['flag']}`" if isinstance(extra, dict) else ""


if __name__ == "__main__":
    sys.stdout.write(render_reference())
