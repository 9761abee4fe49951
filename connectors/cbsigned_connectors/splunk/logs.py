"""The app's own log, `$SPLUNK_HOME/var/log/splunk/cbsigned.log`: one event per line, one `write` per line.

Splunk indexes the folder into `_internal`, so that `index=_internal source=*cbsigned.log` answers what went wrong::

    2026-11-22T01:02:03.004+00:00 WARNING pid=4711 sid="1448.12" command="handler" logger="cbsigned.edr" message="…"

Several processes write to it. Each line opens, appends and closes, so a file that was moved away meanwhile costs
nothing; only the persistent handler moves it (`LineHandler(rotate=True)`). A log that cannot be written is
never a reason to fail: the line is dropped.

References:
    - splunk §9 (one write per line, rotate only in the handler), §7 (jails: the file may not be writable)
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional, Union

__all__ = ["LineHandler", "append", "attach", "log_folder", "one_line", "pairs", "rotate"]

FILE = "cbsigned.log"
MAX_BYTES = 25_000_000
KEPT = 5
_MAX_VALUE = 2_000
_MAX_TRACE = 8_000


def log_folder(environ: Mapping[str, str]) -> Optional[Path]:
    """Return where Splunk's logs are, or None outside Splunk."""
    home = environ.get("SPLUNK_HOME", "")
    return Path(home, "var", "log", "splunk") if home else None


def one_line(value: object, most: int = _MAX_VALUE) -> str:
    """Return a value as one line without control characters, line separators or what only seems to be nothing.

    Args:
        value: A text, or anything with one.
        most: Characters kept; what is longer ends in `…`.
    """
    text = str(value)
    clean = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return f"{clean[:most]}…" if len(clean) > most else clean


def pairs(values: Mapping[str, Optional[object]], most: int = _MAX_VALUE) -> str:
    r"""Return `key="value" …`, empty ones left out; no value can end its quotes or its line.

    Splunk reads such pairs with or without backslash escapes, depending on a setting. So a quote becomes `'`, and
    a backslash never stands before the closing quote.

    Args:
        values: Keys as they shall be searched for, ours, never from outside.
        most: Characters kept of a value.
    """
    cleaned = ((key, one_line("" if value is None else value, most).replace('"', "'")) for key, value in values.items())
    return " ".join(f'{key}="{text} "' if text.endswith("\\") else f'{key}="{text}"' for key, text in cleaned if text)


def append(path: Path, line: str) -> bool:
    """Add a line to a file in one write; whether that was possible.

    Args:
        path: Made where it is missing, readable for Splunk's user alone; its folder must be there.
        line: Without its end.
    """
    data = (line + "\n").encode("utf-8", "replace")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except (OSError, ValueError):
        return False
    try:
        return os.write(handle, data) == len(data)
    except OSError:
        return False
    finally:
        os.close(handle)


def rotate(path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Move a log that has grown past `max_bytes` to `….log.1`, older ones one further; whether it was moved.

    Args:
        path: The log.
        max_bytes: Above which it is moved.
        kept: How many old ones stay; the oldest is lost.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
        for number in range(kept, 0, -1):
            older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if older.exists():
                os.replace(older, path.with_name(f"{path.name}.{number}"))
    except OSError:
        return False
    return True


class LineHandler(logging.Handler):
    """Writes records of `logging` as lines of the app's log.

    A record may carry more pairs: `log.info("Answered", extra={"pairs": {"sid": sid, "rows": 10}})`.

    Args:
        path: The log.
        command: Who writes: `handler`, or the name of a search command.
        sid: Search id, for a process that serves one search.
        rotate: Whether this process moves logs that have grown too long; the persistent handler alone may.
        others: Logs that are moved as well, the alert action's for example.
    """

    def __init__(
        self, path: Path, command: str, *, sid: str = "", rotate: bool = False, others: Sequence[Path] = ()
    ) -> None:
        super().__init__()
        self.path, self.command, self.sid, self.rotate = path, command, sid, rotate
        self.others = tuple(others)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; nothing that goes wrong here reaches the program."""
        line = self.format(record)
        if self.rotate:
            for path in (self.path, *self.others):
                rotate(path)
        append(self.path, line)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, its traceback on the same line."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        more = getattr(record, "pairs", None)
        told = {"sid": self.sid, "command": self.command, "logger": record.name, "message": _message(record)}
        line = f"{at} {record.levelname} pid={record.process} {pairs({**told, **_named(more)})}"
        return f"{line} {pairs({'traceback': _trace(record)}, _MAX_TRACE)}" if record.exc_info else line


def attach(
    environ: Mapping[str, str],
    command: str,
    *,
    level: Union[int, str] = logging.INFO,
    sid: str = "",
    rotate: bool = False,
    names: Sequence[str] = ("cbsigned", "cbsigned_connectors"),
) -> Optional[LineHandler]:
    """Let our loggers, the core's included, write to the app's log; None outside Splunk.

    Called again for the same command it changes the level and adds no second handler.

    Args:
        environ: Where `SPLUNK_HOME` is looked up.
        command: Who writes.
        level: The least level that is written.
        sid: Search id, for a process that serves one search.
        rotate: True in the persistent handler alone; then the alert action's log is kept short as well.
        names: Whose loggers.
    """
    folder = log_folder(environ)
    if folder is None:
        return None
    others = [folder / "cbsigned_enrich_modalert.log"] if rotate else []
    handler = LineHandler(folder / FILE, command, sid=sid, rotate=rotate, others=others)
    for logger in map(logging.getLogger, names):
        for old in [h for h in logger.handlers if isinstance(h, LineHandler)]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(level)
    return handler


def _message(record: logging.LogRecord) -> str:
    """Return what a record says; one whose arguments do not fit says so and shows none of them."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} (its arguments do not fit)"


def _named(more: object) -> dict[str, object]:
    """Return a record's own pairs, those whose keys are plain words."""
    if not isinstance(more, Mapping):
        return {}
    return {key: value for key, value in more.items() if isinstance(key, str) and key.isidentifier()}


def _trace(record: logging.LogRecord) -> str:
    """Return a traceback on one line, the end of it where it is long: the last frames say most."""
    if not record.exc_info:
        return ""
    text = "".join(traceback.format_exception(*record.exc_info))
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-_MAX_TRACE:]
