"""A decision as it is told to others: the same words and fields on the server's port and on the command line.

Money is text with nine decimal places, instants are ISO 8601 in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from .budgets import COLUMNS, WHOLE
from .money import amount_of, usd
from .verdicts import RUN_FIGURES, Asked, Ceilings, Held, RunExcess, RunFigures, Standing, Verdict

RESERVED_RETRY_SECONDS = 5
"""When to try again where only reservations are in the way: requests under way are settled any moment."""

_SPOKEN = {column: level for level, column in COLUMNS.items()} | {level: level for level in COLUMNS}
_OF_RUN = {"cost_usd": "cost"} | {name: name for name in RUN_FIGURES if name != "cost"}
_OTHERS = ("agent_run_id", "estimated_cost_usd", "run")
_LONGEST, _MOST_TAGS = 500, 100


def asked_of(body: Any, forced: Mapping[str, str]) -> Asked:
    """The request that a decision's body names; what the sender's token forces stands over it.

    Names are levels (`team`) or the columns of `calls` (`user_id`); each a text, tags a list of them. Raises
    ValueError that names what cannot be read: a field that was passed over might have been the one that blocks.
    """
    if not isinstance(body, dict):
        raise ValueError('the body must be a JSON object, such as {"team": "support"}')
    entities: dict[str, tuple[str, ...]] = {}
    for name, value in body.items():
        if name in _SPOKEN:
            entities[_SPOKEN[name]] = _texts(name, value)
        elif name not in _OTHERS:
            raise ValueError(f'unknown field "{str(name)[:60]}": known are {", ".join([*COLUMNS, *_OTHERS])}')
    entities |= {_SPOKEN[column]: (value,) for column, value in forced.items() if column in _SPOKEN}
    run = _texts("agent_run_id", body.get("agent_run_id"))
    if "agent_run_id" in forced:
        run = (forced["agent_run_id"],)
    return Asked(
        {level: names for level, names in entities.items() if names},
        _money("estimated_cost_usd", body.get("estimated_cost_usd")),
        next(iter(run), None),
        _run_figures(body.get("run")),
    )


def _texts(name: str, value: object) -> tuple[str, ...]:
    several: list[object] = value if isinstance(value, list) and _SPOKEN.get(name) == "tag" else [value]
    told = [each for each in several if each is not None and each != ""]
    texts = tuple(each for each in told if isinstance(each, str) and len(each) <= _LONGEST)
    if len(texts) < len(told) or len(texts) > _MOST_TAGS:
        raise ValueError(f'"{name}" must be a text of at most {_LONGEST} characters')
    return texts


def _money(name: str, value: object) -> int | None:
    try:
        return None if value is None else amount_of(value)
    except ValueError as error:
        raise ValueError(f'"{name}": {error}') from error


def _run_figures(said: object) -> RunFigures:
    if said is None:
        return RunFigures()
    if not isinstance(said, dict) or said.keys() - _OF_RUN.keys():
        raise ValueError(f'"run" must be an object with some of {", ".join(_OF_RUN)}')
    figures: dict[str, int] = {}
    for name, value in said.items():
        if name == "cost_usd":
            figures["cost"] = _money("run.cost_usd", value) or 0
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f'"run.{name}" must be a whole number from 0 on')
        else:
            figures[name] = value
    return RunFigures(**figures)


def told(
    verdict: Verdict,
    estimate: int | None,
    now: datetime,
    as_of: datetime | None,
    *,
    may_see: Collection[str] | None = None,
) -> dict[str, Any]:
    """The decision as JSON holds it. `may_see` are the levels whose figures the asker may know, None for all."""
    by = verdict.by
    answer: dict[str, Any] = {
        "decision": "allow" if verdict.is_allowed else "block",
        "reason": _reason(verdict),
        "message": _message(verdict, may_see),
        "as_of": _instant(as_of),
        "age_seconds": None if as_of is None else max(0.0, round((now - as_of).total_seconds(), 3)),
    }
    if isinstance(by, RunExcess):
        answer["run"] = _run(by)
    elif by is not None:
        answer["budget"] = _budget(by, may_see)
    if not verdict.is_allowed and isinstance(by, Standing):
        at = retry_at(by, estimate, now)
        answer["retry_at"] = _instant(at)
        answer["retry_after_seconds"] = max(1, -int((now - at).total_seconds() // 1))
    answer["warnings"] = [_budget(each, may_see) for each in verdict.warnings]
    return answer


def undecided(
    ceilings: Ceilings | None, asked: Asked, why: str, *, block: bool, as_of: datetime | None = None
) -> dict[str, Any]:
    """What is told while nobody knows what was spent: `block` is whether what a hard budget may forbid is forbidden.

    Without `ceilings` nobody knows the budgets either.
    """
    is_hard = ceilings is None or any(each.ceiling.hard for each in ceilings.over(asked.entities))
    answer: dict[str, Any] = {
        "decision": "block" if block and is_hard else "allow",
        "reason": "spend_unknown",
        "message": f"{why}: setting budgets.when_unknown decides",
        "as_of": _instant(as_of),
        "age_seconds": None,
        "warnings": [],
    }
    if answer["decision"] == "block":
        answer["retry_after_seconds"] = RESERVED_RETRY_SECONDS
    return answer


def retry_at(standing: Standing, estimate: int | None, now: datetime) -> datetime:
    """When a blocked request may be tried again: soon where only reservations bar it, else next period."""
    unreserved = replace(standing, held=Held(settled=standing.held.settled))
    return standing.window.until if unreserved.is_over(estimate) else now + timedelta(seconds=RESERVED_RETRY_SECONDS)


def _reason(verdict: Verdict) -> str:
    if verdict.by is None:
        return "no_budget"
    if not verdict.is_allowed:
        return "run_limit_reached" if isinstance(verdict.by, RunExcess) else "budget_exceeded"
    return "over_soft_limit" if verdict.over else "within_budget"


def name_of(standing: Standing) -> str:
    """A ceiling in words, such as `team support`."""
    level, entity = standing.counter.ceiling.level, standing.counter.entity
    return "the whole organisation" if (level, entity) == ("org", WHOLE) else f"{level} {entity}"


def dollars(amount: int) -> str:
    """Nano-dollars with as many digits as they have, two at least.

    >>> dollars(99_900_000_000), dollars(1_234_567)
    ('$99.90', '$0.001234567')
    """
    text = f"{usd(amount):f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"${whole}.{part:0<2}"


def _message(verdict: Verdict, may_see: Collection[str] | None) -> str:
    by = verdict.by
    if by is None:
        return "no budget applies"
    if isinstance(by, RunExcess):
        shown = [f"{dollars(each)}" if by.figure == "cost" else f"{each:,}" for each in (by.reached, by.limit)]
        figure = by.figure.replace("_", " ")
        return f"the run has reached {shown[0]} of {shown[1]} {figure} (limits of {by.limits.agent})"
    ceiling = by.counter.ceiling
    what = f"the {ceiling.period} {'hard' if ceiling.hard else 'soft'} budget of {name_of(by)}"
    if not _is_seen(by, may_see):
        return f"{what} decides"
    reserved = f" and {dollars(by.held.reserved)} reserved" if by.held.reserved else ""
    return f"{what}: {dollars(by.spent)} spent{reserved} of {dollars(by.limit)}"


def _budget(standing: Standing, may_see: Collection[str] | None) -> dict[str, Any]:
    ceiling, window = standing.counter.ceiling, standing.window
    said: dict[str, Any] = {
        "level": ceiling.level,
        "entity": standing.counter.entity or None,
        "period": ceiling.period.value,
        "hard": ceiling.hard,
        "period_start": _instant(window.since),
        "period_end": _instant(window.until),
    }
    if _is_seen(standing, may_see):
        said |= {
            "limit_usd": _usd(standing.limit),
            "spent_usd": _usd(standing.spend.total),
            "unpriced_bound_usd": _usd(standing.spend.unpriced),
            "settled_usd": _usd(standing.held.settled),
            "reserved_usd": _usd(standing.held.reserved),
            "left_usd": _usd(standing.left),
            "notice_percent": standing.notice,
        }
    return said


def _run(excess: RunExcess) -> dict[str, Any]:
    is_cost = excess.figure == "cost"
    return {
        "level": "run",
        "agent": excess.limits.agent,
        "hard": excess.limits.hard,
        "figure": "cost_usd" if is_cost else excess.figure,
        "limit": _usd(excess.limit) if is_cost else excess.limit,
        "reached": _usd(excess.reached) if is_cost else excess.reached,
    }


def _is_seen(standing: Standing, may_see: Collection[str] | None) -> bool:
    return may_see is None or standing.counter.ceiling.level in may_see


def _usd(amount: int) -> str:
    return f"{usd(amount).quantize(Decimal(1).scaleb(-9)):f}"


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def levels_of(forced: Mapping[str, str]) -> frozenset[str] | None:
    """The levels whose figures a sender may see whose token forces these columns; None for all."""
    return frozenset(_SPOKEN[column] for column in forced if column in _SPOKEN) if forced else None


def line(answer: Mapping[str, Any]) -> bytes:
    """An answer as one line of JSON."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
