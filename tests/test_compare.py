"""The same question over two windows: previous figures are those of the earlier one, and nothing is made up."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lakes import SmallLake
from support.spans import NOON, call
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.errors import UsageError
from llmcost.models.windows import Window, same_length, zone
from llmcost.sql.compare import Shift, key_of, side_by_side

DAY = timedelta(days=1)
WEEK = {"since": "2026-11-15", "until": "2026-11-22"}


def mini(input_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in per million tokens."""
    return Decimal("0.15") * input_tokens / 1_000_000


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """In this week acme and globex, last week acme and initech; an unpriced call in each."""
    acme, globex, initech = ({"customer.id": name} for name in ("acme", "globex", "initech"))
    return SmallLake(tmp_path_factory.mktemp("compare") / "lake").land(
        call("a", "call", input=3000, output=0, attributes=acme),
        call("b", "call", input=1000, output=0, attributes=globex),
        call("c", "call", "acme-7b", provider="acme", input=9, output=9, attributes=globex),
        call("d", "call", input=2000, output=0, at=NOON - 7 * DAY, attributes=acme),
        call("e", "call", input=8000, output=0, at=NOON - 6 * DAY, attributes=initech),
    )


def test_rows_are_matched_by_what_names_them(lake: SmallLake) -> None:
    """Both sides where both have the row; NULL, never 0, where one has not; the change of the headline."""
    answer = lake.warehouse.ask("cost-per-customer", **WEEK, compare="previous")
    found = {row["customer_id"]: row for row in answer.table.to_pylist()}

    assert list(found) == ["acme", "globex", "initech"]
    acme, globex, initech = found.values()
    assert (acme["cost_usd"], acme["previous_cost_usd"]) == (mini(3000), mini(2000))
    assert acme["cost_change_percent"] == 50.0
    assert (globex["cost_usd"], globex["previous_cost_usd"], globex["previous_calls"]) == (mini(1000), None, None)
    assert (initech["cost_usd"], initech["calls"], initech["previous_cost_usd"]) == (None, None, mini(8000))
    assert globex["cost_change_percent"] is initech["cost_change_percent"] is None
    assert answer.table.column_names[:4] == ["customer_id", "cost_usd", "previous_cost_usd", "cost_change_percent"]
    assert answer.compared is not None
    assert (answer.coverage.cost_usd, answer.compared.coverage.cost_usd) == (mini(4000), mini(10000))


def test_days_are_compared_by_their_place_in_the_window(lake: SmallLake) -> None:
    """The sixth day with the sixth day; hours as well, in their order."""
    by_day = lake.warehouse.ask("cost-per-customer", by="day", **WEEK, compare="2026-11-08").table.to_pylist()
    by_hour = lake.warehouse.ask("cost-per-feature", by="hour", **WEEK, compare="previous").table.to_pylist()

    assert [(row["day"], row["customer_id"], row["cost_usd"], row["previous_cost_usd"]) for row in by_day] == [
        (date(2026, 11, 20), "acme", mini(3000), mini(2000)),
        (date(2026, 11, 20), "globex", mini(1000), None),
        (date(2026, 11, 21), "initech", None, mini(8000)),
    ]
    assert [(row["hour"], row["cost_usd"], row["previous_cost_usd"]) for row in by_hour] == [
        ("2026-11-20T12", mini(4000), mini(2000)),
        ("2026-11-21T12", None, mini(8000)),
    ]


def test_top_is_taken_after_the_comparison(lake: SmallLake) -> None:
    """A row that is kept has its previous figures."""
    (row,) = lake.warehouse.ask("cost-per-customer", **WEEK, compare="previous", top=1).table.to_pylist()
    assert (row["customer_id"], row["previous_cost_usd"]) == ("acme", mini(2000))


def test_previous_figures_are_what_the_earlier_window_answers(lake: SmallLake) -> None:
    """For every rollup, by day and by a dimension: each figure is there."""
    earlier = {"since": "2026-11-08", "until": "2026-11-15"}
    for info in lake.warehouse.rollups():
        options = {"by": "day", "group_by": list(info.group_by[:1])}
        there = lake.warehouse.ask(info.name, **earlier, **options).table.to_pylist()
        both = lake.warehouse.ask(info.name, **WEEK, **options, compare="previous").table
        own = set(there[0])
        for column in (name for name in both.column_names if name.startswith("previous_") and name not in own):
            name = column.removeprefix("previous_window_" if column.startswith("previous_window_") else "previous_")
            told = [row[name] for row in there]
            assert sorted(filter(None, told)) == sorted(filter(None, both[column].to_pylist())), info.name


COUNTS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([None, "x"]), st.integers(0, 3)),
    st.integers(-3, 3) | st.none(),
)


