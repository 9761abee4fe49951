"""Text → tree, by recursive descent: bounded in length, depth and number of clauses, and linear in time.

References:
    - cb-edr-api §4.1 (grammar), §4.8 (what servers block); store.md §4 (why no library)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Optional, Union

from cbsigned.query.errors import QueryError
from cbsigned.query.fields import FieldRef, Join, Search, default_fields, field_named, near_miss
from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.tree import And, Bare, Everything, Node, Not, Or
from cbsigned.query.values import NEW_CMDLINE, Raw, Reading, Unfit, clause_of, leads_with_wildcard, range_of
from cbsigned.timing import utc_now

__all__ = ["MAX_BARE", "MAX_CLAUSES", "MAX_DEPTH", "MAX_LENGTH", "Policy", "Query", "parse"]

MAX_LENGTH = 131_072
"""Longest query, in characters: room for a thousand hashes."""
MAX_DEPTH = 40
"""Deepest nesting of parentheses and negations."""
MAX_CLAUSES = 1024
"""Most clauses: what a stock Solr index accepts."""
MAX_BARE = 32
"""Most values without a field; each of them looks into every default field."""

_ESCAPABLE = ' "()\\:'
_FOREIGN = ("&&", "||", "!")


@dataclass(frozen=True)
class Policy:
    """What a server lets pass.

    Attributes:
        leading_wildcards: Values may begin with `*` or `?`.
        joins: A process search may ask for fields of binaries.

    References:
        - cb-edr-api §4.8
    """

    leading_wildcards: bool = True
    joins: bool = True

    @classmethod
    def of_version(cls, version: Sequence[int]) -> Policy:
        """Return a server's default: both are blocked from 6.2.3 on."""
        blocked = tuple(version[:3]) >= (6, 2, 3)
        return cls(leading_wildcards=not blocked, joins=not blocked)


@dataclass(frozen=True)
class Query:
    """A query that has been read.

    Attributes:
        terms: Its clauses as the REST envelope lists them, in order; empty for the empty query.
    """

    tree: Node
    terms: tuple[str, ...]
    search: Search
    text: str = ""


def parse(
    text: str,
    search: Union[Search, str],
    *,
    version: Sequence[int] = (7, 0),
    now: Optional[datetime] = None,
    policy: Policy = Policy(),
) -> Query:
    """Return a query as a tree.

    Args:
        text: In the EDR's query language, up to 131,072 characters; empty or white space finds everything.
        search: `process` or `binary`.
        version: Of the server that is asked, or imitated: it decides how command lines are cut and which fields exist.
        now: What `-24h` counts from; the present when None.
        policy: What is blocked.

    Raises:
        QueryError: It cannot be read, or is blocked; the error points at the character.
    """
    return _Parser(text, Search(search), Reading(tuple(version), now or utc_now()), policy).query()


