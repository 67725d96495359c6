"""History does not change silently: booked costs keep their price book, and what changes them is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, call

from llmcost.models import prices
from llmcost.models.errors import LakeNotWritable, PriceBookError, UsageError
from llmcost.sql import materialise
from llmcost.sql.answers import Restatement

DAY = timedelta(days=1)
MINI = Decimal("0.15")
"""gpt-4o-mini, a million tokens in."""
DEARER = '[[list]]\nmodel = "gpt-4o-mini*"\ninput = 1\noutput = 1\n'
ACME = '[[list]]\nmodel = "acme-7b"\ninput = 2\noutput = 2\n'
Upgrade = Callable[[], None]


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """Two booked days that are no neighbours: a call of a million tokens on each, and an unpriced one."""
    lake = SmallLake(tmp_path_factory.mktemp("derived") / "lake").land(
        call("a", "1", input=1_000_000, output=0, at=NOON - 3 * DAY),
        call("b", "1", input=1_000_000, output=0),
        call("b", "2", "acme-7b", provider="acme", input=1_000_000, output=0, at=NOON + timedelta(minutes=1)),
    )
    lake.warehouse.refresh()
    return lake


@pytest.fixture
def lake(derived: SmallLake, tmp_path: Path) -> SmallLake:
    """A copy of that lake."""
    return derived.copy(tmp_path / "lake")


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """Install a newer price list, in which gpt-4o-mini has become free."""

    def install() -> None:
        from_book = prices._from_book
        monkeypatch.setattr(prices, "version", lambda _: "9.9.9")
        monkeypatch.setattr(
            prices,
            "_from_book",
            lambda *asked: (
                found and (found[0], [{**row, "input": Decimal(0)} for row in found[1]])
                if (found := from_book(*asked))
                else None
            ),
        )

    return install


def booked(lake: SmallLake) -> list[tuple[Decimal | None, str]]:
    """(cost, price book) of every call in the order of their start."""
    rows = lake.warehouse.sql("from calls order by started_at").to_pylist()
    return [(row["cost_usd"], row["price_book"]) for row in rows]


def recorded(lake: SmallLake) -> list[dict[str, object]]:
    """The lake's record of restatements."""
    path = lake.lake.restatements
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_newer_list_restates_no_booked_day(lake: SmallLake, upgrade: Upgrade) -> None:
    """The package may be upgraded at any time; what was booked keeps its cost and the name of its book."""
    before = booked(lake)
    upgrade()

    assert lake.warehouse.refresh().refreshed == ()
    assert booked(lake) == before
    assert {book for _, book in before} == {"genai-prices 0.2.3"}
    assert recorded(lake) == []


def test_a_day_made_again_under_a_newer_list_tells_what_that_changed(lake: SmallLake, upgrade: Upgrade) -> None:
    """A late span reopens its day. What it adds is no restatement; the other calls' new price is one."""
    upgrade()
    lake.land(call("b", "3", "acme-7b", provider="acme", input=5, output=0, at=NOON + timedelta(minutes=2)))
    report = lake.warehouse.refresh()

    expected = Restatement(
        day=NOON.date(),
        restated_at=NOW,
        book_before="genai-prices 0.2.3",
        book_after="genai-prices 9.9.9",
        calls=2,
        cost_before=MINI,
        cost_after=Decimal(0),
        unpriced_before=1,
        unpriced_after=1,
    )
    assert report.restated == (expected,)
    assert [(row["day"], row["cost_before"], row["calls"]) for row in recorded(lake)] == [
        ("2026-11-20", "0.150000000", 2)
    ]
    assert booked(lake)[0] == (MINI, "genai-prices 0.2.3")
    assert lake.warehouse.refresh().restated == ()


