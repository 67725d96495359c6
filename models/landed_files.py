"""What the name of a landed file says: whether it was compacted, and its identity.

A day's marts are a cache under the sum of the identities of the day's files. The identity of a file as it landed
is a hash of its name; a compacted file bears in its name a share of the sum of its sources' identities, so that
the sum of the day stays and no mart is derived again. `ingest` writes these names and `sql` sums them.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable

_MODULUS = 1 << 128
_COMPACTED = re.compile(r"compacted-(?P<tier>\d+)-(?P<share>[0-9a-f]{32})-[0-9a-f]{32}\.parquet")


def identity(name: str) -> int:
    """The identity of the file `name` (without its folder), from 0 up to 2^128.

    >>> identity("a.parquet") != identity("b.parquet")
    True
    """
    compacted = _COMPACTED.fullmatch(name)
    if compacted:
        return int(compacted["share"], 16)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16])


def total_identity(names: Iterable[str]) -> int:
    """The identity of several files together; neither their order nor their compaction changes it."""
    return sum(map(identity, names)) % _MODULUS


def tier(name: str) -> int:
    """How often the rows of a file were merged: 0 as they landed."""
    compacted = _COMPACTED.fullmatch(name)
    return int(compacted["tier"]) if compacted else 0


def compacted_names(sources: Iterable[str], tier: int, count: int) -> list[str]:
    """Names for `count` files of `tier` that take the place of the files `sources`: their identities sum to the same.

    Shares but for the last are random, so that a file that goes missing or is there twice changes the sum.

    >>> names = compacted_names(["a.parquet", "b.parquet"], 1, 3)
    >>> total_identity(names) == total_identity(["a.parquet", "b.parquet"])
    True
    """
    shares = [uuid.uuid4().int for _ in range(count - 1)]
    shares.append((total_identity(sources) - sum(shares)) % _MODULUS)
    return [f"compacted-{tier}-{share:032x}-{uuid.uuid4().hex}.parquet" for share in shares]
