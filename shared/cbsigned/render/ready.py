"""An enrichment as JSON text, quickly: what many alerts have in common, signatures and lineages, is written once.

The text is that of `enrichment_document`, character for character. A `Signature` or `Lineage` out of a cache is the
same object for every alert, so its text is remembered by the object; only the age of the evidence is put in anew.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import is_
from typing import Any, NamedTuple, Optional

from cbsigned.binary import Signature
from cbsigned.enrichment import Enrichment, Subject
from cbsigned.lineage import Lineage
from cbsigned.render.document import (
    age_of,
    enrichment_document,
    lineage_document,
    signature_document,
    subject_document,
)

__all__ = ["Texts", "encoded", "enrichment_json"]

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_LATER = float("nan")
"""Stands in a document where a text that is there already belongs; no value of a document is one."""
_PLACE = 'e":NaN'
"""Where such a value stands, behind `signature` or `lineage`, and nowhere else: in a text, no letter but a backslash is
before a quotation mark."""
_SUBJECTS = '"subjects":['
"""Where subjects begin, and nowhere else: in a text, a backslash is before a quotation mark."""
_AGE = '"age_s":null'
_MOST_CHARS = 16 * 1024 * 1024


def encoded(document: Any) -> str:
    """Return a document as JSON in ASCII, without spaces."""
    return _ENCODER.encode(document)


def enrichment_json(enrichment: Enrichment, **more: Any) -> str:
    """Return what `encoded(enrichment_document(enrichment))` does, with some more values of JSON types at its end."""
    texts: list[str] = []

    def written(found: Subject, at: datetime) -> float:
        texts.append(_subject(found, at))
        return _LATER

    document = enrichment_document(enrichment, written=written)
    document.update(more)
    before, _between, after = encoded(document).partition(_SUBJECTS + ",".join(["NaN"] * len(texts)))
    return f"{before}{_SUBJECTS}{','.join(texts)}{after}"


def _subject(found: Subject, at: datetime) -> str:
    """Return a subject's text; nothing in it is as old as its evidence, of which there is one."""
    text = _OF_SUBJECTS.get(found, ()) or _OF_SUBJECTS.put(found, (), _subject_anew(found))
    age_s = age_of(found.signature.evidence, at)
    return text if age_s is None else text.replace(_AGE, f'"age_s":{age_s}', 1)


def _subject_anew(found: Subject) -> str:
    texts: list[str] = []

    def signature(found: Signature, _at: Optional[datetime]) -> float:
        texts.append(_signature(found))
        return _LATER

    def lineage(found: Lineage, signatures: Mapping[str, Signature]) -> float:
        texts.append(_lineage(found, signatures))
        return _LATER

    between = encoded(subject_document(found, None, signature, lineage)).split(_PLACE)
    return between[0] + "".join([f'e":{text}{after}' for text, after in zip(texts, between[1:])])


def _signature(found: Signature) -> str:
    return _TEXTS.get(found, ()) or _TEXTS.put(found, (), encoded(signature_document(found)))


def _lineage(found: Lineage, signatures: Mapping[str, Signature]) -> str:
    rest = tuple(signatures.values())
    return _TEXTS.get(found, rest) or _TEXTS.put(found, rest, encoded(lineage_document(found, signatures)))


class _Written(NamedTuple):
    """What an object was written as; the object is held, so that no other gets its id."""

    of: object
    rest: Sequence[object]
    text: str


class Texts:
    """Texts of objects that never change, by the objects themselves; used by many threads.

    Args:
        most_chars: Of all together; the oldest go first.
    """

    def __init__(self, most_chars: int) -> None:
        self._most_chars, self._chars = most_chars, 0
        self._written: dict[int, _Written] = {}
        self._lock = threading.Lock()

    def get(self, of: object, rest: Sequence[object]) -> Optional[str]:
        """Return the text of an object, if everything else that it was made of is the same too."""
        found = self._written.get(id(of))
        if found is None or len(found.rest) != len(rest) or not all(map(is_, found.rest, rest)):
            return None
        return found.text

    def put(self, of: object, rest: Sequence[object], text: str) -> str:
        """Remember a text, and return it."""
        with self._lock:
            before = self._written.pop(id(of), None)
            self._written[id(of)] = _Written(of, rest, text)
            self._chars += len(text) - (len(before.text) if before is not None else 0)
            while self._chars > self._most_chars:
                self._chars -= len(self._written.pop(next(iter(self._written))).text)
        return text


_TEXTS = Texts(_MOST_CHARS)
_OF_SUBJECTS = Texts(_MOST_CHARS)
