"""Statements of a month: by hand, and their sum equal to the ledger for any key, mapping and time zone."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lakes import NOW, SmallLake
from support.spans import call
from support.statement_calls import START, calls_of, nano
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.cli.statement_pages import file_of, pages
from llmcost.models.errors import UsageError
from llmcost.models.lake import Lake
from llmcost.models.schema import DIMENSIONS
from llmcost.models.windows import month, zone
from llmcost.sql import coverage
from llmcost.sql.shared_cost import KEYS, split
from llmcost.sql.statements import Question, Statements, answer

OCTOBER = datetime(2026, 10, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    'a" onload="x',
    "{{ 7 * 7 }}",
    "../../etc",
    "\u202eright",
)


def mini(input_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in per million tokens."""
    return Decimal("0.15") * input_tokens / 1_000_000


def work(name: str, tokens: int, at: datetime = OCTOBER, model: str = "gpt-4o-mini-2024-07-18", **said: str) -> Any:
    keys = {"team": "team", "customer": "customer.id", "feature": "app.feature"}
    attributes = {keys[key]: value for key, value in said.items()}
    provider = "acme" if model == "acme-7b" else "openai"
    return call(name, "call", model, provider=provider, input=tokens, output=0, at=at, attributes=attributes)


def spans() -> list[Any]:
    """Two teams, a gateway that serves both, work without a team, and a call without a known price."""
    return [
        work("a", 1000, team="red", feature="triage", customer="acme"),
        work("b", 3000, OCTOBER + 24 * HOUR, team="red", feature="search", customer="globex"),
        work("c", 2000, team="blue", feature="triage"),
        work("d", 10_000, team="blue", feature="gateway"),
        work("e", 5000),
        work("f", 9, model="acme-7b", team="blue", feature="triage"),
        work("g", 7, model="acme-7b", feature="gateway"),
        # not October in UTC, but the first and the last hour of it in Berlin and New York
        work("h", 400, datetime(2026, 9, 30, 23, tzinfo=UTC), team="red"),
        work("i", 800, datetime(2026, 11, 1, 1, tzinfo=UTC), team="red"),
    ]


