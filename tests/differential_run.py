"""Whether what is stored ahead ever changes an answer: every rollup beside the same one from scratch.

    python tests/differential_run.py --histories 300 [--seed 1] [--steps 14]

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))

from support.lake_histories import History


def differences(folder: Path, seed: int, steps: int) -> Iterator[tuple[History, list[str]]]:
    """One history, checked in its middle and at its end: what differed, if anything."""
    history = History(folder, seed)
    middle = history.source.randrange(steps)
    for number in range(steps):
        history.step()
        if number in {middle, steps - 1}:
            yield history, list(compared(history))


def compared(history: History) -> Iterator[str]:
    """The questions whose answers differ, each in a line."""
    stored = history.warehouse
    with history.from_scratch() as scratch:
        for info in stored.rollups():
            for options in ({"since": "30d"}, history.options(info.group_by)):
                mine, wanted = (answer(warehouse, info.name, options) for warehouse in (stored, scratch))
                if mine != wanted:
                    yield f"{info.name} {options}:\n  stored  {mine}\n  scratch {wanted}"


def answer(warehouse: Any, name: str, options: dict[str, Any]) -> tuple[pa.Table, Any]:
    """What counts of an answer: its rows in order, and what they cover."""
    answered = warehouse.ask(name, **options)
    return answered.table, answered.coverage


def main() -> None:
    """Run them and say how many were compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=14)
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
