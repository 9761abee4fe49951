"""What the commands that question the store share: their options, statuses in one batch, what is said beside them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional

from cbsigned.binary import Signature
from cbsigned.cli import Context, common_options
from cbsigned.errors import ConfigError
from cbsigned.observables import parse_md5, parse_sha256, printable, read_hashes
from cbsigned.render.clean import clean, clip, clip_left, width
from cbsigned.render.document import Document
from cbsigned.settings import Settings
from cbsigned.signing import BinarySource, signing_statuses
from cbsigned.status import SigningStatus
from cbsigned.store.events import milliseconds
from cbsigned.store.records import moment
from cbsigned.timing import Deadline, format_time, parse_time

__all__ = [
    "SHARE", "Subparsers", "count", "deadline_option", "fitted", "hashes_option", "image_status", "paging_options",
    "question", "say_failures", "say_paging", "settings_of", "status_of", "statuses", "time_text", "when", "words",
    "wrapped",
]  # fmt: skip

SHARE = 0.8
"""Of the deadline, what the search itself may take; the rest is for the signing statuses of what it found."""

MOST_ROWS = 100_000

_LEAST = 14
_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/]")

Subparsers = Any  # argparse names its type privately


def question(subparsers: Subparsers, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    """Return the parser of a command, with the options that all have."""
    form = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, formatter_class=form
    )
    common_options(parser)
    return parser


def paging_options(parser: argparse.ArgumentParser, rows: int, what: str) -> None:
    """Add `--rows` and `--start`."""
    parser.add_argument(
        "--rows", type=count(0, MOST_ROWS), default=rows, metavar="N", help=f"most {what} to show (default: {rows})"
    )
    parser.add_argument(
        "--start", type=count(0, 2**53), default=0, metavar="N", help="how many to pass over first (default: 0)"
    )


def deadline_option(parser: argparse.ArgumentParser, per: str = "") -> None:
    """Add `--deadline`."""
    parser.add_argument(
        "--deadline", type=float, metavar="SECONDS",
        help=f"for the whole answer{per}, 0.1 to 3600 (default: the setting deadline_s)",
    )  # fmt: skip


def hashes_option(texts: Sequence[str]) -> list[str]:
    """Return hashes that may be asked for, each once.

    Raises:
        ConfigError: One of them is none.
    """
    found: dict[str, None] = {}
    for text in texts:
        known = parse_md5(text) or parse_sha256(text)
        if known is None:
            sha1 = len(text.strip()) == 40 and read_hashes(text).sha1
            why = "a SHA-1, and telemetry names files by MD5 and SHA-256" if sha1 else "no hash"
            raise ConfigError(f"{printable(text, 70)} is {why}: name an MD5 (32 hex digits) or a SHA-256 (64).")
        found[known] = None
    return list(found)


def settings_of(args: argparse.Namespace, context: Context) -> Settings:
    """Return the settings with the command's own deadline and depth over them.

    Raises:
        ConfigError: One of them cannot be used.
    """
    options = {
        "deadline_s": (args.deadline, "--deadline"),
        "max_depth": (getattr(args, "depth", None), "--depth"),
        "relatives": (getattr(args, "relatives", None), "--relatives"),
    }
    return context.settings_with({
        name: (str(value), option) for name, (value, option) in options.items() if value is not None
    })  # fmt: skip


def count(least: int, most: int) -> Callable[[str], int]:
    """Return what reads an option's whole number."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{printable(text, 40)} is not a whole number from {least} to {most}")
        return int(text)

    return read


def when(text: str) -> int:
    """Read an option's time as milliseconds since 1970."""
    at = parse_time(f"{text}T00:00Z" if len(text) == 10 and text[4:5] == "-" else text)
    if at is None:
        raise argparse.ArgumentTypeError(
            f"{printable(text, 40)} is no time: write 2015-11-16T18:14:28.5Z, or 2015-11-16"
        )
    return milliseconds(at) or 0