CENTERS = """team,customer_id,feature,since,until,cost_center
red,,,,,4711
red,acme,,,,0042
blue,,,2026-10-01,2026-10-15,early
blue,,,2026-10-15,,late
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    made = SmallLake(tmp_path_factory.mktemp("statements") / "lake").land(*spans())
    (made.lake.user_rollups / "cost_centers.csv").write_text(CENTERS)
    (made.lake.user_rollups / "shared_weights.csv").write_text("owner,weight\nred,1\nblue,2\ngreen,1\n")
    made.warehouse.refresh()
    return made


def told(lake: SmallLake, **options: Any) -> tuple[Statements, dict[str | None, Any]]:
    found = lake.warehouse.statements("2026-10", **options)
    assert Decimal(0) == found.difference_usd
    return found, {each.owner: each for each in found.statements}


def test_a_statement_has_its_direct_cost_by_feature_model_and_day(lake: SmallLake) -> None:
    """Each kind of line sums to the whole, and unpriced calls are said, in no cost."""
    found, by_owner = told(lake)

    assert ["red", "blue", None] == sorted(by_owner, key=["red", "blue", None].index)
    red, blue, nobody = by_owner["red"], by_owner["blue"], by_owner[None]
    assert (2, mini(4000), 0) == (red.usage.calls, red.total_usd, red.usage.unpriced_calls)
    assert (3, mini(12_000), 1, 9) == (
        blue.usage.calls, blue.total_usd, blue.usage.unpriced_calls, blue.usage.unpriced_tokens,
    )  # fmt: skip
    assert ("unattributed", mini(5000), 1) == (nobody.kind, nobody.total_usd, nobody.usage.unpriced_calls)
    assert [("day", "2026-10-15"), ("day", "2026-10-16"), ("feature", "search"), ("feature", "triage")] == [
        (line.kind, line.item) for line in red.lines if line.kind != "model"
    ]
    assert [("model", "acme/acme-7b", None), ("model", "openai/gpt-4o-mini-2024-07-18", mini(12_000))] == sorted(
        (line.kind, line.item, line.usage.cost_usd) for line in blue.lines if line.kind == "model"
    )
    assert mini(21_000) == found.total_usd == found.coverage.cost_usd


def test_shared_cost_is_split_by_the_key_that_is_named(lake: SmallLake) -> None:
    """The gateway's $0.0015 and the unattributed $0.00075: by direct cost 4,000 to 2,000, and so on."""
    gateway, nobody = mini(10_000), mini(5000)
    shares = {
        "even": {"red": Fraction(1, 2), "blue": Fraction(1, 2)},
        "cost": {"red": Fraction(4000, 6000), "blue": Fraction(2000, 6000)},
        "calls": {"red": Fraction(2, 4), "blue": Fraction(2, 4)},
        "tokens": {"red": Fraction(4000, 6009), "blue": Fraction(2009, 6009)},
        "weights": {"red": Fraction(1, 4), "blue": Fraction(2, 4), "green": Fraction(1, 4)},
    }
    direct = {"red": mini(4000), "blue": mini(2000), "green": Decimal(0)}
    for key, wanted in shares.items():
        found, by_owner = told(lake, split_shared=key, shared_features=["gateway"], split_unattributed=True)
        assert set(wanted) == set(by_owner)
        for owner, part in wanted.items():
            statement = by_owner[owner]
            exact = Fraction(gateway) * part, Fraction(nobody) * part
            assert ["gateway", None] == [share.feature for share in statement.shares]
            for share, whole in zip(statement.shares, exact, strict=True):
                assert abs(Fraction(share.cost_usd) - whole) < Fraction(1, 10**9)
            assert direct[owner] + statement.shared_usd == statement.total_usd
        assert [("gateway", True), (None, True)] == [(pool.feature, pool.is_split) for pool in found.pools]
        assert 'of the shared feature "gateway" 1 calls with 7 tokens have no known price' in found.notes[0]


def test_what_is_shared_stands_apart_until_a_key_is_named(lake: SmallLake) -> None:
    _, by_owner = told(lake, shared_features=["gateway"])

    assert ("shared", mini(10_000), ()) == (
        by_owner["gateway"].kind, by_owner["gateway"].total_usd, by_owner["gateway"].shares,
    )  # fmt: skip
    assert mini(2000) == by_owner["blue"].total_usd
    _, by_owner = told(lake, shared_features=["gateway"], split_shared="even")
    assert ("unattributed", mini(5000)) == (by_owner[None].kind, by_owner[None].total_usd)


def test_cost_centers_are_the_users_and_have_days(lake: SmallLake) -> None:
    """The line that says most wins, an id keeps its zeros, and what no line fits is said."""
    found, by_owner = told(lake, by="cost_center")

    assert {"0042": mini(1000), "4711": mini(3000), "late": mini(12_000), None: mini(5000)} == {
        owner: each.total_usd for owner, each in by_owner.items()
    }
    assert found.notes == (
        "no cost center for 1 calls, $0.000750000: team unknown, customer_id unknown, feature unknown",
        "no cost center for 1 calls, cost unknown: team unknown, customer_id unknown, feature gateway",
    )


def test_a_month_is_half_open_in_the_zone_that_is_asked_for(lake: SmallLake) -> None:
    utc, berlin, new_york = (
        told(lake, tz=tz)[1]["red"].total_usd for tz in ("UTC", "Europe/Berlin", "America/New_York")
    )
    assert (mini(4000), mini(4400), mini(4800)) == (utc, berlin, new_york)
    days = [line.item for line in told(lake, tz="America/New_York")[1]["red"].lines if line.kind == "day"]
    assert ["2026-10-15", "2026-10-16", "2026-10-31"] == days


