"""What a question costs: rollups of llmcost beside the same written by hand, on the same files, in one run.

    python bench/queries.py --days 30 --spans-a-day 666667
    python bench/queries.py --growth 1 10 50

The first asks rollups over all days of a lake (whole question: looking for changed days, the rows, the coverage),
then the bare SQL of the rollup and hand-written DuckDB, Polars and chdb in turn, medians of --rounds. Then the last
day has to be derived anew, and some spans land on it: what a dirty day costs. It also says, by DuckDB's own profile,
which files a question over 7 of the days opens. The second lets a lake grow and refreshes a new day at each size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.lakes import FIRST_DAY, BenchLake
from llmcost.models.windows import window, zone
from llmcost.sql import catalogue
from llmcost.sql.inventory import mart_days
from llmcost.sql.session import window_session

LATE = 1000
"""Spans, about a second's at 40 million a day."""
CALLS, OUTCOMES = "calls/*/calls.parquet", "outcomes/*/outcomes.parquet"
BY_HAND = {
    "cost-per-user-day": f"""
        with spent as (
            select day, user_id, count(distinct trace_id) as requests, count(*) as calls, sum(input_tokens),
                sum(output_tokens), sum(cost_usd) as cost
            from '{CALLS}' group by day, user_id
        )
        select spent.*, spread.* exclude (day) from spent inner join (
            select day, quantile_cont(cost::double, 0.5), quantile_cont(cost::double, 0.99) from spent group by day
        ) as spread on spent.day = spread.day
        order by spent.day, cost desc
    """,
    "cost-per-feature": f"""
        select feature, count(distinct trace_id), count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd)
        from '{CALLS}' group by feature
    """,
    "cost-per-customer": f"""
        select customer_id, count(distinct trace_id), count(distinct user_id), count(*), sum(cost_usd)
        from '{CALLS}' group by customer_id
    """,
    "cost-per-agent-run": f"""
        with runs as (
            select agent_name, agent_run_id, sum(cost_usd) as cost, count(*) as calls
            from '{CALLS}' group by agent_name, agent_run_id
        ), spread as (
            select agent_name, count(*), sum(calls), quantile_cont(cost::double, [0.5, 0.95, 0.99]) as q, max(cost),
                arg_max(agent_run_id, cost), sum(cost)
            from runs group by agent_name
        )
        select spread.*, (
            select count(*) from runs where runs.agent_name = spread.agent_name and runs.cost > 10 * spread.q[1]
        ) from spread
    """,
    "cost-per-outcome": f"""
        with work as (select trace_id, sum(cost_usd) as cost, count(*) as calls from '{CALLS}' group by trace_id),
        verdicts as (
            select trace_id, outcome, arg_max(succeeded, observed_at) as succeeded
            from '{OUTCOMES}' group by trace_id, outcome
        )
        select coalesce(outcome, '(none yet)'), sum(cost),
            count(*) filter (succeeded), count(*) filter (not succeeded),
            sum(cost) / count(*) filter (succeeded), sum(calls)
        from work left join verdicts on work.trace_id = verdicts.trace_id group by all
    """,
    "eval-vs-inference": f"""
        select day, count(*) filter (traffic_type = 'eval'), sum(cost_usd) filter (traffic_type = 'eval'),
            sum(cost_usd) filter (traffic_type <> 'eval'), count(*)
        from '{CALLS}' group by day order by day
    """,
}
"""The same questions as somebody would write them who knows this lake: every call has a trace, none two outcomes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", type=Path, help="keep the lake here, and use it again")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--spans-a-day", type=int, default=666_667)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="+", metavar="MILLIONS", help="refresh a new day at these sizes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmcost-bench-") as folder:
        lake = BenchLake(options.lake or Path(folder) / "lake", options.spans_a_day)
        if options.growth:
            growth(lake, options.growth)
        else:
            missing = options.days - len(mart_days(lake.lake, "calls"))
            if missing > 0:
                lake.grow(missing)
            questions(lake, options.rounds)
            pruned(lake)
            dirty(lake)


def questions(lake: BenchLake, rounds: int) -> None:
    """The table of questions over all days."""
    days = mart_days(lake.lake, "calls")
    calls = duckdb.sql(f"select count(*) from '{lake.lake.root}/{CALLS}'").fetchall()[0][0]
    print(f"{lake.spans:,} spans, {calls:,} calls, {len(days)} days, all clean; wall s / CPU s, medians of {rounds}")
    print(f"{'':20} {'whole':>13} {'its SQL':>13} {'by hand':>13} {'ratio':>6} {'polars':>13} {'chdb':>13}")
    for name in BY_HAND:
        ways = {"whole": lambda name=name: lake.warehouse.ask(name, since="365d")}
        ways |= {"sql": lambda name=name: _sql(lake, name), "hand": lambda name=name: _by_hand(lake, name)}
        ways |= {peer: ask for peer, ask in (("polars", _polars(lake, name)), ("chdb", _chdb(lake, name))) if ask}
        spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(rounds + 1):  # the first warms the caches
            for way, ask in ways.items():
                spent[way].append(_timed(ask))
        medians = {
            way: (statistics.median(each[0] for each in of[1:]), statistics.median(each[1] for each in of[1:]))
            for way, of in spent.items()
        }
        shown = {way: f"{wall:.2f}/{cpu:.2f}" for way, (wall, cpu) in medians.items()}
        ratio = medians["sql"][1] / medians["hand"][1]
        print(
            f"{name:20} {shown['whole']:>13} {shown['sql']:>13} {shown['hand']:>13} {ratio:5.2f}x"
            f" {shown.get('polars', '-'):>13} {shown.get('chdb', '-'):>13}",
            flush=True,
        )


def pruned(lake: BenchLake) -> None:
    """How many files a question over seven days opens, by DuckDB's own profile."""
    days = mart_days(lake.lake, "calls")
    begin, end = days[-14], days[-7]
    days = [day for day in days if day >= begin]
    asked = window(str(begin), str(end), now=datetime.now(zone("UTC")), tz=zone("UTC"))
    for name in ("cost-per-feature", "cost-per-agent-run", "cost-per-outcome"):
        info = catalogue.find(name, lake.lake)
        with window_session(lake.lake, days, asked, tz="UTC", where={}, wanted=info.reads) as con:
            profile = con.execute(f"explain (analyze, format json) {catalogue.render(info)}").fetchall()[0][1]
        opened: dict[str, int] = {}
        for mart, files in _scans(json.loads(profile)["operator"]):
            opened[mart] = max(files, opened.get(mart, 0))
        shown = ", ".join(f"{files} of {mart}" for mart, files in sorted(opened.items()))
        print(f"{begin} until {end}, {name}: opens files: {shown}")


