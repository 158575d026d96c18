"""proto/ and what is generated from it: up to date, and field by field what envoy-data-plane says Envoy's is."""

import dataclasses
import enum
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from proto.generate import generate

import extproc._gen
from extproc._gen.envoy.config.core.v3 import base_pb2
from extproc._gen.envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from extproc._gen.envoy.service.ext_proc.v3 import external_processor_pb2
from extproc._gen.envoy.type.v3 import http_status_pb2

FILES: list[FileDescriptor] = [
    module.DESCRIPTOR for module in (base_pb2, processing_mode_pb2, external_processor_pb2, http_status_pb2)
]
TYPES = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_STRING: "string",
}


def messages_of(holder: FileDescriptor | Descriptor) -> Iterator[Descriptor]:
    nested = holder.message_types_by_name if isinstance(holder, FileDescriptor) else holder.nested_types_by_name
    for message in nested.values():
        if not message.GetOptions().map_entry:
            yield message
            yield from messages_of(message)


MESSAGES = [message for file in FILES for message in messages_of(file)]
FIELDS = [field for message in MESSAGES for field in message.fields]
ENUMS = [
    *(each for file in FILES for each in file.enum_types_by_name.values()),
    *(each for message in MESSAGES for each in message.enum_types_by_name.values()),
]


def upstream(descriptor: Descriptor | EnumDescriptor) -> Any:
    """envoy-data-plane's class: nested types are named by their holder's name and their own in one."""
    package = descriptor.file.package
    name = descriptor.full_name.removeprefix(f"{package}.").replace(".", "")
    return getattr(import_module(f"envoy_data_plane.{package}"), name)


def ours(field: FieldDescriptor) -> dict[str, Any]:
    """A field of ours, in betterproto2's words."""
    oneof = field.containing_oneof
    kind: Descriptor | EnumDescriptor | None = field.message_type or field.enum_type
    entry = kind if isinstance(kind, Descriptor) and kind.GetOptions().map_entry else None
    if entry is not None:
        value = entry.fields_by_name["value"]
        kind = value.message_type or value.enum_type
    return {
        "number": field.number,
        "proto_type": "map" if entry else TYPES[field.type],
        "map": [TYPES[each.type] for each in entry.fields] if entry else None,
        "group": oneof.name if oneof else None,
        "repeated": field.is_repeated and not entry,
        "names": upstream(kind) if kind else None,
    }


def theirs(field: FieldDescriptor) -> dict[str, Any]:
    """The same field of upstream's."""
    assert field.containing_type is not None
    message = upstream(field.containing_type)
    data = {each.name: each.metadata["betterproto"] for each in dataclasses.fields(message)}[field.name]
    hint = get_type_hints(message)[field.name]
    named = [each for each in (hint, *get_args(hint)) if isinstance(each, type)]
    return {
        "number": data.number,
        "proto_type": data.proto_type,
        "map": [part.proto_type for part in data.map_meta] if data.map_meta else None,
        "group": data.group,
        "repeated": data.repeated,
        "names": next((t for t in named if dataclasses.is_dataclass(t) or issubclass(t, enum.IntEnum)), None),
    }


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.full_name)
def test_each_field_is_envoys(field: FieldDescriptor) -> None:
    assert ours(field) == theirs(field)


@pytest.mark.parametrize("descriptor", ENUMS, ids=lambda descriptor: descriptor.full_name)
def test_each_enum_value_is_envoys(descriptor: EnumDescriptor) -> None:
    theirs_by_name = {member.name: member.value for member in upstream(descriptor)}
    assert {value.name: value.number for value in descriptor.values}.items() <= theirs_by_name.items()


def test_the_comparison_covers_what_we_read_and_write() -> None:
    assert len(MESSAGES) >= 15
    assert len(ENUMS) == 4
    assert {"ProcessingRequest", "ProcessingResponse", "HeaderValue", "HttpStatus"} <= {each.name for each in MESSAGES}


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".pyi")
    }


def test_what_is_checked_in_is_what_proto_generates(tmp_path: Path) -> None:
    generate(tmp_path / "_gen")
    generated, checked_in = files_below(tmp_path / "_gen"), files_below(Path(extproc._gen.__path__[0]))
    assert generated.keys() == checked_in.keys(), "run `make proto`"
    assert [name for name in generated if generated[name] != checked_in[name]] == [], "run `make proto`"
