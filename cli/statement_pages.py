"""Statements as HTML: a page an owner and an index, each whole in one file, without scripts or remote parts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from . import figures
from .statement_report import UNATTRIBUTED, check_line, lines_of, named

if TYPE_CHECKING:
    from jinja2 import Environment

    from ..sql.statements import Line, Statement, Statements

_TEMPLATES = Path(__file__).parent / "pages"
_SLUG = 40
_OWNERS = {"customer_id": "customer", "cost_center": "cost center", "org": "organisation", "key_id": "key"}


def pages(statements: Statements) -> dict[str, bytes]:
    """The pages by file name; the same owner has the same name in every month."""
    environment = _environment()
    shown = statements.statements
    places = figures.money_places(each.total_usd for each in shown if each.total_usd is not None)
    told: dict[str, Any] = {
        "month": statements.month,
        "by": _OWNERS.get(statements.by, statements.by.replace("_", " ")),
        "tz": statements.tz,
        "check": check_line(statements),
        "is_exact": not statements.difference_usd,
        "key": statements.key,
        "places": places,
        "total": statements.total_usd,
    }
    listed = [{"file": file_of(each), "name": named(each), "statement": each} for each in shown]
    index = environment.get_template("statements.html.j2").render(
        told,
        listed=listed,
        notes=[line for line in lines_of(statements) if line != told["check"]],
        coverage=statements.coverage,
    )
    found = {"index.html": index.encode()}
    page = environment.get_template("statement.html.j2")
    for each in shown:
        found[file_of(each)] = page.render(
            told,
            name=named(each),
            statement=each,
            tables=[(title, _lines(each, kind)) for title, kind in (("Features", "feature"), ("Models", "model"))],
            days=_days(each, statements),
            pools={pool.feature: pool for pool in statements.pools},
        ).encode()
    return found


def file_of(statement: Statement) -> str:
    """The page's file: letters and digits of the owner's name, and a hash that tells it from others alike."""
    whole = f"{statement.kind}\n{statement.owner}"
    slug = re.sub(r"[^a-z0-9]+", "-", named(statement).lower()).strip("-")[:_SLUG].strip("-")
    return f"{slug or 'statement'}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}.html"


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  start-up time

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {
        "money": _money,
        "count": figures.number,
        "digits": lambda amount: f"{amount:.9f}",
        "share": lambda percent: figures.share(percent / 100),
        "line": figures.one_line,
        "sentence": lambda text: figures.one_line(text[:1].upper() + text[1:]),
        "item": lambda item: figures.one_line(item) if item is not None else UNATTRIBUTED,
        "percent_of": lambda part, whole: figures.share(float(part / whole)) if part is not None and whole else "",
    }
    return environment


def _money(amount: Decimal | None, places: int | None = None) -> str:
    return figures.UNKNOWN if amount is None else figures.money(amount, places)


def _lines(statement: Statement, kind: str) -> list[Line]:
    return [line for line in statement.lines if line.kind == kind]


def _days(statement: Statement, statements: Statements) -> Sequence[Mapping[str, Any]]:
    """Every day of the month with its direct cost, and how high its bar is, 0 to 100."""
    spent = {line.item: line.usage for line in _lines(statement, "day")}
    zone = ZoneInfo(statements.tz)
    first = statements.window.since.astimezone(zone).date()
    after = statements.window.until.astimezone(zone).date()
    days = [first + timedelta(days=offset) for offset in range((after - first).days)]
    costs = {day: spent[day.isoformat()].cost_usd if day.isoformat() in spent else Decimal(0) for day in days}
    most = max((cost for cost in costs.values() if cost), default=None)
    return [_bar(day, costs[day], most) for day in days]


def _bar(day: date, cost: Decimal | None, most: Decimal | None) -> Mapping[str, Any]:
    height = max(float(100 * cost / most), 0.0) if cost and most and most > 0 else 0.0
    return {"day": day, "cost": cost, "height": round(height, 1)}
