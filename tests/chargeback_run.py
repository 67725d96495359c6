"""Whether statements and FOCUS exports sum to the ledger, over every capture and a made-up history.

    python tests/chargeback_run.py --calls 20000 --questions 200 [--seed 1] [--validator PYTHON]

A lake gets all recorded captures and random calls of real models, with caches, batches, contracts, overrides,
reported costs, unknown models and hostile names. Each question is random too. An export is checked against the rules
of data/fixtures/focus; with --validator, an interpreter that can import the FinOps Foundation's focus_validator 2
(whose newest model is of FOCUS 1.2), a last export is given to it with the two columns that 1.2 wants beside. Stops
at the first difference. tests/test_chargeback_run.py runs a little of it.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from support import captures
from support.focus_rules import broken
from support.lakes import SmallLake
from support.spans import call

from llmcost.cli import focus_files
from llmcost.ingest.wire import Signal
from llmcost.models.schema import DIMENSIONS
from llmcost.sql import Warehouse
from llmcost.sql.shared_cost import KEYS
from llmcost.sql.statements import OWNERS

MODELS = (
    ("gpt-4o-mini-2024-07-18", "openai"), ("gpt-5", "openai"), ("o3", "openai"), ("claude-haiku-4-5", "anthropic"),
    ("claude-sonnet-4-5", "anthropic"), ("gemini-2.5-pro", "google"), ("deepseek-chat", "deepseek"),
    ("acme-7b", "acme"), ("house-model", "acme"),
)  # fmt: skip
TEAMS = ("support", "growth", "platform", "=1+1", "<b>bold</b>", None)
FEATURES = ("refund-bot", "triage", "gateway", '"},{"', None)
ZONES = ("UTC", "Europe/Berlin", "Pacific/Auckland", "America/St_Johns", "Asia/Kathmandu")
PRICES = """
[[override]]
provider = "acme"
model = "house-model"
from = 2026-01-01
input = 0.333333333
output = 1.777777777

