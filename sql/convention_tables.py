"""The conventions as small tables, for the chain's SQL to join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ..models.conventions import Conventions
from ..models.schema import DIMENSIONS


def convention_tables(c: Conventions) -> dict[str, pa.Table]:
    """The conventions by the names that the chain reads; `rank` is precedence, lowest first."""
    tables: dict[str, dict[str, list[object]]] = {
        "convention_operations": {
            "class": [name for name, _ in c.operations],
            "operation": [glob for _, glob in c.operations],
        },
        "convention_span_rules": {
            "scope": [rule.scope for rule in c.span_rules],
            "name": [rule.name for rule in c.span_rules],
            "class": [rule.operation for rule in c.span_rules],
        },
        "convention_usage_logs": {
            "scope": [rule.scope for rule in c.usage_logs],
            "event": [rule.event for rule in c.usage_logs],
            "attribute": [rule.attribute for rule in c.usage_logs],
            "value": [rule.value for rule in c.usage_logs],
            "request_id": [rule.request_id for rule in c.usage_logs],
            "model": [rule.model for rule in c.usage_logs],
            "agent": [rule.agent for rule in c.usage_logs],
            "run": [rule.run for rule in c.usage_logs],
            "cost_micros": [rule.cost_micros for rule in c.usage_logs],
        },
        "convention_accounting": {
            "scope": [rule.scope for rule in c.accounting],
            "name": [rule.name for rule in c.accounting],
            "source": [rule.source for rule in c.accounting],
            "input_rule": [rule.input for rule in c.accounting],
            "output_rule": [rule.output for rule in c.accounting],
        },
        "convention_providers": {
            "provider": [glob for glob, _ in c.providers],
            "vendor": [vendor for _, vendor in c.providers],
        },
        "convention_evaluators": {"scope": list(c.evaluator_scopes)},
        "convention_estimating": {"scope": list(c.estimating_scopes)},
        "convention_cost_sources": {"source": list(c.cost_ignores_cache)},
    }
    keys = [
        (dimension, spelling.key)
        for dimension in DIMENSIONS
        for spelling in c.spellings[dimension]
        if spelling.path is None
    ]
    tables["convention_resource_keys"] = {"dimension": [d for d, _ in keys], "key": [k for _, k in keys]}
    return {name: _ranked(columns) for name, columns in tables.items()}


def _ranked(columns: Mapping[str, Sequence[object]]) -> pa.Table:
    arrays = {column: pa.array(values, pa.string()) for column, values in columns.items()}
    height = len(next(iter(columns.values())))
    return pa.table({**arrays, "rank": pa.array(range(height), pa.int32())})