def test_a_late_span_alone_is_no_restatement(lake: SmallLake) -> None:
    """Under the same book a day may grow; no cost of what was booked changes."""
    lake.land(call("b", "3", input=1_000_000, output=0, at=NOON + timedelta(minutes=2)))
    report = lake.warehouse.refresh()

    assert (report.refreshed, report.restated, recorded(lake)) == ((NOON.date(),), (), [])


def test_an_edited_price_file_restates_and_every_answer_says_so_once(lake: SmallLake) -> None:
    """The rollup that finds the change makes it, returns it and records it; the next one has nothing to say."""
    (lake.lake.prices / "own.toml").write_text(DEARER + ACME)
    first = lake.warehouse.ask("cost-per-feature")

    assert [(r.day, r.cost_before, r.cost_after, r.unpriced_before, r.unpriced_after) for r in first.restated] == [
        (date(2026, 11, 17), MINI, Decimal(1), 0, 0),
        (date(2026, 11, 20), MINI, Decimal(1 + 2), 1, 0),
    ]
    assert len(recorded(lake)) == 2
    assert lake.warehouse.ask("cost-per-feature").restated == ()


def test_an_edit_that_changes_no_cost_is_not_told(lake: SmallLake) -> None:
    """Another book, the same money."""
    (lake.lake.prices / "own.toml").write_text('[[list]]\nmodel = "unused"\ninput = 1\noutput = 1\n')

    assert lake.warehouse.refresh().restated == ()
    assert {book for _, book in booked(lake)} != {"genai-prices 0.2.3"}
    assert recorded(lake) == []


