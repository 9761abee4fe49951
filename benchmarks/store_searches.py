"""Searches by words through the product, against the two plans written out by hand; and searches that must scan."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Optional

from store_fill import opened, reading_time

from cbsigned.query import parse
from cbsigned.query.fields import Search
from cbsigned.store.database import open_reader
from cbsigned.store.process_documents import process_documents
from cbsigned.store.search import Page, search_processes
from cbsigned.timing import Deadline

__all__ = ["scans", "words"]

_ROWS = 10
_FROM_WORDS = """
SELECT p.id FROM process p WHERE p.cmdline_id IN (SELECT rowid FROM cmdline_fts WHERE cmdline_fts MATCH ?)
ORDER BY p.updated DESC, p.id DESC LIMIT 10
"""
_WALK = """
SELECT p.id FROM process p INDEXED BY process_updated WHERE p.updated IS NOT NULL
AND EXISTS (SELECT 1 FROM cmdline_fts WHERE rowid = p.cmdline_id AND cmdline_fts MATCH ?)
ORDER BY p.updated DESC, p.id DESC LIMIT 10
"""
_COUNT = "SELECT count(*) FROM process WHERE cmdline_id IN (SELECT rowid FROM cmdline_fts WHERE cmdline_fts MATCH ?)"
_PATIENCE_S = 20.0
_WORDS = {
    "frequent, in few distinct lines": "-servicehost", "frequent, in many": "-session", "rare": "seldom",
    "very rare": "needle",
}  # fmt: skip
_SCANS = (
    r"path:*ool01*\*7.exe", "cmdline:*rvicehos*", r"filemod:*emp\*99.tmp", "modload:*l1012*", "cmdline:*nosuchtext*",
)  # fmt: skip


def words(store: Path, rounds: int = 5) -> list[str]:
    """Return a Markdown table of searches for words.

    A plan is given the documents of what it finds to make, as the page has them.
    """
    lines = [
        "| word | processes | page, ms | from words to rows, ms | back in time, ms | page / better | floor |"
        " page with total, ms | bare count, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with opened(store) as bare, closing(open_reader(store)) as db:
        for label, word in _WORDS.items():
            total = int(bare.execute(_COUNT, (f'"{word}"',)).fetchone()[0])
            page, with_total = (_typical(partial(_page, db, f"cmdline:{word}", None, c), rounds) for c in (False, True))
            plans = [_plan(bare, sql, word, rounds) for sql in (_FROM_WORDS, _WALK)]
            better = min(plan for plan in plans if plan is not None)
            lines.append(
                f"| {label}: `{word}` | {total:,} | {page * 1000:.1f} | {_ms(plans[0])} | {_ms(plans[1])} |"
                f" {page / better:.2f} | ≤ 10 | {with_total * 1000:.1f} | {_ms(_plan(bare, _COUNT, word, rounds))} |"
            )
    return lines


def scans(store: Path, limits_s: tuple[float, ...] = (10.0, 0.5)) -> list[str]:
    """Return a Markdown table of searches with wildcards at the start, under a long and a short deadline."""
    lines = ["| query | deadline, s | took, s | found | said to be incomplete |", "|---|---|---|---|---|"]
    with closing(open_reader(store)) as db:
        for text in _SCANS:
            for limit in limits_s:
                began = time.perf_counter()
                page = _page(db, text, Deadline(limit), True)
                took = time.perf_counter() - began
                said = "yes" if page.incomplete else "no"
                lines.append(f"| `{text}` | {limit:g} | {took:.2f} | {page.total:,} | {said} |")
    return lines


def _page(db: sqlite3.Connection, text: str, deadline: Optional[Deadline], count: bool) -> Page:
    return search_processes(db, parse(text, Search.PROCESS), rows=_ROWS, deadline=deadline, count=count)


def _plan(db: sqlite3.Connection, sql: str, word: str, rounds: int) -> Optional[float]:
    """Return the seconds that a plan takes, None where that is more than we wait for."""
    end = time.monotonic() + _PATIENCE_S
    db.set_progress_handler(lambda: int(time.monotonic() > end), 10_000)
    try:
        return _typical(partial(_rows, db, sql, word), rounds)
    except sqlite3.OperationalError:
        return None
    finally:
        db.set_progress_handler(None, 0)


def _rows(db: sqlite3.Connection, sql: str, word: str) -> None:
    numbers = [int(row[0]) for row in db.execute(sql, (f'"{word}"',))]
    if sql is not _COUNT:
        process_documents(db, numbers)


def _typical(run: Callable[[], object], rounds: int) -> float:
    return median(reading_time(run) for _ in range(rounds))


def _ms(seconds: Optional[float]) -> str:
    return f"> {_PATIENCE_S * 1000:,.0f}" if seconds is None else f"{seconds * 1000:,.1f}"
