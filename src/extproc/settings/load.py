"""Reading settings from a YAML file or text and from flags, with every problem at once."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from extproc.errors import ConfigError, Problem
from extproc.settings.keys import all_keys
from extproc.settings.llmd import Note, is_picker_config, map_picker_config
from extproc.settings.problems import describe, problems_of, read_mapping, read_text
from extproc.settings.schema import Settings

LARGEST_BYTES = 1 << 20
"""Of a config file: as large as a ConfigMap can be."""


class Flag(NamedTuple):
    """A command-line flag that sets one setting."""

    name: str
    path: tuple[str, ...]
    """The keys that lead to the setting in the file."""
    field: FieldInfo

    @property
    def is_bool(self) -> bool:
        """True for a flag that may stand without a value."""
        return self.field.annotation is bool

    @property
    def is_duration(self) -> bool:
        """True for a flag that takes Go durations and integer nanoseconds."""
        return self.field.annotation is float


def flags() -> dict[str, Flag]:
    """Every flag by its name, as the schema states them."""
    return {key.flag: Flag(key.flag, key.path, key.field) for key in all_keys() if key.flag}


class CommandLine(NamedTuple):
    """What a command line says of the settings."""

    file: str | None = None
    """Where the document is, …"""
    text: str | None = None
    """… or the document."""
    flag_values: Mapping[str, str] = MappingProxyType({})
    """Flags of ours: name → value as written."""
    implied: Mapping[tuple[str, ...], object] = MappingProxyType({})
    """What other flags come to (path of keys → value). It holds where the document says nothing."""
    without_effect: tuple[str, ...] = ()
    """Names of the flags that say nothing here."""

    @property
    def origin(self) -> str:
        """What a problem of the document is told of."""
        return self.file or ("--config-text" if self.text is not None else "flags")


class Loaded(NamedTuple):
    """Settings, where they come from, and what of their document has no effect."""

    settings: Settings
    notes: tuple[Note, ...]
    """Empty for a document of our own: there, what has no effect is an error."""
    origins: Mapping[str, str] = MappingProxyType({})
    """`file` or `flag`, by key (`probes.models.interval`); what is not there is a default. A text that stands in for
    the file is one."""
    command_line: CommandLine = CommandLine()
    text: str = ""
    """The document as it was read."""


def load_settings(*, file: str | None = None, text: str | None = None, flag_values: Mapping[str, str]) -> Settings:
    """The settings alone of `load`."""
    return load(file=file, text=text, flag_values=flag_values).settings


def load(
    *,
    file: str | None = None,
    text: str | None = None,
    flag_values: Mapping[str, str],
    implied: Mapping[tuple[str, ...], object] = MappingProxyType({}),
    without_effect: tuple[str, ...] = (),
) -> Loaded:
    """The settings of a YAML file or text, with `flag_values` (flag name → value as written) laid over them.

    An absent, empty or partial document means defaults; one of the kind EndpointPickerConfig means what it says of us.
    `implied` (path of keys → value) holds where the document says nothing. Errors: ConfigError with every problem
    found, be it in the document or in a flag; one for a file that cannot be read, or that is no YAML mapping.
    """
    if file is not None and text is not None:
        raise ConfigError("flags", [Problem("--config-text", "give a file or a text, not both")])
    command_line = CommandLine(file, text, flag_values, implied, without_effect)
    return load_document(text or "" if file is None else read_text(file, LARGEST_BYTES), command_line)


def load_document(text: str, command_line: CommandLine) -> Loaded:
    """The settings of the document `text`, with what the command line says laid over them. Errors: as of `load`."""
    document, problems = read_mapping(text, command_line.origin)
    notes: tuple[Note, ...] = ()
    if is_picker_config(document):
        document, notes = map_picker_config(document)
    origins = {str(key): "file" for key in all_keys() if _holds(document, key.path)}
    for path, setting in command_line.implied.items():
        if not _holds(document, path):
            _lay(document, path, setting)
            origins[".".join(path)] = "flag"
    by_name = flags()
    for flag, value in ((by_name[name], value) for name, value in command_line.flag_values.items()):
        origins[".".join(flag.path)] = "flag"
        try:
            _lay(document, flag.path, _read_flag(flag, value))
        except ValidationError as exc:
            problems.extend(Problem(f"--{flag.name}", describe(error, Settings)) for error in exc.errors())
    try:
        settings = Settings.model_validate(document)
    except ValidationError as exc:
        problems.extend(problems_of(exc, Settings))
    if problems:
        raise ConfigError(command_line.origin, problems)
    return Loaded(settings, notes, origins, command_line, text)


def _holds(document: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def _lay(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Puts `value` at `path`. A group that is no mapping stays as it is, for the validation to complain about."""
    for key in path[:-1]:
        group = document.setdefault(key, {})
        if group is None:
            group = document[key] = {}
        if not isinstance(group, dict):
            return
        document = group
    document[path[-1]] = value


def _read_flag(flag: Flag, value: str) -> object:
    """The value as the schema takes it. A duration of digits alone is Go's integer nanoseconds."""
    annotation: Any = Annotated[flag.field.annotation, flag.name, *flag.field.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    if flag.is_duration:
        text = f"{value}ns" if value.isascii() and value.isdigit() else value
        adapter.validate_python(text)
        return text
    return adapter.validate_python(value, strict=False)
