"""Revenue beside cost: the user's file, recognised evenly, and nothing made up where it is silent."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.lakes import SmallLake
from support.spans import NOON, call

from llmcost.models.errors import UsageError

DAY = timedelta(days=1)
DAYS = {"since": "2026-11-15", "until": "2026-11-22"}


def mini(input_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in per million tokens."""
    return Decimal("0.15") * input_tokens / 1_000_000


def spans() -> list[Any]:
    """Two customers, work without one, and a customer whose only call has no known price."""
    return [
        call("a", "call", input=1000, output=0, attributes={"customer.id": "00123"}),
        call("b", "call", input=2000, output=0, at=NOON + DAY, attributes={"customer.id": "00123"}),
        call("c", "call", input=4000, output=0, attributes={"customer.id": "globex"}),
        call("d", "call", input=8000, output=0),
        call("e", "call", "acme-7b", provider="acme", input=9, output=9, attributes={"customer.id": "initech"}),
    ]


REVENUE = """customer_id,since,until,revenue_usd
00123,2026-11-01,2026-12-01,3000
00123,2026-11-21,2026-11-22,5.50
umbrella,2026-11-20,2026-11-21,10
initech,2026-11-15,2026-11-22,1
globex,2026-10-01,2026-11-01,700
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    made = SmallLake(tmp_path_factory.mktemp("margin") / "lake").land(*spans())
    (made.lake.user_rollups / "revenue.csv").write_text(REVENUE)
    return made


def margins(lake: SmallLake, **options: Any) -> dict[str, dict[str, Any]]:
    rows = lake.warehouse.ask("customer-margin", **(DAYS | options)).table.to_pylist()
    return {row["customer_id"]: row for row in rows}


def test_revenue_is_earned_evenly_and_the_part_in_the_window_counts(lake: SmallLake) -> None:
    """Seven of November's thirty days, and a day's worth of its own; the id keeps its zeros."""
    row = margins(lake)["00123"]

    revenue, cost = Decimal(3000) * 7 / 30 + Decimal("5.50"), mini(1000) + mini(2000)
    assert (row["revenue_usd"], row["cost_usd"], row["margin_usd"]) == (revenue, cost, revenue - cost)
    assert row["margin_percent"] == float(round(100 * (revenue - cost) / revenue, 2))
    assert row["revenue_missing"] is None


def test_who_is_on_one_side_only_is_shown_and_never_zero_by_guess(lake: SmallLake) -> None:
    """Cost without revenue has an unknown margin, revenue without calls cost nothing, an unpriced call is unknown."""
    found = margins(lake)

    assert (found["globex"]["cost_usd"], found["globex"]["revenue_usd"], found["globex"]["margin_usd"]) == (
        mini(4000), None, None,
    )  # fmt: skip
    assert found["globex"]["revenue_missing"] == "none in the file for this time"
    assert found["(unattributed)"]["revenue_missing"] == "no customer"
    assert (found["umbrella"]["calls"], found["umbrella"]["cost_usd"], found["umbrella"]["margin_usd"]) == (
        0, Decimal(0), Decimal(10),
    )  # fmt: skip
    assert (found["initech"]["revenue_usd"], found["initech"]["cost_usd"], found["initech"]["margin_usd"]) == (
        Decimal(1), None, None,
    )  # fmt: skip


def test_its_cost_is_the_ledgers_and_its_revenue_the_files_however_it_is_cut(lake: SmallLake) -> None:
    """By day or hour the sums stay."""
    total = mini(1000) + mini(2000) + mini(4000) + mini(8000)
    revenue = Decimal(3000) * 7 / 30 + Decimal("5.50") + 10 + 1
    for by in (None, "day", "hour"):
        answer = lake.warehouse.ask("customer-margin", by=by, **DAYS)
        assert sum(filter(None, answer.table["cost_usd"].to_pylist())) == total == answer.coverage.cost_usd
        assert abs(sum(filter(None, answer.table["revenue_usd"].to_pylist())) - revenue) < Decimal("0.000001")


def test_days_are_those_of_the_time_zone_asked_for(lake: SmallLake) -> None:
    """A day of revenue is earned on that day there: 24 hours of it, an hour earlier in UTC."""
    berlin = margins(lake, since="2026-11-20", until="2026-11-21", tz="Europe/Berlin")
    half = margins(lake, since="2026-11-20T12:00", until="2026-11-21T12:00", tz="Europe/Berlin")

    assert berlin["umbrella"]["revenue_usd"] == Decimal(10)
    assert half["umbrella"]["revenue_usd"] == Decimal(5)


def test_a_filter_holds_for_cost_and_revenue_or_is_refused(lake: SmallLake) -> None:
    """Revenue is said for a customer, so it can be set beside all of its cost only."""
    assert set(margins(lake, where={"customer_id": "umbrella"})) == {"umbrella"}
    with pytest.raises(UsageError, match='customer-margin cannot be filtered by "feature": it can by customer_id'):
        margins(lake, where={"feature": "x"})
    with pytest.raises(UsageError, match="it can by nothing"):
        margins(lake, group_by=["feature"])


def test_without_a_file_revenue_is_unknown_and_the_answer_says_what_to_write(tmp_path: Path) -> None:
    """It works all the same."""
    lake = SmallLake(tmp_path / "lake").land(*spans())
    answer = lake.warehouse.ask("customer-margin", **DAYS)

    assert {(row["revenue_usd"], row["revenue_missing"]) for row in answer.table.to_pylist()} == {
        (None, "no revenue file")
    }
    (note,) = answer.notes
    assert note == (
        f"no revenue is known: write {tmp_path}/lake/rollups/revenue.csv with the columns "
        "customer_id, since, until, revenue_usd"
    )
    assert SmallLake(tmp_path / "empty").warehouse.ask("customer-margin").table.num_rows == 0


def test_a_parquet_file_says_the_same(lake: SmallLake, tmp_path: Path) -> None:
    """Ids that came as numbers join as text, also those that stand beside a missing one."""
    other = SmallLake(tmp_path / "lake").land(
        call("a", "call", input=1000, output=0, attributes={"customer.id": "123"})
    )
    table = pa.table(
        {
            "customer_id": pa.array([123.0]),
            "since": ["2026-11-20"],
            "until": ["2026-11-21"],
            "revenue_usd": pa.array([2.5]),
        }
    )
    pq.write_table(table, other.lake.user_rollups / "revenue.parquet")

    assert margins(other)["123"]["margin_usd"] == Decimal("2.5") - mini(1000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("customer_id,since,until\na,2026-11-01,2026-12-01\n", 'no column "revenue_usd": needed are customer_id'),
        ("customer_id,since,until,revenue_usd\na,2026-11-01,2026-12-01,1 000\n", '"1 000"'),
        ("customer_id,since,until,revenue_usd\na,01/11/2026,2026-12-01,1\n", '"01/11/2026"'),
        ("customer_id,since,until,revenue_usd\na,2026-12-01,2026-11-01,1\n", "row 1 .*since comes before until"),
        ("customer_id,since,until,revenue_usd\n,2026-11-01,2026-12-01,1\n", "row 1 .*each column needs a value"),
    ],
)
def test_a_revenue_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """One line that names the file and the place."""
    lake = SmallLake(tmp_path / "lake")
    (lake.lake.user_rollups / "revenue.csv").write_text(text)
    with pytest.raises(UsageError, match=f'cannot read ".*revenue.csv": .*{said}') as refused:
        margins(lake)
    assert "\n" not in str(refused.value)
