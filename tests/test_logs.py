"""Log lines: one line an event, whatever is in it."""

from __future__ import annotations

import json
import logging

import pytest

from llmcost.ingest.logs import JsonFormatter, TextFormatter, fields


def record(message: str, **values: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "llmcost", "levelno": 20, "levelname": "INFO", "msg": message, "created": 0.5}
    )
    made.__dict__.update(fields(**values))
    return made


@pytest.mark.parametrize(
    ("value", "written"),
    [(512, "512"), ("a b", '"a b"'), ('say "x"', '"say \\"x\\""'), ("two\nlines", '"two\\nlines"'), ("", '""')],
)
def test_text_is_key_value(value: object, written: str) -> None:
    """Bare words stay bare; anything that would break the line is quoted and escaped."""
    expected = f"at=1970-01-01T00:00:00.500Z level=info event=landed fact={written}"
    assert expected == TextFormatter().format(record("landed", fact=value))


def test_json_is_one_object() -> None:
    """The same facts, with their types."""
    line = JsonFormatter().format(record("landed", spans=512))
    assert {"at": "1970-01-01T00:00:00.500Z", "level": "info", "event": "landed", "spans": 512} == json.loads(line)
