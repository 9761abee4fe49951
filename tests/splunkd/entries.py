"""Answers of splunkd's management port: entries as Atom or JSON, and its messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union
from urllib.parse import quote
from xml.sax.saxutils import escape

__all__ = ["Answer", "Entry", "listing", "message"]

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom"'
    ' xmlns:s="http://dev.splunk.com/ns/rest" xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">\n'
)


@dataclass(frozen=True)
class Answer:
    """A status and a body."""

    status: int
    body: bytes
    kind: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One entity: its name, where it is, and what it says."""

    name: str
    path: str
    content: Mapping[str, Any]


def listing(title: str, entries: Sequence[Entry], *, as_json: bool, status: int = 200) -> Answer:
    """Return a feed of entries."""
    if as_json:
        found = [{"name": e.name, "id": _id(e), "acl": {}, "content": dict(e.content)} for e in entries]
        return Answer(status, json.dumps({"links": {}, "entry": found, "messages": []}).encode())
    body = [_HEAD, f"<title>{escape(title)}</title><id>{escape(title)}</id>"]
    body += [
        f"<opensearch:totalResults>{len(entries)}</opensearch:totalResults>",
        f"<opensearch:itemsPerPage>{len(entries)}</opensearch:itemsPerPage>",
        "<opensearch:startIndex>0</opensearch:startIndex>",
    ]
    for entry in entries:
        body.append(
            f"<entry><title>{escape(entry.name)}</title><id>{escape(_id(entry))}</id>"
            f'<link href="{escape(_id(entry))}" rel="alternate"/><author><name>nobody</name></author>'
            f'<content type="text/xml">{_value({**entry.content, "eai:acl": {"sharing": "app"}})}</content></entry>'
        )
    return Answer(status, "".join([*body, "</feed>"]).encode(), "text/xml; charset=UTF-8")


def message(status: int, text: str, *, as_json: bool, level: str = "ERROR") -> Answer:
    """Return one of splunkd's messages."""
    if as_json:
        return Answer(status, json.dumps({"messages": [{"type": level, "text": text}]}).encode())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<response><messages><msg type="{level}">{escape(text)}</msg>'
    return Answer(status, f"{body}</messages></response>".encode(), "text/xml; charset=UTF-8")


def _id(entry: Entry) -> str:
    return f"/{entry.path}/{quote(entry.name, safe='')}"


def _value(value: Union[Mapping[str, Any], Any]) -> str:
    if isinstance(value, Mapping):
        keys = "".join(f'<s:key name="{escape(k)}">{_value(v)}</s:key>' for k, v in value.items())
        return f"<s:dict>{keys}</s:dict>"
    if isinstance(value, (list, tuple)):
        return "<s:list>" + "".join(f"<s:item>{_value(item)}</s:item>" for item in value) + "</s:list>"
    return escape("1" if value is True else "0" if value is False else str(value))
