"""Audits: nothing on a sound lake, and each finds the offender it is for."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call, trace_id
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.errors import UsageError
from llmcost.sql.answers import Audited

OURS = {
    "agent-runs-sum-to-calls", "billed-spans-are-not-unbilled", "calls-are-priced-or-say-why", "calls-are-unique",
    "outcomes-have-calls", "spans-describe-one-call", "token-parts-fit-their-total", "traces-sum-to-calls",
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """An agent's run with a twin span, an unpriced call, a call told twice, outcomes by trace and by session."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver"}
    again = call("b", "call", input=500, output=5)
    lake = SmallLake(tmp_path_factory.mktemp("audits") / "lake").land(
        SpanOf("a", "agent", attributes=agent, seconds=9),
        call("a", "1", parent="agent", input=1000, output=10, response_id="r1"),
        call("a", "2", parent="1", input=1000, output=10, response_id="r1", scope="litellm"),
        call("a", "3", "acme-7b", parent="agent", provider="acme", input=3, output=1),
        SpanOf("a", "verdict", parent="agent", attributes={"outcome.resolved": True}),
        again,
        call("c", "call", input=700, output=5, at=NOON - timedelta(days=9), attributes={"session.id": "s"}),
        SpanOf("late", "verdict", attributes={"outcome.accepted": True, "session.id": "s"}),
    )
    lake.land(again)
    lake.warehouse.refresh()
    return lake


@pytest.fixture
def lake(sound: SmallLake, tmp_path: Path) -> SmallLake:
    """A copy to break."""
    return sound.copy(tmp_path / "lake")


def results(lake: SmallLake, name: str | None = None) -> dict[str, Audited]:
    return {found.audit: found for found in lake.warehouse.audit(name)}


def rewrite(lake: SmallLake, mart: str, select: str) -> None:
    """Write a mart of NOON's day anew, with its stamp, as a fault would leave it."""
    path = lake.lake.mart_file(mart, NOON.date())
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        stamp = con.execute(
            "select decode(value) from parquet_kv_metadata($p) where decode(key) = 'llmcost.fingerprint'",
            {"p": str(path)},
        ).fetchone()
        metadata = f", kv_metadata {{'llmcost.fingerprint': '{stamp[0]}'}}" if stamp else ""
        query = select.format(mart=f"read_parquet('{path}', hive_partitioning = false)")
        con.execute(f"copy ({query}) to '{path}.new' (format parquet{metadata})")
    Path(f"{path}.new").replace(path)


def test_a_sound_lake_has_no_offenders(sound: SmallLake) -> None:
    """In none of ours, nor in any rollup's sum."""
    found = results(sound)
    assert {name: each for name, each in found.items() if each.result != "ok"} == {}
    assert set(found) == OURS | {f"sum-of-{info.name}" for info in sound.warehouse.rollups()}


TWICE = "select * from {mart} union all select * from {mart}"


@pytest.mark.parametrize(
    ("mart", "select", "name"),
    [
        ("calls", TWICE, "calls-are-unique"),
        ("calls", TWICE, "spans-describe-one-call"),
        ("calls", TWICE, "traces-sum-to-calls"),
        ("calls", TWICE, "agent-runs-sum-to-calls"),
        ("calls", "select * replace (null::varchar as unpriced_reason) from {mart}", "calls-are-priced-or-say-why"),
        ("calls", "select * replace (10::bigint as reasoning_tokens, 9::bigint as output_tokens) from {mart}",
         "token-parts-fit-their-total"),
        ("unbilled_spans", "select * replace (call_span_id as span_id, 'same_request' as reason) from {mart}",
         "billed-spans-are-not-unbilled"),
        ("traces", "select * from {mart} limit 0", "traces-sum-to-calls"),
        ("agent_runs", "select * replace (cost_usd + 0.000000001::decimal(18, 9) as cost_usd) from {mart}",
         "agent-runs-sum-to-calls"),
    ],
)  # fmt: skip
def test_each_audit_finds_what_it_is_for(lake: SmallLake, mart: str, select: str, name: str) -> None:
    """With the offenders, and what to do."""
    rewrite(lake, mart, select)
    (found,) = lake.warehouse.audit(name)

    assert (found.result, found.has_failed, found.problem) == ("fail", True, None)
    assert found.offenders >= 1
    assert found.examples is not None
    assert found.examples.num_rows >= 1
    assert found.next_step


