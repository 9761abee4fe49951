"""`| cbprocess`, `| cbbinary`, `| cbactivity` and `| cbhealth`: searches in the EDR, as events of Splunk.

Try `| cbprocess query="process_name:powershell.exe netconn_count:[1 TO *]" maxrows=200`. What an event has stands in
`generated.py`: `PROCESS_FIELDS`, `BINARY_FIELDS`, `ACTIVITY_FIELDS`.

They run once, on the search head (`stateful`), and ask our handler, which alone holds the token. Each reply to
splunkd is one page, so rows show while later pages are still to come; a page is asked for only when splunkd asks for
more. Built on splunk-sdk 2.1 and 3.0, whose own parsing of options is passed by: it is told that there are none, and
`options.py` reads them, so that a wrong one ends the search with a sentence that says what was expected.

References:
    - splunk §2 (errors, lock step), §3 (what the SDK does with the header of a chunk, and with `distributed`)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Callable, NoReturn, Optional

from splunklib.searchcommands import Configuration, GeneratingCommand

from cbsigned_connectors.splunk.generated import Ask, Page, pages, uniform
from cbsigned_connectors.splunk.options import OptionError, parse_options
from cbsigned_connectors.splunk.protocol import ProtocolError, dumps, read_frame, write_frame
from cbsigned_connectors.splunk.splunkd import HandlerClient, HandlerError

__all__ = ["GeneratedCommand", "main", "run"]

_ON_PEER = (
    "{0} asks the handler of the search head, and this is an indexer. Put it first in the search, or into a subsearch."
)
_PRESENT = {"earliest_time": "0", "latest_time": "0", "search": "", "dispatch_dir": "", "sid": "", "splunk_version": ""}
"""What the SDK needs of `searchinfo`, with what it is given where splunkd does not send it."""


@Configuration()
class GeneratedCommand(GeneratingCommand):  # type: ignore[misc]  # the SDK has no types
    """Writes the pages that it is given, one for each of splunkd's questions."""

    def __init__(self, found: Iterator[Page]) -> None:
        super().__init__()
        self._found = found
        self._rows = 0

    def generate(self) -> Iterator[Page]:
        """Return the pages; the SDK hands them to `_execute_chunk_v2`."""
        return self._found

    def _execute_chunk_v2(self, process: Iterator[Page], chunk: object) -> None:
        """Write one page; the SDK's own would collect as many rows as a chunk may have before it writes any."""
        page = next(process, Page(last=True))
        for text in page.warnings:
            self.write_warning("{}", text)
        for text in page.notes:
            self.write_info("{}", text)
        if page.error and self._rows:
            self.write_warning("{}", f"Not all rows are here. {page.error}")
        elif page.error:
            self._fail(page.error)
        for event in uniform(page.events):
            self._record_writer.write_record(event)
        self._rows += len(page.events)
        self._finished = page.last

    def _fail(self, text: str) -> NoReturn:
        """End the search as failed, for which the SDK has no words: no rows would read as *the EDR has none*."""
        self._record_writer._write_chunk((("finished", True), ("error", text)), "")
        raise SystemExit(0)


def main(name: str) -> NoReturn:
    """Serve splunkd on standard input and output, then exit; what else is printed goes to standard error."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.exit(run(name, sys.stdin.buffer, sink))


def run(
    name: str, source: BinaryIO, sink: BinaryIO, connect: Callable[[str, str], HandlerClient] = HandlerClient
) -> int:
    """Run one command from its getinfo frame to its end; return the exit code.

    Args:
        name: Of the command.
        source: What splunkd sends.
        sink: What it reads.
        connect: Makes the handler's client of splunkd's address and the session key.
    """
    try:
        frame = read_frame(source)
        if frame is None:
            return 0
        given = frame[0].get("searchinfo")
        info: dict[str, Any] = given if isinstance(given, dict) else {}
        values = parse_options(name, [str(argument) for argument in info.get("args") or ()])
        if str(info.get("sid", "")).startswith("remote_"):
            raise OptionError(_ON_PEER.format(name))
    except (ProtocolError, OptionError) as exc:
        write_frame(sink, {"finished": True, "error": str(exc)})
        sink.flush()
        return 0
    command = GeneratedCommand(pages(name, values, _asker(info, connect)))
    try:
        command.process([name], _Replayed(frame[0], {**_PRESENT, **info}, source), sink)
    except (BrokenPipeError, SystemExit) as exc:  # the search was cancelled, or has failed with a text of its own
        return exc.code if isinstance(exc, SystemExit) and isinstance(exc.code, int) else 0
    return 0


def _asker(info: dict[str, Any], connect: Callable[[str, str], HandlerClient]) -> Ask:
    """Return what asks the handler; it connects when it is first asked, so that getinfo opens nothing."""
    client: Optional[HandlerClient] = None

    def ask(route: str, document: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        nonlocal client
        if client is None:
            uri, key = info.get("splunkd_uri"), info.get("session_key")
            if not isinstance(uri, str) or not isinstance(key, str):
                raise HandlerError("splunkd told neither its address nor a session key. Run the search again.")
            client = connect(uri, key)
        return client.ask(route, document, timeout_s)

    return ask


class _Replayed:
    """splunkd's stream from the start again, the options taken out of getinfo: the SDK reads none, and no `record=`."""

    def __init__(self, getinfo: dict[str, Any], info: dict[str, Any], source: BinaryIO) -> None:
        head = dumps({**getinfo, "preview": False, "searchinfo": {**info, "args": [], "raw_args": []}})
        self._first = b"chunked 1.0,%d,0\n%b" % (len(head), head)
        self._source = source

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes, fewer at the end."""
        taken, self._first = self._first[:size], self._first[size:]
        return taken + self._source.read(size - len(taken)) if size > len(taken) else taken

    def readline(self) -> bytes:
        """Return one line, its end included."""
        if not self._first:
            return self._source.readline()
        line, end, self._first = self._first.partition(b"\n")
        return line + end
