"""The SDKs people use, against a real receiver, over every protocol they have.

How soon an outcome is seen, `python tests/senders.py` tells on a machine that does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
import senders
from support.server import PATIENCE_SECONDS, wait_until

from llmcost.cli.receiver_process import Receiver, receiver

PYTHON = [name.removeprefix("python ") for name in senders.SDKS if name.startswith("python ")]
NODE = [name.removeprefix("node ") for name in senders.SDKS if name.startswith("node ")]


@dataclass
class Receiving:
    """A receiver, and what all senders so far have sent it."""

    lake: Path
    receiver: Receiver
    sent: senders.Sent = field(default_factory=senders.Sent)


@pytest.fixture(scope="module")
def receiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    lake = tmp_path_factory.mktemp("senders") / "lake"
    with receiver(lake) as running:
        yield Receiving(lake, running)


def seen_and_landed(send: senders.Send, protocol: str, receiving: Receiving) -> None:
    """Send, find the outcome in the rollup, and each span and log record once in the lake."""
    feature = f"{send.__name__} {protocol}"
    sent = send(senders.endpoint(receiving.receiver, protocol), feature, protocol)
    assert (3, 1) == (len(sent.spans), len(sent.logs))
    receiving.sent += sent
    seen = senders.wait_for(receiving.lake, feature, PATIENCE_SECONDS)
    assert senders.COST == Decimal(seen.row["cost_per_success_usd"])
    wait_until(lambda: len(senders.landed(receiving.lake).logs) >= len(receiving.sent.logs))
    assert senders.compared(receiving.sent, receiving.lake)


@pytest.mark.parametrize("protocol", PYTHON)
def test_the_python_sdks_trace_and_later_outcome_are_in_the_rollup(receiving: Receiving, protocol: str) -> None:
    seen_and_landed(senders.send_from_python, protocol, receiving)


@pytest.mark.parametrize("protocol", NODE)
@pytest.mark.skipif(not senders.node_is_installed(), reason="Node half not installed: (cd tests/node && npm install)")
def test_the_node_sdks_trace_and_later_outcome_are_in_the_rollup(receiving: Receiving, protocol: str) -> None:
    """Its log record holds half an emoji, no number and an integer that is none: each costs itself only."""
    seen_and_landed(senders.send_from_node, protocol, receiving)
