"""Log lines as JSON, one object each, for whatever collects them."""

from __future__ import annotations

import json
import logging
from typing import Any

from cbsigned.timing import format_time, parse_time

__all__ = ["JsonLines", "use_json_lines"]

_FIELDS = ("request_id", "method", "route", "status", "ms", "sender")


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON in ASCII: time, level, logger, message, and what a request's record has."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told: dict[str, Any] = {
            "time": format_time(parse_time(record.created)), "level": record.levelname, "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        told.update({name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None})
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def use_json_lines() -> None:
    """Let every handler of the process write JSON lines, and every request be logged."""
    root = logging.getLogger()
    root.setLevel(min(root.level, logging.INFO))
    for handler in root.handlers:
        handler.setFormatter(JsonLines())
