"""Columns whose values repeat by construction, as codes into their distinct values.

A resource, a scope and an attribute's key stand on thousands of rows. Expanding them to text only for the Parquet
writer to look for repetitions in it again was a twentieth of the work of landing. Files are the same either way:
their schema says text.
"""

from __future__ import annotations

import pyarrow as pa

from .ragged import Integers

_TEXT = pa.dictionary(pa.int32(), pa.string())
_TYPES = {
    "kind": _TEXT,
    "status": _TEXT,
    "scope_name": _TEXT,
    "scope_version": _TEXT,
    "service_name": _TEXT,
    "attributes": pa.map_(_TEXT, pa.string()),
    "resource_attributes": pa.map_(_TEXT, _TEXT),
}


def coded_schema(plain: pa.Schema) -> pa.Schema:
    """The schema in which landing makes rows of `plain`."""
    return pa.schema([field.with_type(_TYPES.get(field.name, field.type)) for field in plain], plain.metadata)


def coded_texts(distinct: pa.StringArray, codes: Integers) -> pa.DictionaryArray:
    """`distinct` texts, none of them NULL, at `codes`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), distinct, safe=False)


def with_coded_items(maps: pa.MapArray) -> pa.MapArray:
    """Maps, none of them NULL, with their values as codes too."""
    return pa.MapArray.from_arrays(maps.offsets, maps.keys, maps.items.dictionary_encode())
