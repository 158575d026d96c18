"""Reading YAML documents, and saying all that is wrong with one in words for its author."""

import difflib
import os
import reprlib
import stat
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from extproc.errors import ConfigError, Problem

MAPPING_KEY = "[key]"
"""Where pydantic finds something wrong with a key of a mapping, after the key itself."""

MERGE_TAG = "tag:yaml.org,2002:merge"
MOST_MERGED_KEYS = 10_000
"""Of a mapping. Each `<<` can double what stands before it: a file of twenty lines could make millions."""
MOST_LEVELS = 100
"""Python's own limit is found only after a second, most of it for the traceback."""
LARGEST_FILE_BYTES = 16 << 20

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with bounds on nesting and on what merging makes of a few lines. Not the C one: there deep
    nesting ends the process.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._levels == MOST_LEVELS:
            raise RecursionError
        self._levels += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node. What its constructors raise, be it a ValueError or a KeyError, gets its place here."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as exc:
            what = f"{show(node.value)} cannot be read as {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from exc

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        count = len(node.value)
        for key, value in node.value:
            if key.tag == MERGE_TAG:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    if isinstance(merged, yaml.MappingNode):
                        self.flatten_mapping(merged)
                        count += len(merged.value)
        if count > MOST_MERGED_KEYS:
            what = f"merging makes more than {MOST_MERGED_KEYS} keys of it"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        super().flatten_mapping(node)


def read_text(path: str, most_bytes: int = LARGEST_FILE_BYTES) -> str:
    """The text of a regular file: one that blocks its reader could not even be left at the end.

    Errors: ConfigError when it cannot be read, or is larger than `most_bytes`.
    """
    try:
        content = _read_regular(path, most_bytes)
        if len(content) > most_bytes:
            raise ConfigError(path, [Problem(path, f"is larger than {most_bytes >> 20} MiB")])
        return content.decode()
    except OSError as exc:
        raise ConfigError(path, [Problem(path, f"cannot be read: {exc.strerror or exc}")]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(path, [Problem(path, "is not UTF-8 text")]) from exc
    except ValueError as exc:
        raise ConfigError(path, [Problem(path, f"cannot be read: {exc}")]) from exc


def _read_regular(path: str, most_bytes: int) -> bytes:
    """At most a byte more than `most_bytes`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ConfigError(path, [Problem(path, "is no regular file")])
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most_bytes + 1)
    finally:
        os.close(descriptor)


def parse_mapping(text: str, origin: str) -> dict[str, Any]:
    """The mapping in a YAML text, empty for an empty one. Errors: ConfigError, naming `origin`."""
    document, problems = read_mapping(text, origin)
    if problems:
        raise ConfigError(origin, problems)
    return document


def read_mapping(text: str, origin: str) -> tuple[dict[str, Any], list[Problem]]:
    """The mapping in a YAML text, and each key that stands twice in it, of which the last counts.

    Errors: ConfigError, naming `origin`, for what is no mapping.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        problems = [] if node is None else list(_find_repeated(node, "", set()))
        document = {} if node is None else loader.construct_document(node)
    except RecursionError as exc:
        raise ConfigError(origin, [Problem(origin, "is nested too deeply")]) from exc
    except Exception as exc:  # its scanner, too, raises whatever Python's types do, from ValueError to OverflowError
        raise ConfigError(origin, [Problem(origin, f"is not YAML: {_tell(exc, text)}")]) from exc
    if document is None:
        return {}, problems
    if not isinstance(document, dict):
        raise ConfigError(origin, [Problem(origin, f"must be a mapping, not a {type(document).__name__}")])
    return document, problems


def _tell(error: Exception, text: str) -> str:
    """The place first, then what is wrong there, then what it is a part of: where this is cut, the line is shown."""
    if isinstance(error, yaml.reader.ReaderError):
        line_start = text.rfind("\n", 0, error.position) + 1
        place = _place(text.count("\n", 0, error.position), error.position - line_start)
        return f"{place}: the character U+{ord(text[error.position]):04X} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    told, around, begin = error.problem or "", error.context or "", ""
    mark, context = error.problem_mark, error.context_mark
    if context and mark and context.index != mark.index:
        begin = f" from {_place(context.line, context.column)}"
    if around.startswith("while"):
        told = f"{told}; {around}{begin}"
    elif around:  # the sentence begins there
        told = f"{around}{begin}, {told}"
    place = "" if mark is None else f"{_place(mark.line, mark.column)}: "
    return place + " ".join(told.split())


def _place(line: int, column: int) -> str:
    """Both count from 0, and are told from 1."""
    return f"line {line + 1}, column {column + 1}"


def _find_repeated(node: yaml.Node, path: str, seen: set[int]) -> Iterator[Problem]:
    """The keys below `node` that stand twice in one mapping. What an alias stands for is looked through once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _find_repeated(item, f"{path}[{index}]", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            where = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name and key.tag != MERGE_TAG:
                if name in lines:
                    yield Problem(where, f"stands twice, in the lines {lines[name]} and {line}")
                lines.setdefault(name, line)
            yield from _find_repeated(value, where, seen)


def problems_of(exc: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Everything that pydantic found wrong with a document of `model`, with its path and a suggestion."""
    return [Problem(_where(error), describe(error, model)) for error in exc.errors()]


def describe(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong, and what would be right."""
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        known = _keys_at(error["loc"][:-1], model)
        near = _nearest(str(error["loc"][-1]), known)
        return f"unknown key, did you mean {near}?" if near else f"unknown key (known: {', '.join(known)})"
    if kind == "missing":
        return "is required"
    if kind == "literal_error":
        choices = [choice.strip(" '") for choice in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        near = _nearest(str(value), choices)
        return f"{show(value)} is none of {', '.join(choices)}" + (f", did you mean {near}?" if near else "")
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in ("model_type", "dict_type"):
        return f"must be a mapping; got {show(value)}"
    if kind == "tuple_type":
        return f"must be a list; got {show(value)}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}; got {show(value)}"


def show(value: object) -> str:
    """The value in short: a few lines of YAML can stand for megabytes."""
    try:
        return _short.repr(value)
    except ValueError:  # a number of more digits than Python writes out
        return f"a very long {type(value).__name__}"


def _where(error: ErrorDetails) -> str:
    path = ""
    for part in error["loc"]:
        if part != MAPPING_KEY:
            path += f"[{part!r}]" if isinstance(part, int) or not part else f".{part}" if path else part
    return path or "document"


def _nearest(word: str, choices: list[str]) -> str | None:
    by_fold = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return by_fold[near[0]] if near else None


def _keys_at(path: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    group: Any = model
    for part in path:
        if get_origin(group) is dict:
            group = get_args(group)[1]
        elif isinstance(part, str):
            group = next(
                field.annotation for name, field in group.model_fields.items() if (field.alias or name) == part
            )
            if get_origin(group) in (tuple, list):
                group = get_args(group)[0]
    return [field.alias or name for name, field in group.model_fields.items()]
