"""`llmcost vacuum`: remove the files that nobody needs."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption


def vacuum(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    format_: FormatOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove files that left the lake, and what killed processes left in it.

    Only what nobody has claimed for upkeep.vacuum_grace_hours, reckoned from the newest commit: never a file of the
    lake, and nothing that you put there. `llmcost serve` does this by itself.

    \b
    Examples:
      llmcost vacuum
      llmcost vacuum --dry-run --format json
    """
    from ..ingest.upkeep import vacuum_lake  # noqa: PLC0415  start-up time
    from ..models.settings import load  # noqa: PLC0415
    from .upkeep_report import of_vacuum  # noqa: PLC0415
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    settings = load(config, lake=lake)
    with progress_bar("removing files") as progress:
        done = vacuum_lake(settings.lake, settings.upkeep, dry_run=dry_run, progress=progress)
    deliver(of_vacuum(done, dry_run=dry_run), format_, None)
