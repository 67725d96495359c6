"""Whether what is stored ahead ever changes an answer: every rollup beside the same one from scratch.

    python tests/differential_run.py --histories 300 [--seed 1] [--steps 11]

Each history is a lake to which random things happen (tests/support/lake_histories.py). Then every rollup is asked as
it stands and with random options, of that lake and of one with the same spans and nothing stored ahead. Stops at the
first difference, and says the seed. tests/test_differential.py runs a few of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

from support.lake_histories import History

from llmcost.models.lake import MARTS
from llmcost.models.prices import PriceBook
from llmcost.sql import Warehouse, catalogue, changed_day
from llmcost.sql.files import EXPECTED, open_files
from llmcost.sql.inventory import mart_days
from llmcost.sql.session import window_session


def differences(folder: Path, seed: int, steps: int) -> Iterator[tuple[History, list[str]]]:
    """One history, checked at its end, and every third in its middle too: what differed, if anything.

    Of every second, a refresh follows each step, and makes as little anew as it can, however small the day.
    """
    history = History(folder, seed, is_eager=seed % 2 == 0)
    middle = history.source.randrange(steps) if seed % 3 == 0 else steps - 1
    share = 1.0 if history.is_eager else changed_day.MOST_SHARE
    with mock.patch.object(changed_day, "MOST_SHARE", share):
        for number in range(steps):
            history.step()
            if number in {middle, steps - 1}:
                yield history, list(compared(history))


def compared(history: History) -> Iterator[str]:
    """The answers that differ, each in a line: every rollup as it stands and with random options, and every mart."""
    stored = history.warehouse
    options = history.options()
    with history.from_scratch() as scratch:
        for asked in ({"since": "30d"}, options):
            mine, wanted = (answers(warehouse, asked) for warehouse in (stored, scratch))
            for name, rows in wanted.items():
                if mine[name] != rows:
                    yield f"{name} {asked}:\n  stored  {mine[name]}\n  scratch {rows}"
        for name in MARTS:
            mine, wanted = (warehouse.sql(f"select * from {name} order by all") for warehouse in (stored, scratch))
            if mine != wanted:
                yield f"{name}:\n  stored  {mine.to_pylist()}\n  scratch {wanted.to_pylist()}"


def answers(warehouse: Warehouse, options: Mapping[str, Any]) -> dict[str, Any]:
    """What every rollup answers, all asked in one session, and the coverage; the first through the front door."""
    chosen = dict(options)
    grain, dimensions = chosen.pop("by", None), chosen.pop("group_by", ())
    asked = warehouse.ask("cost-per-feature", **chosen)
    found: dict[str, Any] = {"cost-per-feature": asked.table, "coverage": asked.coverage}
    days = mart_days(warehouse.lake, "calls")
    tz, where = chosen.get("tz", "UTC"), chosen.get("where", {})
    with window_session(warehouse.lake, days, asked.window, tz=tz, where=where, book=PriceBook()) as con:
        open_files(con, warehouse.lake, EXPECTED, Path("a test"))
        for info in warehouse.rollups():
            split = [name for name in dimensions if name in info.group_by]
            found[f"{info.name} {grain} {split}"] = con.sql(catalogue.render(info, grain, split)).to_arrow_table()
    return found


def main() -> None:
    """Run them and say how many were compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=11)
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    checks, begun = 0, time.monotonic()
    for seed in range(options.seed, options.seed + options.histories):
        with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
            for history, found in differences(Path(folder), seed, options.steps):
                checks += 1
                if found:
                    sys.exit(f"seed {seed}, after {', '.join(history.steps)}:\n" + "\n".join(found))
            seen.update(history.steps)
        if seed % 10 == 0:
            print(f"{seed - options.seed + 1} histories, {checks} checks, 0 differences", flush=True)  # noqa: T201
    print(f"{options.histories} histories, {checks} checks in {time.monotonic() - begun:,.0f} s: 0 differences")  # noqa: T201
    print(", ".join(f"{name} {count}" for name, count in seen.most_common()))  # noqa: T201


if __name__ == "__main__":
    main()
