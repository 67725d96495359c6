"""The FOCUS export: by hand, by the specification's rules, and its sum equal to the ledger whatever the calls."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.focus_rules import broken, rules
from support.lakes import SmallLake
from support.spans import call
from support.statement_calls import START, calls_of, nano
from typer.testing import CliRunner

from llmcost.cli import focus_files
from llmcost.cli.main import app
from llmcost.models.errors import UsageError
from llmcost.models.rates import COEFFICIENTS, RATE
from llmcost.models.windows import Window
from llmcost.sql import coverage
from llmcost.sql.focus import Question, answer

NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
OCTOBER = {"since": "2026-10-01", "until": "2026-11-01"}


def mtok(price: str, tokens: int) -> Decimal:
    """Tokens at a price per million."""
    return Decimal(price) * tokens / 1_000_000


def spans() -> list[Any]:
    """A cached call, a reported one, one without a price, one that failed, and hostile names."""
    acme = {"team": "red", "customer.id": "acme", "app.feature": "triage", "tag.tags": ["beta"]}
    return [
        call("a", "c", "claude-haiku-4-5", provider="anthropic", at=NOON, input=10_000, output=200, cache_read=4000,
             attributes=acme | {"gen_ai.usage.cache_write.input_tokens": 1000}),
        call("b", "c", at=NOON, input=1000, output=100, attributes={"team": "blue", "gen_ai.cost.total_cost": 0.5}),
        call("c", "c", "acme-7b", provider="acme", at=NOON, input=7, output=2, attributes={"team": "red"}),
        call("d", "c", at=NOON, failed=True, attributes={"team": "red"}),
        call("e", "c", at=NOON - timedelta(days=1), input=10, output=1,
             attributes={"team": "=cmd|' /C calc'!A0", "app.feature": '"},{"x":"<b>'}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    made = SmallLake(tmp_path_factory.mktemp("focus") / "lake").land(*spans())
    made.warehouse.refresh()
    return made


@pytest.fixture(scope="module")
def rows(lake: SmallLake) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.warehouse.focus(**OCTOBER).table.to_pylist()
    return found


def test_a_call_is_a_charge_for_each_kind_of_token(rows: list[dict[str, Any]]) -> None:
    """Haiku: $1 in, $0.10 cached, $1.25 written, $5 out; a cached token is not in the input's row."""
    charged = {row["SkuMeter"]: row for row in rows if row["SubAccountId"] == "red"}

    expected = {
        "Input Tokens": (5000, mtok("1", 5000)),
        "Cache Read Input Tokens": (4000, mtok("0.10", 4000)),
        "Cache Write Input Tokens (5 Minutes)": (1000, mtok("1.25", 1000)),
        "Output Tokens": (200, mtok("5", 200)),
    }
    assert expected == {name: (row["ConsumedQuantity"], row["EffectiveCost"]) for name, row in charged.items()}
    cached = charged["Cache Read Input Tokens"]
    assert (mtok("0.10", 1), True, mtok("0.10", 4000)) == (
        cached["ListUnitPrice"], cached["x_IsListPriceKnown"], cached["ListCost"],
    )  # fmt: skip
    assert ("anthropic/claude-haiku-4-5/cache_read", "anthropic/claude-haiku-4-5/cache_read/standard") == (
        cached["SkuId"], cached["SkuPriceId"],
    )  # fmt: skip
    assert {"x_TokenDirection": "Input", "x_TokenCacheAction": "Read"}.items() <= json.loads(
        cached["SkuPriceDetails"]
    ).items()
    assert ("Anthropic", "Anthropic", "AI and Machine Learning", "Generative AI") == (
        cached["ServiceProviderName"], cached["BillingAccountId"],
        cached["ServiceCategory"], cached["ServiceSubcategory"],
    )  # fmt: skip
    assert {"team": "red", "customer_id": "acme", "feature": "triage"}.items() <= json.loads(cached["Tags"]).items()
    assert (datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)) == (
        cached["ChargePeriodStart"], cached["ChargePeriodEnd"],
    )  # fmt: skip


def test_a_reported_cost_is_divided_as_the_price_list_divides(rows: list[dict[str, Any]]) -> None:
    """$0.50 reported for 1,000 tokens in at $0.15 and 100 out at $0.60: 150 to 60 of 210."""
    reported = {row["SkuMeter"]: row for row in rows if row["SubAccountId"] == "blue"}

    out = round(Decimal("0.5") * 60 / 210, 9)
    assert {"Input Tokens": Decimal("0.5") - out, "Output Tokens": out} == {
        name: row["EffectiveCost"] for name, row in reported.items()
    }
    assert {"reported"} == {row["x_CostBasis"] for row in reported.values()}
    assert mtok("0.15", 1000) == reported["Input Tokens"]["ListCost"] == reported["Input Tokens"]["ContractedCost"]


