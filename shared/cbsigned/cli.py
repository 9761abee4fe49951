"""The command line: options that every command has, where it prints, and how it ends.

Sub-commands are found in the entry-point group `cbsigned.commands`: each is a function `(subparsers) -> None` that
adds its parser and sets `run`, a function `(args, context) -> exit code`. So this module names no connector.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Optional, TextIO, Union

from cbsigned.config import Configuration, load_configuration
from cbsigned.errors import CbSignedError, ConfigError, SourceError
from cbsigned.output import Progress, json_line
from cbsigned.settings import Settings, expanded, parse_settings
from cbsigned.timing import Deadline

if TYPE_CHECKING:
    from cbsigned.clickhouse.address import Address
    from cbsigned.edr import EdrSource
    from cbsigned.enrichment import Sources
    from cbsigned.render.style import Style

__all__ = ["Context", "ExitCode", "common_options", "main"]

OUTPUTS = ("table", "json", "markdown", "html", "csv")
_ON_CLICKHOUSE = "enrich, signed, lineage, search and serve"
"""The commands that take a store on ClickHouse."""
_EXIT_CODES = """
exit codes:
  0    everything asked was answered (Unknown is an answer)
  1    answered, but some look-ups failed or some input was malformed: see the gaps and standard error
  2    wrong usage, configuration or input
  3    the source cannot be asked at all
  130  interrupted"""


class ExitCode:
    """How a command ended; see `cbsigned --help`."""

    OK = 0
    INCOMPLETE = 1
    USAGE = 2
    SOURCE = 3
    INTERRUPTED = 130


class Context:
    """What a command works with: streams, settings, the source, and how to print.

    Args:
        args: Parsed options; the common ones are read here.
        environ: The process environment.
    """

    def __init__(self, args: argparse.Namespace, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self._args, self._environ = args, environ
        self._configuration: Optional[Configuration] = None
        self._closing = contextlib.ExitStack()
        self.output: str = args.output or ("table" if stdout.isatty() else "json")

    def close(self) -> None:
        """Close what was opened to be asked."""
        self._closing.close()

    @property
    def configuration(self) -> Configuration:
        """Settings with their origins, read once."""
        if self._configuration is None:
            self._configuration = load_configuration(self._args.config, self._environ)
        return self._configuration

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.configuration.settings

    @property
    def colour(self) -> bool:
        """Whether standard output is a terminal that wants colour."""
        return self.stdout.isatty() and not self._environ.get("NO_COLOR") and self._environ.get("TERM") != "dumb"

    @property
    def style(self) -> Style:
        """How text is set on standard output."""
        from cbsigned.render.style import Style, can_draw

        return Style(self._width(), self.colour, not can_draw(self.stdout.encoding))

    @property
    def stdin(self) -> BinaryIO:
        """Standard input as bytes."""
        return sys.stdin.buffer

    def stdin_lines(self) -> list[str]:
        """Return the lines of standard input without blanks."""
        text = self.stdin.read().decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def settings_with(self, options: Mapping[str, tuple[str, str]]) -> Settings:
        """Return the settings with a command's own options over them, validated the same way.

        Args:
            options: Name of the setting → its text and the option that it came from.

        Raises:
            ConfigError: An option cannot be used.
        """
        texts = {name: text for name, (text, _option) in options.items()}
        places = {("cbsigned", name): option for name, (_text, option) in options.items()}
        chosen = parse_settings({"cbsigned": texts}, places)
        return replace(self.settings, **{name: getattr(chosen, name) for name in options})

    def store_path(self) -> Path:
        """Return the file of the store that `--store`, `CBSIGNED_STORE` or the configuration names.

        Raises:
            ConfigError: None of them does, or it is no file, and what asks needs one.
        """
        store = self.store()
        if not isinstance(store, Path):
            raise ConfigError(
                f"This does not run on ClickHouse ({store.shown}). Name the store's file: --store PATH. On ClickHouse "
                f"run {_ON_CLICKHOUSE}; new telemetry goes into a file, and that to a new database by store copy."
            )
        return store

    def store(self) -> Union[Path, Address]:
        """Return the store that is named: a file, or where it is on ClickHouse.

        Raises:
            ConfigError: None is, or the address cannot be used.
        """
        named = self._args.store or self.settings.store
        if not named:
            raise ConfigError("No store is named. Use --store PATH or set CBSIGNED_STORE.")
        return self.place_of(named)

    def place_of(self, named: str) -> Union[Path, Address]:
        """Return a store that is named by a path or an address; who asks ClickHouse is told by the environment alone.

        Raises:
            ConfigError: It cannot be used.
        """
        from cbsigned.clickhouse.address import PASSWORD_VARIABLE, USER_VARIABLE, address_of, is_address

        if not is_address(named):
            return expanded(named)
        return address_of(named, self._environ.get(USER_VARIABLE), self._environ.get(PASSWORD_VARIABLE))

    def sources(self) -> Sources:
        """Open what is to be asked: the named store, else the configured EDR server.

        Raises:
            ConfigError: Neither is configured.
            SourceError: The store cannot be opened.
        """
        from cbsigned.enrichment import Caches, Sources, process_cache, signature_cache

        if self._asks_store():
            place = self.store()
            if isinstance(place, Path):
                from cbsigned.store.source import StoreSource

                store = self._closing.enter_context(StoreSource(place))
                return Sources(store, store, store)
            from cbsigned.clickhouse.source import ClickHouseSource

            shards = self._closing.enter_context(ClickHouseSource(place))
            return Sources(shards, shards, shards, Caches())  # a copy does not change
        from cbsigned.rediscache.cache import durable_cache

        edr = self._edr()
        durable, server = durable_cache(self.settings)
        if server is not None:
            self._closing.callback(server.close)
        return Sources(edr, edr, edr, Caches(signature_cache(durable), process_cache(durable)))

    def _asks_store(self) -> bool:
        return bool(self._args.store or self.settings.store)

    def _edr(self) -> EdrSource:
        from cbsigned.edr import connect

        if self.settings.edr is None:
            raise ConfigError(
                "Nothing to ask: no store is named and no server is configured. Use --store PATH, or set "
                "CBSIGNED_EDR_URL and CBSIGNED_EDR_TOKEN, or write a configuration file (cbsigned config --help)."
            )
        return self._closing.enter_context(connect(self.settings.edr))

    def check(self) -> list[tuple[Optional[bool], str, str]]:
        """Try the source: for each thing tried whether it works (None: cannot be told), its name, and what was found.

        Raises:
            ConfigError: Nothing to ask is configured.
        """
        deadline = Deadline(self.settings.deadline_s)
        if not self._asks_store():
            edr = self._edr()
            found = [(finding.ok, finding.topic, finding.text) for finding in edr.check(deadline)]
            return found + self._cache_found()
        source = self.sources().binaries
        answer = source.binaries([f"{1:032x}"], deadline).get(f"{1:032x}")
        failed = isinstance(answer, SourceError)
        place = self.store()
        shown = place if isinstance(place, Path) else place.shown
        return [(not failed, "store", str(answer) if failed else f"ready: {shown}")]

    def _cache_found(self) -> list[tuple[Optional[bool], str, str]]:
        """Return whether the shared cache answers, where one is configured."""
        from cbsigned.rediscache.cache import durable_cache

        _durable, server = durable_cache(self.settings)
        if server is None:
            return []
        with contextlib.closing(server):
            trouble = server.check()
        return [(trouble is None, "cache", trouble or f"{server.shown} answers and can be written")]

    def emit(self, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
        """Print rows in the chosen output: aligned columns, JSON lines, CSV, or a Markdown or HTML table.

        Args:
            columns: The ones to show, in order; JSON lines hold all of a row.
        """
        if self.output == "json":
            for row in rows:
                self.stdout.write(self.json_line(row))
        elif self.output == "csv":
            from cbsigned.render.clean import clean
            from cbsigned.render.csv import spreadsheet_safe

            writer = csv.writer(self.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([spreadsheet_safe(clean(_cell(row.get(name)))) for name in columns] for row in rows)
        else:
            from cbsigned.render.rows import rows_table

            texts = [[_cell(row.get(name)) for name in columns] for row in rows]
            self.stdout.write(rows_table(columns, texts, self.output, self._width()))

    def progress(
        self, label: str, total: Optional[int] = None, *, between_rows: bool = False, in_bytes: bool = False
    ) -> Progress:
        """Return a progress line; it draws on a terminal alone.

        Args:
            in_bytes: `total` and what is done are bytes of input.
            between_rows: Rows are printed meanwhile; where they go to a terminal too, nothing is drawn.
        """
        shown = self.stderr.isatty() and not (between_rows and self.stdout.isatty())
        return Progress(self.stderr, label, total, shown, in_bytes=in_bytes)

    def check_output(self, name: str, inputs: Sequence[str]) -> None:
        """Refuse a file that could not be written at the end, or that would write over what is read.

        Raises:
            ConfigError: Its folder is not there or closed, or it is an input or the store.
        """
        path = Path(name)
        read = [Path(text) for text in inputs if text != "-"]
        store = self.store() if self._asks_store() else None
        read += [store] if isinstance(store, Path) else []
        if any(path.exists() and other.exists() and path.samefile(other) for other in read):
            raise ConfigError(f"{name} is read by this command and would be written over. Name another file.")
        if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise ConfigError(f"{name} cannot be written: its folder is not there, or closed to you.")

    def json_line(self, row: object) -> str:
        """Return a row as one line of JSON that standard output can hold."""
        return json_line(row, self.stdout.encoding)

    def say(self, text: str) -> None:
        """Write one line for the person to standard error."""
        self.stderr.write(text + "\n")

    def _width(self) -> int:
        """Return the cells of a line: the terminal's, else `COLUMNS`, else 140."""
        if self.stdout.isatty():
            with contextlib.suppress(OSError, ValueError):
                return max(40, os.get_terminal_size(self.stdout.fileno()).columns)
        columns = self._environ.get("COLUMNS", "")
        return max(40, min(int(columns), 4000)) if columns.isascii() and columns.isdigit() else 140