def _scans(node: Any) -> Iterator[tuple[str, int]]:
    """Of each scan of Parquet files in a profile: which mart, and how many files it read."""
    if isinstance(node, list):
        for each in node:
            yield from _scans(each)
        return
    extra = node.get("extra_info", {})
    if "Total Files Read" in extra:
        yield Path(extra["Filename(s)"].split(",")[0]).stem, int(extra["Total Files Read"])
    yield from _scans(node.get("children", []))


def dirty(lake: BenchLake) -> None:
    """Each question once with its last day lost, and once with spans that landed on it since."""
    for name in BY_HAND:
        ask = lambda name=name: lake.warehouse.ask(name, since="365d")  # noqa: E731
        lake.lake.mart_file("calls", mart_days(lake.lake, "calls")[-1]).unlink()
        whole, cpu_whole = _timed(ask)
        lake.land_late(LATE)
        late, cpu_late = _timed(ask)
        print(
            f"{name:20} with a day of {lake.spans_a_day:,} spans to derive {whole:6.2f}/{cpu_whole:.2f}"
            f"   with {LATE:,} more on it {late:6.2f}/{cpu_late:.2f}",
            flush=True,
        )


def growth(lake: BenchLake, millions: list[int]) -> None:
    """What refreshing a new day costs per million of its spans, as the lake grows."""
    print(f"{'spans':>12} {'days':>5} {'refresh CPU s per new 1M':>25} {'wall s':>8}")
    first = None
    for size in millions:
        missing = round(size * 1_000_000 / lake.spans_a_day) - len(mart_days(lake.lake, "calls"))
        if missing > 0:
            lake.grow(missing)
        lake.land()
        wall, cpu = _timed(lake.warehouse.refresh)
        cost = cpu / lake.spans_a_day * 1e6
        first = first or cost
        days = len(mart_days(lake.lake, "calls"))
        print(f"{lake.spans:>12,} {days:>5} {cost:>25.2f} {wall:>8.1f}   {cost / first:.2f}x", flush=True)


