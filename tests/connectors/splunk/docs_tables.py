"""The tables of `docs/splunk.md` that the code knows better: options, output fields, parameters of the alert action.

`python tests/connectors/splunk/docs_tables.py` writes them anew. A table stands between `<!-- table of: NAME -->`
and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cbsigned_connectors.splunk.alert_events import EVENT_FIELDS
from cbsigned_connectors.splunk.alert_payload import PARAMETERS
from cbsigned_connectors.splunk.generated import ACTIVITY_FIELDS, BINARY_FIELDS, PROCESS_FIELDS
from cbsigned_connectors.splunk.options import COMMANDS
from support import PROJECT

__all__ = ["DOCS", "TABLES", "rendered"]

DOCS = PROJECT / "docs" / "splunk.md"
_TABLE = re.compile(r"(<!-- table of: (?P<name>[^>]+) -->\n)(?P<table>.*?)(<!-- end of table -->)", re.DOTALL)


def options_table(command: str) -> str:
    """Return the options of a command."""
    rows = [
        (f"`{o.name}`", _sentence(o.help), o.expected, _code(o.default) if o.default is not None else "must be given",
         f"`{o.usage}`")
        for o in COMMANDS[command]
    ]  # fmt: skip
    return _markdown(("option", "what", "values", "default", "example"), rows)


def parameters_table() -> str:
    """Return the parameters of the alert action."""
    rows = [(f"`param.{name}`", p.text, p.range, _code(p.default), f"`{p.example}`") for name, p in PARAMETERS.items()]
    return _markdown(("parameter", "what", "values", "default", "example"), rows)


def event_table() -> str:
    """Return the fields of the alert action's result events."""
    return _markdown(("field", "holds"), [(f"`{name}`", text) for name, text in EVENT_FIELDS.items()])


def aliases_table(fields: Mapping[str, str]) -> str:
    """Return the CIM names of a generating command."""
    return _markdown(("CIM", "EDR"), [(f"`{alias}`", f"`{name}`") for alias, name in fields.items()])


def activity_table() -> str:
    """Return the CIM names of each kind of activity."""
    rows = [
        (f"`{kind}`", ", ".join(f"`{alias}` (`{name}`)" for alias, name in fields.items()))
        for kind, fields in ACTIVITY_FIELDS.items()
    ]
    return _markdown(("kind", "CIM (EDR)"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    **{f"options of {name}": partial(options_table, name) for name, options in COMMANDS.items() if options},
    "CIM names of cbprocess": partial(aliases_table, PROCESS_FIELDS),
    "CIM names of cbbinary": partial(aliases_table, BINARY_FIELDS),
    "CIM names of cbactivity": activity_table,
    "parameters of the alert action": parameters_table,
    "fields of the result events": event_table,
}


def rendered(text: str) -> str:
    """Return a text with every table made anew."""
    return _TABLE.sub(lambda m: f"{m.group(1)}{TABLES[m.group('name')]()}{m.group(4)}", text)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if text[:1].islower() and text.split(" ", 1)[0] not in ("true", "false") else text


def _code(text: str) -> str:
    return f"`{text}`" if text else "–"


if __name__ == "__main__":
    DOCS.write_text(rendered(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
