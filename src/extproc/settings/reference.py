"""The settings as a Markdown document, made from the schema: `make docs` writes it to docs/configuration.md."""

import sys
from collections.abc import Iterator

import yaml
from pydantic import BaseModel

from extproc.settings.keys import Key, all_keys, is_group
from extproc.settings.schema import Settings

INTRODUCTION = """\
# Settings

Generated from the classes of `src/extproc/settings/` (`schema.py`, `telling.py`) by `make docs`.

A YAML file (`--config-file`) or text (`--config-text`). Every group and key is optional; unknown ones are errors. Flags
are laid over it. A file is read again when it changes: about half a second later an edit is in effect, all of it at one
moment, and cuts no stream, but for the keys marked `restart`, which count at the next start; a bad edit changes nothing
and is told in the log, the metrics and by the admin service (docs/decisions/020-reload.md).

Durations are Go's (`50ms`, `2s`, `1m30s`), as a flag also integer nanoseconds; sizes are bytes, or with `KiB`, `MiB`,
`GiB`. `extproc check FILE` prints the effective settings and where each comes from, or every problem.

Editors complete and check the file by its JSON schema: `extproc check --schema > extproc.schema.json`, and as the first
line of the file, for those with yaml-language-server (VS Code, Neovim, Helix, JetBrains):

```yaml
# yaml-language-server: $schema=extproc.schema.json
```
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
            "| key | default | flag | restart | what |",
            "|---|---|---|---|---|",
        ]
        for key in _own_keys(group):
            value = defaults
            for part in (*path, *key.path):
                value = value[part]
            flag = f"`--{key.flag}`" if key.flag else ""
            restart = "yes" if key.needs_restart else ""
            lines.append(f"| `{key.path[-1]}` | `{_show(value)}` | {flag} | {restart} | {key.field.description} |")
        lines.append("")
    return "\n".join(lines)


def _groups(group: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    for name, field in group.model_fields.items():
        if is_group(field) and isinstance(field.annotation, type):
            inner = (*path, field.alias or name)
            if _own_keys(field.annotation):
                yield inner, field.annotation
            yield from _groups(field.annotation, inner)


def _own_keys(group: type[BaseModel]) -> list[Key]:
    return [key for key in all_keys(group) if len(key.path) == 1]


def _show(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 20}MiB"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip() if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.stdout.write(render_reference())