def test_an_outcome_without_calls_is_an_offender(lake: SmallLake) -> None:
    """And is none in another window, nor where its calls are of an earlier one."""
    lake.land(SpanOf("nowhere", "verdict", attributes={"outcome.resolved": False}))
    found = results(lake, "outcomes-have-calls")["outcomes-have-calls"]
    (quiet,) = lake.warehouse.audit("outcomes_have_calls", since="2026-11-21")

    assert found.offenders == 1
    assert found.examples is not None
    assert found.examples.to_pylist()[0]["trace_id"] == trace_id("nowhere")
    assert quiet.result == "ok"


def test_the_sum_of_a_users_rollup_is_audited(lake: SmallLake) -> None:
    """One that leaves calls out fails, one without money is not checked, a broken one does not pass."""
    folder = lake.lake.user_rollups
    head = "-- What it costs.\n-- reads: calls\nselect\n    "
    (folder / "part.sql").write_text(
        f"{head}sum(cost_usd) as cost_usd, -- cost, USD\nfrom calls where input_tokens < 600\n"
    )
    (folder / "moneyless.sql").write_text(f"{head}count(*) as calls, -- calls\nfrom calls\n")
    (folder / "broken.sql").write_text("select 1\n")

    (part,) = lake.warehouse.audit("sum-of-part")
    assert (part.result, part.offenders) == ("fail", 1)
    assert part.examples is not None
    row = part.examples.to_pylist()[0]
    assert row["difference_usd"] == row["rollup_usd"] - row["ledger_usd"] < 0
    assert lake.warehouse.audit("sum-of-moneyless")[0].result == "not checked"
    broken = lake.warehouse.audit("sum-of-broken")[0]
    assert broken.problem is not None
    assert "broken.sql" in broken.problem
    assert broken.has_failed


def test_the_users_audits_are_run_and_told_with_exit_code_1(lake: SmallLake) -> None:
    """From the lake's folder, with a file of the user's; a broken one stops no other."""
    lake.lake.user_audits.mkdir()
    (lake.lake.user_rollups / "allowed.csv").write_text("model\nacme-7b\n")
    (lake.lake.user_audits / "models_allowed.sql").write_text(
        "-- Only models that we allow.\n-- reads: calls, allowed\n-- next: ask security\n"
        "select model, trace_id\nfrom calls\nanti join allowed\n    on calls.model = allowed.model\n"
    )
    (lake.lake.user_audits / "half.sql").write_text("-- Half an audit.\nselect from where\n")
    arguments = ["audit", "--since", "2026-11-01", "--until", "2026-11-22", "--lake", str(lake.lake.root)]
    ran = CliRunner().invoke(app, [*arguments, "--format", "json"])
    shown = CliRunner().invoke(app, ["audit", "models-allowed", *arguments[1:]])

    assert (ran.exit_code, shown.exit_code) == (1, 1)
    said = json.loads(ran.stdout)
    assert {row["audit"]: row["result"] for row in said["rows"] if row["result"] != "ok"} == {
        "half": "broken", "models-allowed": "fail",
    }  # fmt: skip
    assert "half.sql" in said["failing"]["half"]["says"]
    assert said["failing"]["models-allowed"]["next"] == "ask security"
    assert "models-allowed: Only models that we allow." in shown.stdout
    assert "next: ask security" in shown.stdout


def test_an_unknown_audit_is_answered_with_the_nearest(sound: SmallLake) -> None:
    """As a rollup is."""
    with pytest.raises(UsageError, match='unknown audit "calls-are-uniq": did you mean calls-are-unique'):
        sound.warehouse.audit("calls-are-uniq")


def test_an_empty_lake_has_no_offenders(tmp_path: Path) -> None:
    """Nothing landed breaks no promise; and the command says so with 0."""
    lake = SmallLake(tmp_path / "lake")
    ran = CliRunner().invoke(app, ["audit", "--lake", str(lake.lake.root)])
    assert (ran.exit_code, "fail" in ran.stdout) == (0, False)