def test_what_was_restated_before_a_failure_is_recorded(
    lake: SmallLake, upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first day is replaced, the second cannot be derived: the first one's line stands."""
    (lake.lake.prices / "own.toml").write_text(DEARER)
    derived_day = materialise.derived_day

    def fail_on_the_second(day: date, *rest: object) -> object:
        if day == NOON.date():
            raise KeyboardInterrupt
        return derived_day(day, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(materialise, "derived_day", fail_on_the_second)
    with pytest.raises(KeyboardInterrupt):
        lake.warehouse.refresh()

    assert [row["day"] for row in recorded(lake)] == ["2026-11-17"]
    monkeypatch.undo()
    assert [str(each.day) for each in lake.warehouse.refresh().restated] == ["2026-11-20"]
    assert [row["day"] for row in recorded(lake)] == ["2026-11-17", "2026-11-20"]


def test_a_lake_that_may_not_be_written_is_answered_and_restates_nothing(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has the new prices, from a passing copy; the lake's days stay as they were booked."""
    (lake.lake.prices / "own.toml").write_text(DEARER)
    write = materialise.write_mart

    def refuse(con: object, name: str, day: date, target: Path, stamp: str) -> None:
        if target.is_relative_to(lake.lake.root):
            raise LakeNotWritable("read-only")
        write(con, name, day, target, stamp)  # type: ignore[arg-type]

    monkeypatch.setattr(materialise, "write_mart", refuse)
    answer = lake.warehouse.ask("cost-per-feature")

    assert (answer.coverage.cost_usd, answer.restated, recorded(lake)) == (Decimal(2), (), [])


def test_doctor_names_the_older_books(lake: SmallLake, upgrade: Upgrade) -> None:
    """And how to see what the current one would change."""
    upgrade()
    (finding,) = (found for found in lake.warehouse.doctor() if found.check == "price book")

    assert finding.message == "days are booked under genai-prices 0.2.3; the current book is genai-prices 9.9.9"


def test_reprice_shows_the_difference_and_writes_nothing(lake: SmallLake, upgrade: Upgrade) -> None:
    """By day and by model; what does not change is in the total only."""
    upgrade()
    before = booked(lake)
    shown = lake.warehouse.reprice(since="7d")

    assert [
        (row["day"], row["model"], row["calls"], row["cost_before_usd"], row["cost_after_usd"], row["change_usd"])
        for row in shown.table.to_pylist()
    ] == [
        (date(2026, 11, 17), "gpt-4o-mini-2024-07-18", 1, MINI, Decimal(0), -MINI),
        (date(2026, 11, 20), "gpt-4o-mini-2024-07-18", 1, MINI, Decimal(0), -MINI),
    ]
    assert [(row["calls"], row["change_usd"]) for row in shown.models.to_pylist()] == [(2, -2 * MINI)]
    assert (shown.total["calls"], shown.total["unpriced_before"], shown.total["unpriced_after"]) == (3, 1, 1)
    assert (shown.books_before, shown.book_after) == (("genai-prices 0.2.3",), "genai-prices 9.9.9")
    assert (booked(lake), recorded(lake), shown.restated) == (before, [], None)


def test_reprice_apply_books_what_it_showed(lake: SmallLake, upgrade: Upgrade) -> None:
    """The days of the window, whole; the restatement is returned and recorded; a second time changes nothing."""
    upgrade()
    applied = lake.warehouse.reprice(since="2026-11-20", until="2026-11-21", apply=True)

    assert applied.restated is not None
    assert [(r.day, r.cost_before, r.cost_after) for r in applied.restated] == [(NOON.date(), MINI, Decimal(0))]
    assert [cost for cost, _ in booked(lake)] == [MINI, Decimal(0), None]
    assert len(recorded(lake)) == 1
    assert lake.warehouse.reprice(since="2026-11-20", until="2026-11-21", apply=True).restated == ()


def test_reprice_as_of_asks_what_it_would_have_cost_then(lake: SmallLake) -> None:
    """o3 cost five times as much before June 2025; what has one price stays out of the difference."""
    lake.land(call("c", "1", "o3", input=1_000_000, output=0))
    lake.warehouse.refresh()
    then = lake.warehouse.reprice(since="7d", as_of=date(2025, 5, 1))

    assert [(row["model"], row["cost_before_usd"], row["cost_after_usd"]) for row in then.table.to_pylist()] == [
        ("o3", Decimal(2), Decimal(10))
    ]
    assert then.book_after == "genai-prices 0.2.3 as of 2025-05-01"


def test_reprice_book_asks_what_other_layers_would_make_of_it(lake: SmallLake, tmp_path: Path) -> None:
    """The lake's own files are not looked at; a call that is not booked yet stands beside its current price."""
    contract = tmp_path / "contract.toml"
    contract.write_text('[[contract]]\nprovider = "openai"\npercent = -20\n' + ACME)
    lake.land(call("c", "1", input=1_000_000, output=0, at=NOON - 3 * DAY))
    shown = lake.warehouse.reprice(since="7d", book=contract)

    assert [(row["model"], row["cost_before_usd"], row["cost_after_usd"]) for row in shown.models.to_pylist()] == [
        ("acme-7b", None, Decimal(2)),
        ("gpt-4o-mini-2024-07-18", 3 * MINI, 3 * MINI * Decimal("0.8")),
    ]
    assert (shown.total["unpriced_before"], shown.total["unpriced_after"]) == (1, 0)


def test_only_the_current_book_can_be_applied(lake: SmallLake, tmp_path: Path) -> None:
    """Another book's prices are booked by writing them to the lake's price files."""
    with pytest.raises(UsageError, match="--apply books the current prices only, not those of --as-of"):
        lake.warehouse.reprice(as_of=date(2026, 1, 1), apply=True)
    with pytest.raises(UsageError, match="not those of --book"):
        lake.warehouse.reprice(book=tmp_path, apply=True)
    with pytest.raises(PriceBookError, match=r"no price file at .*: name a \.toml file"):
        lake.warehouse.reprice(book=tmp_path / "none.toml")


def test_a_window_without_days_has_no_difference(lake: SmallLake) -> None:
    shown = lake.warehouse.reprice(since="2020-01-01", until="2020-02-01")

    assert (shown.table.num_rows, shown.total["days"], shown.total["calls"], shown.books_before) == (0, 0, 0, ())
