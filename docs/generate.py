"""Writes the reference pages from the program itself: python docs/generate.py [--check].

cli.md from every --help, settings.md from the settings class, rollups.md, tables.md and audits.md from the comments
of the `.sql` files and the landed schema.
With --check it writes nothing, and exits with 1 if a page differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.lake import MARTS
from llmcost.models.schema import DAY, EVENT_COLUMNS, PROVIDER_USAGE_COLUMNS, SPAN_COLUMNS, Column
from llmcost.models.settings import Settings
from llmcost.sql import catalogue
from llmcost.sql.bi_views import REPORT_SENTENCE, file_types
from llmcost.sql.relations import AUDITS, CHAIN, read, views

DOCS = Path(__file__).parent
HELP_WIDTH = "100"
COMMANDS = (
    (), ("serve",), ("connect",), ("tokens",), ("tokens", "create"), ("tokens", "list"), ("tokens", "revoke"),
    ("rollup",), ("why",), ("gate",), ("statement",), ("focus",), ("trace",), ("sql",), ("bi",), ("refresh",),
    ("audit",), ("alerts",), ("alerts", "check"), ("alerts", "list"), ("alerts", "status"), ("alerts", "test"),
    ("doctor",), ("compact",), ("vacuum",), ("prices",), ("prices", "show"),
    ("prices", "unmatched"), ("prices", "check"), ("prices", "diff"), ("reprice",), ("outcomes",),
    ("outcomes", "import"), ("reconcile",), ("reconcile", "import"), ("reconcile", "fetch"), ("budget",),
    ("budget", "status"), ("budget", "check"), ("demo",),
)  # fmt: skip


def cli_reference() -> str:
    """Every command's help, as the program prints it."""
    parts = ["# Commands", "", "Written by `python docs/generate.py` from the program's own help.", ""]
    for command in COMMANDS:
        name = " ".join(("llmcost", *command))
        parts += [f"## {name}", "", "```console", f"$ {name} --help", help_of(*command), "```", ""]
    return "\n".join(parts)


def help_of(*command: str) -> str:
    """What `llmcost … --help` prints."""
    environment = {"COLUMNS": HELP_WIDTH, "LLMCOST_LAKE": None}
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="llmcost", env=environment)
    return "\n".join(line.rstrip() for line in shown.output.rstrip().splitlines())


