"""A price file before it is the lake's: its mistakes, what it is about, what it changes; and unpriced models."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.lakes import SmallLake
from support.spans import NOON, call

from llmcost.models.errors import PriceBookError

MINUTE = timedelta(minutes=1)


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    """Calls of listed and unknown models, some of a customer; one without usage."""
    acme = {"customer.id": "acme"}
    return SmallLake(tmp_path / "lake").land(
        call("t", "1", input=1000, output=100, attributes=acme),
        call("t2", "2", input=1000, output=100, at=NOON + MINUTE),
        call("u", "3", "acme-7b", provider="acme", input=5000, output=10),
        call("u2", "4", "acme-7b", provider="acme", input=5000, output=10, at=NOON + 2 * MINUTE, attributes=acme),
        call("v", "5", "prod-chat-eu", provider="azure", input=20_000),
        call("v", "6", "silent", provider="acme"),
    )


def written(folder: Path, text: str, name: str = "own.toml") -> Path:
    """A price file outside of the lake."""
    path = folder / name
    path.write_text(text)
    return path


def picked(rows: Iterable[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """Some columns of rows."""
    return [tuple(row[name] for name in names) for row in rows]


def test_models_without_a_price_stand_by_tokens_at_risk(lake: SmallLake) -> None:
    """With when they were seen and why they have none; a call without usage is no matter of prices."""
    rows = lake.warehouse.unpriced_models().to_pylist()

    assert picked(rows, "provider", "model", "reason", "calls", "input_tokens", "output_tokens") == [
        ("azure", "prod-chat-eu", "model_not_in_price_book", 1, 20_000, None),
        ("acme", "acme-7b", "model_not_in_price_book", 2, 10_000, 20),
    ]
    assert picked(rows, "first_seen_at", "last_seen_at") == [(NOON, NOON), (NOON, NOON + 2 * MINUTE)]


def test_a_price_that_begins_too_late_is_told_apart(lake: SmallLake) -> None:
    """The model is known, the day is not covered."""
    (lake.lake.prices / "own.toml").write_text(
        '[[list]]\nmodel = "acme-7b"\nfrom = 2027-01-01\ninput = 1\noutput = 1\n'
    )
    rows = lake.warehouse.unpriced_models().to_pylist()

    assert ("acme-7b", "before_first_own_price") in picked(rows, "model", "reason")


def test_check_says_what_each_entry_is_about(lake: SmallLake, tmp_path: Path) -> None:
    """By the rules calls are priced by: aliases first, customers, days; an entry about nothing says 0."""
    file = written(
        tmp_path,
        """
        [[list]]
        model = "acme-*"
        input = 1
        output = 2

        [[list]]
        model = "unused"
        input = 1
        output = 2

        [[contract]]
        model = "gpt-4o*"
        customer_id = "acme"
        percent = -5

        [[contract]]
        provider = "openai"
        until = 2026-11-20
        percent = -5

        [[override]]
        provider = "acme"
        input = 1
        output = 2

        [[alias]]
        match = "prod-chat-.*"
        provider = "openai"
        model = "gpt-4o-mini"
        """,
    )
    checked = lake.warehouse.check_prices(file)

    assert checked.problems == 0
    assert picked(checked.entries.to_pylist(), "entry", "models", "calls") == [
        ("[[list]] entry 1 (acme-*)", ["acme-7b"], 2),
        ("[[list]] entry 2 (unused)", [], 0),
        ("[[contract]] entry 1 (gpt-4o*)", ["gpt-4o-mini-2024-07-18"], 1),
        ("[[contract]] entry 2", [], 0),
        ("[[override]] entry 1", ["acme-7b", "silent"], 3),
        ("[[alias]] entry 1 (gpt-4o-mini)", ["prod-chat-eu"], 1),
    ]


def test_check_finds_every_problem_and_still_tells_the_rest(lake: SmallLake, tmp_path: Path) -> None:
    """A folder is checked whole; each entry is named with its file."""
    good = '[[list]]\nmodel = "acme-7b"\ninput = 1\noutput = 2\n'
    folder = tmp_path / "layers"
    folder.mkdir()
    written(folder, f'{good}[[contract]]\npercent = "5"\n[[alias]]\nmatch = "("\nmodel = "x"\n', "a.toml")
    written(folder, "not toml", "b.toml")
    checked = lake.warehouse.check_prices(folder)
    rows = checked.entries.to_pylist()

    assert checked.problems == 3
    assert picked(rows, "entry", "calls") == [
        ("a.toml: [[list]] entry 1 (acme-7b)", 2),
        ("a.toml: [[contract]] entry 1", 0),
        ("a.toml: [[alias]] entry 1 (x)", 0),
        ("b.toml: file", 0),
    ]
    assert rows[1]["problem"] == "percent = '5' is not a number"
    assert rows[3]["problem"].startswith("not TOML: ")


def test_check_of_no_file_says_so(lake: SmallLake, tmp_path: Path) -> None:
    with pytest.raises(PriceBookError, match="no price file at"):
        lake.warehouse.check_prices(tmp_path / "none.toml")


def test_diff_against_the_list_shows_old_and_new(lake: SmallLake, tmp_path: Path) -> None:
    """Prices per million tokens that differ today; parts that cost what the whole does are left out."""
    file = written(
        tmp_path,
        """
        [[list]]
        model = "gpt-4o-mini*"
        input = 0.30
        output = 0.60
        cache_read = 0.075

        [[list]]
        model = "acme-7b"
        input = 1
        output = 2
        """,
    )
    rows = lake.warehouse.diff_prices(None, file).to_pylist()

    assert picked(rows, "model", "price", "old_usd", "new_usd", "change_percent") == [
        ("acme-7b", "input", None, Decimal(1), None),
        ("acme-7b", "output", None, Decimal(2), None),
        ("gpt-4o-mini-2024-07-18", "input", Decimal("0.15"), Decimal("0.3"), 100.0),
    ]  # fmt: skip


def test_diff_of_two_files_shows_customers_beside_everyone(lake: SmallLake, tmp_path: Path) -> None:
    """A discount for one customer has rows of its own; tiers are compared at each side's boundaries."""
    old = written(tmp_path, '[[contract]]\nprovider = "google"\npercent = -10\n', "old.toml")
    new = written(
        tmp_path,
        '[[contract]]\nprovider = "google"\npercent = -10\n'
        '[[contract]]\nprovider = "google"\ncustomer_id = "acme"\npercent = -20\n',
        "new.toml",
    )
    rows = lake.warehouse.diff_prices(old, new, ["gemini-2.5-pro"]).to_pylist()
    inputs = [row for row in rows if row["price"] == "input"]

    assert picked(inputs, "provider", "holds_for", "tier", "old_usd", "new_usd") == [
        ("google", "customer acme", None, Decimal("1.125"), Decimal("1.00")),
        ("google", "customer acme", "input > 200,000", Decimal("2.25"), Decimal("2.00")),
    ]
    assert lake.warehouse.diff_prices(new, new).num_rows == 0