def test_months_as_people_name_them() -> None:
    tz = zone("Europe/Berlin")
    for word, first, after in (("last", (2026, 10), (2026, 11)), ("this", (2026, 11), (2026, 12))):
        found = month(word, now=NOW, tz=tz)
        assert [datetime(*first, 1, tzinfo=tz), datetime(*after, 1, tzinfo=tz)] == [found.since, found.until]
    assert datetime(2027, 1, 1, tzinfo=UTC) == month("2026-12", now=NOW, tz=zone("UTC")).until
    january = month("last", now=datetime(2026, 1, 5, tzinfo=UTC), tz=zone("UTC"))
    assert datetime(2025, 12, 1, tzinfo=UTC) == january.since
    for word in ("2026-13", "2026-1", "october", "", "0000-01", "9999-12"):
        with pytest.raises(UsageError, match="month"):
            month(word, now=NOW, tz=tz)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "colour"}, '--by "colour": accepted are .*team.*cost_center'),
        ({"split_shared": "luck", "split_unattributed": True}, '--split-shared "luck": accepted are even, cost'),
        ({"split_shared": "even"}, "say what is shared"),
        ({"split_unattributed": True}, "say by what"),
        ({"month": "2026-00"}, "cannot read the month"),
        ({"tz": "Berlin"}, "unknown time zone"),
    ],
)
def test_what_cannot_be_asked_is_refused(lake: SmallLake, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lake.warehouse.statements(**options)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cost_centers", "team,cost_center\nred,1\n", 'no column "customer_id"'),
        ("cost_centers", "team,customer_id,feature,since,until,cost_center\nred,,,,,\n", "row 1 .*needs a value"),
        ("shared_weights", "owner,weight\nred,-1\n", "row 1 .*no weight is below 0"),
        ("shared_weights", "owner,weight\nred,much\n", '"much"'),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    lake = SmallLake(tmp_path / "lake")
    (lake.lake.user_rollups / f"{name}.csv").write_text(text)
    with pytest.raises(UsageError, match=f'cannot read ".*{name}.csv": .*{said}'):
        lake.warehouse.statements(by="cost_center", split_shared="weights", split_unattributed=True)


def test_a_month_without_calls_or_prices_has_no_made_up_money(tmp_path: Path) -> None:
    """No statement; and a cost that nobody knows is None, never 0, and splits into nothing."""
    lake = SmallLake(tmp_path / "lake").land(
        work("a", 9, model="acme-7b", team="red"), work("b", 9, model="acme-7b", feature="gateway")
    )
    empty = lake.warehouse.statements("2026-09", split_shared="cost", split_unattributed=True)
    assert ((), Decimal(0), Decimal(0)) == (empty.statements, empty.total_usd, empty.difference_usd)

    found = lake.warehouse.statements("2026-10", split_shared="even", shared_features=["gateway"])
    assert [("red", "owner", None, 1), ("gateway", "shared", None, 1)] == [
        (each.owner, each.kind, each.total_usd, each.usage.unpriced_calls) for each in found.statements
    ]
    without = lake.warehouse.statements("2026-10", by="cost_center")
    assert f"no cost_centers is known: write {lake.lake.user_rollups}/cost_centers.csv" in without.notes[0]


# --- The sum, whatever is asked ---------------------------------------------------------------------------------

AMOUNTS = st.integers(0, 10**12) | st.just(1)
WORDS = st.sampled_from([None, "a", "b", "c", "gateway", "'; drop"])
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "team": WORDS,
            "customer_id": WORDS,
            "feature": WORDS,
            "cost_usd": st.none() | AMOUNTS.map(nano),
            "input_tokens": st.none() | st.integers(0, 10**6),
            "output_tokens": st.none() | st.integers(0, 10**6),
            "started_at": st.integers(0, 31 * 24 * 60 - 1).map(lambda minute: START + timedelta(minutes=minute)),
        }
    ),
    max_size=12,
)
DAYS = st.none() | st.dates(date(2026, 9, 1), date(2026, 11, 30))
LINES = st.lists(st.tuples(WORDS, WORDS, WORDS, DAYS, DAYS, st.sampled_from(["1", "2", "x"])), max_size=6)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Auckland", "America/St_Johns"])


