"""The result events of the alert action: what one looks like, and how it gets into an index.

One alert row gives one event, a JSON object on one line with the flat fields of `| cbsigned lineage=true`, the
process under its CIM names, and the ids by which Enterprise Security ties it to the notable.

References:
    - splunk §6: `/services/receivers/simple` with the session key, which needs the capability edit_tcp
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Optional, Protocol
from urllib.parse import urlsplit

from cbsigned.render.document import Document
from cbsigned.render.facts import alert_unknowns, unknowns
from cbsigned.timing import parse_time
from cbsigned_connectors.splunk.logs import one_line
from cbsigned_connectors.splunk.splunkd import splunkd_context

__all__ = ["EVENT_FIELDS", "SOURCETYPE", "Receiver", "SplunkReceiver", "WriteError", "event_id", "event_line"]

SOURCETYPE = "cbsigned:enrichment"
SOURCE = "cbsigned_enrich"

EVENT_FIELDS = {
    "time": "When the look-up was made, UTC; the event's time.",
    "enrichment_id": "The same for the same row of a search: `dedup enrichment_id` drops what was written twice.",
    "action_name": "`cbsigned_enrich`.",
    "search_name": "Saved or correlation search that ran the action.",
    "sid": "Search id of the run.",
    "rid": "The row's own `rid`, else its number from 0.",
    "orig_sid": "As in the row: the search that made the notable.",
    "orig_rid": "As in the row: the notable's number in that search.",
    "event_id": "As in the row: the notable's id.",
    "alert_id": "The platform's id of the alert.",
    "alert_title": "Watchlist, feed report or rule.",
    "cbsigned_status": "Signing status of the acting process or file: one of the EDR's eight words, or Unknown.",
    "cbsigned_signed": "`true` for Signed alone, `false` for the other seven words, missing for Unknown.",
    "cbsigned_publisher": "Who signed.",
    "cbsigned_issuer": "Who issued the certificate.",
    "cbsigned_sign_time": "When it was signed, UTC.",
    "cbsigned_why": "The conclusion as a sentence.",
    "cbsigned_source": "Who holds the record.",
    "cbsigned_age_s": "Seconds since the record was read from the EDR.",
    "cbsigned_certainty": "How sure the status is.",
    "cbsigned_verdict": "The conclusion in a few words.",
    "cbsigned_complete": "`false` where a look-up failed that may succeed later.",
    "cbsigned_lineage_depth": "Number of ancestors.",
    "cbsigned_lineage_ended": "Why the walk ended, in a word.",
    "cbsigned_lineage_why": "The same as a sentence.",
    "process_name": "File name.",
    "process_path": "Full path.",
    "process_id": "Process id.",
    "process_guid": "Process guid.",
    "process_md5": "MD5 of the image.",
    "process_sha256": "SHA-256 of the image.",
    "dest": "Host.",
    "user": "User.",
    "cbsigned_notes": "What else must be known; multi-value.",
    "cbsigned_not_known": "What is not known, with reasons; multi-value.",
    "cbsigned_lineage": "Process and ancestors with their statuses, newest first, parted by `<-`.",
    "cbsigned_lineage_names": "The same, names alone; multi-value.",
    "cbsigned_lineage_statuses": "The same, statuses alone; multi-value.",
    "process": "Command line.",
    "others": "What else the alert names, a parent or a written file: `others{}.role`, `name`, `md5`, `status`, `why`.",
}
"""Field → what it holds, in the order of the event; what is not known is not in it. What may be long stands last:
how much of a JSON event Splunk takes fields from is limited (limits.conf)."""

_CARRIED = ("rid", "orig_sid", "orig_rid", "event_id")
_MAX_TEXT = 8_192
_MAX_OTHERS = 20
_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029]")


class WriteError(Exception):
    """An event did not get into the index; the text says why, and what to do.

    Attributes:
        again: Whether the next event may fare better.
    """

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


class Receiver(Protocol):
    """Where events go."""

    def write(self, line: bytes, index: str, host: str) -> None:
        """Put one event into an index, or raise `WriteError`."""


class SplunkReceiver:
    """Writes through splunkd's `receivers/simple`.

    Args:
        server_uri: splunkd's management address.
        session_key: Of a user with the capability edit_tcp.
        timeout_s: For one event.

    Raises:
        HandlerError: `server_uri` is no address that the key may be sent to.
    """

    def __init__(self, server_uri: str, session_key: str, timeout_s: float = 15.0) -> None:
        from splunklib import binding, client

        context = splunkd_context(server_uri)
        address = urlsplit(server_uri)
        self._session_key = session_key
        self._failure = binding.HTTPError
        self._service = client.connect(
            scheme=address.scheme,
            host=address.hostname,
            port=address.port or 8089,
            token=session_key,
            autologin=False,
            handler=binding.handler(timeout=timeout_s, verify=True, context=context),
        )

    def write(self, line: bytes, index: str, host: str) -> None:
        """Put one event into an index.

        Raises:
            WriteError: splunkd refused it or gave no answer.
        """
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        told = {"index": index, "source": SOURCE, "sourcetype": SOURCETYPE, **({"host": host} if host else {})}
        try:
            answer = self._service.post("/services/receivers/simple", headers=headers, body=line, **told)
            answer.body.read()  # to its end, or the connection stays open
        except self._failure as exc:
            raise self._refusal(int(exc.status), str(exc), index) from None
        except (OSError, HTTPException) as exc:
            raise WriteError(
                f"splunkd gave no answer to a result event ({type(exc).__name__}), so it may be missing from index "
                f"{index}. Run the action again; enrichment_id tells what was written twice.",
                again=True,
            ) from None

    def _refusal(self, status: int, told: str, index: str) -> WriteError:
        if status in (401, 403):
            what = (
                f"splunkd refused result events ({status}): writing through receivers/simple needs the capability "
                "edit_tcp. Give it to the role of the search's owner, or use | cbsigned lineage=true | collect instead."
            )
        elif status in (400, 404):
            what = (
                f"splunkd did not take result events for index {index} ({status}). Create the index, or name one that "
                "exists in param.index."
            )
        else:
            said = one_line(told.replace(self._session_key, "…"), 200)
            what = f"splunkd failed to take a result event for index {index}: {said}. Look at splunkd.log."
        return WriteError(what, again=status >= 500 or status == 429)


def event_id(sid: str, index: str, rid: str, row: Mapping[str, Any]) -> str:
    """Return 32 hex digits that are the same for the same row of the same search, and different for any other."""
    whole = json.dumps([sid, index, rid, row], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(whole.encode("ascii")).hexdigest()[:32]


def carried_ids(row: Mapping[str, Any], number: int, result_id: str = "") -> dict[str, str]:
    """Return the ids of a row by which its event is tied to the notable; `rid` is always there.

    Args:
        row: The alert row.
        number: Its place among the results, from 0.
        result_id: splunkd's, where the action runs once for each result.
    """
    found = {name: _first(row.get(name)) for name in _CARRIED}
    found["rid"] = found["rid"] or result_id or str(number)
    return {name: one_line(value, 200) for name, value in found.items() if value}


def event_line(document: Document, about: Mapping[str, str], *, lineage: bool = True) -> bytes:
    """Return one event, UTF-8, on one line.

    Args:
        document: The enrichment of one alert row, as `enrichment_document` makes it.
        about: Fields of the run and the row: `enrichment_id`, `sid`, `rid`, …
        lineage: Whether the fields of the lineage are written.
    """
    subjects = document["subjects"]
    told = {
        **about,
        "time": document["enriched_at"],
        **_alert(document),
        **_subject(document, subjects[0] if subjects else None),
        **(_lineage(subjects[0]["lineage"]) if lineage and subjects else {}),
        "others": [_other(subject) for subject in subjects[1 : 1 + _MAX_OTHERS]],
    }
    kept = {name: _cut(told[name]) for name in EVENT_FIELDS if told.get(name) not in (None, "", [])}
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    # what JSON leaves alone but a reader of lines may take for the end of one
    return _BREAKS.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode("utf-8", "replace")


def _alert(document: Document) -> dict[str, Any]:
    alert = document["alert"] or {}
    return {"alert_id": alert.get("id"), "alert_title": alert.get("title")}


def _subject(document: Document, subject: Optional[Document]) -> dict[str, Any]:
    part = subject or {}
    signature, verdict = part.get("signature") or {}, part.get("verdict") or {}
    found = signature.get("evidence") or {}
    return {
        "cbsigned_status": part.get("status", document["status"]),
        "cbsigned_signed": _switch(signature.get("signed")),
        **{f"cbsigned_{name}": signature.get(name) for name in ("publisher", "issuer")},
        "cbsigned_sign_time": signature.get("signed_at"),
        "cbsigned_why": part.get("reason", document["reason"]),
        "cbsigned_source": found.get("source"),
        "cbsigned_age_s": _age_s(found.get("read_at"), document["enriched_at"]),
        "cbsigned_certainty": found.get("certainty"),
        "cbsigned_verdict": verdict.get("text"),
        "cbsigned_notes": list(verdict.get("notes", ())),
        "cbsigned_not_known": list(dict.fromkeys(unknowns(subject or document) + alert_unknowns(document))),
        "cbsigned_complete": _switch(document["complete"]),
        "process_name": part.get("name"),
        "process_path": part.get("path"),
        "process": part.get("cmdline"),
        "process_id": part.get("pid"),
        "process_guid": part.get("process_guid"),
        "process_md5": part.get("md5"),
        "process_sha256": part.get("sha256"),
        "dest": part.get("host"),
        "user": part.get("user"),
    }


def _lineage(lineage: Optional[Document]) -> dict[str, Any]:
    if lineage is None:
        return {}
    nodes = lineage["nodes"]
    names = [str(node["name"] or "?") for node in nodes]
    statuses = [str(node["status"]) for node in nodes]
    return {
        "cbsigned_lineage": " <- ".join(f"{name} ({status})" for name, status in zip(names, statuses)),
        "cbsigned_lineage_names": names,
        "cbsigned_lineage_statuses": statuses,
        "cbsigned_lineage_depth": max(0, len(nodes) - 1),
        "cbsigned_lineage_ended": lineage["ended_by"],
        "cbsigned_lineage_why": lineage["reason"],
    }


def _other(subject: Document) -> dict[str, Any]:
    told = {
        "role": subject["role"],
        "name": subject["name"],
        "md5": subject["md5"],
        "status": subject["status"],
        "why": subject["reason"],
    }
    return {name: _cut(value) for name, value in told.items() if value}


def _age_s(read_at: Optional[str], now: str) -> Optional[int]:
    read, asked = parse_time(read_at), parse_time(now)
    return max(0, int((asked - read).total_seconds())) if read and asked else None


def _switch(value: Optional[bool]) -> Optional[str]:
    return None if value is None else "true" if value else "false"


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}…"
    return [_cut(item) for item in value] if isinstance(value, list) else value


def _first(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return str(value[0]) if value else ""
    return "" if value is None else str(value)
