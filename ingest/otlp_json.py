"""OTLP/JSON to protobuf, so that journal and landing know one form only.

OTLP's JSON is protobuf's with its own rules (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding):
ids are hex where protobuf has base64, enums are numbers, unknown fields are skipped. The schema is made from
OTLP's own descriptors and run by pydantic-core: parsing, names, numbers in strings and hex cost no Python per
span, a fourth of protobuf's json_format, and what is wrong is told with its path.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import EncodeError
from pydantic_core import PydanticCustomError, SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from .check import MalformedRequest
from .services import Service

_LONE_SURROGATE = re.compile(
    r"(?<!\\)(?P<escaped>(?:\\\\)*)(?:(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)

_SCALARS: dict[int, core.CoreSchema] = {
    FieldDescriptor.TYPE_STRING: core.str_schema(),
    FieldDescriptor.TYPE_BYTES: core.bytes_schema(),
    FieldDescriptor.TYPE_BOOL: core.bool_schema(),
    FieldDescriptor.TYPE_DOUBLE: core.float_schema(),
}


def to_protobuf(service: Service, body: bytes) -> bytes:
    """The request as protobuf; an id that is not hex becomes an empty one, which the check rejects alone.

    Raises MalformedRequest naming where in the JSON it is wrong.
    """
    try:
        request = _parse(service, body)
        serialised: bytes = service.request(**request).SerializeToString()
    except (ValueError, TypeError, EncodeError, RecursionError) as error:
        raise MalformedRequest(f"not an OTLP {service.name} export request in JSON: {_reason(error)}") from error
    return serialised


def _parse(service: Service, body: bytes) -> dict[str, Any]:
    schema = _schema(service)
    try:
        request: dict[str, Any] = schema.validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] != "json_invalid":
            raise
        # Text cut in the middle of a character, as JavaScript's slice() does: it must not cost the batch.
        text = body.decode("utf-8-sig", "replace")
        mended = _LONE_SURROGATE.sub(lambda found: found["escaped"] + (found["pair"] or r"\ufffd"), text)
        request = schema.validate_json(mended)
    return request


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)[:200] or type(error).__name__
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    value = "" if first["type"] == "json_invalid" else f" (it is {repr(first['input'])[:60]})"
    return f"{place}{': ' if place else ''}{first['msg']}{value}"


@cache
def _schema(service: Service) -> SchemaValidator:
    made: dict[str, Any] = {}
    root = _message(service.request.DESCRIPTOR, made)
    return SchemaValidator(core.definitions_schema(root, list(made.values())))


def _message(descriptor: Descriptor, made: dict[str, Any]) -> core.CoreSchema:
    """A reference to the schema of a message, which is put into `made` with all it refers to."""
    if descriptor.full_name not in made:
        made[descriptor.full_name] = None  # AnyValue holds itself
        fields = {}
        for field in descriptor.fields:
            value = _message(field.message_type, made) if field.message_type else _scalar(field)
            if field.is_repeated:
                # Without fail_fast a million wrong elements are a million errors in memory.
                value = core.list_schema(value, fail_fast=True)
            fields[field.name] = core.typed_dict_field(
                core.nullable_schema(value), required=False, validation_alias=[[field.json_name], [field.name]]
            )
        has_ids = any(_is_id(field) for field in descriptor.fields)
        made[descriptor.full_name] = core.typed_dict_schema(
            fields,
            ref=descriptor.full_name,
            extra_behavior="ignore",
            config=core.CoreConfig(val_json_bytes="hex" if has_ids else "base64"),
        )
    return core.definition_reference_schema(descriptor.full_name)


def _scalar(field: FieldDescriptor) -> core.CoreSchema:
    if _is_id(field):
        return _first_of(core.bytes_schema(), core.no_info_plain_validator_function(lambda _: b""))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum(field.enum_type)
    if field.full_name.endswith(".AnyValue.int_value"):
        # JavaScript's SDK sends 1e300 as an integer: a number nobody can hold is unknown, its batch is not.
        within = core.int_schema(ge=-(2**63), lt=2**63)
        return _first_of(within, core.no_info_plain_validator_function(_no_number))
    return _SCALARS.get(field.type, core.int_schema())


def _enum(descriptor: EnumDescriptor) -> core.CoreSchema:
    """A number, as OTLP wants it, or the name, as protobuf's own writers send it; a name unknown here is 0."""
    numbers = {value.name: value.number for value in descriptor.values}
    name = core.no_info_after_validator_function(lambda name: numbers.get(name, 0), core.str_schema())
    return _first_of(core.int_schema(), name)


def _first_of(*schemas: core.CoreSchema) -> core.CoreSchema:
    return core.union_schema(list(schemas), mode="left_to_right")


def _no_number(value: object) -> None:
    if not isinstance(value, int | float):
        raise PydanticCustomError("int_value", "Input should be a 64-bit integer, as a number or a string")


def _is_id(field: FieldDescriptor) -> bool:
    return bool(field.type == FieldDescriptor.TYPE_BYTES and field.name.endswith("_id"))
