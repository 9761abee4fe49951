from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Optional

import pytest

from cbsigned.binary import BinaryRecord, Certainty, RecordKind
from cbsigned.enrichment import Caches, Enrichment, Sources, enrich
from cbsigned.errors import AlertError, ConfigError, SourceAuthError, SourceQueryError
from cbsigned.gaps import Cause
from cbsigned.lineage import EndedBy
from cbsigned.process import Process, parse_process
from cbsigned.settings import Settings
from cbsigned.status import SigningStatus
from cbsigned.timing import Deadline
from recording import Recording, document, guid_of, md5_of


def process(number: int, parent: Optional[int] = None) -> Process:
    found = parse_process({"id": guid_of(number), "process_name": f"p{number}.exe", "process_md5": md5_of(number)})
    assert found is not None
    return replace(
        found, parent_guid=None if parent is None else guid_of(parent), pid=4 if parent is None else found.pid
    )


def source() -> Recording:
    """Return six processes in a line; the image of 0 is Unsigned, of 3 unknown, of the others Signed."""
    words = {0: "Unsigned", 1: "Signed", 2: "Signed", 4: "Signed", 5: "Expired"}
    records = {md5_of(n): [document(word)] for n, word in words.items()}
    return Recording(records, [process(n, n - 1 if n else None) for n in range(6)], hits=[(md5_of(4), "p4.exe")])


def one(record: Any, recording: Optional[Recording] = None, **settings: Any) -> Enrichment:
    recording = recording or source()
    (found,) = enrich([record], Sources(recording, recording, recording), Settings(**settings))
    return found


def test_an_alert_gets_status_lineage_and_the_status_of_every_ancestor() -> None:
    found = one({"process_guid": guid_of(5)})

    subject = found.subjects[0]
    assert subject.signature.status is SigningStatus.EXPIRED
    assert (subject.verdict.text, found.complete) == ("signed, not valid", True)
    assert subject.lineage is not None
    assert subject.lineage.ended_by is EndedBy.ROOT
    statuses = [subject.signatures[n.process.md5 or ""].status.value for n in subject.lineage.nodes]
    assert statuses == ["Expired", "Signed", "Unknown", "Signed", "Signed", "Unsigned"]


def test_an_unsigned_ancestor_is_noted_beside_the_verdict() -> None:
    assert "Ancestor p0.exe is Unsigned." in one({"process_guid": guid_of(4)}).subjects[0].verdict.notes


def test_each_distinct_observable_is_asked_once_in_one_batch() -> None:
    recording = source()
    alerts = [{"process_guid": guid_of(n % 6)} for n in range(500)]

    found = list(enrich(alerts, Sources(recording, recording), Settings()))

    assert len(found) == 500
    assert [len(call) for call in recording.hash_calls] == [6]
    assert sum(len(call) for call in recording.guid_calls) == 6


def test_windows_are_read_lazily_and_answered_in_order() -> None:
    recording, read = source(), []

    def alerts() -> Iterator[dict[str, object]]:
        for number in range(25):
            read.append(number)
            yield {"process_guid": guid_of(number % 6), "n": number}

    stream = enrich(alerts(), Sources(recording, recording), Settings(window=10))
    first = next(stream)

    assert len(read) == 10
    assert [first.record["n"], *(e.record["n"] for e in stream)] == list(range(25))


def test_an_unknown_binary_is_unknown_and_not_unsigned() -> None:
    found = one({"process_guid": guid_of(3)})

    signature = found.subjects[0].signature
    assert (signature.status, signature.cause) == (SigningStatus.UNKNOWN, Cause.NOT_FOUND)
    assert "Unknown, not Unsigned" in signature.reason
    assert found.complete


@pytest.mark.parametrize("failure", [SourceAuthError("refused (403)"), SourceQueryError("blocked")], ids=["403", "400"])
def test_a_failed_source_is_neither_not_found_nor_unsigned(failure: Any) -> None:
    recording = source()
    recording.failure = failure

    found = one({"process_guid": guid_of(5), "md5": md5_of(5)}, recording)

    assert found.subjects[0].signature.status is SigningStatus.UNKNOWN
    assert found.subjects[0].signature.cause is failure.cause
    assert (found.complete, found.subjects[0].observables.md5) == (False, md5_of(5))


def test_without_a_hash_the_failure_of_the_process_look_up_is_the_reason() -> None:
    recording = source()
    recording.failure = SourceAuthError("refused (403)")

    assert one({"process_guid": guid_of(5)}, recording).subjects[0].signature.cause is Cause.REFUSED


