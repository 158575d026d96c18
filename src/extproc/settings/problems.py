"""Reading YAML documents, and saying all that is wrong with one in words for its author."""

import difflib
import reprlib
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from extproc.errors import ConfigError, Problem

MAPPING_KEY = "[key]"
"""Where pydantic finds something wrong with a key of a mapping, after the key itself."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that takes no key twice. Not the C one: deep nesting ends the process there."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice in a mapping", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def read_text(path: str) -> str:
    """The text of a file. Errors: ConfigError when it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError as exc:
        raise ConfigError(path, [Problem(path, f"cannot be read: {exc.strerror or exc}")]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(path, [Problem(path, "is not UTF-8 text")]) from exc
    except ValueError as exc:
        raise ConfigError(path, [Problem(path, f"cannot be read: {exc}")]) from exc


def parse_mapping(text: str, origin: str) -> dict[str, Any]:
    """The mapping in a YAML text, empty for an empty one. Errors: ConfigError, naming `origin`."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except RecursionError as exc:
        raise ConfigError(origin, [Problem(origin, "is nested too deeply")]) from exc
    except Exception as exc:  # its constructors raise whatever Python's types do, from ValueError to OverflowError
        raise ConfigError(origin, [Problem(origin, f"is not YAML: {' '.join(str(exc).split())}")]) from exc
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(origin, [Problem(origin, f"must be a mapping, not a {type(document).__name__}")])
    return document


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
