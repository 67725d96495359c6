"""Reports of providers and gateways: what each shape says, and that importing never adds to what was imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ingest.report_file import KINDS, read_report
from llmcost.ingest.report_store import store
from llmcost.ingest.reports import Report, Usage, summed
from llmcost.models.errors import ReportError
from llmcost.models.lake import Lake
from llmcost.models.schema import PROVIDER_USAGE, TOKEN_COLUMNS

FOLDER = Path(__file__).parents[1] / "data" / "fixtures" / "provider_reports"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def read(name: str, kind: str | None = None, mapping: str | None = None) -> Report:
    """The report in a fixture file."""
    return read_report([FOLDER / name], kind, FOLDER / mapping if mapping else None)


def told(row: Usage, *names: str) -> tuple[Any, ...]:
    """Some fields of a row."""
    return tuple(getattr(row, name) for name in names)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("openai_usage.json", "openai-usage"),
        ("openai_usage.csv", "openai-usage"),
        ("openai_costs.json", "openai-costs"),
        ("anthropic_usage.json", "anthropic-usage"),
        ("anthropic_costs.json", "anthropic-costs"),
        ("aws_cur.csv", "aws-cur"),
        ("focus.csv", "focus"),
        ("litellm_spend_logs.csv", "litellm"),
        ("langfuse_observations.jsonl", "langfuse"),
        ("langfuse_observations.csv", "langfuse"),
    ],
)
def test_a_report_is_recognised_by_its_shape(name: str, source: str) -> None:
    assert source == read(name).source
    assert {source} <= KINDS.keys()


def test_openai_usage_has_cached_input_within_its_input_and_a_batch_is_a_tier() -> None:
    online, batch, nothing = read("openai_usage.json").rows

    names = ("project_id", "key_id", "model", "service_tier", "requests")
    assert ("proj_support", "key_live", "gpt-4o-mini-2024-07-18", "standard", 6) == told(online, *names)
    assert ("proj_nightly", "key_jobs", "gpt-4o-mini-2024-07-18", "batch", 25) == told(batch, *names)
    assert (12000, 900, 4000) == told(online, "input_tokens", "output_tokens", "cache_read_tokens")
    assert (online.cost, online.granularity) == (None, "day")
    assert (None, 0, 0, 0) == told(nothing, "model", "input_tokens", "output_tokens", "requests")


def test_the_dashboards_csv_says_what_the_api_says() -> None:
    from_csv, quiet = read("openai_usage.csv").rows
    from_api = read("openai_usage.json").rows[0]

    names = ("period_start", "period_end", "model", "service_tier", "requests", "input_tokens", "cache_read_tokens")
    assert told(from_api, *names) == told(from_csv, *names)
    assert (None, 0) == told(quiet, "model", "input_tokens")


def test_openai_costs_keep_every_digit_and_what_is_no_token() -> None:
    rows = read("openai_costs.json").rows

    assert [Decimal("0.0012000000000000001"), Decimal("0.0003"), Decimal("0.025")] == [row.cost for row in rows]
    assert ["gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18", None] == [row.model for row in rows]
    assert rows[2].line_item == "web search tool calls"


def test_anthropic_input_is_made_whole_and_cents_are_dollars() -> None:
    used, nothing = read("anthropic_usage.json").rows
    paid, searched = read("anthropic_costs.json").rows

    assert 1500 + 8000 + 300 + 200 == used.input_tokens
    assert (8000, 300, 200, 700) == told(
        used, "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"
    )
    assert (None, 0, 0) == told(nothing, "model", "input_tokens", "output_tokens")
    assert (Decimal("1.2345"), "standard", "wrkspc_support") == told(paid, "cost", "service_tier", "project_id")
    assert (Decimal("0.02"), None, "Web Search Usage") == told(searched, "cost", "model", "line_item")


def test_bedrock_lines_of_one_hour_are_one_row_a_model_and_tier() -> None:
    """Four lines of tokens, one of tax; EC2 is none of ours, and a day without a line is one without use."""
    report = read("aws_cur.csv")
    rows = {(row.model, row.service_tier, row.day.day): row for row in report.rows}

    assert (12_500, 0, Decimal("0.01")) == told(
        rows["NovaPro", "standard", 19], "input_tokens", "output_tokens", "cost"
    )
    assert (0, 2000, Decimal("0.0032")) == told(rows["NovaPro", "batch", 19], "input_tokens", "output_tokens", "cost")
    claude = rows["Claude Sonnet 4.5", "standard", 19]
    assert 4000 + 10_000 == claude.input_tokens
    assert (10_000, Decimal("0.012") + Decimal("0.003")) == told(claude, "cache_read_tokens", "cost")
    assert (Decimal("0.0051"), "Tax") == told(rows[None, None, 21], "cost", "line_item")
    assert (0, Decimal(0)) == told(rows[None, None, 20], "input_tokens", "cost")
    assert report.notes == ("left out 1 rows that call no model of a provider",)


def test_focus_says_what_the_cost_and_usage_report_says() -> None:
    rows = {row.service_tier: row for row in read("focus.csv").rows}

    assert ("NovaPro", 12_500, Decimal("0.01"), "111122223333") == told(
        rows["standard"], "model", "input_tokens", "cost", "project_id"
    )
    assert ("NovaPro", 2000, Decimal("0.0032")) == told(rows["batch"], "model", "output_tokens", "cost")


def test_litellms_spend_is_an_estimate_and_its_cache_called_nobody() -> None:
    served, failed = read("litellm_spend_logs.csv").rows

    assert (2000, 100, 800) == told(served, "input_tokens", "output_tokens", "cache_read_tokens")
    assert (Decimal("0.000375"), False, "team-support", "support-key") == told(
        served, "cost", "is_billed", "project_id", "key_id"
    )
    assert ("chatcmpl-3", 0) == told(failed, "record_id", "requests")


def test_langfuse_sums_usage_types_unless_input_and_output_are_the_total() -> None:
    (apart,), (whole,) = read("langfuse_observations.jsonl").rows, read("langfuse_observations.csv").rows

    for row in (apart, whole):
        assert (2000, 100, 800) == told(row, "input_tokens", "output_tokens", "cache_read_tokens")
        assert (Decimal("0.0003"), False, "p-1") == told(row, "cost", "is_billed", "project_id")
    assert apart.reasoning_tokens == 40


def test_a_mapping_reads_any_csv_in_its_own_words(tmp_path: Path) -> None:
    """Days of Berlin, counts in thousands, euros at the stated rate; without a rate they are refused."""
    report = read("invoice.csv", mapping="invoice.toml")
    lake = Lake.create(tmp_path / "lake")

    first = report.rows[0]
    assert ("mistral-invoice", "mistral", 12_000, 1500) == (
        report.source, *told(first, "provider", "input_tokens", "output_tokens")
    )  # fmt: skip
    assert datetime(2026, 11, 18, 23, tzinfo=UTC) == first.period_start
    with pytest.raises(ReportError, match="--rate EUR="):
        store(lake, report, NOW)
    store(lake, report, NOW, rates={"EUR": Decimal("1.08")})
    assert [Decimal("0.05") * Decimal("1.08"), Decimal("0.01") * Decimal("1.08")] == [
        row["billed_cost_usd"] for row in table(lake)
    ]


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        ("[1]", None, "something else than JSON objects"),
        ('{"data": [{"start_time": 1, "end_time": 2, "results": []}]}', None, "say it with --from"),
        ('{"data": [{"start_time": 1, "end_time": 2, "results": []}]}', "openai-usage", "every bucket is empty"),
        ("a,b\n1,2\n", None, "say it with --from"),
        ("a,b\n1\n", None, "line 2 has 1 cells, the header 2"),
        ("day,model\n2026-11-19,gpt\n", "csv", "no column of tokens or money"),
        ("day,input_tokens\n2026-11-19,1.5\n", "csv", 'input_tokens is "'),
        ("day,input_tokens\n2026-11-19,-1\n", "csv", "a whole number from 0 on"),
        ("day,billed_cost_usd\nsoon,1\n", "csv", "which is no time"),
        ("day,billed_cost_usd\n2026-11-19,NaN\n", "csv", "which is no number"),
        ('day,billed_cost_usd\n2026-11-19,"0,05"\n', "csv", "write it as 1234.56"),
        ("", None, "has no rows"),
    ],
)
def test_what_is_no_report_is_refused_with_what_to_do(
    tmp_path: Path, content: str, kind: str | None, said: str
) -> None:
    path = tmp_path / "report"
    path.write_text(content)
    with pytest.raises(ReportError, match=said):
        read_report([path], kind, None)


def table(lake: Lake) -> list[dict[str, Any]]:
    """All that the lake holds of reports, but when it was imported."""
    files = [lake.mart_file("provider_usage", day) for day in lake.report_days("provider_usage")]
    rows = [row for file in files for row in pq.ParquetFile(file).read().cast(PROVIDER_USAGE).to_pylist()]
    return [{name: value for name, value in row.items() if name != "imported_at"} for row in rows]


def usage(day: int, hour: int | None, model: str, tokens: int, record: str | None = None) -> Usage:
    """A row of November 2026: of a day, an hour or one request."""
    start = datetime(2026, 11, day, hour or 0, tzinfo=UTC)
    end = start + (DAY if hour is None else timedelta(hours=1))
    return Usage(
        "completions", start, end, "openai", model=model, input_tokens=tokens, record_id=record, cost=Decimal(tokens)
    )


buckets = st.dictionaries(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 9)), min_size=1, max_size=3),
    min_size=1,
)


@settings(deadline=None, max_examples=6)
@given(said=buckets, parts=st.lists(st.sets(st.integers(1, 6)), max_size=3), order=st.randoms(use_true_random=False))
def test_twice_in_parts_and_in_any_order_an_import_gives_one_table(
    tmp_path_factory: pytest.TempPathFactory,
    said: dict[int, list[tuple[str, int]]],
    parts: list[set[int]],
    order: Any,
) -> None:
    """Buckets of days and rows of requests alike: the table is what was said, however often it was."""
    for number_of in (lambda _: None, lambda name: name):
        rows = summed(
            usage(day, None, model, tokens, number_of(f"{day}-{number}"))
            for day, results in said.items()
            for number, (model, tokens) in enumerate(results)
        )
        once = Lake.create(tmp_path_factory.mktemp("once"))
        store(once, Report("openai-usage", rows), NOW)
        often = Lake.create(tmp_path_factory.mktemp("often"))
        pieces = [[row for row in rows if row.day.day in part] for part in parts] + [list(rows)]
        order.shuffle(pieces)
        for piece in filter(None, pieces):
            store(often, Report("openai-usage", tuple(piece)), NOW)
        assert table(once) == table(often)
        assert sum((row.cost or 0 for row in rows), Decimal(0)) == sum(row["billed_cost_usd"] for row in table(often))


def test_a_bucket_is_replaced_whole(tmp_path: Path) -> None:
    """What a later export leaves out of a bucket is gone; another account, part or day stays."""
    lake = Lake.create(tmp_path)
    both = (usage(1, None, "a", 5), usage(1, None, "b", 7), usage(2, None, "a", 1))
    store(lake, Report("openai-usage", both), NOW)
    store(lake, Report("openai-usage", (usage(1, None, "b", 9),)), NOW, account="other")

    assert store(lake, Report("openai-usage", (usage(1, None, "a", 6),)), NOW).replaced == 2
    assert [("", "a", 6), ("other", "b", 9), ("", "a", 1)] == [
        (row["account"], row["model"], row["input_tokens"]) for row in table(lake)
    ]


def test_a_period_cut_otherwise_is_refused_unless_it_may_replace(tmp_path: Path) -> None:
    lake = Lake.create(tmp_path)
    store(lake, Report("openai-usage", (usage(1, None, "a", 24),)), NOW)
    hourly = Report("openai-usage", (usage(1, 3, "a", 2), usage(1, 4, "a", 3)))

    with pytest.raises(ReportError, match="cuts that time otherwise"):
        store(lake, hourly, NOW)
    assert [24] == [row["input_tokens"] for row in table(lake)]
    store(lake, hourly, NOW, replace=True)
    assert [2, 3] == [row["input_tokens"] for row in table(lake)]


def test_an_aws_export_speaks_for_all_its_time(tmp_path: Path) -> None:
    """A refreshed export replaces every line between its first and last day, those that it has no more too."""
    lake = Lake.create(tmp_path)
    report = read("aws_cur.csv")
    store(lake, report, NOW)
    before = table(lake)
    store(lake, report, NOW)
    assert before == table(lake)
    rest = Report("aws-cur", tuple(row for row in report.rows if row.model != "NovaPro"), is_whole=True)
    store(lake, rest, NOW)
    assert {"Claude Sonnet 4.5", None} == {row["model"] for row in table(lake)}


def test_a_period_that_is_not_over_is_noticed(tmp_path: Path) -> None:
    lake = Lake.create(tmp_path)
    begun = datetime(2026, 11, 22, tzinfo=UTC)

    stored = store(lake, Report("openai-usage", (usage(21, None, "a", 1), usage(22, None, "a", 1))), NOW)

    assert ((begun, begun + DAY),) == stored.partial_periods
    assert [False, True] == [row["is_partial"] for row in table(lake)]
    later = store(lake, Report("openai-usage", (usage(22, None, "a", 3),)), NOW + DAY)
    assert later.partial_periods == ()
    assert [(False, 1), (False, 3)] == [(row["is_partial"], row["input_tokens"]) for row in table(lake)]


def test_money_is_rounded_once_after_it_was_summed(tmp_path: Path) -> None:
    """Three lines of a third of a nano-dollar are a nano-dollar."""
    third = Decimal("0.0000000003333333333")
    start = datetime(2026, 11, 1, tzinfo=UTC)
    lines: Sequence[Usage] = [Usage("costs", start, start + DAY, "openai", model="a", cost=third)] * 3
    lake = Lake.create(tmp_path)
    store(lake, Report("openai-costs", summed(lines)), NOW)

    assert [Decimal("0.000000001")] == [row["billed_cost_usd"] for row in table(lake)]


def test_columns_of_tokens_are_those_of_calls() -> None:
    assert (
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
        "audio_input_tokens", "reasoning_tokens", "audio_output_tokens",
    ) == TOKEN_COLUMNS  # fmt: skip


def test_files_of_one_import_must_be_of_one_kind(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"request_id": "1", "spend": 0, "startTime": "2026-11-19"}]))
    assert date(2026, 11, 19) == read_report([tmp_path], None, None).first_day
    with pytest.raises(ReportError, match="import them one by one"):
        read_report([tmp_path / "rows.json", FOLDER / "focus.csv"], None, None)
