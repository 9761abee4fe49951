"""The EDR's query language: text → a typed tree that any engine can answer from, and back.

Names no engine and opens nothing. `parse` reads a query, `text_of` writes one, `cbsigned.query.tokens` is the one
tokenizer, for what is stored as for what is asked.
"""

from __future__ import annotations

from cbsigned.query.errors import QueryError
from cbsigned.query.parser import Policy, Query, parse
from cbsigned.query.printer import text_of

__all__ = ["Policy", "Query", "QueryError", "parse", "text_of"]
