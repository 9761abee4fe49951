"""`| cbsigned`: adds to events that carry a hash whether the file is signed, by whom, and how that is known.

Try `index=main process_md5=* | stats count by process_md5 | cbsigned`. `| cblineage` is built of the same parts. The
loop was checked with recordings of Splunk 6.3 and 8.2.1.

Splunk starts a process for every search, so nothing here opens a network or compiles a pattern: `streaming`, which
does, is imported with the first rows. Answers come from the app's persistent handler, the one that knows the token.
"""

from __future__ import annotations

from cbsigned_connectors.splunk import protocol
from cbsigned_connectors.splunk.options import OptionError, parse_options, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Callable, NoReturn, Optional

    from cbsigned_connectors.splunk.streaming import Client, Stream

__all__ = ["FIELDS", "FIND", "HASHES", "LINEAGE_FIELDS", "Plan", "SearchCommand", "main", "plan"]

FIELDS = {
    "status": ("signing", "status"),
    "signed": ("signing", "signed"),
    "publisher": ("signing", "publisher"),
    "issuer": ("signing", "issuer"),
    "sign_time": ("signing", "sign_time"),
    "why": ("signing", "why"),
    "source": ("signing", "source"),
    "age_s": ("signing", "age_s"),
}
"""Output field without its prefix → where it stands in the handler's answer."""

LINEAGE_FIELDS = {
    "lineage": ("lineage", "text"),
    "lineage_ended": ("lineage", "ended_by"),
    "lineage_why": ("lineage", "why"),
}
"""What `lineage=true` adds."""

HASHES = ("process_md5", "md5", "process_hash")
PROCESSES = ("process_guid", "process_id", "process_pid", "pid")
FIND = ("dest", "hostname", "computer_name", "host", "process_start_time", "_time", "process_name")
"""What only helps to find a process that has no guid, under the names that the core's row reader knows."""


class Plan:
    """What one search asks, and where it writes the answers.

    Args:
        columns: Field of the event → the name under which the handler is sent it.
        outputs: New field → where its value stands in the handler's answer.
        needs: Columns of which one must have something, else nothing is asked.
        enough: Columns that are asked where process_guid has a guid of Carbon Black's.
        nothing: Why, for an event where nothing is asked.
        options: As parsed.
    """

    def __init__(
        self, columns: Mapping[str, str], outputs: Mapping[str, tuple[str, str]], needs: Sequence[str],
        enough: Sequence[str], nothing: str, options: Mapping[str, Any], *, lineage: bool,
    ) -> None:  # fmt: skip
        self.columns, self.outputs = dict(columns), dict(outputs)
        self.needs, self.enough, self.nothing = tuple(needs), tuple(enough), nothing
        self.timeout_s: float = options["timeout"]
        self.declares: bool = options["declare"]
        self.document = {"lineage": lineage, "max_depth": options.get("max_depth", 16), "cache": options["cache"]}
        if lineage:  # its JSON is long, and not every command shows it
            self.document["lineage_fields"] = [name for part, name in self.outputs.values() if part == "lineage"]
        both = sorted({*self.columns} & {*self.outputs})
        if both:
            raise OptionError(
                f"{printable(both[0])} is looked up and would be overwritten by a new field of that name. "
                "Choose another prefix. Example: prefix=cb_"
            )


def plan(options: Mapping[str, Any]) -> Plan:
    """Return what `| cbsigned` asks with these options.

    Raises:
        OptionError: The field to look up is one of those that are written.
    """
    hashes = {options["field"]: "process_hash"} if options["field"] else {name: name for name in HASHES}
    columns, fields = dict(hashes), dict(FIELDS)
    if options["lineage"]:
        columns = {**{name: name for name in (*PROCESSES, *FIND)}, **hashes}
        fields.update(LINEAGE_FIELDS)
    needs = [*hashes, *(PROCESSES if options["lineage"] else ())]
    nothing = (
        f"The event has no hash: it has nothing in {' or '.join(map(printable, hashes))}. "
        "Name the field that has the MD5 or SHA-256 with field=…"
    )
    outputs = {options["prefix"] + name: place for name, place in fields.items()}
    enough = [*hashes, "process_guid"] if options["lineage"] else []
    return Plan(columns, outputs, needs, enough, nothing, options, lineage=options["lineage"])


class SearchCommand:
    """A streaming command as the protocol loop runs it: options at getinfo, look-ups from the first rows on.

    Args:
        name: Of the command, for its options and messages.
        plan: Options → what is asked.
        client: (splunkd's address, session key) → who is asked; None for the app's handler.
        more: For `Stream`: clock, sleep.
    """

    def __init__(
        self, name: str, plan: Callable[[Mapping[str, Any]], Plan],
        client: Optional[Callable[[str, str], Client]] = None, **more: Any,
    ) -> None:  # fmt: skip
        self._name, self._plan_of, self._client, self._more = name, plan, client, more
        self._plan: Optional[Plan] = None
        self._info: dict[str, Any] = {}
        self._stream: Optional[Stream] = None

    def getinfo(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return type and required fields, or the error that ends the search: a bad option, or being on an indexer."""
        info = metadata.get("searchinfo")
        self._info = {**info, "preview": metadata.get("preview") is True} if isinstance(info, dict) else {}
        if str(self._info.get("sid", "")).startswith("remote_"):
            return _error(
                f"{self._name} runs on search heads alone, and was sent to an indexer, which knows neither the "
                f"configuration nor the EDR. Put a command in front that gathers the events: | localop | {self._name}"
            )
        arguments = self._info.get("args")
        try:
            words = [str(word) for word in arguments] if isinstance(arguments, list) else []
            self._plan = self._plan_of(parse_options(self._name, words))
        except OptionError as exc:
            return _error(str(exc))
        declared = self._plan.outputs if self._plan.declares else ()
        return {"type": "stateful", "required_fields": [*self._plan.columns, *declared]}

    def execute(self, metadata: dict[str, Any], body: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:
        """Return the rows of a chunk with the new fields.

        Raises:
            ProtocolError: There was no getinfo, or the body is malformed.
        """
        finished = metadata.get("finished") is True
        if not body:
            return {"finished": finished}, ()
        if self._stream is None:
            if self._plan is None:
                raise protocol.ProtocolError("splunkd sent rows before getinfo.")
            from cbsigned_connectors.splunk import streaming

            self._stream = streaming.Stream(self._name, self._plan, self._info, self._client, **self._more)
        return self._stream.reply(finished, body)


def _error(text: str) -> dict[str, Any]:
    return {"finished": True, "error": text}


def main() -> NoReturn:
    """Serve one search of `| cbsigned`."""
    protocol.main(SearchCommand("cbsigned", plan))
