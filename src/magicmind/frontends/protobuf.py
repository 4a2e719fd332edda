"""Protobuf message classes made from small tables, so that no framework and no generated code is needed.

    enum Name FIRST SECOND FOURTH=3
    message Name: field type, list type*, field type=default, field@7 type

A type is a scalar of protobuf, an enum or a message of the same table; fields without `@number` are counted, which is
enough for text; `*` repeats. A map is read as the repeated pair (`key@1`, `value@2`) that it is on the wire.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}

_FIELD = re.compile(r"(?P<name>\w+)(?:@(?P<number>\d+))? (?P<type>\w+)(?P<many>\*)?(?:=(?P<default>.+))?")


def messages(text: str, package: str) -> dict[str, Any]:
    """The message classes of a table, by name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    lines = [line for line in text.replace("\\\n", "").splitlines() if line]
    enums = {line.split()[1] for line in lines if line.startswith("enum ")}
    for line in lines:
        kind, rest = line.split(" ", 1)
        if kind == "enum":
            _add_enum(file, rest)
        else:
            _add_message(file, rest, enums)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
        for message in file.message_type
    }


def _add_enum(file: Any, text: str) -> None:
    """`Name A B C=4`: values count up. A scope of its own lets two enums share a value's name."""
    name, *values = text.split()
    enum = file.message_type.add(name=f"{name}Scope").enum_type.add(name=name)
    number = 0
    for value in values:
        label, _, given = value.partition("=")
        number = int(given) if given else number
        enum.value.add(name=label, number=number)
        number += 1


def _add_message(file: Any, text: str, enums: set[str]) -> None:
    """`Name: field type, field type*, field type=default`; fields without `@number` are counted."""
    name, fields = text.split(": ", 1)
    message = file.message_type.add(name=name)
    for i, part in enumerate(fields.split(", ")):
        match = _FIELD.fullmatch(part.strip())
        assert match, part
        field = message.field.add(name=match["name"], number=int(match["number"] or i + 1))
        field.label = field.LABEL_REPEATED if match["many"] else field.LABEL_OPTIONAL
        if match["type"] in _SCALARS:
            field.type = _SCALARS[match["type"]]
        elif match["type"] in enums:
            field.type = field.TYPE_ENUM
            field.type_name = f".{file.package}.{match['type']}Scope.{match['type']}"
        else:
            field.type = field.TYPE_MESSAGE
            field.type_name = f".{file.package}.{match['type']}"
        if match["default"]:
            field.default_value = match["default"].strip('"')
