"""Values inside attributes that hold JSON, or a Python literal of it.

DuckDB's JSON functions read every path out of each distinct text at once. LiteLLM and others export
`str(dict)`: single quotes, None, True. Where such a text has no quote or backslash inside its strings it
becomes JSON by three replacements, exactly; only the rest is parsed as Python, one distinct text at a time.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WHOLE = "$"
_PYTHON_TEXT_LIMIT = 65536

# A Python repr without `"` and `\` quotes every string with ', and no string in it contains one.
# The words None, True and False are then safe to replace unless one also stands inside a string.
_AS_JSON = r"""
select
    case
        when json_valid(carried) then carried
        -- Half a surrogate pair (a text cut inside an emoji) is all that is wrong with some.
        when contains(lower(carried), '\ud') and json_valid(regexp_replace(carried, $surrogate, chr(65533), 'g'))
        then regexp_replace(carried, $surrogate, chr(65533), 'g')
        when contains(carried, '"') or contains(carried, '\') then null
        when len(regexp_extract_all(carried, '\b(None|True|False)\b'))
           = len(regexp_extract_all(regexp_replace(carried, '''[^'']*''', '', 'g'), '\b(None|True|False)\b'))
        then replace(carried, '''', '"')
            .regexp_replace('\bNone\b', 'null', 'g')
            .regexp_replace('\bTrue\b', 'true', 'g')
            .regexp_replace('\bFalse\b', 'false', 'g')
    end as as_json,
    if(json_valid(as_json), as_json, null) as opened
from texts
"""

_SURROGATE = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_READ = "select coalesce(try(json_extract_string(opened, $paths)), $nothing::varchar[]) as found from texts"

_UNQUOTED = "select coalesce(try(json_extract_string(carried, '$')), carried) as text from texts"


class Carriers:
    """Opens carriers with an in-process DuckDB of its own, started for the first of them."""

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute("set threads = 1")
        return connection

    def read(self, texts: pa.StringArray, paths: Sequence[str]) -> list[pa.StringArray]:
        """For each path, the value in each of `texts`: scalars as text, arrays and objects as JSON text.

        NULL where there is none. `$` is the text itself, unquoted if it is a JSON string.
        """
        distinct = texts.dictionary_encode()
        codes = distinct.indices
        inner = [path for path in paths if path != WHOLE]
        found = dict(zip(inner, self._inside(distinct.dictionary, inner), strict=True)) if inner else {}
        if WHOLE in paths:
            found[WHOLE] = self._unquoted(distinct.dictionary)
        return [found[path].take(codes) for path in paths]

    def is_shut(self, texts: pa.StringArray) -> npt.NDArray[np.bool_]:
        """Which of `texts` begin as JSON or a Python literal of it does, and are none that can be read."""
        distinct = texts.dictionary_encode()
        shut = pc.and_(_is_composed(distinct.dictionary), self._opened(distinct.dictionary).is_null())
        return np.array(shut.take(distinct.indices), np.bool_)

    def scores(self, texts: pa.StringArray, query: str) -> pa.StringArray:
        """What `query` makes of each of `texts` that is JSON; NULL where nothing.

        `query` reads the distinct JSON texts as `texts(carried)` and returns some of them with `scores`.
        """
        distinct = texts.dictionary_encode()
        opened = self._opened(distinct.dictionary)
        found = self._query(query, pa.table({"carried": opened.filter(opened.is_valid()).unique()}), {})
        scores = pa.concat_arrays([*found.column("scores").chunks, pa.nulls(1, pa.string())])
        places = pc.index_in(opened, found.column("carried").combine_chunks(), skip_nulls=True)
        return scores.take(pc.fill_null(places, len(scores) - 1)).take(distinct.indices)

    def _inside(self, texts: pa.StringArray, paths: list[str]) -> list[pa.StringArray]:
        opened = self._opened(texts)
        read = self._query(_READ, pa.table({"opened": opened}), {"paths": paths, "nothing": [None] * len(paths)})
        flat = read.column("found").combine_chunks().flatten()
        return [flat.take(pa.array(np.arange(at, len(flat), len(paths)))) for at in range(len(paths))]

    def _opened(self, texts: pa.StringArray) -> pa.StringArray:
        """Each text as JSON; NULL where it is none, in JSON or in Python."""
        composed = _is_composed(texts)
        candidates = pc.if_else(composed, texts, None)
        opened = (
            self._query(_AS_JSON, pa.table({"carried": candidates}), {"surrogate": _SURROGATE})
            .column("opened")
            .combine_chunks()
        )
        failed = np.flatnonzero(np.asarray(pc.and_(composed, opened.is_null())))
        if not len(failed):
            return opened
        parsed = [_python_as_json(text) for text in texts.take(pa.array(failed)).to_pylist()]
        chosen: npt.NDArray[Any] = np.arange(len(texts))
        chosen[failed] = len(texts) + np.arange(len(parsed))
        return pa.concat_arrays([opened, pa.array(parsed, pa.string())]).take(pa.array(chosen))

    def _unquoted(self, texts: pa.StringArray) -> pa.StringArray:
        # Only a text in quotes can differ from itself. A number must not go through JSON: 1.10 is a version.
        quoted = np.flatnonzero(np.asarray(pc.starts_with(texts, '"')))
        if not len(quoted):
            return texts
        inside = self._query(_UNQUOTED, pa.table({"carried": texts.take(pa.array(quoted))}), {})
        chosen: npt.NDArray[Any] = np.arange(len(texts))
        chosen[quoted] = len(texts) + np.arange(len(quoted))
        return pa.concat_arrays([texts, inside.column("text").combine_chunks()]).take(pa.array(chosen))

    def _query(self, sql: str, texts: pa.Table, parameters: dict[str, Any]) -> pa.Table:
        self._connection.register("texts", texts)
        try:
            return self._connection.sql(sql, params=parameters).to_arrow_table()
        finally:
            self._connection.unregister("texts")


def _is_composed(texts: pa.StringArray) -> pa.BooleanArray:
    return pc.is_in(pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(texts), 0, 1), pa.array(["{", "["]))


def _python_as_json(text: str) -> str | None:
    """A Python literal as JSON; None if it is none or too long to be worth it."""
    if len(text) > _PYTHON_TEXT_LIMIT:
        return None
    try:
        literal = json.dumps(ast.literal_eval(text.strip()), ensure_ascii=False, allow_nan=False)
        return literal.encode("utf-8", "replace").decode()
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
