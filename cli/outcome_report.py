"""An import of outcomes, and the lines that say what it did."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.errors import OutcomeFileError, UsageError

if TYPE_CHECKING:
    from ..ingest.outcome_file import Format, OutcomeFile

_SHOWN_FAULTS = 5


def import_file(
    path: Path,
    columns: Mapping[str, str],
    format_: Format | None,
    *,
    skip_bad: bool,
    dry_run: bool,
    lake: Path | None,
    config: Path | None,
) -> Iterator[str]:
    """Read, check and import `path`; yields what to tell the user.

    Raises OutcomeFileError for a file with wrong rows, unless they are to be skipped.
    """
    from ..ingest.outcome_file import FORMATS, format_of, read  # noqa: PLC0415  start-up time
    from ..ingest.outcome_import import import_outcomes  # noqa: PLC0415
    from ..models.lake import Lake  # noqa: PLC0415
    from ..models.settings import load  # noqa: PLC0415

    opened, now = Lake.open(load(config, lake=lake).lake), _now()
    chosen = format_ or format_of(path)
    if chosen is None:
        raise UsageError(f'cannot tell the format of "{path}": end it in {", ".join(FORMATS)}, or add --format')
    try:
        found = read(_content(path), chosen, columns, now)
    except OutcomeFileError as error:
        raise OutcomeFileError(f'cannot import "{path}": {error}') from error
    if found.faults and not skip_bad:
        raise OutcomeFileError(
            f"{len(found.faults):,} of {found.rows:,} rows are wrong, so nothing was imported: {_shown(found)}: "
            "correct them, or leave them out with --skip-bad"
        )
    if found.unused_columns:
        yield f"columns not used: {', '.join(filter(None, found.unused_columns))}"
    if found.faults:
        yield f"left out {len(found.faults):,} of {found.rows:,} rows: {_shown(found)}"
    count = len(found.outcomes)
    said = f"{count:,} outcome{'' if count == 1 else 's'}"
    if dry_run:
        yield f"{said} could be imported from {path}; nothing was written"
    elif import_outcomes(opened, found, now):
        yield f"imported {said} from {path}"
    else:
        yield f"nothing to import: {path} holds no outcome that was not imported before"


def _now() -> datetime:
    return datetime.now(UTC)


def _content(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f'cannot read "{path}": {error.strerror}') from error


def _shown(found: OutcomeFile) -> str:
    more = len(found.faults) - _SHOWN_FAULTS
    return "; ".join([*found.faults[:_SHOWN_FAULTS], *([f"and {more:,} more"] if more > 0 else [])])
