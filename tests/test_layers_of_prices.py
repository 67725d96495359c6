"""The user's layers over the list: what each may say, which one wins, and what a file's mistakes are called."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.pricing import NOW, priced

from llmcost.models.conventions import load as load_conventions
from llmcost.models.errors import PriceBookError
from llmcost.models.layers import Layers, entries_of
from llmcost.models.prices import PriceBook
from llmcost.sql.derive import Rules

MINI = Decimal("0.15") + Decimal("0.60")
"""gpt-4o-mini, a million tokens in and a million out."""


def booked(folder: Path, text: str, *requests: dict[str, Any], as_of: date | None = None) -> list[dict[str, Any]]:
    """Calls of a million tokens in and out, priced under a price file; reported costs are booked first."""
    (folder / "own.toml").write_text(text)
    book = PriceBook(Layers.load(folder), as_of)
    counts = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    return priced(Rules(load_conventions(), book, "reported", {}), [{**counts, **request} for request in requests])


def million(model: str = "gpt-4o-mini", provider: str | None = "openai", **columns: Any) -> dict[str, Any]:
    """A request to a model."""
    return {"provider": provider, "response_model": model, **columns}


REPORTED = {"reported_cost_usd": 0.7, "cost_ignores_cache": False}
CONTRACT = '[[contract]]\nmodel = "gpt-4o-mini"\ninput = 0.1\noutput = 0.4\n'
OVERRIDE = '[[override]]\nmodel = "gpt-4o-mini"\ninput = 1\noutput = 2\n'
LIST = '[[list]]\nmodel = "gpt-4o-mini"\ninput = 3\noutput = 4\n'


@pytest.mark.parametrize(
    ("text", "cost", "basis"),
    [
        ("", Decimal("0.7"), "reported"),
        (LIST, Decimal("0.7"), "reported"),
        (LIST + CONTRACT, Decimal("0.1") + Decimal("0.4"), "contract"),
        (OVERRIDE + CONTRACT + LIST, Decimal(1 + 2), "override"),
    ],
)
def test_override_contract_report_list_in_this_order(tmp_path: Path, text: str, cost: Decimal, basis: str) -> None:
    """Whatever the order of the tables in the file; each figure stays beside the booked one."""
    (call,) = booked(tmp_path, text, million(**REPORTED))

    assert (call["cost_usd"], call["cost_basis"]) == (cost, basis)
    assert call["reported_cost_usd"] == Decimal("0.7")
    assert call["list_cost_usd"] == (3 + 4 if LIST in text else MINI)
    assert call["contract_cost_usd"] == (Decimal("0.5") if CONTRACT in text else None)


def test_contract_prices_go_by_the_same_parts_as_the_list(tmp_path: Path) -> None:
    """Cached tokens, tokens spent on thinking and a fee a request; what is left out costs what the whole does."""
    text = '[[contract]]\nprovider = "openai"\ninput = 2\noutput = 8\ncache_read = 0.5\nper_request = 0.01\n'
    plain, cached = booked(
        tmp_path, text, million(), million(cache_read_tokens=400_000, cache_write_1h_tokens=100_000)
    )

    fee = Decimal("0.01")
    assert plain["cost_usd"] == fee + 2 + 8
    assert cached["cost_usd"] == fee + Decimal("0.6") * 2 + Decimal("0.4") * Decimal("0.5") + 8


def test_the_last_contract_that_matches_holds_percent_or_prices(tmp_path: Path) -> None:
    """By vendor, model, customer and key, from a day to before another; a percentage is of the list price."""
    text = """
        [[contract]]
        provider = "openai"
        percent = -10

        [[contract]]
        model = "gpt-4o*"
        customer_id = "acme"
        from = 2026-11-01
        until = 2026-12-01
        input = 0.1
        output = 0.1

        [[contract]]
        model = "gpt-4o*"
        key_id = "vk-7"
        percent = 100
    """
    november, december = datetime(2026, 11, 30, 23, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    calls = booked(
        tmp_path,
        text,
        million(customer_id="globex"),
        million(customer_id="acme", started_at=november),
        million(customer_id="acme", started_at=december),
        million(customer_id="acme", started_at=november, key_id="vk-7"),
    )

    assert [call["contract_cost_usd"] for call in calls] == [
        MINI * Decimal("0.9"), Decimal("0.1") * 2, MINI * Decimal("0.9"), MINI * 2,
    ]  # fmt: skip
    assert {call["list_cost_usd"] for call in calls} == {MINI}


def test_a_model_that_no_list_has_can_have_a_contract(tmp_path: Path) -> None:
    """Its prices hold for those it names; for anybody else the model stays unpriced, with its reason."""
    text = '[[contract]]\nmodel = "acme-*"\ncustomer_id = "acme"\ninput = 1\noutput = 1\n'
    mine, other = booked(
        tmp_path, text, million("vendor/acme-7b", None, customer_id="acme"), million("acme-7b", None)
    )

    assert (mine["cost_usd"], mine["list_cost_usd"], mine["model"]) == (Decimal(2), None, "acme-7b")
    assert (other["cost_usd"], other["unpriced_reason"]) == (None, "model_not_in_price_book")


def test_nothing_wins_over_an_override_but_that_no_call_was_made(tmp_path: Path) -> None:
    """A gateway's cache hit and a failed request cost nothing; the hit shows what it saved."""
    hit, failed = booked(
        tmp_path,
        OVERRIDE,
        million(cache_hit=True),
        million(status="ERROR", input_tokens=None, output_tokens=None),
    )

    assert (hit["cost_usd"], hit["avoided_cost_usd"]) == (Decimal(0), Decimal(3))
    assert (failed["cost_usd"], failed["cost_basis"]) == (Decimal(0), "failed")


