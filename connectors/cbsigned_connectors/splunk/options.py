"""The options of all search commands: one table each, their parsing, and what a wrong one is told.

The tables are the one place for names, defaults and ranges: `searchbnf.conf` and the documentation are checked
against them. Imported by every start of a command, so this needs no other module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

__all__ = ["COMMANDS", "Option", "OptionError", "parse_options", "printable"]

_SWITCH = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
_PREFIX = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
_MAX_PREFIX = 40
_MAX_FIELD = 256
_MAX_TEXT = 65_536
_HEX = frozenset("0123456789abcdefABCDEF")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_KINDS = ("filemod", "regmod", "modload", "netconn", "childproc", "crossproc", "block")
"""Of events: those of `cbsigned.edr.events`, which is not imported here because it comes with the network."""


class OptionError(ValueError):
    """An option cannot be used; the text names it, what is expected, the default and an example."""


class Option:
    """One option as the user writes it, `name=value`.

    Attributes:
        kind: `field`, `prefix`, `seconds`, `number`, `switch`, `text`, `guid`, `kinds` or `sort`.
        default: As the user would write it; None where the option must be given.
        help: What it is for, a sentence without its full stop.
        low, high: Range of a number, both included.
        example: A value to try.
    """

    def __init__(
        self, name: str, kind: str, default: Optional[str], help: str, example: str, low: float = 0, high: float = 0
    ) -> None:
        self.name, self.kind, self.default, self.help, self.example = name, kind, default, help, example
        self.low, self.high = low, high

    @property
    def expected(self) -> str:
        """What a value must be, range and unit included: `seconds, 0.1 to 600`."""
        if self.kind in ("seconds", "number"):
            unit = "seconds" if self.kind == "seconds" else "a whole number"
            return f"{unit}, {self.low:g} to {self.high:.0f}"
        return {
            "field": f"the name of a field, up to {_MAX_FIELD} characters, without quotes, commas, * or \\",
            "prefix": f"up to {_MAX_PREFIX} of the characters A-Z, a-z, 0-9, _ and .",
            "switch": "true or false",
            "text": "a text in quotes",
            "guid": "a process guid of Carbon Black's, 36 characters",
            "kinds": f"some of {', '.join(_KINDS)}, with commas",
            "sort": "a field and asc or desc",
        }[self.kind]

    def parse(self, text: str) -> Any:
        """Return the value that a text means: str, float, int or bool.

        Raises:
            OptionError: It is not what this option takes.
        """
        value = _PARSERS[self.kind](self, text)
        if value is None:
            raise OptionError(f"{self.name} is {printable(text)}: expected {self.expected}. {self.hint}")
        return value

    @property
    def hint(self) -> str:
        """The default, and an example: the end of every message about this option."""
        nothing = "all" if self.kind == "kinds" else "none"
        default = "It must be given" if self.default is None else f"Default: {self.default or nothing}"
        return f"{default}. Example: {self.usage}"

    @property
    def usage(self) -> str:
        """The example as it stands in a search: `sort="start desc"`."""
        plain = set(self.example) <= _PREFIX | {"-", ":"}
        return f"{self.name}={self.example}" if plain else f'{self.name}="{self.example}"'


def _field(_option: Option, text: str) -> Optional[str]:
    usable = 0 < len(text) <= _MAX_FIELD and text.isprintable() and not set(text) & set("\"'*\\,")
    return text if usable and not text.startswith("__mv_") and text != "_chunked_idx" else None


def _prefix(_option: Option, text: str) -> Optional[str]:
    return text if len(text) <= _MAX_PREFIX and set(text) <= _PREFIX and not text.startswith("__mv_") else None


def _seconds(option: Option, text: str) -> Optional[float]:
    digits = text[:-1] if text.endswith("s") else text
    if not digits.replace(".", "", 1).isdigit() or not digits.isascii() or len(digits) > 12:
        return None
    value = float(digits)
    return value if option.low <= value <= option.high else None


def _number(option: Option, text: str) -> Optional[int]:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    return int(text) if option.low <= int(text) <= option.high else None


def _switch(_option: Option, text: str) -> Optional[bool]:
    return _SWITCH.get(text.lower())


def _text(_option: Option, text: str) -> Optional[str]:
    return text if len(text) <= _MAX_TEXT and text.strip() else None


def _guid(_option: Option, text: str) -> Optional[str]:
    parts = text.strip().split("-") if len(text) <= 64 else []
    segment = parts[5] if len(parts) == 6 else "0"
    whole = [*map(len, parts[:5])] == [8, 4, 4, 4, 12] and len(parts) <= 6 and 0 < len(segment) <= 12
    return text if whole and set().union(*parts) <= _HEX else None


def _kinds(_option: Option, text: str) -> Optional[str]:
    words = text.replace(",", " ").split() if len(text) <= _MAX_TEXT else []
    return text if words and set(words) <= {*_KINDS} else None


def _sort(_option: Option, text: str) -> Optional[str]:
    field, _blank, direction = text.partition(" ")
    usable = 0 < len(field) <= 64 and "a" <= field[0] <= "z" and set(field) <= _NAME
    return text if usable and direction in ("asc", "desc") else None


_PARSERS: dict[str, Any] = {
    "field": _field, "prefix": _prefix, "seconds": _seconds, "number": _number, "switch": _switch, "text": _text,
    "guid": _guid, "kinds": _kinds, "sort": _sort,
}  # fmt: skip

_TIMEOUT = Option("timeout", "seconds", "60", "the longest that the whole search waits for answers", "120", 0.1, 600)
_CACHE = Option("cache", "switch", "true", "false asks the EDR anew, whatever is known", "false")
_DECLARE = Option("declare", "switch", "false", "true tells splunkd the names of the new fields beforehand", "true")
_MAXROWS = Option("maxrows", "number", "1000", "the most rows that are returned", "5000", 1, 100_000)

COMMANDS: dict[str, tuple[Option, ...]] = {
    "cbsigned": (
        Option(
            "field", "field", "", "the field with the MD5 or SHA-256; by default process_md5, md5 or process_hash, "
            "the first that has something", "file_hash",
        ),
        Option("prefix", "prefix", "cbsigned_", "what the names of the new fields begin with", "cb_"),
        _TIMEOUT,
        _CACHE,
        Option("lineage", "switch", "false", "true adds the ancestors of the process", "true"),
        _DECLARE,
    ),
    "cblineage": (
        Option(
            "guid", "field", "", "the field with the process guid; by default process_guid or process_id, else the "
            "process is found by host, pid and time", "parent_guid",
        ),
        Option("prefix", "prefix", "lineage_", "what the names of the new fields begin with", "chain_"),
        _TIMEOUT,
        Option("max_depth", "number", "16", "the most ancestors that are followed", "5", 0, 500),
        _CACHE,
        _DECLARE,
    ),
    "cbprocess": (
        Option("query", "text", None, "what to search for, in the EDR's own query language", "process_name:cmd.exe"),
        _MAXROWS,
        Option("sort", "sort", "", "what to sort by, by default the newest first", "start desc"),
    ),
    "cbbinary": (
        Option("query", "text", None, "what to search for, in the EDR's own query language", "digsig_result:Unsigned"),
        _MAXROWS,
    ),
    "cbactivity": (
        Option("guid", "guid", None, "whose activity it is", "00000001-0000-0a1c-01d5-0c2d1f3e5a7b"),
        Option("kinds", "kinds", "", "which kinds of events, by default all", "netconn,filemod"),
        _MAXROWS,
    ),
    "cbhealth": (),
}  # fmt: skip
"""Command → its options, in the order in which they are documented."""


def parse_options(command: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the value of every option of a command, the defaults included.

    Args:
        command: One of `COMMANDS`.
        arguments: As splunkd gives them: `name=value`, or in two or three pieces where blanks stood around `=`.

    Returns:
        Option → str, float, int or bool; "" for a field or text that was not given.

    Raises:
        OptionError: An option that the command does not have, one given twice or missing, or a value it does not take.
    """
    table = {option.name: option for option in COMMANDS[command]}
    values: dict[str, Any] = {}
    for name, text in _pairs(command, arguments):
        option = table.get(name.lower())
        if option is None:
            raise OptionError(f"{printable(name)} is not an option of {command}. {_overview(command)}")
        if option.name in values:
            raise OptionError(f"{option.name} is given twice. Leave one of them out. {option.hint}")
        values[option.name] = "" if not text and option.default == "" else option.parse(text)
    for option in table.values():
        if option.default is None and option.name not in values:
            raise OptionError(f"{option.name} is missing: expected {option.expected}. {option.hint}")
        if option.name not in values:
            values[option.name] = option.parse(option.default) if option.default else ""
    return values


def _pairs(command: str, arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Return names and values, put together again where blanks stood around `=`."""
    names = {option.name for option in COMMANDS[command]}
    pairs: list[tuple[str, str]] = []
    pending = list(arguments)
    while pending:
        name, equals, value = pending.pop(0).partition("=")
        alone = not equals and pending[:1] == ["="]
        if not equals and pending and pending[0].startswith("="):
            equals, value = "=", pending.pop(0)[1:]
        if not equals or not name:
            raise OptionError(f"{printable(name or equals + value)} is not name=value. {_overview(command)}")
        if not value and pending and (alone or pending[0].partition("=")[0].lower() not in names):
            value = pending.pop(0)
        pairs.append((name, value))
    return pairs


def _overview(command: str) -> str:
    names = ", ".join(option.name for option in COMMANDS[command])
    if not names:
        return f"{command} has no options."
    first = COMMANDS[command][0]
    return f"Options of {command}: {names}. Example: | {command} {first.usage}"


def printable(text: str, most: int = 80) -> str:
    """Return a text from outside in quotes, cut to `most` characters, fit for a message."""
    clean = "".join([c if c.isprintable() else "?" for c in text[: most + 1]])
    return f'"{clean[:most]}…"' if len(clean) > most else f'"{clean}"'