@settings(max_examples=40)
@given(COUNTS, COUNTS)
def test_each_row_of_either_window_stands_once(
    here: dict[tuple[str | None, str | None, int], int | None],
    there: dict[tuple[str | None, str | None, int], int | None],
) -> None:
    """With its own figure and the other's at the same key, NULL keys included, three days on."""
    first = date(2026, 11, 1)
    key = ["day", "team", "feature"]

    def table(counts: dict[tuple[str | None, str | None, int], int | None], shift: int) -> pa.Table:
        texts = {"team": [row[0] for row in counts], "feature": [row[1] for row in counts]}
        columns = {
            "day": pa.array([first + timedelta(days=row[2] + shift) for row in counts], pa.date32()),
            **{name: pa.array(values, pa.string()) for name, values in texts.items()},
            "calls": pa.array(list(counts.values()), pa.int64()),
        }
        return pa.table(columns)

    found = side_by_side(table(here, 3), table(there, 0), key, None, Shift(3, 72)).to_pylist()

    expected = {
        (first + timedelta(days=row[2] + 3), row[0], row[1]): (here.get(row), there.get(row))
        for row in here.keys() | there.keys()
    }
    assert len(found) == len(expected)
    assert {tuple(row[name] for name in key): (row["calls"], row["previous_calls"]) for row in found} == expected


def test_rows_that_nothing_names_are_refused_until_the_header_says_what_does(lake: SmallLake, tmp_path: Path) -> None:
    """A number may name a row: the header says so."""
    path = lake.lake.user_rollups / "by_second.sql"
    text = (
        "-- What each hour costs.\n-- reads: calls\n"
        "select\n    extract('hour' from started_at) as hour_of_day, -- hour\n"
        "    customer_id, -- customer\n    sum(cost_usd) as cost_usd, -- booked cost, USD\nfrom calls\ngroup by all\n"
    )
    path.write_text(text)
    try:
        with pytest.raises(UsageError, match=r"by_second\.sql.*cannot match its rows: no column names a row"):
            lake.warehouse.ask("by-second", **WEEK, compare="previous")
        path.write_text(text.replace("select\n", "-- key: hour_of_day, customer_id\nselect\n", 1))
        found = lake.warehouse.ask("by-second", **WEEK, compare="previous").table.to_pylist()
        assert {(row["hour_of_day"], row["customer_id"]) for row in found} == {
            (12, "acme"), (12, "globex"), (12, "initech"),
        }  # fmt: skip
        path.write_text(text.replace("select\n", "-- key: minute\nselect\n", 1))
        with pytest.raises(UsageError, match='its header names "minute", which is none of its columns'):
            lake.warehouse.ask("by-second", **WEEK)
    finally:
        path.unlink()


def test_every_rollup_of_ours_has_columns_that_name_a_row(lake: SmallLake) -> None:
    """So all of them can be compared."""
    for info in lake.warehouse.rollups():
        types = [(column.name, pa.int64() if column.unit else pa.string()) for column in info.columns]
        assert key_of(info, pa.schema(types)), info.name


def test_a_window_of_whole_days_is_compared_with_whole_days() -> None:
    """November in Berlin is 30 days, and October's last 30 are an hour longer; other windows are as long."""
    berlin = zone("Europe/Berlin")
    november = Window(*(datetime(2026, month, 1, tzinfo=berlin).astimezone(UTC) for month in (11, 12)))
    before = same_length(november, None, berlin)
    hours = same_length(Window(NOON - timedelta(hours=5), NOON), None, berlin)

    assert (before.since, before.until) == (datetime(2026, 10, 2, tzinfo=berlin).astimezone(UTC), november.since)
    assert (hours.since, hours.until) == (NOON - timedelta(hours=10), NOON - timedelta(hours=5))


@pytest.mark.parametrize("format_", ["table", "csv", "json", "parquet", "md"])
def test_both_windows_are_said_in_every_format(lake: SmallLake, tmp_path: Path, format_: str) -> None:
    """Rows with previous columns, and the coverage of both."""
    arguments = ["rollup", "cost-per-customer", "--since", "2026-11-15", "--until", "2026-11-22"]
    arguments += ["--compare", "previous", "--format", format_, "--lake", str(lake.lake.root)]
    ran = CliRunner().invoke(app, arguments)

    assert ran.exit_code == 0, ran.stderr
    if format_ == "json":
        said: dict[str, Any] = json.loads(ran.stdout)
        assert said["compared"]["coverage"]["cost_usd"] == f"{mini(10000):.9f}"
        assert said["rows"][0]["previous_cost_usd"] == f"{mini(2000):.9f}"
    else:
        text = ran.stdout_bytes.decode(errors="replace") + ran.stderr
        assert "compared with 2026-11-08 00:00 UTC to 2026-11-15 00:00 UTC: 2 calls, $0.0015 in all" in text
        assert "previous" in text


def test_what_is_no_window_is_refused(lake: SmallLake) -> None:
    """With what is accepted."""
    with pytest.raises(UsageError, match=r'--compare: cannot read the time "lately".*or previous, the window'):
        lake.warehouse.ask("cost-per-customer", compare="lately")