def words(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what reads an option's list of words, parted by commas."""

    def read(text: str) -> list[str]:
        given = [word.strip().lower() for word in text.split(",") if word.strip()]
        strange = next((word for word in given if word not in known), None)
        if strange is not None or not given:
            raise argparse.ArgumentTypeError(f"{printable(strange or text, 40)} is none of {', '.join(known)}")
        return given

    return read


def statuses(source: BinarySource, hashes: Iterable[Optional[str]], deadline: Deadline) -> dict[str, Signature]:
    """Return the signing status of every hash that is one, asked for together."""
    return signing_statuses(source, [file_hash for file_hash in hashes if file_hash], deadline)


def status_of(found: Mapping[str, Signature], md5: Optional[str], sha256: Optional[str] = None) -> Document:
    """Return `status`, `reason` and `publisher` for a row; all None where the row is about no file."""
    signature = found.get(md5 or "") or found.get(sha256 or "")
    if signature is None:
        return {"status": None, "reason": None, "publisher": None}
    return {"status": signature.status.value, "reason": signature.reason, "publisher": signature.publisher}


def image_status(found: Mapping[str, Signature], md5: Optional[str], sha256: Optional[str]) -> Document:
    """Return `status`, `reason` and `publisher` of a process's image; Unknown where no hash of it was recorded."""
    told = status_of(found, md5, sha256)
    if told["status"] is not None:
        return told
    reason = "No hash of its image was recorded, so its signature could not be looked up."
    return {"status": SigningStatus.UNKNOWN.value, "reason": reason, "publisher": None}


def time_text(at: Optional[int]) -> Optional[str]:
    """Return a time of the store as text; None for none and for 0, which stands for none."""
    return format_time(moment(at)) if at else None


def fitted(context: Context, rows: Sequence[Document], columns: Sequence[str], loose: str) -> list[Document]:
    """Return rows for a table whose loose column takes what the others leave, so that ids and hashes stay whole.

    A path is cut at its beginning, any other text at its end; only a terminal's table cuts at all.
    """
    if context.output != "table":
        return list(rows)
    room = _room(context, rows, columns, loose)
    return [{**row, loose: _cut(clean(row.get(loose)), room)} for row in rows]


def wrapped(context: Context, rows: Sequence[Document], columns: Sequence[str], loose: str) -> list[Document]:
    """Return rows for a table whose loose column goes on in rows of its own instead of being cut."""
    if context.output != "table":
        return list(rows)
    room, made = _room(context, rows, columns, loose), []
    for row in rows:
        lines = context.style.lines(clean(row.get(loose)), room, most=20)
        made += [{**(row if at == 0 else {}), loose: line} for at, line in enumerate(lines)]
    return made


def _room(context: Context, rows: Sequence[Document], columns: Sequence[str], loose: str) -> int:
    """Return how many cells the other columns leave."""
    shown = [name for name in columns if name != loose]
    texts = [[clean(row.get(name)) for name in shown] for row in rows]
    taken = [max([len(name), *(width(row[place]) for row in texts)]) for place, name in enumerate(shown)]
    filled = [2 + cells for place, cells in enumerate(taken) if any(row[place] for row in texts)]
    return max(_LEAST, context.style.width - sum(filled))


def _cut(text: str, room: int) -> str:
    return clip_left(text, room) if _PATH.match(text) else clip(text, room)


def say_failures(context: Context, reasons: Iterable[str]) -> None:
    """Say on standard error, once each, why something could not be looked at."""
    for reason in dict.fromkeys(reasons):
        context.say(f"cbsigned: {reason}")


def say_paging(context: Context, what: str, shown: int, start: int, total: int, *, at_least: bool = False) -> None:
    """Say how many there are in all, and how to see more."""
    number = f"{'at least ' if at_least else ''}{total:,}"
    if not total and not at_least:
        context.say(f"No {what}.")
    elif start + shown < total and shown:
        more = f"more exist: --start {start + shown}"
        context.say(f"{what.capitalize()} {start + 1:,} to {start + shown:,} of {number}; {more}")
    elif shown and (start or at_least):
        context.say(f"{what.capitalize()} {start + 1:,} to {start + shown:,} of {number}.")
    else:
        context.say(f"{number} {_SINGULAR[what] if total == 1 and not at_least else what}.")


_SINGULAR = {"processes": "process", "binaries": "binary", "events": "event"}
