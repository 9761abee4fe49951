"""Random trees for property tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from cbsigned.query import parse
from cbsigned.query.tree import And, Node, Not, Or

NOW = datetime(2021, 4, 20, 12, tzinfo=timezone.utc)

HOSTILE = [
    *"()\"\\:-*?[]{}&|!+^~/%'; \t\n,.=<>#$@", "and", "or", "not", "TO", " ", "a", "é", "\u202e", "\x00", "\ud800",
    "process_name:", "cmdline:", "path:", "start:", "ipaddr:", "md5:", "domain:", "digsig_result:", "modload_count:",
    "\U0001f600",
    "-24h", "[1 TO 2]", "10.0.0.0/8", '"', '\\"', "' OR 1=1 --", "NEAR(", "c:\\windows\\", "2021-04-20",
    "5f2b7c0d9e1a4b6f8c3d2e1f0a9b8c7d",
]  # fmt: skip
"""What hostile queries are made of."""

_LETTERS = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=8)


def quoted(text: str) -> str:
    """Return a phrase in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def leaf(text: str, search: str) -> Node:
    """Return the tree of one clause."""
    return parse(text, search, now=NOW).tree


def _wild(text: str) -> str:
    return "".join(f"\\{c}" if c in '\\"():' or c.isspace() else c for c in text if c not in "&|!")


_VALUE = st.one_of(_LETTERS.filter(str.strip).map(quoted), _LETTERS.map(_wild).map(lambda t: f"x{t}*"))
_TIME = st.integers(0, 2_000_000_000).map(
    lambda s: (datetime(1970, 1, 1) + timedelta(seconds=s, milliseconds=s % 1000)).isoformat()
)
_NUMBER = st.integers(-(2**40), 2**40)


def _ends(pair: tuple[object, object]) -> str:
    low, high = sorted(pair)  # type: ignore[type-var]
    return f"[{low} TO {high}]"


any_leaf = st.one_of(
    st.tuples(
        st.sampled_from(
            ["process_name", "hostname", "username", "digsig_publisher", "cmdline", "path", "regmod", "domain"]
        ),
        st.one_of(_VALUE, st.just("*")),
    ),
    st.tuples(st.sampled_from(["modload_count", "ipport"]), st.tuples(_NUMBER, _NUMBER).map(_ends)),
    st.tuples(st.sampled_from(["start", "last_update"]), st.tuples(_TIME, _TIME).map(_ends)),
    st.tuples(st.just("ipaddr"), st.ip_addresses(v=4, network="10.0.0.0/8").map(lambda a: f"{a}/20")),
    st.tuples(st.just("ipv6addr"), st.ip_addresses(v=6).map(str)),
).map(lambda pair: f"{pair[0]}:{pair[1]}")  # fmt: skip
bare_leaf = _VALUE


def trees(leaves: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Return trees of all operators over leaves."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, min_size=2, max_size=4).map(lambda parts: And(tuple(parts))),
            st.lists(inner, min_size=2, max_size=4).map(lambda parts: Or(tuple(parts))),
        ),
        max_leaves=12,
    )
