"""The conventions table, parsed: how instrumentations spell what llmcost understands.

The table itself is conventions.toml beside this file. A user's settings are laid over it: their
spellings come first, their rules are asked first.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .schema import DIMENSIONS, PROMOTED

_DERIVED = frozenset({"usage_source", "cost_source", "evaluation_scores"})
"""Promoted columns that landing fills by itself, so that no spelling feeds them."""


@dataclass(frozen=True)
class Spelling:
    """One place a value may stand: an attribute, or a JSON path inside one.

    >>> Spelling.parse("mlflow.chat.tokenUsage#$.input_tokens")
    Spelling(key='mlflow.chat.tokenUsage', path='$.input_tokens')
    """

    key: str
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Spelling:
        """Read `key` or `key#$.path`."""
        key, mark, path = text.partition("#")
        return cls(key, path if mark else None)

    @property
    def prefix(self) -> str | None:
        """The prefix if this spelling stands for every attribute below it (`outcome.*`)."""
        return self.key[:-1] if self.key.endswith(".*") else None

    def __str__(self) -> str:
        return self.key if self.path is None else f"{self.key}#{self.path}"


@dataclass(frozen=True)
class SpanRule:
    """A span's operation class by scope and name, for spans whose attributes do not say it."""

    scope: str
    name: str
    operation: str


@dataclass(frozen=True)
class AccountingRule:
    """What reported counts include, by scope, span name and usage source (globs)."""

    scope: str
    name: str
    source: str
    input: str
    output: str


@dataclass(frozen=True)
class UsageLog:
    """A kind of log record that tells one model request, by scope and event name (globs).

    `attribute` must have the value `value`, where given. `request_id`, `run` and `cost_micros` name the attributes
    that hold these; `model` says which one the record's is, the one asked for or the one that answered.
    """

    scope: str
    event: str
    attribute: str | None
    value: str | None
    request_id: str | None
    model: str
    agent: str | None
    run: str | None
    cost_micros: str | None


@dataclass(frozen=True)
class ScoreCarrier:
    """An attribute that holds several named scores as JSON, and the operation it must stand on, if any."""

    key: str
    shape: str
    operation: str | None


@dataclass(frozen=True)
class Conventions:
    """The whole table. Precedence is order, everywhere."""

    spellings: Mapping[str, tuple[Spelling, ...]]
    operations: tuple[tuple[str, str], ...]
    span_rules: tuple[SpanRule, ...]
    usage_logs: tuple[UsageLog, ...]
    accounting: tuple[AccountingRule, ...]
    providers: tuple[tuple[str, str | None], ...]
    evaluator_scopes: tuple[str, ...]
    estimating_scopes: tuple[str, ...]
    content_keys: tuple[str, ...]
    cost_ignores_cache: tuple[str, ...]
    score_carriers: tuple[ScoreCarrier, ...]
    fingerprint: str

    @property
    def keys(self) -> frozenset[str]:
        """Every plain attribute key the table reads."""
        plain = {s.key for group in self.spellings.values() for s in group if s.prefix is None}
        return frozenset(plain | {carrier.key for carrier in self.score_carriers})


OPERATION_CLASSES = ("model_call", "agent", "workflow", "tool", "evaluator", "raw", "other")
INPUT_RULES = ("inclusive", "excludes_cache", "excludes_cache_and_audio")
MODEL_WORDS = ("request", "response")
SCORE_SHAPES = ("numbers", "values", "list")
OUTPUT_RULES = ("inclusive", "excludes_reasoning", "excludes_reasoning_and_audio")


@cache
def _builtin() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("conventions.toml").read_text(encoding="utf-8"))


