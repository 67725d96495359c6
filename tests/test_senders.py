"""The SDKs people use, against a real receiver."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import senders

from llmcost.cli.receiver_process import receiver


def test_the_python_sdks_trace_and_later_outcome_are_in_the_rollup_within_five_seconds(
    tmp_path: Path,
) -> None:
    with receiver(tmp_path / "lake") as running:
        senders.send_from_python(running.endpoint, "from-python")
        seen = senders.wait_for(tmp_path / "lake", "from-python")
    assert Decimal(seen.row["cost_per_success_usd"]) == senders.COST


@pytest.mark.skipif(not senders.node_is_installed(), reason="Node half not installed: (cd tests/node && npm install)")
def test_the_node_sdks_trace_and_later_outcome_are_in_the_rollup_within_five_seconds(tmp_path: Path) -> None:
    with receiver(tmp_path / "lake") as running:
        senders.send_from_node(running.endpoint, "from-node")
        seen = senders.wait_for(tmp_path / "lake", "from-node")
    assert Decimal(seen.row["cost_per_success_usd"]) == senders.COST
