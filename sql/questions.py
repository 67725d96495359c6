"""What a rollup can be asked with, as types for whoever writes the question in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypedDict

Progress = Callable[[int, int], None]
"""Called with (done, total) while days are derived."""


class RollupOptions(TypedDict, total=False):
    """The keywords of `Warehouse.rollup`; those of `Warehouse.ask`, which says their defaults.

    `since` and `until` are `90m`, `24h`, `7d`, `4w`, `today`, a date or a time; the window is [since, until).
    `by` gives one row for each day or hour of the time zone `tz`, an IANA name. `group_by` names dimensions to split
    by, `where` dimensions and the value each must have. `top` keeps the first rows. `compare` is `previous`, or when
    the earlier window starts whose figures stand beside.
    """

    since: str
    until: str | None
    by: Literal["day", "hour"] | None
    group_by: Sequence[str]
    where: Mapping[str, str] | None
    tz: str
    top: int | None
    compare: str | None
    progress: Progress | None
