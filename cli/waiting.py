"""A progress bar for people who wait: on a terminal only, and only after two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 2.0


@contextmanager
def progress_bar(
    title: str, *, after_seconds: float = PATIENCE_SECONDS
) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what to call with (done, total), or None where nobody is watching; the bar is on stderr."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415  start-up time
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(title, total=None)
    begun, shown = time.monotonic(), False

    def advance(done: int, total: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - begun >= after_seconds:
            bar.start()
            shown = True
        bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