def load(extra: Mapping[str, Any] | None = None) -> Conventions:
    """The built-in table with the user's `[conventions]` settings over it.

    Raises SettingsError where the user's part names an unknown column, class or rule.
    """
    base, own = _builtin(), dict(extra or {})
    known = base.keys() - {"carriers"}
    for section in own.keys() - known:
        raise SettingsError(f"unknown section [conventions.{section}]: known are {', '.join(sorted(known))}")
    spellings = _spellings(base, own)
    operations = [*_operation_pairs(own.get("operations", {})), *_operation_pairs(base["operations"])]
    return Conventions(
        spellings=spellings,
        operations=tuple(operations),
        span_rules=tuple(
            SpanRule(str(r.get("scope", "*")), str(r.get("name", "*")), _one_of(r, "operation", OPERATION_CLASSES))
            for r in [*own.get("span_rules", []), *base["span_rules"]]
        ),
        usage_logs=tuple(
            _usage_log(r, str(event))
            for r in [*own.get("usage_logs", []), *base["usage_logs"]]
            for event in r.get("events", ())
        ),
        accounting=tuple(
            AccountingRule(
                scope=str(r.get("scope", "*")),
                name=str(r.get("name", "*")),
                source=str(r.get("source", "*")),
                input=_one_of(r, "input", INPUT_RULES),
                output=_one_of(r, "output", OUTPUT_RULES),
            )
            for r in [*own.get("accounting", []), *base["accounting"]]
        ),
        providers=tuple(
            (glob, name or None) for glob, name in [*own.get("providers", {}).items(), *base["providers"].items()]
        ),
        evaluator_scopes=(*own.get("evaluators", {}).get("scopes", ()), *base["evaluators"]["scopes"]),
        estimating_scopes=(
            *own.get("estimated_streams", {}).get("scopes", ()),
            *base["estimated_streams"]["scopes"],
        ),
        content_keys=(*own.get("content", {}).get("keys", ()), *base["content"]["keys"]),
        cost_ignores_cache=(
            *own.get("reported_cost", {}).get("ignores_cache", ()),
            *base["reported_cost"]["ignores_cache"],
        ),
        score_carriers=tuple(
            ScoreCarrier(str(r["key"]), _one_of(r, "shape", SCORE_SHAPES), r.get("operation"))
            for r in [*own.get("score_carriers", []), *base["score_carriers"]]
            if r.get("key")
        ),
        fingerprint=hashlib.sha256(json.dumps([base, own], sort_keys=True).encode()).hexdigest()[:16],
    )


def _spellings(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, tuple[Spelling, ...]]:
    """Column -> spellings, dimensions expanded over their carriers, the user's first."""
    table: dict[str, list[str]] = {column: list(found) for column, found in base["fields"].items()}
    templates = base["carriers"]["templates"]
    for column, words in base["dimensions"].items():
        carried = [template.format(name) for template in templates for name in words["names"]]
        table[column] = [*words["plain"], *carried, *words.get("last", ())]
    columns = {column.name for column in PROMOTED} - _DERIVED
    for section in ("fields", "dimensions"):
        for column, found in own.get(section, {}).items():
            if column not in columns or (section == "dimensions" and column not in DIMENSIONS):
                raise SettingsError(
                    f'[conventions.{section}] names the unknown column "{column}": '
                    f"known are {', '.join(sorted(DIMENSIONS if section == 'dimensions' else columns))}"
                )
            words = found if isinstance(found, list) else [*found.get("plain", ()), *found.get("names", ())]
            table[column] = [*words, *table.get(column, ())]
    return {column: tuple(dict.fromkeys(map(Spelling.parse, words))) for column, words in table.items()}


def _operation_pairs(operations: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    for name in operations.keys() - set(OPERATION_CLASSES):
        raise SettingsError(
            f'[conventions.operations] names the unknown class "{name}": known are {", ".join(OPERATION_CLASSES)}'
        )
    return [(name, glob) for name, globs in operations.items() for glob in globs]


def _usage_log(rule: Mapping[str, Any], event: str) -> UsageLog:
    where = dict(rule.get("where", {}))
    if len(where) > 1:
        raise SettingsError(
            f'where = {where} in [[conventions.usage_logs]]: give one attribute, such as "event.kind"'
        )
    attribute, value = next(iter(where.items()), (None, None))
    return UsageLog(
        scope=str(rule.get("scope", "*")),
        event=event,
        attribute=attribute,
        value=None if value is None else str(value),
        request_id=rule.get("request_id"),
        model=_one_of({"model": "request", **rule}, "model", MODEL_WORDS),
        agent=rule.get("agent"),
        run=rule.get("run"),
        cost_micros=rule.get("cost_micros"),
    )


def _one_of(rule: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = rule.get(name, "inclusive" if "inclusive" in allowed else None)
    if value not in allowed:
        raise SettingsError(f'{name} = "{value}" in a [[conventions]] rule: known are {", ".join(allowed)}')
    return str(value)
