"""Attributes that a sender's token forces: they stand on every row of its requests, whatever the sender says.

They travel with the request through the journal, because a token may have changed by the time it lands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..models.schema import DIMENSIONS
from .notes import Notes
from .ragged import Integers, take


def packed(forced: Mapping[str, str]) -> bytes:
    """Forced values by promoted column, as a request carries them; nothing for none.

    >>> packed({"team": "search", "customer_id": "acme"}), packed({})
    (b'{"customer_id":"acme","team":"search"}', b'')
    """
    return json.dumps(forced, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() if forced else b""


class Forced:
    """What the tokens behind a batch of requests force."""

    def __init__(self, columns: Mapping[str, tuple[pa.StringArray, Integers]]) -> None:
        """Column -> its distinct values, and which of them each request has, -1 for none."""
        self._columns = columns

    @classmethod
    def of(cls, requests: Sequence[bytes], hidden: Callable[[str, str], str]) -> Forced | None:
        """The forced attributes of each request, as packed(); None where no request has any.

        `hidden(column, value)` is the value as it may be landed.
        """
        if not any(requests):
            return None
        codes: dict[bytes, int] = {}
        request_codes = np.array([codes.setdefault(each, len(codes)) for each in requests], np.int64)
        spoken = [json.loads(each) if each else {} for each in codes]
        columns: dict[str, tuple[pa.StringArray, Integers]] = {}
        for name in (name for name in DIMENSIONS if any(name in each for each in spoken)):
            texts = [hidden(name, each[name]) if name in each else None for each in spoken]
            columns[name] = (pa.array(texts, pa.string()), request_codes)
        return cls(columns)

    def over(self, columns: Mapping[str, Any], requests: Integers, notes: Notes) -> dict[str, pa.Array]:
        """The columns that are forced, of rows that come from `requests`.

        A row whose sender said something else is noted: `overruled_customer_id` and the like.
        """
        forced: dict[str, pa.Array] = {}
        for name, (values, codes) in self._columns.items():
            said, meant = columns[name], take(values, codes[requests])
            notes.add(f"overruled_{name}", np.asarray(pc.fill_null(pc.not_equal(said, meant), False)))
            forced[name] = pc.coalesce(meant, said)
        return forced
