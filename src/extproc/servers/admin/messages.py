"""Admin values as the messages of proto/extproc/admin/v1/admin.proto, which have the same fields."""

from typing import TypeVar

import msgspec
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def to_message(value: msgspec.Struct, kind: type[M]) -> M:
    """`value` as a message of `kind`."""
    return kind(**{name: _build(getattr(value, name)) for name in value.__struct_fields__})


def _build(value: object) -> object:
    """As protobuf's constructors take it: messages as mappings, None as what is not set."""
    if isinstance(value, msgspec.Struct):
        return {name: _build(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_build(each) for each in value]
    return value
