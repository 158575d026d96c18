"""Admin values as the messages of proto/extproc/admin/v1/admin.proto, which have the same fields."""

from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

LONGEST_TEXT = 1000
"""Characters of a text. Names come from engines and clients, which can send megabytes of them."""

_PLAIN = frozenset({bool, int, float, bytes, type(None)})


def to_message(value: msgspec.Struct, kind: type[M], *, longest_text: int = LONGEST_TEXT) -> M:
    """`value` as a message of `kind`. Texts above `longest_text` characters are cut, and end in an ellipsis then.

    Never fails for what a text holds: half a character, which no message can hold, becomes `?`.
    """
    return kind(**_build_fields(value, longest_text))


def _build_fields(value: msgspec.Struct, longest: int) -> dict[str, object]:
    return {name: _build(getattr(value, name), longest) for name in value.__struct_fields__}


def _build(value: Any, longest: int) -> object:
    """As protobuf's constructors take it: messages as mappings, None as what is not set.

    A pool of 1,000 endpoints is 20,000 values: they are told apart by their types alone, the commonest first.
    """
    kind = type(value)
    if kind is str:
        return _cut(value, longest)
    if kind in _PLAIN:
        return value
    if kind is tuple:
        return [_build(each, longest) for each in value]
    if isinstance(value, msgspec.Struct):
        return _build_fields(value, longest)
    if isinstance(value, dict):
        return {_cut(key, longest): _build(each, longest) for key, each in value.items()}
    raise TypeError(f"no message holds a {kind.__name__}")


def _cut(text: str, longest: int) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= longest else text[: longest - 1] + "…"