def settings_reference() -> str:
    """Every setting: its name in llmcost.toml, in the environment, its default and its meaning."""
    parts = [
        "# Settings",
        "",
        "Written by `python docs/generate.py` from the settings class.",
        "",
        "A setting comes from the command line, else from the environment, else from `llmcost.toml` in the folder",
        "where the program is started (or the file that `--config` names), else it has its default.",
        "",
        "| in llmcost.toml | in the environment | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for path, field in _settings(Settings):
        default = field.get_default(call_default_factory=True)
        shown = "" if default is None else f"`{default}`"
        if default == {}:
            shown = "empty"
        parts.append(f"| `{'.'.join(path)}` | `LLMCOST_{'__'.join(path).upper()}` | {shown} | {field.description} |")
    return "\n".join([*parts, ""])


def _settings(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, (*above, name))
        else:
            yield (*above, name), field


def rollups_reference() -> str:
    """Every built-in rollup: what it answers, its grain and its columns."""
    parts = ["# Rollups", "", "Written by `python docs/generate.py` from the comments of `sql/rollups/*.sql`.", ""]
    for info in sorted(catalogue.rollups(None).values(), key=lambda info: info.name):
        parts += [
            f"## {info.name}",
            "",
            info.sentence,
            "",
            f"- Grain: {info.grain}",
            f"- Reads: {', '.join(info.reads)}",
        ]
        parts += [
            f"- `--group-by`: {', '.join(info.group_by) or 'nothing'}",
            "",
            "| column | meaning |",
            "| --- | --- |",
        ]
        parts += [f"| `{column.name}` | {column.meaning} |" for column in info.columns]
        parts.append("")
    return "\n".join(parts)


def audits_reference() -> str:
    """Every built-in audit: what must hold, its grain and what to do where it does not."""
    parts = ["# Audits", "", "Written by `python docs/generate.py` from the comments of `sql/audits/*.sql`.", ""]
    parts += [
        "`llmcost audit` runs them over a window, and for each rollup `sum-of-NAME`: its rows sum to the ledger.",
        "Your own are `.sql` files in the lake's `audits/` folder, or in `./audits`.",
        "",
    ]
    for relation in (read(path) for path in sorted(AUDITS.glob("*.sql"))):
        parts += [f"## {relation.name.replace('_', '-')}", "", relation.sentence, ""]
        parts += [f"- An offender: {relation.grain}", f"- Reads: {', '.join(relation.reads)}"]
        parts += [f"- Next: {relation.facts['next']}", "", "| column | meaning |", "| --- | --- |"]
        parts += [f"| `{column.name}` | {column.meaning} |" for column in relation.columns]
        parts.append("")
    return "\n".join(parts)


def tables_reference() -> str:
    """Every relation of the lake: marts with their types, landed tables with their units."""
    parts = [
        "# Tables",
        "",
        "Written by `python docs/generate.py` from the comments of `sql/*/*.sql` and from `models/schema.py`.",
        "",
        "`llmcost sql` knows all relations by name; the database of `llmcost bi` all but `spans` and `events`.",
        "",
        "## Files",
        "",
        "Marts are one Parquet file a UTC day, `LAKE/NAME/day=YYYY-MM-DD/NAME.parquet`, replaced atomically. `day`",
        "stands in the file as well as in the folder's name. Instants are UTC, money is decimal US dollars, text is",
        "UTF-8; a unit is the last word of a column's meaning. Columns may be added, and files of old days keep",
        "those they were written with: unite files by name. Keep to the glob: other files are not data.",
        "",
        "`spans` and `events` are Delta tables partitioned by `day`; read them through their log, not by a glob.",
        "",
    ]
    for name in MARTS:
        relation = read(CHAIN / f"{name}.sql")
        types = file_types(name)
        parts += [
            f"## {name}",
            "",
            relation.sentence,
            "",
            f"Grain: {relation.grain}. Files: `{name}/day=*/{name}.parquet`.",
        ]
        parts += ["", "| column | type | meaning |", "| --- | --- | --- |"]
        parts += [f"| `{c.name}` | {types[c.name]} | {c.meaning} |" for c in relation.columns]
        parts.append("")
    for view in views():
        parts += [f"## {view.name}" + (", as it is asked" if view.name in MARTS else ""), "", view.sentence, ""]
        parts += [f"Grain: {view.grain}. A view over {', '.join(view.reads)}: it has no files.", ""]
        if view.name == "calls":
            parts += ["The columns of the mart above, and those named here.", ""]
        parts += ["| column | meaning |", "| --- | --- |"]
        parts += [f"| `{c.name}` | {c.meaning} |" for c in view.columns]
        parts.append("")
    parts += ["## provider_usage", "", REPORT_SENTENCE, ""]
    parts += ["Files: `provider_usage/day=*/provider_usage.parquet`, kept until you remove them.", ""]
    parts += ["| column | type | meaning |", "| --- | --- | --- |", "| `day` | date32[day] | UTC day it starts on |"]
    parts += [f"| `{c.name}` | {c.type} | {_said(c)} |" for c in PROVIDER_USAGE_COLUMNS]
    parts.append("")
    for name, columns in (("spans", SPAN_COLUMNS), ("events", EVENT_COLUMNS)):
        parts += [f"## {name}", "", "| column | type | meaning |", "| --- | --- | --- |"]
        parts += [
            f"| `{c.name}` | {c.type} | {_said(c)} |"
            for c in (*columns, Column("day", DAY.type, "UTC day of the row; the partition"))
        ]
        parts.append("")
    return "\n".join(parts)


def _said(column: Column) -> str:
    return column.meaning + (f", {column.unit}" if column.unit else "")


PAGES = {
    "cli.md": cli_reference,
    "settings.md": settings_reference,
    "rollups.md": rollups_reference,
    "tables.md": tables_reference,
    "audits.md": audits_reference,
}


def stale() -> list[str]:
    """Pages that differ from the program."""
    return [
        name
        for name, page in PAGES.items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != page()
    ]


if __name__ == "__main__":
    if "--check" in sys.argv:
        different = stale()
        sys.exit(f"not as the program says: {', '.join(different)}: run python docs/generate.py" if different else 0)
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