def test_as_of_a_day_every_call_has_that_days_prices(tmp_path: Path) -> None:
    """List entries and contracts of that day hold for calls before and after it; its name says so."""
    text = """
        [[list]]
        model = "acme-7b"
        from = 2026-01-01
        input = 1
        output = 1

        [[list]]
        model = "acme-7b"
        from = 2026-06-01
        input = 3
        output = 3

        [[contract]]
        model = "acme-7b"
        from = 2026-06-01
        percent = -50
    """
    early, late = (million("acme-7b", None, started_at=datetime(2026, month, 1, tzinfo=UTC)) for month in (2, 11))

    assert [call["cost_usd"] for call in booked(tmp_path, text, early, late)] == [2, 3]
    assert [call["cost_usd"] for call in booked(tmp_path, text, early, late, as_of=date(2026, 3, 1))] == [2, 2]
    assert [call["cost_usd"] for call in booked(tmp_path, text, early, late, as_of=date(2026, 7, 1))] == [3, 3]
    assert [call["cost_usd"] for call in booked(tmp_path, text, early, late, as_of=date(2025, 7, 1))] == [None] * 2
    (call,) = booked(tmp_path, "", million(), as_of=NOW.date())
    assert (call["cost_usd"], call["price_book"]) == (MINI, PriceBook(Layers.load(tmp_path), NOW.date()).name)
    assert call["price_book"].endswith(" as of 2026-11-20")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[contract]]\npercent = 1\ninput = 2", "[[contract]] entry 1: has percent and input: a contract is a"),
        ("[[contract]]\ninput = 2", "[[contract]] entry 1: needs input and output, in USD per million tokens"),
        ("[[override]]\npercent = 2", '[[override]] entry 1: unknown field "percent": known are audio_input'),
        ('[[override]]\nmodel = "a"', "[[override]] entry 1 (a): needs input and output"),
        ("[[override]]\ninput = 1\noutput = -2", "[[override]] entry 1: output = -2 is not between 0 and 10000"),
    ],
)
def test_a_contracts_and_an_overrides_mistakes_name_the_entry(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(PriceBookError) as caught:
        Layers.load(tmp_path)

    assert f'price file "{tmp_path / "own.toml"}": {message}' in str(caught.value)


def test_every_mistake_of_a_file_is_found_and_the_rest_is_read(tmp_path: Path) -> None:
    """One wrong entry does not hide the next one."""
    file = tmp_path / "own.toml"
    file.write_text(f'{OVERRIDE}[[list]]\nmodel = "a"\n[[contract]]\npercent = 1e9\n[[lists]]\n')
    entries = entries_of(file)

    assert [entry.place for entry in entries if entry.meaning] == ["[[override]] entry 1 (gpt-4o-mini)"]
    assert [str(entry) for entry in entries if entry.problem] == [
        "[[list]] entry 1 (a): needs input and output, in USD per million tokens",
        "[[contract]] entry 1: percent = 1E+9 is not between -100 and 1000",
        "unknown table [lists]: known are list, contract, override, alias",
    ]


CACHED = {"input_tokens": 1_000_000, "cache_read_tokens": 600_000, "cache_write_5m_tokens": 100_000}
HAIKU = {"output": Decimal(5), "saved": Decimal("0.6") * (1 - Decimal("0.1")) - Decimal("0.1") * Decimal("0.25")}
"""claude-haiku-4-5: $1 in, $5 out; reads at a tenth, writes at 1.25 times."""


def haiku(**columns: Any) -> dict[str, Any]:
    """A million tokens in, of which most through the cache, and a million out."""
    return million("claude-haiku-4-5", "anthropic", **CACHED, **columns)


def test_the_booked_cost_has_parts(tmp_path: Path) -> None:
    """What was generated, and what the cache saved, at the prices that are booked."""
    (call,) = booked(tmp_path, "", haiku())

    assert (call["output_cost_usd"], call["cache_savings_usd"]) == (HAIKU["output"], HAIKU["saved"])
    assert call["cost_usd"] - call["output_cost_usd"] + call["cache_savings_usd"] == 1


def test_the_parts_of_a_reported_cost_are_those_of_the_list_in_proportion(tmp_path: Path) -> None:
    """A gateway says one figure; its parts stand to it as the list's parts to the list's cost."""
    whole = 1 - HAIKU["saved"] + HAIKU["output"]
    (call,) = booked(tmp_path, "", haiku(reported_cost_usd=float(whole / 2), cost_ignores_cache=False))

    assert call["cost_basis"] == "reported"
    assert (call["output_cost_usd"], call["cache_savings_usd"]) == (HAIKU["output"] / 2, HAIKU["saved"] / 2)


def test_the_parts_follow_contract_and_override(tmp_path: Path) -> None:
    """A percentage holds for each part; a price of your own has parts of its own."""
    (halved,) = booked(tmp_path, '[[contract]]\nmodel = "claude-haiku-4-5"\npercent = -50\n', haiku())
    (own,) = booked(tmp_path, '[[override]]\nmodel = "claude-haiku-4-5"\ninput = 2\noutput = 3\n', haiku())

    assert (halved["output_cost_usd"], halved["cache_savings_usd"]) == (HAIKU["output"] / 2, HAIKU["saved"] / 2)
    assert (own["output_cost_usd"], own["cache_savings_usd"]) == (3, 0)


def test_parts_that_no_price_tells_are_unknown(tmp_path: Path) -> None:
    """A reported cost of a model that no list has: the whole is known, its parts are not."""
    (call,) = booked(tmp_path, "", million("acme-7b", "acme", reported_cost_usd=0.7, cost_ignores_cache=False))

    assert (call["cost_usd"], call["output_cost_usd"], call["cache_savings_usd"]) == (Decimal("0.7"), None, None)