ASKED = st.fixed_dictionaries(
    {
        "by": st.sampled_from(["team", "customer_id", "cost_center", "feature"]),
        "key": st.none() | st.sampled_from(KEYS),
        "shared_features": st.lists(st.sampled_from(["gateway", "a"]), max_size=2).map(tuple),
        "split_unattributed": st.booleans(),
    }
).filter(lambda asked: bool(asked["key"]) == bool(asked["shared_features"] or asked["split_unattributed"]))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_statements_sum_to_the_ledger_whatever_is_asked(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """For any split key, any mapping and any time zone; and each statement's lines sum to it."""
    calls, lines, asked, tz = (data.draw(each) for each in (CALLS, LINES, ASKED, ZONES))
    weights = data.draw(st.dictionaries(st.sampled_from(["a", "b", "z"]), st.integers(0, 5)))
    folder = tmp_path_factory.mktemp("any")
    (folder / "rollups").mkdir()
    written = [line for line in lines if not (line[3] and line[4] and line[4] <= line[3])]
    with (folder / "rollups" / "cost_centers.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("team", "customer_id", "feature", "since", "until", "cost_center"), *written])
    with (folder / "rollups" / "shared_weights.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("owner", "weight"), *weights.items()])
    question = Question(month="2026-10", window=month("2026-10", now=NOW, tz=zone(tz)), tz=zone(tz), **asked)

    with calls_of(calls, tz) as con:
        covered = coverage.figures(con, "calls").coverage()
        found = answer(con, Lake(folder), question, covered, ())

    ledger = sum((row["cost_usd"] for row in calls if row["cost_usd"] is not None), Decimal(0))
    assert (ledger, Decimal(0)) == (found.total_usd, found.difference_usd)
    assert len(calls) == sum(each.usage.calls for each in found.statements) + sum(
        pool.usage.calls for pool in found.pools if pool.is_split
    )
    for each in found.statements:
        for kind in ("feature", "model", "day"):
            direct = [line.usage.cost_usd for line in each.lines if line.kind == kind]
            assert (each.usage.cost_usd or 0) == sum(filter(None, direct), Decimal(0))
        unknown = each.usage.unpriced_calls == each.usage.calls
        assert (each.usage.cost_usd is None) == unknown


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**15), st.dictionaries(st.integers(0, 99), st.integers(0, 10**9).map(Fraction), max_size=9))
def test_a_split_is_exact_and_nobody_is_a_nano_dollar_off(pool: int, weights: dict[int, Fraction]) -> None:
    """The parts sum to the pool; who has no weight has none of it."""
    found = split(nano(pool), weights)
    if found is None:
        assert 0 == sum(weights.values(), Fraction(0))
        return
    whole = sum(weights.values(), Fraction(0))
    assert nano(pool) == sum(found.values())
    for owner, part in found.items():
        exact = Fraction(pool, 10**9) * weights[owner] / whole
        assert abs(Fraction(part) - exact) < Fraction(1, 10**9)
        assert weights[owner] or not part


# --- What is written --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    words = [work(word, 1000, team=word, feature=word) for word in HOSTILE]
    return SmallLake(tmp_path_factory.mktemp("hostile") / "lake").land(*words)


def run(lake: SmallLake, *options: str) -> Any:
    ran = CliRunner().invoke(app, ["statement", "--lake", str(lake.lake.root), "--month", "2026-10", *options])
    assert ran.exit_code == 0, ran.output
    return ran


def test_pages_show_what_others_named_as_text_only(hostile: SmallLake) -> None:
    """No tag, attribute, expression, path or direction of a sender's own."""
    statements = hostile.warehouse.statements("2026-10")
    written = pages(statements)

    assert len(HOSTILE) + 1 == len(written)
    for name, content in written.items():
        text = content.decode()
        assert re.fullmatch(r"[a-z0-9-]+\.html", name)
        assert text.count("<script") == 0
        assert not re.search(r"<[^>]*\sonload=", text)
        assert "\u202e" not in text
        assert not re.search(r"(?:src|href)=\"(?!index\.html|[a-z0-9-]+\.html)", text)
        assert "http" not in text.replace("http-equiv", "")
    index = written["index.html"].decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in index
    assert "{{ 7 * 7 }}" in index
    for each in statements.statements:
        assert f'href="{file_of(each)}"' in index


def test_pages_say_the_sum_and_what_has_no_price(lake: SmallLake) -> None:
    found, by_owner = told(lake, split_shared="cost", shared_features=["gateway"], split_unattributed=True)
    written = {name: content.decode() for name, content in pages(found).items()}

    assert f"The statements sum to ${mini(21_000):.9f}, and so does the ledger of the month." in written["index.html"]
    assert "No price known for 3 calls with 16 tokens" not in written["index.html"]
    assert "No price known for 2 calls with 16 tokens" in written["index.html"]
    blue = written[file_of(by_owner["blue"])]
    assert "1 of these calls, with 9 tokens, have no known price" in blue
    assert "Shared cost, split by cost" in blue
    assert 31 == blue.count("<rect ")


def test_a_folder_of_pages_csv_or_parquet(lake: SmallLake, tmp_path: Path) -> None:
    run(lake, "--output", str(tmp_path / "pages"))
    assert 4 == len(list((tmp_path / "pages").glob("*.html")))

    ran = run(lake, "--output", str(tmp_path / "csv"), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "csv" / "statements.csv").read_text())))
    assert mini(21_000) == sum(Decimal(row["total_cost_usd"]) for row in rows)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "csv" / "lines.csv").read_text())))
    for kind in ("feature", "model", "day"):
        assert mini(21_000) == sum(Decimal(row["cost_usd"] or 0) for row in lines if row["line"] == kind)
    assert "and so does the ledger of the month" in ran.stderr

    run(lake, "--output", str(tmp_path / "parquet"), "--format", "parquet")
    table = pq.read_table(tmp_path / "parquet" / "statements.parquet")
    assert "decimal128(18, 9)" == str(table.schema.field("total_cost_usd").type)