def test_a_source_that_raises_loses_no_alert() -> None:
    class Raising(Recording):
        def binaries(self, hashes: object, deadline: object) -> Any:
            raise SourceAuthError("refused")

    assert one({"md5": md5_of(1)}, Raising()).subjects[0].signature.cause is Cause.REFUSED


def test_the_alerts_own_word_answers_only_where_the_source_knows_nothing() -> None:
    claim = {"alert_type": "watchlist.hit.query.binary", "digsig_result": "Signed"}

    unknown = one({**claim, "md5": md5_of(99)}).subjects[0]
    known = one({**claim, "md5": md5_of(0)}).subjects[0]

    assert (unknown.signature.status, unknown.signature.cause) == (SigningStatus.SIGNED, Cause.CLAIM)
    assert unknown.signature.evidence is not None
    assert unknown.signature.evidence.certainty is Certainty.CLAIMED
    assert unknown.gaps[0].cause is Cause.NOT_FOUND
    assert known.signature.status is SigningStatus.UNSIGNED
    assert unknown.verdict.text == "claimed: signed"
    assert "The alert says Signed, the record says Unsigned." in known.verdict.notes


@pytest.mark.parametrize(
    ("records", "failure", "cause"),
    [
        ([document("Signed"), BinaryRecord(RecordKind.ALERT, word="Unsigned")], None, Cause.CONTRADICTION),
        ([document("Signed", code=0x80092010)], None, Cause.UNKNOWN_WORD),
        ([document("(unknown)")], None, Cause.NOT_EVALUATED),
        ([], SourceAuthError("refused (401)"), Cause.REFUSED),
    ],
    ids=["contradiction", "strange code", "not evaluated", "refused"],
)
def test_an_alert_never_answers_for_a_source_that_is_undecided_or_failed(
    records: Any, failure: Any, cause: Cause
) -> None:
    recording = Recording({md5_of(1): records})
    recording.failure = failure

    found = one({"alert_type": "watchlist.hit.query.binary", "digsig_result": "Signed", "md5": md5_of(1)}, recording)

    subject = found.subjects[0]
    assert (subject.signature.status, subject.signature.cause) == (SigningStatus.UNKNOWN, cause)
    assert subject.verdict.notes == ("The alert says Signed, no record says so.",)


def test_a_claim_without_a_hash_is_not_taken_for_the_ancestors_status() -> None:
    own, above = replace(process(5, 4), md5=None), replace(process(4), md5=None)

    found = one({"process_guid": own.guid, "digsig_result": "Unsigned"}, Recording(processes=[own, above]))

    assert not any("Ancestor" in note for note in found.subjects[0].verdict.notes)


def test_another_image_than_the_sources_is_noted() -> None:
    found = one({"process_guid": guid_of(5), "process_md5": md5_of(1)}).subjects[0]

    assert any("not that of the image" in note for note in found.verdict.notes)


def test_a_process_of_another_name_is_never_meant() -> None:
    wanted = process(2, 1)
    moment = wanted.started_at.isoformat() if wanted.started_at else ""
    row = {"dest": "WS01", "process_id": str(wanted.pid), "start_time": moment, "process_name": "powershell.exe"}

    assert one(row).subjects[0].gaps[-1].cause is Cause.NOT_FOUND


def test_what_one_alert_tells_does_not_depend_on_the_order_of_the_others() -> None:
    full = {
        "unique_id": f"{guid_of(7)}-00000001",
        "process_name": "x.exe",
        "parent_unique_id": guid_of(6),
        "parent_name": "par.exe",
    }
    hit = {"type": "watchlist.hit.process", "docs": [full]}
    flat = {"alert_type": "watchlist.hit.query.process", "process_id": guid_of(7), "process_name": "x.exe"}
    empty = Recording()

    for order in ([hit, flat], [flat, hit]):
        for found in enrich(order, Sources(empty, empty)):
            lineage = found.subjects[0].lineage
            assert lineage is not None
            assert [n.process.name for n in lineage.nodes] == ["x.exe", "par.exe"]


def test_a_refused_search_for_the_process_is_the_reason_where_there_is_no_hash() -> None:
    recording = source()
    recording.failure = SourceAuthError("refused (403)")

    found = one({"dest": "WS01", "process_id": "77", "start_time": "2024-01-01T00:00:00Z"}, recording)

    assert found.subjects[0].signature.cause is Cause.REFUSED