def test_effective_cost_is_the_ledger_and_billed_cost_nothing(lake: SmallLake) -> None:
    """Nobody but who invoices fills BilledCost, unless it is asked for; periods may be hours, too."""
    for by in ("day", "hour"):
        export = lake.warehouse.focus(by=by, **OCTOBER)
        assert (Decimal(0), export.coverage.cost_usd) == (export.difference_usd, export.effective_usd)
        assert {Decimal(0)} == set(export.table["BilledCost"].to_pylist())
    booked = lake.warehouse.focus(billed_cost="booked", billing_account="acme-llm", **OCTOBER).table
    assert booked["EffectiveCost"].to_pylist() == booked["BilledCost"].to_pylist()
    assert {"acme-llm"} == set(booked["BillingAccountId"].to_pylist())


def test_what_has_no_price_is_counted_and_in_no_row(lake: SmallLake, rows: list[dict[str, Any]]) -> None:
    """An unknown cost is not 0, and FOCUS has no word for it; a failed request cost nothing."""
    export = lake.warehouse.focus(**OCTOBER)

    assert "acme-7b" not in {row["x_Model"] for row in rows}
    assert [
        ("acme", "acme-7b", "model_not_in_price_book", True, 1, 9),
        ("openai", "gpt-4o-mini-2024-07-18", "failed", False, 1, 0),
    ] == [tuple(row.values()) for row in export.uncharged.to_pylist()]
    told = focus_files.metadata(export, "october.csv")
    assert (1, 9) == (told["x_Llmcost"]["UnpricedCalls"], told["x_Llmcost"]["UnpricedTokens"])
    lines = focus_files.lines_of(export)
    assert "no price known for 1 calls with 9 tokens: they are in no row" in lines
    assert "  acme/acme-7b: 1 calls, 9 tokens, model_not_in_price_book" in lines
    assert "1 calls made no request (cache hits, failures): they cost nothing and are in no row" in lines


def test_dimensions_and_the_sub_account_are_the_users_choice(lake: SmallLake) -> None:
    table = lake.warehouse.focus(dimensions=["prompt_version"], sub_account="customer_id", **OCTOBER).table

    assert ["x_PromptVersion"] == table.column_names[-1:]
    assert {("acme", "customer_id"), (None, None)} == set(
        zip(table["SubAccountId"].to_pylist(), table["SubAccountType"].to_pylist(), strict=True)
    )