def test_csv_text_is_no_formula(hostile: SmallLake, tmp_path: Path) -> None:
    run(hostile, "--output", str(tmp_path / "all.csv"))
    owners = [row["owner"] for row in csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text()))]
    assert "'=cmd|' /C calc'!A0" in owners
    assert not [owner for owner in owners if owner[0] in "=+-@"]


def test_json_holds_the_check_and_the_lines(lake: SmallLake) -> None:
    told_ = json.loads(run(lake, "--format", "json").stdout)
    assert ("0.000000000", f"{mini(21_000):.9f}") == (told_["difference_usd"], told_["ledger_usd"])
    assert {"day", "feature", "model"} == {line["line"] for line in told_["lines"]}


def test_pages_without_a_folder_are_refused(lake: SmallLake) -> None:
    ran = CliRunner().invoke(app, ["statement", "--lake", str(lake.lake.root), "--format", "html"])
    assert isinstance(ran.exception, UsageError)
    assert "--output DIR" in str(ran.exception)


def test_every_dimension_can_have_statements(lake: SmallLake) -> None:
    """A name of each stands in the relation as it is rendered."""
    window = month("2026-10", now=NOW, tz=zone("UTC"))
    with calls_of([{"cost_usd": nano(1)}]) as con:
        covered = coverage.figures(con, "calls").coverage()
        for by in DIMENSIONS:
            question = Question("2026-10", window, zone("UTC"), by, None, (), False)
            assert nano(1) == answer(con, lake.lake, question, covered, ()).total_usd
