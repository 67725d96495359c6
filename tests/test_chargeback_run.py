"""Statements and exports sum to the ledger; tests/chargeback_run.py does this with every capture and more calls."""

from __future__ import annotations

import random
from pathlib import Path

from chargeback_run import export_differs, made, statement_differs


def test_random_questions_sum_to_the_ledger(tmp_path: Path) -> None:
    """Of real models with caches, tiers, contracts, overrides and reported costs."""
    source = random.Random(7)  # noqa: S311  (calls, no secrets)
    warehouse = made(tmp_path / "lake", source, 200, days=2).warehouse
    warehouse.refresh()
    for _ in range(3):
        assert statement_differs(warehouse, source) is None
    for suffix in (".csv", ".parquet"):
        found, _ = export_differs(warehouse, source, tmp_path / f"export{suffix}")
        assert found is None
