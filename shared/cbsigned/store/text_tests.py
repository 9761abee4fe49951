"""Tests of texts: what is looked up in the index of words, and which texts must be compared one by one."""

from __future__ import annotations

from typing import Optional

from cbsigned.query.fields import Type
from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.tokens import text_words
from cbsigned.query.tree import Equals, Labels, Matcher, SubPath, Words
from cbsigned.store.index import END, TABLES
from cbsigned.store.sql import MATCH, Context, Sql

__all__ = ["TextTest"]

_LONGEST_TOKEN = 10_000  # FTS5 cuts tokens at 32 KiB
_FEW = 2_000


class TextTest:
    """A text of a table of distinct texts.

    Args:
        context: Of this search.
        table: Of ours: with `id` and `value`.
        type_: The field's.
        matcher: One of texts.
    """

    def __init__(self, context: Context, table: str, type_: Type, matcher: Matcher) -> None:
        self._context, self._table, self._matcher = context, table, matcher
        self._number = context.test(type_, matcher)
        self._terms, self._exact = _terms(matcher) if context.upto.get(table) else (None, False)
        self._rank: Optional[tuple[Optional[int]]] = None

    def within(self, key: str) -> Sql:
        """Return membership in the matching texts, found through the index as far as there is one."""
        ids = self.ids()
        return Sql(f"{key} IN ({ids.text})", ids.values)

    def probe(self, key: str) -> Sql:
        """Return a test of this text alone."""
        return Sql(f"{MATCH}(?, (SELECT value FROM {self._table} WHERE id = {key}))", (self._number,))  # noqa: S608

    def rank(self) -> Optional[int]:
        """Return 1 where at most 2,000 texts match by the index; a table that has none has few texts."""
        if self._rank is None:
            few = self._table not in TABLES or (self._terms is not None and self._count() <= _FEW)
            self._rank = (1 if few else None,)
        return self._rank[0]

    def ids(self) -> Sql:
        """Return a query for the numbers of the matching texts."""
        if self._table not in TABLES:
            return self._small()
        if self._terms is None:
            self._say()
            return self._scan(0)
        index = TABLES[self._table].index
        if self._exact:
            found = Sql(f"SELECT rowid FROM {index} WHERE {index} MATCH ?", (self._terms,))  # noqa: S608
        else:
            found = Sql(
                f"SELECT s.id FROM {index} CROSS JOIN {self._table} s ON s.id = {index}.rowid"  # noqa: S608
                f" WHERE {index} MATCH ? AND {MATCH}(?, s.value)",
                (self._terms, self._number),
            )
        rest = self._scan(self._context.upto[self._table])
        return Sql(f"{found.text} UNION ALL {rest.text}", found.values + rest.values)

    def _say(self) -> None:
        """Note that there was nothing to look up, where there is anything to compare."""
        if self._context.upto[self._table]:
            why = "no word or beginning of one could be looked up"
        elif self._context.db.execute(f"SELECT 1 FROM {self._table} LIMIT 1").fetchone() is None:  # noqa: S608
            return
        else:
            why = "there is no index of words" if self._context.fts5 else "this SQLite has no FTS5"
        self._context.note(f"every distinct {_SHOWN[self._table]} was compared: {why}")

    def _count(self) -> int:
        index = TABLES[self._table].index
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {index} WHERE {index} MATCH ? LIMIT ?)"  # noqa: S608
        return int(self._context.db.execute(sql, (self._terms, _FEW + 1)).fetchone()[0])

    def _scan(self, above: int) -> Sql:
        literal = _literal(self._matcher)
        # the second half keeps texts that are not plain ASCII, whose lower case SQLite does not know
        narrowed = (
            " (instr(lower(s.value), ?) OR length(s.value) < length(CAST(s.value AS BLOB))) AND" if literal else ""
        )
        return Sql(
            f"SELECT s.id FROM {self._table} s WHERE s.id > ? AND{narrowed} {MATCH}(?, s.value)",  # noqa: S608
            (above, *([literal] if literal else []), self._number),
        )

    def _small(self) -> Sql:
        """Look into a table of few texts; names are stored in lower case, so that their index serves."""
        matcher = self._matcher
        if self._table == "name" and isinstance(matcher, Equals) and matcher.value.prefix:
            prefix = matcher.value.prefix
            if matcher.value.literal:
                return Sql("SELECT id FROM name WHERE value = ?", (prefix,))
            return Sql(
                f"SELECT id FROM name WHERE value >= ? AND value < ? AND {MATCH}(?, value)",  # noqa: S608
                (prefix, prefix + chr(0x10FFFF), self._number),
            )
        return self._scan(0)


_SHOWN = {"cmdline": "command line", "path": "path", "regpath": "registry path", "text": "text"}


def _terms(matcher: Matcher) -> tuple[Optional[str], bool]:
    """Return what to look up in the index of words, and whether everything it finds matches."""
    if isinstance(matcher, Words) and not matcher.legacy:
        return _word_terms(matcher)
    if isinstance(matcher, SubPath):
        return _path_terms(matcher.path), False
    if isinstance(matcher, Equals) and matcher.value.literal:
        words = text_words(matcher.value.text)
        return (" + ".join(_quoted(Glob(word)) for word in words) or None), False
    return None, False


def _word_terms(matcher: Words) -> tuple[Optional[str], bool]:
    if matcher.together:
        return " + ".join(map(_quoted, matcher.words)), all(len(w.text) < _LONGEST_TOKEN for w in matcher.words)
    usable = [word for word in matcher.words if word.prefix]
    terms = [_quoted(word) for word in usable]
    exact = len(usable) == len(matcher.words) and all(
        (word.literal or word.is_prefix) and len(word.text) < _LONGEST_TOKEN for word in usable
    )
    return (" AND ".join(terms), exact) if terms else (None, False)


def _path_terms(path: Glob) -> Optional[str]:
    """Return the whole parts that a matching path must have: neighbours together, the last one's beginning too."""
    parts = path.text.split("\\")
    runs: list[list[str]] = [[]]
    for place, part in enumerate(parts):
        literal = Glob(part).literal
        if literal and part:
            runs[-1].append(_quoted(Glob(part)))
            if place == len(parts) - 1:
                runs[-1].append(f'"{END}"')
            continue
        beginning = Glob(part).prefix
        if beginning:
            runs[-1].append(_quoted(Glob(beginning + MANY)))
        runs.append([])
    found = [" + ".join(run) for run in runs if run]
    return " AND ".join(found) if found else None


def _quoted(word: Glob) -> str:
    text = word.prefix.replace('"', '""')
    return f'"{text}"' if word.literal else f'"{text}" *'


def _literal(matcher: Matcher) -> Optional[str]:
    """Return plain ASCII letters that every matching text holds, the longest there are, for a first look."""
    if isinstance(matcher, SubPath):
        texts = [part for part in matcher.path.text.split("\\") if part != "currentcontrolset"]
    elif isinstance(matcher, Words):
        texts = [word.text.strip("/:") for word in matcher.words]
    elif isinstance(matcher, Labels):
        texts = [label.text for label in matcher.labels]
    else:
        texts = [matcher.value.text] if isinstance(matcher, Equals) else []
    pieces = [piece for text in texts for piece in text.replace(ONE, MANY).split(MANY)]
    return max((p for p in pieces if p.isascii() and len(p) > 1), key=len, default=None)