def _timed(ask: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.monotonic(), time.process_time()
    ask()
    return time.monotonic() - wall, time.process_time() - cpu


def _sql(lake: BenchLake, name: str) -> object:
    """The rollup's SQL in a session of its own, without looking for changed days and without coverage."""
    days = mart_days(lake.lake, "calls")
    end = str(days[-1] + timedelta(days=1))
    asked = window(str(FIRST_DAY), end, now=datetime.now(zone("UTC")), tz=zone("UTC"))
    info = catalogue.find(name, lake.lake)
    with window_session(lake.lake, days, asked, tz="UTC", where={}, wanted=info.reads) as con:
        return con.sql(catalogue.render(info)).to_arrow_table()


def _by_hand(lake: BenchLake, name: str) -> object:
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        return con.sql(_placed(lake, BY_HAND[name])).to_arrow_table()


def _placed(lake: BenchLake, query: str) -> str:
    return query.replace("'calls/", f"'{lake.lake.root}/calls/").replace("'outcomes/", f"'{lake.lake.root}/outcomes/")


def _polars(lake: BenchLake, name: str) -> Callable[[], object] | None:
    try:
        import polars as pl  # noqa: PLC0415  a peer
    except ImportError:
        return None
    root = lake.lake.root
    col = pl.col

    def ask() -> object:
        calls = pl.scan_parquet(f"{root}/{CALLS}")
        cost = col("cost_usd").sum()
        if name == "cost-per-user-day":
            requests = col("trace_id").n_unique()
            spent = calls.group_by("day", "user_id").agg(requests, pl.len(), cost)
            return spent.with_columns(
                col("cost_usd").cast(pl.Float64).quantile(0.99, "linear").over("day").alias("p99")
            ).collect()
        if name in {"cost-per-feature", "cost-per-customer"}:
            key = "feature" if name == "cost-per-feature" else "customer_id"
            return calls.group_by(key).agg(col("trace_id").n_unique(), pl.len(), cost).collect()
        if name == "cost-per-agent-run":
            runs = calls.group_by("agent_name", "agent_run_id").agg(cost.cast(pl.Float64))
            spread = [col("cost_usd").quantile(q, "linear").alias(str(q)) for q in (0.5, 0.95, 0.99)]
            return runs.group_by("agent_name").agg(pl.len(), *spread).collect()
        if name == "cost-per-outcome":
            told = pl.scan_parquet(f"{root}/{OUTCOMES}").sort("observed_at").group_by("trace_id", "outcome")
            work = calls.group_by("trace_id").agg(cost, pl.len())
            joined = work.join(told.agg(col("succeeded").last()), on="trace_id", how="left")
            return joined.group_by("outcome").agg(cost, col("succeeded").sum()).collect()
        return calls.group_by("day", "traffic_type").agg(cost, pl.len()).collect()

    return ask


def _chdb(lake: BenchLake, name: str) -> Callable[[], object] | None:
    try:
        import chdb  # noqa: PLC0415  a peer
    except ImportError:
        return None
    calls = f"file('{lake.lake.root}/{CALLS}', Parquet)"
    outcomes = f"file('{lake.lake.root}/{OUTCOMES}', Parquet)"
    counted = "uniqExact(trace_id), count(), sum(cost_usd)"
    query = {
        "cost-per-user-day": f"select day, user_id, {counted} from {calls} group by 1, 2",
        "cost-per-feature": f"select feature, {counted} from {calls} group by 1",
        "cost-per-customer": f"select customer_id, {counted} from {calls} group by 1",
        "cost-per-agent-run": f"""
            select agent_name, count(), quantilesExactInclusive(0.5, 0.95, 0.99)(toFloat64(cost)) from (
                select agent_name, agent_run_id, sum(cost_usd) as cost from {calls} group by 1, 2
            ) group by 1
        """,
        "cost-per-outcome": f"""
            select outcome, countIf(succeeded), sum(cost) from (
                select trace_id, sum(cost_usd) as cost from {calls} group by 1
            ) as work left join (
                select trace_id, outcome, argMax(succeeded, observed_at) as succeeded from {outcomes} group by 1, 2
            ) as told on work.trace_id = told.trace_id group by 1
        """,
        "eval-vs-inference": f"select day, traffic_type, sum(cost_usd), count() from {calls} group by 1, 2",
    }[name]
    return lambda: chdb.query(query)


if __name__ == "__main__":
    main()
