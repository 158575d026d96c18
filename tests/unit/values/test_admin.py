"""values/admin and proto/extproc/admin/v1/admin.proto: the same messages, field by field."""

import inspect
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.values import admin

MESSAGES: dict[str, Descriptor] = dict(admin_pb2.DESCRIPTOR.message_types_by_name)
REQUESTS = {"GetSnapshotRequest", "ExplainRequest", "Subset", "WatchDecisionsRequest", "GetConfigRequest"}
STRUCTS = {
    name: kind for name, kind in vars(admin).items() if inspect.isclass(kind) and issubclass(kind, msgspec.Struct)
}
SCALARS = {
    FieldDescriptor.TYPE_STRING: "str",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_DOUBLE: "float",
    FieldDescriptor.TYPE_UINT32: "int",
    FieldDescriptor.TYPE_UINT64: "int",
    FieldDescriptor.TYPE_INT64: "int",
}


def spell_field(field: FieldDescriptor) -> str:
    """A field's type as the struct spells it."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = (spell_field(kind.fields_by_name[name]) for name in ("key", "value"))
        return f"{key} → {value}"
    name = kind.name if kind is not None else SCALARS[field.type]
    if field.is_repeated:
        return f"{name}…"
    return f"{name} or unset" if field.has_presence else name


def spell_hint(hint: Any) -> str:
    """The same of a struct's annotation."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        assert arguments[1:] == (Ellipsis,)
        return f"{spell_hint(arguments[0])}…"
    if get_origin(hint) is dict:
        return f"{spell_hint(arguments[0])} → {spell_hint(arguments[1])}"
    if isinstance(hint, UnionType):
        [kind] = [each for each in arguments if each is not NoneType]
        assert NoneType in arguments
        return f"{spell_hint(kind)} or unset"
    return str(hint.__name__)


def test_there_is_a_struct_for_each_message_and_no_other() -> None:
    assert MESSAGES.keys() - STRUCTS.keys() == REQUESTS
    assert STRUCTS.keys() <= MESSAGES.keys()


@pytest.mark.parametrize("name", STRUCTS)
def test_the_fields_are_the_same(name: str) -> None:
    fields = {field.name: spell_field(field) for field in MESSAGES[name].fields}
    assert {name: spell_hint(hint) for name, hint in get_type_hints(STRUCTS[name]).items()} == fields
