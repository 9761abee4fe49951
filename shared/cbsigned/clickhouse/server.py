"""One ClickHouse: statements with bound values over HTTP, rows back, its errors turned into ours."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

import requests

from cbsigned.clickhouse.address import PASSWORD_VARIABLE, USER_VARIABLE, Address
from cbsigned.errors import (
    ConfigError,
    SourceAuthError,
    SourceBusy,
    SourceError,
    SourceResponseError,
    SourceTimeout,
    SourceUnavailable,
)  # fmt: skip
from cbsigned.timing import Deadline

__all__ = ["Bound", "Row", "Server", "Value", "bound", "escaped", "in_parts", "quoted_list"]

_LOG = logging.getLogger(__name__)
_CONNECT_S = 10.0
_SLACK_S = 2.0
"""Longer than the server's own limit, so that its answer says that it was late."""
_CODE = re.compile(r"Code: (\d{1,5})")
_TIMEOUT, _REFUSED, _MEMORY, _BUSY, _NO_SPACE = {159, 160, 209, 394}, {192, 193, 194, 497, 516}, {241}, {202}, {243}
_MISSING, _READONLY = {60, 81}, 164
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"})
_QUOTES = str.maketrans({"\\": "\\\\", "'": "\\'", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_ODD = re.compile(r"[\\'\x00-\x1f]")
_BETWEEN = "','"
_SETTINGS = {
    "output_format_json_quote_64bit_integers": "0", "wait_end_of_query": "1", "max_query_size": str(16 * 2**20),
    "max_ast_elements": "500000", "max_expanded_ast_elements": "2000000", "max_parser_depth": "5000",
    "max_ast_depth": "5000", "join_use_nulls": "1", "date_time_output_format": "iso", "prefer_localhost_replica": "1",
    "transform_null_in": "0", "query_plan_max_optimizations_to_apply": "100000",
}  # fmt: skip

Value = Union[str, int, None, "list[str]", "list[int]"]
Row = list[Any]


@dataclass(frozen=True)
class Bound:
    """A value for a mark of a statement: `{name:Type}` in the text, this beside it.

    Attributes:
        type: ClickHouse's.
        text: The value as the server reads it.
    """

    type: str
    text: str


def bound(value: Value) -> Bound:
    """Return a value ready to be sent: a text, a number, none, or a list of one kind."""
    if value is None:
        return Bound("Nullable(String)", "\\N")
    if isinstance(value, int):
        return Bound("Int64", str(value))
    if isinstance(value, str):
        return Bound("String", escaped(value))
    if all(isinstance(item, int) for item in value):
        return Bound("Array(Int64)", f"[{','.join(map(str, value))}]")
    return Bound("Array(String)", quoted_list([str(item) for item in value]))


def escaped(text: str) -> str:
    """Return a text as a field of tab-separated lines."""
    return text.translate(_ESCAPES) if _ODD.search(text) else text


def quoted_list(texts: Sequence[str]) -> str:
    """Return texts as an array in such a field."""
    if not texts:
        return "[]"
    if _ODD.search("".join(texts)):
        texts = [text.translate(_QUOTES) for text in texts]
    return f"['{_BETWEEN.join(texts)}']"


class Server:
    """A store on ClickHouse. Any thread may ask; each request is one statement.

    Args:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session = requests.Session()
        self._session.trust_env = False  # no password file, no proxy of another network
        if address.user or address.password:
            self._session.headers["X-ClickHouse-User"] = address.user or "default"
            self._session.headers["X-ClickHouse-Key"] = address.password

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._session.close()

    def every(self, table: str) -> str:
        """Return the name of a table of all shards together; for the outer query alone."""
        return table if self.address.cluster else f"{table}_local"

    def rows(
        self, sql: str, values: Optional[Mapping[str, Value]] = None, deadline: Optional[Deadline] = None,
        node: int = 0,
    ) -> list[Row]:  # fmt: skip
        """Return the rows of a query.

        Args:
            sql: With `{name}` where a value is meant; its type is put there.
            values: By name.
            deadline: When to stop.
            node: Which of the address's nodes is asked.

        Raises:
            ConfigError: There is no such database, or it is no store.
            SourceError: It cannot be asked, or was late.
        """
        text = self._post(node, *_marked(sql, values or {}), deadline, "JSONCompact")
        try:
            return list(json.loads(text)["data"])
        except (ValueError, KeyError, TypeError) as exc:
            raise SourceResponseError(f"{self.address.shown} answered no table. Is it a ClickHouse?") from exc

    def run(
        self, sql: str, values: Optional[Mapping[str, Value]] = None, node: int = 0,
        settings: Optional[Mapping[str, str]] = None, *, database: bool = True,
    ) -> None:  # fmt: skip
        """Run a statement that gives no rows.

        Raises:
            ConfigError, SourceError: As `rows`.
        """
        self._post(node, *_marked(sql, values or {}), None, "", settings, database=database)

    def insert(self, node: int, table: str, lines: Iterable[str], settings: Mapping[str, str]) -> None:
        """Insert rows, all of them or none as far as they fit one block of the server.

        Args:
            table: Of a node's own.
            lines: Each a row of tab-separated fields, ready, with its line end.
            settings: Of this statement.

        Raises:
            ConfigError, SourceError: As `rows`.
        """
        query = f"INSERT INTO {table} FORMAT TabSeparated"
        parameters = {"query": query, "database": self.address.database, **settings}
        body = "".join(lines).encode("utf-8", "replace")
        self._answered(node, lambda url: self._session.post(
            url, params=parameters, data=body, timeout=(_CONNECT_S, 600), allow_redirects=False
        ), None)  # fmt: skip

    def _post(
        self, node: int, sql: str, parameters: Mapping[str, str], deadline: Optional[Deadline], form: str,
        settings: Optional[Mapping[str, str]] = None, *, database: bool = True,
    ) -> str:  # fmt: skip
        given = {**_SETTINGS, **(settings or {})}
        timeout = 600.0
        if deadline is not None:
            if deadline.passed:
                raise self._late(deadline)
            given["max_execution_time"] = f"{max(deadline.remaining(), 0.001):.3f}"
            timeout = deadline.remaining() + _SLACK_S
        if database:
            given["database"] = self.address.database
        if form:
            given["default_format"] = form
        _LOG.debug("%s: %.60s…", self.address.shown, " ".join(sql.split()))
        fields = {"query": sql, **{f"param_{name}": text for name, text in parameters.items()}}
        files = {name: (None, text.encode("utf-8", "replace")) for name, text in fields.items()}
        return self._answered(node, lambda url: self._session.post(
            url, params=given, files=files, timeout=(min(_CONNECT_S, timeout), timeout), allow_redirects=False
        ), deadline)  # fmt: skip

    def _answered(self, node: int, ask: Callable[[str], requests.Response], deadline: Optional[Deadline]) -> str:
        host = self.address.nodes[node].partition("://")[2]
        try:
            answer = ask(f"{self.address.nodes[node]}/")
            text = answer.content.decode("utf-8", "replace")
        except requests.Timeout as exc:
            if deadline is not None:
                raise self._late(deadline) from exc
            raise SourceUnavailable(f"ClickHouse at {host} gave no answer in time. Is it overloaded?") from exc
        except requests.RequestException as exc:
            raise SourceUnavailable(
                f"ClickHouse at {host} cannot be reached ({type(exc).__name__}). Check that it runs, and its HTTP port."
            ) from exc
        if answer.status_code == 200 and "X-ClickHouse-Exception-Code" not in answer.headers:
            return text
        raise self._error(host, answer, text, deadline)

    def _error(
        self, host: str, answer: requests.Response, text: str, deadline: Optional[Deadline]
    ) -> Union[SourceError, ConfigError]:
        match = _CODE.search(text)
        told = answer.headers.get("X-ClickHouse-Exception-Code", match[1] if match else "")
        code = int(told) if told.isascii() and told.isdigit() else 0
        if code in _TIMEOUT:
            return (
                self._late(deadline) if deadline else SourceTimeout(f"ClickHouse at {host} stopped at its own limit.")
            )
        if code == _READONLY:
            return SourceAuthError(
                f"ClickHouse at {host} lets the user {self.address.user or 'default'} set no limits for a query. "
                "Give it readonly = 2 in place of 1."
            )
        if code in _REFUSED or answer.status_code in (401, 403):
            return SourceAuthError(
                f"ClickHouse at {host} refused the user {self.address.user or 'default'} or a right it needs. "
                f"Set {USER_VARIABLE} and {PASSWORD_VARIABLE}."
            )
        if code in _MISSING:
            return ConfigError(
                f"There is no store {self.address.shown}. Make one: cbsigned store copy FILE {self.address.shown}"
            )
        if code in _MEMORY | _BUSY:
            return SourceBusy(f"ClickHouse at {host} has too little memory or too many queries just now. Try again.")
        if code in _NO_SPACE:
            return SourceUnavailable(
                f"ClickHouse at {host} has no space left on its disk. Free some, and run it again."
            )
        if not code:
            return SourceResponseError(
                f"{host} answered HTTP {answer.status_code}, not ClickHouse's way. Check the port."
            )
        # the server's own text may repeat the query: for those who debug, not for messages
        _LOG.debug("%s: code %d: %.2000s", host, code, text)
        return SourceResponseError(f"ClickHouse at {host} failed with its error {code}; -vv shows its words.")

    def _late(self, deadline: Deadline) -> SourceTimeout:
        return SourceTimeout(
            f"{self.address.shown} gave no whole answer within {deadline.seconds:g} s. "
            "Ask for less, or raise the time limit (deadline_s)."
        )


_MARK = re.compile(r"\{(\w+)\}")


def _marked(sql: str, values: Mapping[str, Value]) -> tuple[str, dict[str, str]]:
    """Return the statement with the type at every mark, and the values as texts."""
    made = {name: bound(value) for name, value in values.items()}
    text = _MARK.sub(lambda match: f"{{{match[1]}:{made[match[1]].type}}}", sql)
    return text, {name: value.text for name, value in made.items()}


def in_parts(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield distinct values, `size` at a time; the server bounds the length of one bound value."""
    distinct = list(dict.fromkeys(values))
    for first in range(0, len(distinct), size):
        yield distinct[first : first + size]
