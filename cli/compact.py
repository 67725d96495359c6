"""`llmcost compact`: few large files of many small ones."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption


def compact(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be merged, and merge nothing.")] = False,
    format_: FormatOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Merge small files of spans and events into few large ones.

    Receivers and readers need not stop, no answer changes, and no day is derived again. The files that were merged
    stay until they are vacuumed. `llmcost serve` does this by itself.

    \b
    Examples:
      llmcost compact
      llmcost compact --dry-run --lake /srv/llmcost
    """
    from ..ingest.upkeep import compact_lake  # noqa: PLC0415  start-up time
    from ..models.settings import load  # noqa: PLC0415
    from .upkeep_report import of_compaction  # noqa: PLC0415
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    settings = load(config, lake=lake)
    with progress_bar("merging files") as progress:
        done = compact_lake(settings.lake, settings.upkeep, dry_run=dry_run, progress=progress)
    deliver(of_compaction(done, dry_run=dry_run), format_, None)
