"""Write the options of every command into `searchbnf.conf` as the commands themselves tell them.

`python packaging/splunk/searchbnf.py`, with the project installed, after a change of `options.py`; a test compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cbsigned_connectors.splunk.options import COMMANDS, Option

CONF = Path(__file__).resolve().parent / "app" / "default" / "searchbnf.conf"
_KINDS = {
    "field": "field",
    "prefix": "string",
    "seconds": "number",
    "number": "int",
    "switch": "bool",
    "text": "string",
    "guid": "string",
    "kinds": "string",
    "sort": "string",
}


def main() -> int:
    """Write the file anew."""
    CONF.write_text(renewed(CONF.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def renewed(text: str) -> str:
    """Return the file with the syntax of each command and its options as they are now; the rest as it was."""
    stanzas = [part for part in re.split(r"(?m)^(?=\[)", text) if part.strip() and "-options]" not in part]
    return "\n".join(_stanza(part.rstrip()) for part in stanzas)


def _stanza(text: str) -> str:
    command = re.findall(r"^\[(\w+)-command\]", text)[0]
    options = COMMANDS[command]
    required = "".join(f" {_syntax(option)}" for option in options if option.default is None)
    syntax = f"syntax = {command}{required}" + (f" (<{command}-options>)*" if options else "")
    head = re.sub(r"(?m)^syntax = .*$", lambda _match: syntax, text)
    if not options:
        return f"{head}\n"
    told = " \\\n    ".join(f"{option.name}: {option.help}; {option.expected}. {option.hint}." for option in options)
    return f"{head}\n\n[{command}-options]\nsyntax = {' | '.join(map(_syntax, options))}\ndescription = {told}\n"


def _syntax(option: Option) -> str:
    return f"{option.name}=<{_KINDS[option.kind]}>"


if __name__ == "__main__":
    sys.exit(main())