def common_options(parser: argparse.ArgumentParser, *, outputs: Sequence[str] = OUTPUTS) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("common options")
    group.add_argument(
        "--store", metavar="PATH", help="the store to ask: a file, or clickhouse://… (default: CBSIGNED_STORE)"
    )
    group.add_argument("--config", metavar="FILE", help="settings (default: ~/.config/cbsigned/config.ini)")
    group.add_argument("--output", choices=outputs, help="default: table on a terminal, json in a pipe")
    group.add_argument(
        "-v", "--verbose", action="count", default=0, help="say more on standard error; -vv each request"
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line and return the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return ExitCode.USAGE
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # half a character in a record ends no run
    level = {0: logging.WARNING, 1: logging.INFO}.get(args.verbose, logging.DEBUG)
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # its DEBUG lines hold whole queries
    try:
        with contextlib.closing(Context(args, sys.stdout, sys.stderr, os.environ)) as context:
            code = args.run(args, context)
        sys.stdout.flush()
        return int(code)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was written before is whole.\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except SourceError as exc:
        sys.stderr.write(f"cbsigned: {exc}\n")
        return ExitCode.SOURCE
    except CbSignedError as exc:
        sys.stderr.write(f"cbsigned: {exc}\n")
        return ExitCode.USAGE
    except OSError as exc:
        sys.stderr.write(f"cbsigned: {exc.strerror or exc}{f': {exc.filename}' if exc.filename else ''}\n")
        return ExitCode.USAGE


def _parser() -> argparse.ArgumentParser:
    from cbsigned import __version__

    parser = argparse.ArgumentParser(
        prog="cbsigned",
        description="Is this process signed, and where did it come from?",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cbsigned {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for point in sorted(_commands(), key=lambda p: _ORDER.index(p.name) if p.name in _ORDER else len(_ORDER)):
        try:
            point.load()(subparsers)
        except ImportError as exc:
            sys.stderr.write(f"cbsigned: the command {point.name} is left out: {exc}\n")
    return parser


_ORDER = (
    "enrich", "signed", "lineage", "search", "process", "binary", "related", "sweep", "store", "serve", "worker",
    "playbook", "edr-server", "backfill", "samples", "config",
)  # fmt: skip


def _commands() -> list[EntryPoint]:
    found: Any = entry_points()
    group = found.select(group="cbsigned.commands") if hasattr(found, "select") else found.get("cbsigned.commands", ())
    return list({point.name: point for point in group}.values())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


if __name__ == "__main__":
    sys.exit(main())
