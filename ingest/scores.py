"""Attributes that hold several named scores, brought to one form: JSON [{name, score, label}, …] a row.

They are opened at landing because some stand in content, which is not landed; of a score's text only its
name and label are kept, never the reason or what was judged. Separate from promotion, which reads one value
from one place, because here several attributes of a row add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..models.conventions import ScoreCarrier
from .attributes import Attributes
from .carriers import Carriers

_SHAPES = {
    "numbers": (  # {name: 0.8}
        "OBJECT",
        "key",
        "if(json_type(value) <> 'VARCHAR', value, null)",
        "null",
    ),
    "values": (  # {name: {value: 0.8 | true | word, reason: …}}
        "OBJECT",
        "key",
        "json_extract(value, '$.value')",
        "null",
    ),
    "list": (  # [{name, score, label, …}]
        "ARRAY",
        "json_extract_string(value, '$.name')",
        "json_extract(value, '$.score')",
        "json_extract_string(value, '$.label')",
    ),
}
"""Shape -> what the JSON must be, and where in each of its entries name, score and label are."""

_NORMALISED = """
with entries as (
    select
        texts.carried,
        each.id as position,
        left({name}, 200) as name,
        {score} as scored,
        left({label}, 200) as label,
    from texts, json_each(texts.carried) as each
    where json_type(texts.carried) = '{type}' and json_type(each.value) <> 'NULL'
)
select
    carried,
    array_to_string(
        list(
            to_json({{
                'name': name,
                'score': if(json_type(scored) in ('DOUBLE', 'BIGINT', 'UBIGINT', 'BOOLEAN'), scored ->> '$', null),
                'label': coalesce(label, if(json_type(scored) = 'VARCHAR', left(scored ->> '$', 200), null))
            }})::varchar
            order by position
        ),
        ','
    ) as scores
from entries
where name <> '' and (label is not null or json_type(scored) in ('DOUBLE', 'BIGINT', 'UBIGINT', 'BOOLEAN', 'VARCHAR'))
group by carried
"""


class Scores:
    """Scores found in the carriers of one table of attributes, waiting for the rows' operations."""

    def __init__(self, opener: Carriers, carriers: Sequence[ScoreCarrier], attributes: Attributes) -> None:
        """Read every carrier that is present, while it is still whole."""
        self._height = attributes.height
        self._found: list[tuple[ScoreCarrier, list[int], list[str | None]]] = []
        for carrier in carriers:
            positions = attributes.find(carrier.key)
            positions = positions[attributes.values.text_at[positions] >= 0]
            if len(positions):
                texts = attributes.texts(attributes.values.text_at[positions])
                read = opener.scores(texts, _query(carrier.shape))
                at = np.flatnonzero(np.asarray(read.is_valid()))
                if len(at):
                    rows = attributes.rows[positions[at]].tolist()
                    self._found.append((carrier, rows, read.take(pa.array(at)).to_pylist()))

    def column(self, operations: pa.StringArray) -> pa.StringArray:
        """The `evaluation_scores` column; a carrier that asks for an operation is read on its spans only."""
        if not self._found:
            return pa.nulls(self._height, pa.string())
        parts: dict[int, list[str]] = defaultdict(list)
        for carrier, rows, texts in self._found:
            said = pc.utf8_lower(operations.take(pa.array(rows))).to_pylist() if carrier.operation else ()
            for at, (row, text) in enumerate(zip(rows, texts, strict=True)):
                if text and (carrier.operation is None or said[at] == carrier.operation):
                    parts[row].append(text)
        rows_with = list(parts)
        column = np.full(self._height, None, object)
        column[rows_with] = [f"[{','.join(parts[row])}]" for row in rows_with]
        return pa.array(column, pa.string())


def _query(shape: str) -> str:
    type_, name, score, label = _SHAPES[shape]
    return _NORMALISED.format(type=type_, name=name, score=score, label=label)
