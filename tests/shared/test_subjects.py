"""Subjects that are kept: the same words of an alert and the same answers are one object, anything else is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cbsigned.alert import ObservableSet
from cbsigned.enrichment import Caches, Enrichment, Sources, enrich
from cbsigned.errors import SourceTimeout
from cbsigned.process import parse_process
from cbsigned.settings import Settings
from cbsigned.subjects import Subject, Subjects
from recording import Recording, document, guid_of, md5_of
from shared.render.factory import subject

PROCESS = {"process_guid": guid_of(2), "hostname": "WS01", "process_md5": md5_of(2)}


def recording() -> Recording:
    """Return a source with a process, its child, and their files."""
    found = [
        parse_process({
            "id": guid_of(n), "process_name": f"p{n}.exe", "process_md5": md5_of(n), "hostname": "WS01",
            "parent_id": parent,
        })
        for n, parent in ((1, None), (2, guid_of(1)))
    ]  # fmt: skip
    files = {md5_of(n): [document("Signed", md5=md5_of(n))] for n in (1, 2, 3)}
    return Recording(files, [process for process in found if process is not None])


def asked(alert: dict[str, Any], sources: Sources, **settings: Any) -> Enrichment:
    (found,) = enrich([alert], sources, Settings(**settings))
    return found


@pytest.mark.parametrize("alert", [PROCESS, {"md5": md5_of(3)}], ids=["process", "file"])
def test_another_alert_that_says_the_same_has_the_same_subject(alert: dict[str, Any]) -> None:
    source = recording()
    sources = Sources(source, source, source, Caches())
    asked(alert, sources)

    first, second = (asked({**alert, "alert_id": name}, sources) for name in ("one", "two"))

    assert first.subjects[0] is second.subjects[0]
    assert [first.alert.id if first.alert else None, second.alert.id if second.alert else None] == ["one", "two"]


def test_without_lineage_it_is_another_subject() -> None:
    source = recording()
    sources = Sources(source, source, source, Caches())

    with_it, without, nobody = (
        asked(PROCESS, sources),
        asked(PROCESS, sources, lineage=False),
        asked(PROCESS, Sources(source, None, None, sources.caches)),
    )

    assert [found.subjects[0].lineage is not None for found in (with_it, without, nobody)] == [True, False, False]
    assert ["No source of processes is configured." in str(found.gaps) for found in (without, nobody)] == [False, True]


def test_a_subject_that_could_not_be_asked_for_is_asked_for_again() -> None:
    source = recording()
    sources = Sources(source, source, source, Caches())
    source.failure = SourceTimeout("no answer within 1 s")
    failed = asked({"md5": md5_of(3)}, sources)
    source.failure = None

    again = asked({"md5": md5_of(3)}, sources)

    assert [failed.complete, failed.verdict and failed.verdict.text] == [False, "unknown"]
    assert [again.complete, again.verdict and again.verdict.text] == [True, "signed"]


def kept(made: Subject, **changed: Any) -> bool:
    """Whether a subject with something else in its alert is kept."""
    subjects, other = Subjects(), replace(made, observables=replace(made.observables, **changed))
    subjects.put((made.signature,), other)
    return subjects.get(other.observables, (made.signature,)) is other


def test_what_is_wrong_claimed_or_long_in_an_alert_is_not_kept() -> None:
    made = subject()
    claim = document("Unsigned")

    assert [
        kept(made), kept(made, problems=("no hash",)), kept(made, claimed=claim), kept(made, cmdline="x" * 5_000)
    ] == [True, False, False, False]  # fmt: skip


def test_a_subject_belongs_to_the_answers_that_it_was_made_of() -> None:
    subjects, made, answer = Subjects(), subject(), object()
    subjects.put((answer, None), made)

    assert [
        subjects.get(made.observables, parts) is made for parts in ((answer, None), (answer,), (object(), None))
    ] == [True, False, False]  # fmt: skip


def test_subjects_beyond_the_limit_go_oldest_first() -> None:
    subjects, made = Subjects(most=2), subject()
    sets: list[ObservableSet] = [replace(made.observables, name=f"{n}.exe") for n in range(3)]
    for observables in sets:
        subjects.put((), replace(made, observables=observables))

    assert [subjects.get(observables, ()) is not None for observables in sets] == [False, True, True]
