"""A whole set-up in small: the packaged app in the stand-in splunkd, in front of an EDR server over the samples.

`python tests/connectors/splunk/demo_splunk.py` pastes what the README's searches give into the README. Of SPL this
knows, as far as the README uses them, `index=… NAME=VALUE …` over the sample events, `dedup`, `eval NAME=lower(NAME)`,
`head`, `lookup`, `search`, `sort`, `stats count by` and `table`. The app's own commands are the real ones, in processes
of their own, and the lookup reads what the handler has written.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import trustme

from cbsigned.render.rows import rows_table
from cbsigned.samples import sample_path
from cbsigned.store.ingest import ingest
from connectors.edr_server.serving import TOKEN, serving
from splunkd.instance import Splunkd
from splunkd.packages import build, unpack
from splunkd.rest import User
from splunkd.search import chunked
from support import PROJECT

__all__ = ["README", "Desk", "desk", "rendered"]

README = PROJECT / "README.md"
COMMANDS = ("cbsigned", "cblineage", "cbprocess", "cbbinary", "cbactivity", "cbhealth")
_BLOCK = re.compile(r"(<!-- splunk output of: (?P<spl>.+?) -->\n```\w*\n)(?P<output>.*?)(```)", re.DOTALL)
_WIDTH = 132
Event = dict[str, str]


class Desk:
    """An analyst's seat.

    Attributes:
        splunkd: The stand-in, set up against the EDR server.
        analyst: A plain user with the app's role for analysts.
    """

    def __init__(self, splunkd: Splunkd) -> None:
        self.splunkd = splunkd
        self.analyst = splunkd.user("ana", roles=("user", "cbsigned_user"))

    def search(self, spl: str, user: Optional[User] = None) -> list[Event]:
        """Return what a search gives; see the module for how much SPL is known."""
        events: list[Event] = []
        for number, stage in enumerate(part.strip() for part in re.split(r"\|(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", spl)):
            if stage or number:
                events = self._stage(stage, events, user or self.analyst)
        return events

    def _stage(self, stage: str, events: list[Event], user: User) -> list[Event]:
        name, *args = shlex.split(stage, posix=False)
        if name in COMMANDS:
            given = [{key.encode(): value.encode() for key, value in event.items()} for event in events]
            outcome = self.splunkd.search(name, args, user=user, chunks=chunked(given, [1000]) if given else ())
            if outcome.error is not None:
                raise AssertionError(f"{stage}: {outcome.error}")
            return [{key.decode(): _text(cell) for key, cell in event.items()} for event in outcome.events]
        if name.startswith("index="):
            return _matching(sample_events(), args)
        if name == "lookup":
            return self._looked_up(events, args)
        found: list[Event] = _KNOWN[name](events, args)
        return found

    def _looked_up(self, events: list[Event], args: Sequence[str]) -> list[Event]:
        """`lookup COLLECTION NAME OUTPUT FIELD …`, from the KV store."""
        collection, name, _output, *outputs = args
        known = {str(row[name]): row for row in self._known(collection)}
        return [{**event, **_chosen(known.get(event.get(name, ""), {}), outputs)} for event in events]

    def _known(self, collection: str) -> list[Mapping[str, Any]]:
        """Return the rows of a collection; the handler writes them beside its answers, so they are waited for."""
        patience = time.monotonic() + 10
        while True:
            rows: list[Mapping[str, Any]] = self.splunkd.management.collection(collection).find({})
            if rows or time.monotonic() > patience:
                return rows
            time.sleep(0.02)


def _chosen(row: Mapping[str, Any], names: Sequence[str]) -> Event:
    return {name: str(row[name]) for name in names if name in row}


def sample_events() -> list[Event]:
    """Return the forwarder events of the samples with the fields that Splunk takes from their JSON."""
    lines = sample_path("telemetry/events.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: str(value) for name, value in json.loads(line).items() if value != ""} for line in lines]


def _matching(events: list[Event], terms: Sequence[str]) -> list[Event]:
    return [event for event in events if all(_holds(event, term) for term in terms)]


def _holds(event: Event, term: str) -> bool:
    name, _, value = term.partition("=")
    fits = _fits(event.get(name.rstrip("!"), ""), value.strip('"'))
    return not fits if name.endswith("!") else fits


def _fits(text: str, pattern: str) -> bool:
    parts = ".*".join(re.escape(part) for part in pattern.split("*"))
    return bool(text) and re.fullmatch(parts, text, re.IGNORECASE | re.DOTALL) is not None


def _stats(events: list[Event], args: Sequence[str]) -> list[Event]:
    names = [name.strip(",") for name in args[2:]]
    counted = Counter(tuple(event[name] for name in names) for event in events if all(n in event for n in names))
    return [{**dict(zip(names, values)), "count": str(n)} for values, n in sorted(counted.items())]


def _eval(events: list[Event], args: Sequence[str]) -> list[Event]:
    match = re.fullmatch(r"(\w+)=lower\((\w+)\)", " ".join(args))
    if match is None:
        raise ValueError(f"eval {' '.join(args)} is more SPL than this knows")
    return [{**event, match[1]: event.get(match[2], "").lower()} for event in events]


def _sort(events: list[Event], args: Sequence[str]) -> list[Event]:
    for arg in reversed(args):
        name = arg.strip(",").lstrip("-")
        events = sorted(events, key=lambda e: _rank(e.get(name, "")), reverse=arg.startswith("-"))
    return events


def _rank(text: str) -> tuple[float, str]:
    return (float(text), "") if re.fullmatch(r"\d+", text) else (0.0, text)


def _dedup(events: list[Event], args: Sequence[str]) -> list[Event]:
    return list({event[args[0]]: event for event in reversed(events) if args[0] in event}.values())[::-1]


_KNOWN: dict[str, Any] = {
    "search": _matching,
    "stats": _stats,
    "sort": _sort,
    "dedup": _dedup,
    "eval": _eval,
    "head": lambda events, args: events[: int(args[0])],
    "table": lambda events, args: [
        {name.strip(","): event.get(name.strip(","), "") for name in args} for event in events
    ],
}


def _text(cell: Any) -> str:
    return cell.decode("utf-8") if isinstance(cell, bytes) else b"\n".join(cell).decode("utf-8")


def table(events: Sequence[Event]) -> str:
    """Return events as a table, as wide as the README's others."""
    names = list(dict.fromkeys(name for event in events for name in event))
    return rows_table(names, [[event.get(name, "") for name in names] for event in events], "table", _WIDTH)


@contextlib.contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Build the app, unpack it, and set it up against an EDR server over the samples, over TLS.

    Args:
        folder: An empty one.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    ingest(folder / "s.db", [sample_path("telemetry")])
    app = unpack(build(folder), folder / "package")
    (folder / "home").mkdir()
    with (
        serving(folder / "s.db", cert=folder / "cert.pem", key=folder / "key.pem") as edr,
        Splunkd(folder / "home", app) as splunkd,
    ):
        splunkd.configure(
            TOKEN, edr={"url": edr.url.replace("localhost", "127.0.0.1"), "ca_file": str(folder / "ca.pem")}
        )
        yield Desk(splunkd)


def rendered(text: str, found: Desk) -> str:
    """Return a text with every output of a search made anew."""
    return _BLOCK.sub(
        lambda m: f"{m.group(1)}{m.group('spl')}\n\n{table(found.search(m.group('spl')))}{m.group(4)}", text
    )


def main() -> None:
    """Paste what the README's searches give into the README."""
    with tempfile.TemporaryDirectory(prefix="cb") as folder, desk(Path(folder)) as found:
        README.write_text(rendered(README.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
