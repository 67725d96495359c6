"""How well alert rules find what is planted in sixty days of made-up calls, and how often they cry for nothing.

Run by hand: python tests/alerts_run.py [--seeds 4] [--every 1] [--group spend] [--all-rules]. For each group of
incidents and each seed it makes a history (support/incidents.py), looks at the rules every so many hours of its last
thirty days, and prints for each rule what was planted, found, told twice, told for nothing, and how long finding and
resolving took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support import budget_replay
from support.incidents import DAY, DAYS, HOUR, KNOWN_DAYS, START, Past, Score, replay, replaying, score

from llmcost.models.alert_settings import Alerts
from llmcost.models.lake import Lake
from llmcost.sql.alert_rules import rules

GROUPS = {
    "spend": (
        "tenant-spend-delta", "developer-spend-delta", "unpriced-spend", "stale-prompt-versions", "cache-misses",
    ),
    "agents": (
        "agent-spend-anomaly", "free-tier-abusers", "eval-over-inference", "runaway-agents", "feature-request-cost",
    ),
    "prompts": ("context-bloat",),
    "storms": ("retry-storms",),
}  # fmt: skip
"""Incidents that are planted together: those that move one another's figures stand apart."""


def run(
    group: Sequence[str], seed: int, every: timedelta, each: int = 5, *, all_rules: bool = False
) -> dict[str, Score]:
    """One history, looked at from the first day that is known well enough on."""
    past = Past(seed, group, each)
    first, last = START + KNOWN_DAYS * DAY - 12 * HOUR, START + (DAYS - 1) * DAY
    looks = [first + n * every for n in range(int((last - first) / every) + 1)]
    asked = [rule for rule in rules(None, Alerts()) if all_rules or rule.name in group]
    with replaying(past.calls()) as con:
        fired, _, _ = replay(con, Lake(Path("/nonexistent")), looks, asked=asked)
    return score(past.incidents, fired, looks[-1])


def added(into: dict[str, Score], more: dict[str, Score]) -> None:
    """The scores of another history on top."""
    for rule, one in more.items():
        whole = into.setdefault(rule, Score())
        for name in ("planted", "found", "repeats", "consequences", "resolved"):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
        for name in ("false", "hours_to_find", "hours_to_resolve"):
            getattr(whole, name).extend(getattr(one, name))


def line(rule: str, one: Score) -> str:
    """One rule's figures."""
    find, resolve = (statistics.median(h) if h else float("nan") for h in (one.hours_to_find, one.hours_to_resolve))
    return (
        f"{rule:24}{one.planted:8}{one.found:7}{one.recall:8.3f}{one.precision:11.3f}{one.repeats:9}"
        f"{len(one.false):7}{one.consequences:14}{find:9.1f} h{one.resolved:10}{resolve:11.1f} h"
    )


def budgets(seeds: range) -> None:
    """What was told of budgets beside what the sums say."""
    for seed in seeds:
        told = budget_replay.run(seed, days=28)
        for rule, expected in sorted(told.expected.items()):
            found = told.told[rule]
            print(  # noqa: T201
                f"seed {seed} {rule:20} expected {len(expected):4}, told {len(found & expected):4}, "
                f"missed {len(expected - found)}, for nothing {sorted(found - expected)}",
                flush=True,
            )
        print(f"seed {seed}: {told.unresolved} not resolved", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=1.0, help="hours between looks")
    parser.add_argument("--group", choices=[*GROUPS], action="append")
    parser.add_argument("--all-rules", action="store_true")
    parser.add_argument("--budgets", action="store_true", help="only the rules of budgets, looked at every hour")
    asked = parser.parse_args()
    if asked.budgets:
        return budgets(range(asked.first_seed, asked.first_seed + asked.seeds))
    whole: dict[str, Score] = {}
    for name in asked.group or GROUPS:
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            begun = time.monotonic()
            more = run(GROUPS[name], seed, asked.every * HOUR, all_rules=asked.all_rules)
            added(whole, more)
            print(f"{name}, seed {seed}: {time.monotonic() - begun:.0f} s", flush=True)  # noqa: T201
            for rule, one in more.items():
                for each in one.false:
                    print(f"  for nothing: {rule} {each.entity} {each.at} until {each.resolved_at}", flush=True)  # noqa: T201
    print(  # noqa: T201
        f"{'rule':24}{'planted':>8}{'found':>7}{'recall':>8}{'precision':>11}{'repeats':>9}{'false':>7}"
        f"{'consequences':>14}{'found after':>11}{'resolved':>10}{'after its end':>13}"
    )
    for rule, one in sorted(whole.items()):
        print(line(rule, one))  # noqa: T201


if __name__ == "__main__":
    main()