def test_relatives_that_were_cut_on_demand_are_no_failure() -> None:
    children = [process(20 + n, 5) for n in range(4)]
    recording = Recording({}, [process(5), *children])

    found = one({"process_guid": guid_of(5)}, recording, relatives=1)

    assert found.complete
    assert Cause.CUT in {gap.cause for gap in found.gaps}


def test_a_window_of_nothing_is_refused() -> None:
    recording = source()

    with pytest.raises(ConfigError, match="window"):
        list(enrich([{}], Sources(recording), Settings(window=0)))


def test_lineage_leaves_time_for_the_signing_status() -> None:
    class Slow(Recording):
        def processes(self, guids: Any, deadline: Deadline) -> Any:
            self.left = deadline.remaining()
            return super().processes(guids, deadline)

        def binaries(self, hashes: Any, deadline: Deadline) -> Any:
            self.more = deadline.remaining()
            return super().binaries(hashes, deadline)

    slow = Slow({md5_of(5): [document()]}, [process(5)])
    one({"process_guid": guid_of(5)}, slow, deadline_s=10.0)

    assert slow.left <= 6.0 < slow.more


@pytest.mark.parametrize(
    "record",
    [{}, 5, None, {"md5": "zz"}, AlertError("line 7 is not JSON")],
    ids=["empty", "number", "none", "bad", "line"],
)
def test_an_alert_that_cannot_be_read_comes_out_and_says_why(record: Any) -> None:
    found = one(record)

    assert found.gaps
    assert all(gap.reason for gap in found.gaps)


def test_a_sha1_is_not_searchable_and_says_so() -> None:
    assert one({"hash": "a" * 40}).subjects[0].signature.cause is Cause.UNSEARCHABLE


def test_host_pid_and_time_lead_to_the_lineage() -> None:
    wanted = process(2, 1)
    moment = wanted.started_at.isoformat() if wanted.started_at else ""

    found = one({"dest": "WS01", "process_id": str(wanted.pid), "start_time": moment})

    assert found.subjects[0].lineage is not None
    assert found.subjects[0].lineage.nodes[0].process.guid == wanted.guid


def test_a_hash_alone_has_no_lineage_and_says_so() -> None:
    gap = one({"md5": md5_of(1)}).subjects[0].gaps[0]

    assert (gap.about, gap.cause) == ("lineage of process", Cause.NO_OBSERVABLE)


def test_the_joint_strategy_reads_a_miss_as_unknown() -> None:
    found = one({"process_guid": guid_of(5)}, strategy="joint").subjects[0]

    assert (found.signature.status, found.signature.cause) == (SigningStatus.UNKNOWN, Cause.JOINT_MISS)
    assert found.signatures[md5_of(4)].status is SigningStatus.SIGNED


def test_the_2017_reading_of_a_miss_is_unsigned_on_demand() -> None:
    found = one({"process_guid": guid_of(5)}, strategy="joint", joint_miss="unsigned").subjects[0]

    assert found.signature.status is SigningStatus.UNSIGNED
    assert "2017" in found.signature.reason


def test_a_blocked_joint_query_is_not_a_miss() -> None:
    recording = source()
    recording.failure = SourceQueryError("joined searches are blocked")

    found = one({"process_guid": guid_of(5), "md5": md5_of(5), "process_name": "a.exe"}, recording, strategy="joint")

    assert found.subjects[0].signature.cause is Cause.BLOCKED


def test_cached_answers_are_not_asked_again_and_failures_are() -> None:
    recording = source()
    sources = Sources(recording, recording, None, Caches())
    alerts = [{"md5": md5_of(1)}, {"md5": md5_of(99)}]

    for _ in range(3):
        list(enrich(alerts, sources))
    recording.failure = SourceAuthError("refused")
    for _ in range(2):
        failed = list(enrich([{"md5": md5_of(2)}], sources))

    assert [len(call) for call in recording.hash_calls] == [2, 1, 1]
    assert failed[0].subjects[0].signature.cause is Cause.REFUSED


def test_two_records_that_disagree_reach_the_verdict() -> None:
    recording = Recording({md5_of(1): [document("Signed"), BinaryRecord(RecordKind.IMAGE_LOAD, word="Unsigned")]})

    assert one({"md5": md5_of(1)}, recording).subjects[0].signature.cause is Cause.CONTRADICTION


def test_without_lineage_the_process_is_still_read_for_its_hash() -> None:
    recording = source()

    found = one({"process_guid": guid_of(5)}, recording, lineage=False).subjects[0]

    assert (found.signature.status, found.lineage) == (SigningStatus.EXPIRED, None)
    assert len(recording.guid_calls) == 1
