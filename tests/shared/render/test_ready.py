"""An enrichment as JSON, quickly: the text that the plain way gives, whatever stands in it and whenever it is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Optional

import pytest

from cbsigned.enrichment import Caches, Enrichment, Sources, enrich
from cbsigned.errors import SourceError, SourceTimeout
from cbsigned.process import Process, parse_process
from cbsigned.render.document import enrichment_document
from cbsigned.render.ready import Texts, encoded, enrichment_json
from cbsigned.settings import Settings
from cbsigned.status import SigningStatus
from cbsigned.timing import utc_now
from recording import Recording, document, guid_of, md5_of
from shared.render.factory import enrichment, kinds, signature, subject

KINDS = kinds()
LOOK_ALIKES = ('e":NaN', "NaN", '"age_s":null', 'x"lineage":NaN', '\\"signature":NaN', '"age_s":null,"read_at":""')
RECORDED = utc_now() - timedelta(days=3)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_enrichment_is_the_same_text_at_every_time(name: str) -> None:
    for seconds in (0, 0, 1, 86_400, -10 * 86_400):
        found = replace(KINDS[name], enriched_at=KINDS[name].enriched_at + timedelta(seconds=seconds))

        assert encoded({**enrichment_document(found), "stale": False}) == enrichment_json(found, stale=False)


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_what_looks_like_a_place_to_fill_stays_as_it_is(text: str) -> None:
    evidence = signature().evidence
    assert evidence is not None
    spoken = signature(publisher=text, paths=(text,), evidence=replace(evidence, word=text, source=text, code=text))
    told = subject(name=text, names=(text, text), path=text, cmdline=text, problems=(text,))
    found = enrichment(replace(told, signature=spoken), title=text, id=text)

    assert encoded(enrichment_document(found)) == enrichment_json(found)


def test_a_lineage_is_written_anew_when_a_signature_in_it_has_changed() -> None:
    told = subject(names=("a.exe", "b.exe"))
    first = enrichment_json(enrichment(told))
    changed = {h: replace(s, status=SigningStatus.EXPIRED) for h, s in told.signatures.items()}

    second = enrichment(replace(told, signatures=changed))

    assert first != enrichment_json(second)
    assert encoded(enrichment_document(second)) == enrichment_json(second)


def test_texts_beyond_the_limit_go_oldest_first() -> None:
    texts, objects = Texts(most_chars=25), [object() for _ in range(4)]

    for number, thing in enumerate(objects):
        texts.put(thing, (), f"text {number:05}")

    assert [texts.get(thing, ()) for thing in objects] == [None, None, "text 00002", "text 00003"]


def test_a_text_belongs_to_all_that_it_was_made_of() -> None:
    texts, of, part = Texts(most_chars=100), object(), object()

    texts.put(of, (part,), "text")

    assert [
        texts.get(of, (part,)), texts.get(of, ()), texts.get(of, (object(),)), texts.get(part, (part,))
    ] == ["text", None, None, None]  # fmt: skip


@pytest.mark.parametrize("failure", [None, SourceTimeout("no answer within 1 s")], ids=["up", "down"])
@pytest.mark.parametrize("depth", [0, 1, 16])
def test_alerts_out_of_warm_caches_are_answered_as_without_any(failure: Optional[SourceError], depth: int) -> None:
    source, settings, alerts = many_kinds(), Settings(max_depth=depth), list(records())
    kept = Sources(source, source, source, Caches())
    if failure is None:
        list(enrich(alerts, kept, settings))  # from here on everything is kept that can be
    source.failure = failure
    plain = [timeless(found) for found in enrich(alerts, Sources(source, source, source), settings)]

    for _turn in range(3):
        quick = list(enrich(alerts, kept, settings))

        assert plain == [timeless(found) for found in quick]
        assert [encoded(enrichment_document(found)) for found in quick] == [enrichment_json(found) for found in quick]


def timeless(found: Enrichment) -> Any:
    """Return an enrichment's document without the times of asking, which differ from one to the next."""
    text = encoded(enrichment_document(found))
    return json.loads(re.sub(r'"(enriched_at|read_at|age_s)":("[^"]*"|\d+)', r'"\1":0', text))


def records() -> Iterator[dict[str, Any]]:
    """Yield alerts about files and processes that the source knows, half knows, and does not know."""
    for number in range(12):
        yield {"md5": md5_of(number), "alert_id": f"a{number}", "process_name": "é\ud800.exe", "_serial": number}
        yield {"process_guid": guid_of(number), "hostname": "WS01", "alert_id": number}
        yield {"process_guid": guid_of(number), "process_md5": md5_of(number + 1), "file_md5": md5_of(number)}
    yield {"md5": md5_of(1), "digsig_result": "Unsigned"}
    yield {"md5": md5_of(99), "digsig_result": "Signed"}
    yield {"process_md5": "no hash", "file_md5": md5_of(1)}
    yield {"sha1": "a" * 40, "process_guid": guid_of(3)}
    yield {"nothing": 1}


def many_kinds() -> Recording:
    """Return a source with two families of five processes, one of them missing, and files of every status."""
    words = [*(status.value for status in SigningStatus), "Odd", None]
    files = {
        md5_of(n): [document(word, md5=md5_of(n), recorded_at=None if n % 3 == 0 else RECORDED)]
        for n, word in enumerate(words)
    }
    return Recording(files, [process(number) for number in range(10) if number != 7])


def process(number: int) -> Process:
    """Return a process; every fifth has no parent, every fourth no hash."""
    found = parse_process({
        "id": guid_of(number), "process_name": f"p{number}.exe", "hostname": "WS01",
        "process_md5": md5_of(number) if number % 4 else None,
        "parent_id": guid_of(number - 1) if number % 5 else None,
    })  # fmt: skip
    assert found is not None
    return found
