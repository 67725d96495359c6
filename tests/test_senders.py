"""The SDKs people use, against a real receiver, over every protocol they have."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import senders

from llmcost.cli.receiver_process import receiver

PYTHON = [name.removeprefix("python ") for name in senders.SDKS if name.startswith("python ")]
NODE = [name.removeprefix("node ") for name in senders.SDKS if name.startswith("node ")]


def seen_and_landed(send: senders.Send, protocol: str, lake: Path) -> None:
    """Send, find the outcome in the rollup within five seconds, and each span and log record once in the lake."""
    with receiver(lake) as running:
        sent = send(senders.endpoint(running, protocol), "a feature", protocol)
        seen = senders.wait_for(lake, "a feature")
    assert Decimal(seen.row["cost_per_success_usd"]) == senders.COST
    assert (3, 1) == (len(sent.spans), len(sent.logs))
    assert senders.compared(sent, lake)


@pytest.mark.parametrize("protocol", PYTHON)
def test_the_python_sdks_trace_and_later_outcome_are_in_the_rollup_within_five_seconds(
    tmp_path: Path, protocol: str
) -> None:
    seen_and_landed(senders.send_from_python, protocol, tmp_path / "lake")


@pytest.mark.parametrize("protocol", NODE)
@pytest.mark.skipif(not senders.node_is_installed(), reason="Node half not installed: (cd tests/node && npm install)")
def test_the_node_sdks_trace_and_later_outcome_are_in_the_rollup_within_five_seconds(
    tmp_path: Path, protocol: str
) -> None:
    """Its log record holds half an emoji, no number and an integer that is none: each costs itself only."""
    seen_and_landed(senders.send_from_node, protocol, tmp_path / "lake")
