"""Log lines of the server: one line an event, as key=value text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The facts of a log line: `log.info("landed", extra=fields(spans=512))`."""
    return {"fields": values}


class _OneLine(logging.Formatter):
    """Time, level, what happened, then the facts."""

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {
            "at": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return facts


class TextFormatter(_OneLine):
    """`at=… level=info event=landed spans=512`, values quoted where they hold anything but a word."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; line ends within values are escaped."""
        return " ".join(f"{key}={_word(value)}" for key, value in self.facts(record).items())


class JsonFormatter(_OneLine):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(self.facts(record), default=str, ensure_ascii=False)


def _word(value: object) -> str:
    text = str(value)
    if text and not any(c.isspace() or c in '"=' or not c.isprintable() for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)


def configure(form: LogFormat) -> None:
    """Send llmcost's log lines to stderr in `form`. Other libraries' warnings go the same way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("llmcost").setLevel(logging.INFO)
