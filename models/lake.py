"""The lake: which folder holds what. The one contract between landing and deriving.

lake/
llmcost.json              format version, written once
spans/  events/           Delta tables, day=YYYY-MM-DD/ partitions
calls/ traces/ agent_runs/ outcomes/ evals/ unbilled_spans/
marts: day=YYYY-MM-DD/NAME.parquet, one file a day, replaced atomically
rollups/*.sql             the user's own rollups; *.csv and *.parquet beside them are relations
audits/*.sql              the user's own audits
provider_usage/           what providers' reports say was used and billed: day=YYYY-MM-DD/provider_usage.parquet
alerts/*.sql              the user's own alert rules
alerts/state.json         which alerts are open, and notices that are not delivered yet
prices/*.toml             the user's price layers
prices/restatements.jsonl what a changed price book did to booked days, a line a day
llmcost.duckdb            views over the marts for BI tools, once `llmcost bi` was run
metrics/*.prom            figures of the lake, for /metrics
budgets.yaml              the user's budgets
budget.sock budget.lock budget.reservations
of the process that decides on them: where it listens, that it is one, what it has promised
tokens.json               senders' tokens, as hashes; for its owner only
journal/RECEIVER/         acknowledged requests that are not landed yet
retention.json            which days are sealed because their spans or events were removed
upkeep.lock  upkeep.tmp/  held by, and spilled to by, what compacts and vacuums
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from .errors import LakeMissing, LakeNotWritable, LakeTooNew

FORMAT_VERSION = 1
"""Raised when a lake of this program can no longer be read by older programs."""

_SOCKET_BYTES = 100
"""Longest path of a socket that every system takes."""

TABLES = ("spans", "events")
MARTS = ("calls", "traces", "agent_runs", "outcomes", "evals", "unbilled_spans")
REPORTS = ("provider_usage",)
"""Tables of imported reports: by day like marts, derived from nothing, and never cleared by retention."""


@dataclass(frozen=True)
class Lake:
    """Paths inside one lake folder. Creating this object touches nothing on disk."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file that makes a folder a lake."""
        return self.root / "llmcost.json"

    @property
    def journal(self) -> Path:
        """Folder of the receivers' journals."""
        return self.root / "journal"

    @property
    def tokens(self) -> Path:
        """The file of senders' tokens; it is there once the first was made."""
        return self.root / "tokens.json"

    @property
    def budgets(self) -> Path:
        """The file of the user's budgets, unless the settings name another."""
        return self.root / "budgets.yaml"

    @property
    def budget_socket(self) -> Path:
        """Where the process that decides on budgets listens: in the lake, if a socket's path may be so long."""
        inside = self.root.resolve() / "budget.sock"
        if len(os.fsencode(inside)) <= _SOCKET_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"llmcost-{os.getuid()}-{name}" / "budget.sock"

    @property
    def reservations(self) -> Path:
        """What is held for requests under way, a line a change; written by the process that decides on budgets."""
        return self.root / "budget.reservations"

    @property
    def budget_lock(self) -> Path:
        """Held with flock by the process that decides on budgets."""
        return self.root / "budget.lock"

    @property
    def prices(self) -> Path:
        """Folder of the user's price layers."""
        return self.root / "prices"

    @property
    def restatements(self) -> Path:
        """The record of restated days, appended to and never rewritten."""
        return self.prices / "restatements.jsonl"

    @property
    def metrics(self) -> Path:
        """Folder of `*.prom` files, figures of the lake that /metrics shows."""
        return self.root / "metrics"

    @property
    def database(self) -> Path:
        """The database of views for BI tools; it is there once it was asked for."""
        return self.root / "llmcost.duckdb"

    def turn(self, day: date) -> Path:
        """Locked by the process that derives `day`."""
        return self.root / ".turns" / f"{day.isoformat()}.lock"

    @property
    def user_rollups(self) -> Path:
        """Folder of the user's own rollups."""
        return self.root / "rollups"

    @property
    def user_audits(self) -> Path:
        """Folder of the user's own audits."""
        return self.root / "audits"

    @property
    def alerts(self) -> Path:
        """Folder of the user's own alert rules, and of what is known of alerts that fired."""
        return self.root / "alerts"

    @property
    def retention(self) -> Path:
        """The record of what retention removed."""
        return self.root / "retention.json"

    @property
    def upkeep_lock(self) -> Path:
        """Held with flock by the process that compacts or vacuums."""
        return self.root / "upkeep.lock"

    @property
    def spill(self) -> Path:
        """Where compaction sorts what does not fit its memory; empty when none runs."""
        return self.root / "upkeep.tmp"

    def table(self, name: str) -> Path:
        """Root of the Delta table `name` (one of TABLES)."""
        return self.root / name

    def mart(self, name: str) -> Path:
        """Root of the mart `name` (one of MARTS)."""
        return self.root / name

    def mart_file(self, name: str, day: date) -> Path:
        """The one Parquet file of mart `name` for the UTC day `day`."""
        return self.mart(name) / f"day={day.isoformat()}" / f"{name}.parquet"

    def report_days(self, name: str) -> list[date]:
        """The UTC days of which the report table `name` (one of REPORTS) has a file, in order."""
        found = self.mart(name).glob(f"day=*/{name}.parquet")
        return sorted(date.fromisoformat(path.parent.name.removeprefix("day=")) for path in found)

    @classmethod
    def create(cls, root: Path) -> Lake:
        """Open the lake at `root`, making it if there is none.

        Raises LakeNotWritable if the folder cannot be written, LakeTooNew if a newer llmcost wrote it.
        """
        lake = cls(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            for folder in (lake.journal, lake.prices, lake.user_rollups):
                folder.mkdir(exist_ok=True)
            if not lake.marker.exists():
                temporary = lake.marker.with_name(f".llmcost.json.{os.getpid()}")
                temporary.write_text(json.dumps({"format_version": FORMAT_VERSION}) + "\n")
                temporary.replace(lake.marker)
        except OSError as error:
            raise LakeNotWritable(
                f'cannot write the lake "{root}": {error.strerror or error}: '
                "choose another folder with --lake, or give this user the right to write there"
            ) from error
        return cls.open(root)

    @classmethod
    def open(cls, root: Path) -> Lake:
        """Open an existing lake for reading.

        Raises LakeMissing if there is none, LakeTooNew if a newer llmcost wrote it.
        """
        lake = cls(root)
        try:
            version = json.loads(lake.marker.read_text())["format_version"]
        except FileNotFoundError:
            raise LakeMissing(f'no lake at "{root}": start one with: llmcost serve --lake {root}') from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LakeMissing(
                f'cannot read "{lake.marker}" ({error}): is "{root}" a lake, and may this user read it?'
            ) from error
        if version > FORMAT_VERSION:
            raise LakeTooNew(
                f'the lake "{root}" has format {version}, this llmcost reads up to {FORMAT_VERSION}: '
                "upgrade with: pip install --upgrade llmcost"
            )
        return lake
