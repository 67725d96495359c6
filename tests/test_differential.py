"""What is stored ahead never changes an answer; tests/differential_run.py does this with hundreds of histories."""

from __future__ import annotations

from pathlib import Path

import pytest
from differential_run import differences


# In these two everything happens that can; a longer history costs little, a comparison much.
@pytest.mark.parametrize("seed", [4, 181])
def test_an_answer_is_what_the_spans_alone_give(tmp_path: Path, seed: int) -> None:
    """Whatever landed, late, twice or out of order; revised, repriced, refreshed, killed or compacted."""
    for history, found in differences(tmp_path, seed, steps=14):
        assert [] == found, history.steps
