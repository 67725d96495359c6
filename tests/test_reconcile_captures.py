"""The captures' truth as reports, in short; `python tests/reconcile_run.py` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest
import reconcile_run
from reconcile_run import reconciled


@pytest.mark.parametrize("name", reconcile_run.SHORT)
def test_every_shape_of_report_is_explained_to_the_nano_dollar(tmp_path: Path, name: str) -> None:
    """What telemetry tells whole agrees; what a library leaves out has its cause, and nothing is unexplained."""
    result = reconciled(name, tmp_path)

    assert result.faults == []
    assert {"csv", "langfuse", "litellm"} < {totals.report for totals in result.totals}