class _Parser:
    def __init__(self, text: str, search: Search, reading: Reading, policy: Policy) -> None:
        self._text, self._search, self._reading, self._policy = text, search, reading, policy
        self._at = self._depth = self._clauses = self._bare = 0
        self._terms: list[str] = []

    def query(self) -> Query:
        """Read the whole text."""
        if len(self._text) > MAX_LENGTH:
            raise QueryError(f"The query has {len(self._text):,} characters, more than {MAX_LENGTH:,}.", "", 0)
        for index, character in enumerate(self._text):
            if (
                (character < " " and character not in "\t\r\n")
                or character == "\x7f"
                or "\ud800" <= character <= "\udfff"
            ):
                self._fail("A control character cannot be searched. Take it out.", index)
        tree: Node = Everything()
        self._space()
        if self._at < len(self._text):
            tree = self._or(None)
        if self._at < len(self._text):
            self._fail("This ) closes nothing. Take it out, or put a backslash before it to search for it.")
        return Query(tree, tuple(self._terms), self._search, self._text)

    def _or(self, field: Optional[FieldRef]) -> Node:
        parts = [self._and(field)]
        while self._operator("or"):
            parts.append(self._and(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self, field: Optional[FieldRef]) -> Node:
        parts = [self._unary(field)]
        while True:
            self._operator("and")
            if not self._more() or self._peek_word() == "or":
                break
            parts.append(self._unary(field))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _unary(self, field: Optional[FieldRef]) -> Node:
        if self._operator("not"):
            return self._nested(lambda: Not(self._unary(field)))
        if self._here() == "-":
            self._at += 1
            if not self._here() or self._here().isspace():
                self._fail("Expected what is excluded right after the -.")
            return self._nested(lambda: Not(self._unary(field)))
        return self._primary(field)

    def _primary(self, field: Optional[FieldRef]) -> Node:
        self._space()
        here = self._here()
        if here == "(":
            return self._group(field)
        if not here or here == ")" or self._peek_word() in ("or", "and"):
            self._fail("Expected a term: field:value, a word, or a phrase in quotes.")
        begin = self._at
        name = None if here == '"' else self._field_name()
        if name is not None and field is not None:
            if field_named(name.lower(), self._search) is not None:
                self._fail(
                    f"{name[:60]}: names a field inside the group of {field.name}:. Close the group first.", begin
                )
            self._at = begin
        elif name is not None:
            if name == "*" and self._text[self._at : self._at + 1] == "*" and self._ends(self._at + 1):
                self._at += 1
                return self._counted(Everything(), begin)
            field = self._field(name, begin)
            if self._here() == "(":
                return self._group(field)
        return self._value(field, begin)

    def _group(self, field: Optional[FieldRef]) -> Node:
        opened = self._at
        self._at += 1
        node = self._nested(lambda: self._or(field))
        self._space()
        if self._here() != ")":
            self._fail("This ( is never closed. Close it, or put a backslash before it to search for it.", opened)
        self._at += 1
        return node

    def _value(self, field: Optional[FieldRef], begin: int) -> Node:
        at = self._at
        if self._here() == "[":
            return self._range(field, begin)
        raw = self._phrase() if self._here() == '"' else self._term(colons=field is not None)
        if not raw.quoted and (raw.text in _FOREIGN[:2] or (field is None and raw.text == _FOREIGN[2])):
            self._fail(f"{raw.text} is no operator here. Write and, or, not; or quote it to search for it.", at)
        if not self._policy.leading_wildcards and leads_with_wildcard(raw):
            self._fail(
                "Searches with leading wildcards are blocked by the server's setting of that name. Begin with a"
                " character, or have ForceBlockLeadingWildcardsInSearchTo changed.", at,
            )  # fmt: skip
        try:
            if field is None:
                return self._counted(self._anywhere(raw), begin)
            return self._counted(clause_of(field, raw, self._reading), begin)
        except Unfit as exc:
            self._fail(str(exc), at)

    def _anywhere(self, raw: Raw) -> Node:
        """Return what a value without a field means."""
        self._bare += 1
        if self._bare > MAX_BARE:
            raise Unfit(f"More than {MAX_BARE} values without a field. Name the fields: process_name:…, cmdline:…")
        if raw.text == MANY:
            return Everything()
        if not raw.text.strip():
            raise Unfit("An empty phrase finds nothing. Put a word into the quotes, or take them out.")
        clauses: list[Node] = []
        for ref in default_fields(self._search):
            if ref.field.since <= self._reading.version:
                try:
                    clauses.append(clause_of(ref, raw, self._reading))
                except Unfit:
                    continue  # a hash field cannot hold a word
        return Bare(Glob(raw.text.lower()), raw.quoted, tuple(clauses))

    def _range(self, field: Optional[FieldRef], begin: int) -> Node:
        at = self._at
        end = self._text.find("]", at)
        if field is None:
            self._fail("A range needs a field: start:[2021-04-20 TO *]. Quote a value that begins with [.")
        parts = self._text[at + 1 : end].replace('"', " ").split() if end > 0 else []
        if len(parts) != 3 or parts[1].lower() != "to" or not self._ends(end + 1):
            self._fail("Expected a range: [1 TO 10], [10 TO *] or [2021-04-20T09:00:00 TO 2021-04-21].")
        self._at = end + 1
        try:
            return self._counted(range_of(field, parts[0], parts[2], self._reading), begin)
        except Unfit as exc:
            self._fail(str(exc), at)

    def _phrase(self) -> Raw:
        opened, at, out = self._at, self._at + 1, []
        while True:
            here = self._text[at : at + 1]
            if not here:
                self._fail(
                    "This quote is never closed. Close it, or put a backslash before it to search for it.", opened
                )
            if here == '"':
                break
            if here == "\\" and self._text[at + 1 : at + 2] in ("\\", '"'):
                at += 1
            out.append(self._text[at])
            at += 1
        self._at = at + 1
        if not self._ends(self._at):
            self._fail("Expected white space or ) after the closing quote.")
        return Raw("".join(out), quoted=True)

    def _term(self, *, colons: bool) -> Raw:
        text, at, out = self._text, self._at, []
        first = at
        question = ONE if self._reading.version >= NEW_CMDLINE else "?"
        while at < len(text) and not text[at].isspace() and text[at] not in "()":
            here, following = text[at], text[at + 1 : at + 2]
            if here == '"':
                self._fail("A quote inside a word. Put a backslash before it, or quote the whole value.", at)
            if here == "\\" and (following in _ESCAPABLE or following.isspace() or (at == first and following in "[-")):
                at += 1 if following else 0
                out.append(text[at])
            else:
                out.append(MANY if here == "*" else question if here == "?" else here)
            at += 1
        self._at = at
        if not out:
            self._fail(
                "Expected a value right after the colon; in quotes where it has spaces."
                if colons
                else "Expected a term."
            )
        if self._here() == "(":
            self._fail("A ( inside a word. Put a backslash before it, or quote the whole value.")
        return Raw("".join(out))

    def _field_name(self) -> Optional[str]:
        """Step over `name:` and return the name, or stay where there is none."""
        text, at = self._text, self._at
        while at < len(text) and not text[at].isspace() and text[at] not in '()"':
            if text[at] == ":":
                name, self._at = text[self._at : at], at + 1
                return name
            at += 2 if text[at] == "\\" and text[at + 1 : at + 2] in _ESCAPABLE else 1
        return None

    def _field(self, name: str, begin: int) -> FieldRef:
        """Return the field of that name, usable in this search, on this server."""
        ref = field_named(name.lower(), self._search)
        shown = name[:60]
        if ref is None:
            close = near_miss(name.lower(), self._search)
            hint = f"Did you mean {close}:?" if close else "To search for the text itself, quote it."
            self._fail(f"There is no field {shown} in {self._search.value} search. {hint}", begin)
        field = ref.field
        if not (field.process if self._search is Search.PROCESS else field.binary):
            other = "binary" if self._search is Search.PROCESS else "process"
            self._fail(f"{shown} can be searched in {other} search only.", begin)
        if field.since > self._reading.version:
            version = ".".join(map(str, self._reading.version))
            self._fail(
                f"{shown} exists from version {field.since[0]}.{field.since[1]} on; this server is {version}.", begin
            )
        if ref.join is not Join.NONE and not self._policy.joins:
            self._fail(
                f"{shown} is a field of binaries, and searches that include binary metadata are blocked by the server's"
                " setting of that name. Ask binary search, or have ForceBlockCoreJoinsInSearchTo changed.", begin,
            )  # fmt: skip
        return ref

    def _counted(self, node: Node, begin: int) -> Node:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            self._fail(f"More than {MAX_CLAUSES} clauses. Split the query into several.", begin)
        self._terms.append(self._text[begin : self._at])
        return node

    def _nested(self, read: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"Nested deeper than {MAX_DEPTH} levels. Write it flatter.", self._at - 1)
        node = read()
        self._depth -= 1
        return node

    def _operator(self, word: str) -> bool:
        """Step over an operator where there is one."""
        self._space()
        if self._peek_word() != word:
            return False
        at = self._at
        self._at += len(word)
        self._space()
        if not self._more():
            self._fail(f"Expected a term after {word}.", at)
        return True

    def _peek_word(self) -> str:
        """Return the lower-case letters ahead, where they are a whole word that can be an operator."""
        word = self._text[self._at : self._at + 4].lower()
        for operator in ("or", "and", "not"):
            if word.startswith(operator) and self._ends(self._at + len(operator), '("'):
                return operator
        return ""

    def _more(self) -> bool:
        return self._here() not in ("", ")")

    def _here(self) -> str:
        return self._text[self._at : self._at + 1]

    def _ends(self, at: int, also: str = "") -> bool:
        following = self._text[at : at + 1]
        return not following or following.isspace() or following == ")" or following in also

    def _space(self) -> None:
        while self._here().isspace():
            self._at += 1

    def _fail(self, message: str, at: Optional[int] = None) -> NoReturn:
        raise QueryError(message, self._text, self._at if at is None else at)