def test_a_window_is_cut_where_it_is_asked_to(lake: SmallLake) -> None:
    """Two exports side by side overlap nowhere."""
    table = lake.warehouse.focus(since="2026-10-31T06:00", until="2026-10-31T13:30").table
    assert {(datetime(2026, 10, 31, 6, tzinfo=UTC), datetime(2026, 10, 31, 13, 30, tzinfo=UTC))} == set(
        zip(table["ChargePeriodStart"].to_pylist(), table["ChargePeriodEnd"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sub_account": "colour"}, 'no dimension "colour"'),
        ({"dimensions": ["colour"]}, 'no dimension "colour"'),
        ({"billed_cost": "much"}, '--billed-cost "much": accepted are zero, booked'),
        ({"by": "week"}, '--by "week": accepted are day, hour'),
        ({"where": {"colour": "red"}}, "--where"),
    ],
)
def test_what_cannot_be_asked_is_refused(lake: SmallLake, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lake.warehouse.focus(**OCTOBER, **options)


# --- The file, against the specification's rules ----------------------------------------------------------------


def run(lake: SmallLake, output: Path, *options: str) -> Any:
    asked = ["--since", "2026-10-01", "--until", "2026-11-01", "--output", str(output)]
    ran = CliRunner().invoke(app, ["focus", "--lake", str(lake.lake.root), *asked, *options])
    assert ran.exit_code == 0, ran.output
    return ran


@pytest.mark.parametrize("name", ["october.csv", "october.parquet"])
@pytest.mark.parametrize("options", [(), ("--by", "hour"), ("--billed-cost", "booked", "--group-by", "user_id")])
def test_an_export_breaks_no_rule(lake: SmallLake, tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    ran = run(lake, tmp_path / name, *options)
    assert [] == broken(tmp_path / name)
    assert "and so does the ledger" in ran.stderr
    told = json.loads((tmp_path / f"{name}.metadata.json").read_text())
    assert ("1.4", "0.000000000") == (
        told["Schema"]["FocusVersion"],
        f"{Decimal(told['x_Llmcost']['EffectiveCost']) - Decimal(told['x_Llmcost']['LedgerCost']):.9f}",
    )


def test_every_kind_of_rule_can_be_broken(lake: SmallLake, tmp_path: Path) -> None:
    """The checker sees what is wrong: a column gone, one too many, a null, a value, a sum, a text."""
    run(lake, tmp_path / "good.csv")
    good = list(csv.DictReader(io.StringIO((tmp_path / "good.csv").read_text())))
    changes: dict[str, dict[str, str]] = {
        "BilledCost: null": {"BilledCost": ""},
        "ChargeCategory: not allowed": {"ChargeCategory": "Consumption"},
        "ListUnitPrice: too small": {"ListUnitPrice": "-1.0"},
        "list-cost-is-price-times-quantity": {"ListCost": "77.0"},
        "who-does-not-invoice-bills-nothing": {"BilledCost": "77.0"},
        "a-charge-period-is-in-its-billing-period": {"ChargePeriodEnd": "2026-11-02T00:00:00Z"},
        "no-invoice-no-number": {"InvoiceId": "1"},
        "'2026-10-31T00:00:00+00:00' is no instant": {"ChargePeriodStart": "2026-10-31T00:00:00+00:00"},
        "a-sku-price-has-one-sku": {"SkuPriceId": good[0]["SkuPriceId"]},
        "Tags: no flat JSON object": {"Tags": '{"a":{"b":1}}'},
        "": {},
    }
    headings = [*good[0], "Colour"]
    with (tmp_path / "bad.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, headings)
        writer.writeheader()
        writer.writerows([*good, *(good[-1] | change for change in changes.values())])
    found = broken(tmp_path / "bad.csv")
    for name in (*changes, "no column of FOCUS", "custom columns stand between", "a-charge-stands-once"):
        assert [line for line in found if name in line], f"{name} was not seen in {found}"
    with (tmp_path / "bad.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in good[0] if name != "EffectiveCost"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(good)
    assert "EffectiveCost: not there" in broken(tmp_path / "bad.csv")


def test_the_rules_name_every_mandatory_column_of_the_specification() -> None:
    """Sixty-five columns, of which twenty-one must be in any file."""
    columns = rules()["columns"]
    assert (65, 21) == (len(columns), len([each for each in columns if each["level"] == "mandatory"]))


def test_names_of_others_stay_text(lake: SmallLake, tmp_path: Path) -> None:
    """No formula in a CSV, no key of a sender's own in Tags; Parquet hands names over as they were sent."""
    run(lake, tmp_path / "a.csv")
    found = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert not [cell for row in found for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert "'=cmd|' /C calc'!A0" in {row["SubAccountId"] for row in found}
    run(lake, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert "=cmd|' /C calc'!A0" in table["SubAccountId"].to_pylist()
    tags = [json.loads(text) for text in table["Tags"].to_pylist() if text]
    assert {"team", "feature", "customer_id", "beta"} == {key for each in tags for key in each}
    assert {True} == {each["beta"] for each in tags if "beta" in each}
    assert '"},{"x":"<b>' in {each.get("feature") for each in tags}


def test_an_empty_window_is_a_file_with_headings(lake: SmallLake, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app,
        ["focus", "--lake", str(lake.lake.root), "--since", "2026-01-01", "--until", "2026-02-01", "-o",
         str(tmp_path / "empty.csv")],
    )  # fmt: skip
    assert 0 == ran.exit_code, ran.output
    assert [] == broken(tmp_path / "empty.csv")
    assert 1 == len((tmp_path / "empty.csv").read_text().splitlines())


def test_another_ending_is_refused(lake: SmallLake) -> None:
    ran = CliRunner().invoke(app, ["focus", "--lake", str(lake.lake.root), "--output", "a.xlsx"])
    assert isinstance(ran.exception, UsageError)
    assert "end it in .csv or .parquet" in str(ran.exception)


# --- The sum, whatever the calls --------------------------------------------------------------------------------

TOKENS = st.none() | st.integers(0, 5000) | st.integers(0, 10**10)
COSTS = st.none() | st.integers(0, 10**13).map(nano)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "started_at": st.integers(0, 3 * 24 * 60).map(lambda minute: START + timedelta(minutes=minute)),
            "team": st.sampled_from([None, "a", "'b"]),
            "tags": st.sampled_from([None, [], ["x"], ["y", "x", "y"]]),
            "model": st.sampled_from(["m", "unknown", None]),
            "service_tier": st.sampled_from([None, "flex"]),
            "cost_basis": st.sampled_from(["list", "contract", "override", "reported", "cache_hit", "failed"]),
            "cost_usd": COSTS, "list_cost_usd": COSTS, "output_cost_usd": COSTS, "is_listed": st.booleans(),
            "input_tokens": TOKENS, "output_tokens": TOKENS, "cache_read_tokens": TOKENS,
            "cache_write_5m_tokens": TOKENS, "cache_write_1h_tokens": TOKENS, "audio_input_tokens": TOKENS,
            "reasoning_tokens": TOKENS, "audio_output_tokens": TOKENS,
        }
    ),
    max_size=8,
)  # fmt: skip
PRICES = st.sampled_from([Decimal(0), Decimal("0.0375"), Decimal("0.15"), Decimal("3"), Decimal("600")])


def known_rates(prices: list[Decimal]) -> pa.Table:
    """model_rates of one model, whose coefficients are these, in USD per million tokens."""
    row = {
        "provider": "openai", "model": "m", "service_tier": None, "is_batch": False, "generates": True,
        "valid_from": datetime(1970, 1, 1, tzinfo=UTC), "valid_to": datetime(9999, 1, 1, tzinfo=UTC),
        "minute_from": 0, "minute_to": 1440, "input_over": -1, "input_upto": 2**62,
        **{name: price / 1_000_000 for name, price in zip(COEFFICIENTS, prices, strict=True)},
    }  # fmt: skip
    kinds = {"service_tier": pa.string(), **dict.fromkeys(("valid_from", "valid_to"), pa.timestamp("us", "UTC"))}
    kinds |= dict.fromkeys(COEFFICIENTS, RATE)
    arrays = {name: pa.array([value], kinds.get(name)) for name, value in row.items()}
    return pa.table(arrays)


def list_cost(row: dict[str, Any], prices: list[Decimal]) -> Decimal:
    """What calls.sql books by the list: nine coefficients times counts, rounded once."""
    counts = [1, *(row[f"{name}_tokens"] or 0 for name in COEFFICIENTS[1:])]
    exact = sum((price / 1_000_000 * count for price, count in zip(prices, counts, strict=True)), Decimal(0))
    return exact.quantize(nano(1), ROUND_HALF_UP)


@settings(max_examples=12, deadline=None)
@given(CALLS, st.lists(PRICES, min_size=9, max_size=9), st.sampled_from(["day", "hour"]))
def test_charges_sum_to_the_ledger_whatever_the_calls(
    tmp_path_factory: pytest.TempPathFactory, calls: list[dict[str, Any]], prices: list[Decimal], by: str
) -> None:
    """Also where counts cannot be, parts do not fit their total and prices are unknown; and no rule is broken."""
    for row in calls:  # what calls.sql promises: nothing is paid where no request was made
        if row["cost_basis"] in ("cache_hit", "failed"):
            row["cost_usd"] = Decimal(0)
        if row.pop("is_listed"):
            row["list_cost_usd"] = list_cost(row, prices)
    window = Window(START, START + timedelta(days=4))
    question = Question(window, by, ("team",), "team", None, "zero")

    with calls_of(calls) as con:
        con.register("model_rates", known_rates(prices))
        covered = coverage.figures(con, "calls").coverage()
        export = answer(con, question, covered, ())

    ledger = sum((row["cost_usd"] for row in calls if row["cost_usd"] is not None), Decimal(0))
    assert (ledger, Decimal(0)) == (export.effective_usd, export.difference_usd)
    path = tmp_path_factory.mktemp("any") / "any.parquet"
    pq.write_table(export.table, path)
    assert [] == broken(path)
    for each in export.table.to_pylist():
        assert each["ConsumedQuantity"] > 0
        assert each["EffectiveCost"] >= 0


def test_periods_are_utc_days_of_the_calls() -> None:
    """A call in the last hour of a month is of that month."""
    late = START + timedelta(days=30, hours=23, minutes=59)
    with calls_of([{"started_at": late, "cost_basis": "reported", "cost_usd": nano(5), "input_tokens": 3}]) as con:
        con.register("model_rates", known_rates([Decimal(0)] * 9))
        window = Window(START, START + timedelta(days=60))
        question = Question(window, "day", (), "team", None, "zero")
        (row,) = answer(con, question, coverage.figures(con, "calls").coverage(), ()).table.to_pylist()
    assert (date(2026, 10, 1), date(2026, 11, 1), date(2026, 10, 31)) == (
        row["BillingPeriodStart"].date(), row["BillingPeriodEnd"].date(), row["ChargePeriodStart"].date(),
    )  # fmt: skip
    assert ("All Tokens", Decimal(3), nano(5)) == (row["SkuMeter"], row["ConsumedQuantity"], row["EffectiveCost"])
