"""What an analyst pastes: hashes, process guids, or alerts, made into the body that a sender would have posted."""

from __future__ import annotations

import json
import re

from cbsigned.observables import parse_process_id, printable, read_hashes
from cbsigned_connectors.webhook.models import ProblemError

__all__ = ["body_of"]

_MOST_LINES = 200
_MOST_SHOWN = 3
_BLANK = "\ufeff\u200b\xa0 \t\r\n"
_EDGES = _BLANK + "\"'`<>"  # what comes along when a value is copied out of a mail or a chat
_CONSOLE = re.compile(r"https?://[^\s#]{1,300}#/?(?:analyze|binary)/([0-9A-Fa-f-]{32,64})(?:/\d{1,20})?", re.ASCII)


def body_of(text: str) -> bytes:
    """Return what was pasted as a JSON body: alerts as they are, of hashes and guids one record each.

    A line may hold several hashes, each of its own file, one file's as Sysmon writes them
    (`MD5=…,SHA256=…,IMPHASH=…`), or the address of a page of the EDR console. Nothing is passed over: one line that
    is neither refuses the whole.

    Args:
        text: As typed; every kind of line end.

    Raises:
        ProblemError: 422; nothing was pasted, or a line is neither hash, guid nor the beginning of JSON.

    References:
        - cb-edr-api §10.3: `link_process`, `#analyze/<guid>/<segment>`; `#/binary/<MD5>`
    """
    text = text.strip(_BLANK)
    if text[:1] in ("{", "[") and not parse_process_id(text[:38]):  # Sysmon writes its guids in braces
        return text.encode("utf-8", "replace")
    records: list[dict[str, str]] = []
    strange = []
    lines = [line.strip(_EDGES) for line in text.splitlines()]
    for line in filter(None, lines):
        found = _records(line)
        records += found
        strange += [] if found else [printable(line, 60)]
    if strange:
        shown = ", ".join(strange[:_MOST_SHOWN]) + (", …" if len(strange) > _MOST_SHOWN else "")
        raise ProblemError(
            422,
            f"Neither a hash nor a process guid: {shown}. Paste MD5 (32 hex digits), SHA-256 (64), a process guid, "
            "or a whole alert as JSON.",
        )
    if not records:
        raise ProblemError(422, "Nothing was pasted. Paste a hash, a process guid, or a whole alert as JSON.")
    if len(records) > _MOST_LINES:
        raise ProblemError(
            422, f"{len(records)} values at once, {_MOST_LINES} at most. Post longer lists to /v1/signed."
        )
    return json.dumps(records if len(records) > 1 else records[0]).encode("ascii")


def _records(line: str) -> list[dict[str, str]]:
    """Return what one line asks for; empty where any part of it is neither hash nor guid."""
    if "=" in line or ":" in line:
        hashes = read_hashes(line)
        named = {"md5": hashes.md5, "sha1": hashes.sha1, "sha256": hashes.sha256}
        record = {kind: value for kind, value in named.items() if value}
        if record and not hashes.problems:
            return [{"hash": ",".join(f"{kind}={value}" for kind, value in record.items())}]
    found = [_record(word.strip(_EDGES)) for word in line.replace(",", " ").replace(";", " ").split()]
    return [record for record in found if record] if all(found) else []


def _record(word: str) -> dict[str, str]:
    link = _CONSOLE.fullmatch(word)
    word = link.group(1) if link else word
    hashes = read_hashes(word)
    if "=" not in word and (hashes.md5 or hashes.sha1 or hashes.sha256):
        return {"hash": word}
    return {"process_guid": word} if parse_process_id(word) else {}