[[contract]]
provider = "anthropic"
model = "*"
from = 2026-01-01
percent = -12.5
"""
CENTERS = """team,customer_id,feature,since,until,cost_center
support,,,,,4711
,,gateway,2026-11-05,,0042
growth,acme,,,,g
"""
WEIGHTS = "owner,weight\nsupport,3\ngrowth,1.5\nelsewhere,0.000000001\n"
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
WIDE = {
    "MULTIPLE_PRICING_CATEGORIES_SUPPORTED", "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED", "SUB_ACCOUNT_SUPPORTED",
    "TAGGING_SUPPORTED", "UNIT_PRICING_SUPPORTED", "USAGE_MEASUREMENT_SUPPORTED", "NEGOTIATED_PRICING_SUPPORTED",
}  # fmt: skip
"""What the validator calls the conditions that hold here."""


def made(folder: Path, source: random.Random, calls: int, *, days: int, recorded: Sequence[str] = ()) -> SmallLake:
    """A lake with the captures named and so many random calls, in the first days of its month."""
    lake = SmallLake(folder)
    (lake.lake.prices / "own.toml").write_text(PRICES)
    (lake.lake.user_rollups / "cost_centers.csv").write_text(CENTERS)
    (lake.lake.user_rollups / "shared_weights.csv").write_text(WEIGHTS)
    for name in recorded:
        for signal in Signal:
            if bodies := [each.body for each in captures.requests(name) if each.signal == signal]:
                lake.land_requests(bodies, signal)
    for begin in range(0, calls, 5000):
        lake.land(*(random_call(source, number, days) for number in range(begin, min(begin + 5000, calls))))
    return lake


def random_call(source: random.Random, number: int, days: int) -> Any:
    """One call; now and then its counts do not fit, are enormous, or are not told."""
    model, provider = source.choice(MODELS)
    sent, got = (int(source.lognormvariate(mean, 1.5)) for mean in (8, 5))
    told: dict[str, Any] = {
        "team": source.choice(TEAMS), "app.feature": source.choice(FEATURES),
        "customer.id": source.choice(["acme", "globex", None]), "gen_ai.agent.name": source.choice(["solver", None]),
        "gen_ai.usage.cache_write.input_tokens": source.choice([None, None, sent // 5]),
        "gen_ai.usage.reasoning.output_tokens": source.choice([None, got // 2]),
        "gen_ai.usage.audio.input_tokens": source.choice([None, None, None, sent // 7]),
        "gen_ai.cost.total_cost": source.choice([None, None, None, source.random()]),
        "gen_ai.request.service_tier": source.choice([None, None, "flex", "batch"]),
    }  # fmt: skip
    odd = source.random()
    if odd < 0.01:
        sent = 10**12
    elif odd < 0.02:
        told["gen_ai.usage.cache_write.input_tokens"] = 2 * sent
    usage = {} if odd > 0.98 else {"input": sent, "output": got, "cache_read": source.choice([0, sent // 2])}
    at = FIRST + timedelta(minutes=source.random() * days * 24 * 60)
    attributes = {name: value for name, value in told.items() if value is not None}
    failed = source.random() < 0.02
    return call(f"run {number}", "c", model, provider=provider, at=at, attributes=attributes, failed=failed, **usage)


def statement_differs(warehouse: Warehouse, source: random.Random) -> str | None:
    """One random question for statements; what is wrong with its answer, if anything."""
    features = source.choice([(), ("gateway",), ("gateway", "triage")])
    unattributed = source.random() < 0.5
    key = source.choice(KEYS) if features or unattributed else None
    asked = {
        "by": source.choice([name for name in OWNERS if not name.endswith(("run_id", "session_id"))]),
        "split_shared": key, "shared_features": features, "split_unattributed": unattributed,
        "tz": source.choice(ZONES),
    }  # fmt: skip
    found = warehouse.statements("2026-11", **asked)  # type: ignore[arg-type]
    lines = sum(
        (line.usage.cost_usd or Decimal(0) for each in found.statements for line in each.lines if line.kind == "day"),
        sum((each.shared_usd for each in found.statements), Decimal(0)),
    )
    if found.difference_usd or lines != found.coverage.cost_usd:
        return f"statements {asked}: {found.total_usd} and {lines} of {found.coverage.cost_usd}"
    return None


def export_differs(warehouse: Warehouse, source: random.Random, path: Path) -> tuple[str | None, int]:
    """One random export; what is wrong with it, if anything, and its rows."""
    since = source.choice(["2026-11-01", "2026-11-01T07:11", "2026-11-20"])
    asked: dict[str, Any] = {
        "since": since,
        "until": source.choice(["2026-11-22", "2026-12-01", "2026-11-21T23:59:59"]),
        "by": source.choice(["day", "hour"]),
        "sub_account": source.choice(["team", "customer_id", "feature"]),
        "dimensions": source.sample(DIMENSIONS, source.randrange(4)),
        "billed_cost": source.choice(["zero", "booked"]),
    }
    export = warehouse.focus(**asked)
    focus_files.write(export, path)
    found = broken(path)
    if export.difference_usd or found:
        return f"export {asked}: {export.effective_usd} of {export.coverage.cost_usd}, {found[:5]}", 0
    return None, export.table.num_rows


def validated(python: Path, source: Path, folder: Path) -> str:
    """What the FinOps Foundation's validator says of an export in the form of FOCUS 1.2."""
    older = folder / "focus-1.2.csv"
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["ProviderName"] = row["PublisherName"] = row.pop("ServiceProviderName")
        row.pop("HostProviderName")
        row["CommitmentDiscountStatus"] = ""  # its rules on quantities look there
    with older.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command = [str(python), "-m", "focus_validator.main", "--data-file", str(older), "--validate-version", "1.2"]
    command += ["--block-download", "--output-type", "console", "--applicability-criteria", ",".join(sorted(WIDE))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    total = [line for line in ran.stdout.splitlines() if line.startswith("Total:")]
    failed = [line for line in ran.stdout.splitlines() if line.startswith("- ")]
    return "\n".join([*(total or [ran.stdout[-2000:] + ran.stderr[-2000:]]), *failed])


def main() -> int:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--validator", type=Path)
    options = parser.parse_args()
    source = random.Random(options.seed)  # noqa: S311  (histories, no secrets)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lake = made(folder / "lake", source, options.calls, days=21, recorded=captures.names())
        warehouse = lake.warehouse
        refreshed = warehouse.refresh()
        say(f"{refreshed.calls:,} calls on {refreshed.days} days cost ${refreshed.cost_usd:f}, {took(begun)}")
        seen: Counter[str] = Counter()
        for number in range(options.questions):
            if found := statement_differs(warehouse, source):
                return say(f"DIFFERS: {found}") or 1
            seen["statements"] += 1
            if number % 4 == 0:
                path = folder / f"export{source.choice(['.csv', '.parquet'])}"
                found, rows = export_differs(warehouse, source, path)
                if found:
                    return say(f"DIFFERS: {found}") or 1
                seen |= Counter(exports=seen["exports"] + 1, charges=seen["charges"] + rows)
        say(f"no difference: {seen['statements']} questions for statements, {seen['exports']} exports with")
        say(f"{seen['charges']:,} charges, {took(begun)}")
        if options.validator:
            focus_files.write(warehouse.focus(since="2026-11-01", until="2026-12-01"), folder / "all.csv")
            say(validated(options.validator, folder / "all.csv", folder))
    return 0


def took(begun: float) -> str:
    """Since when."""
    return f"{time.monotonic() - begun:.0f} s"


def say(text: str) -> None:
    """A line of the report."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
