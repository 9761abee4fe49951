"""The built app on a splunkd, asking a real EDR server over TLS: what the analyst types, and what comes back."""

from __future__ import annotations

import json
import re

import pytest

from splunkd.frames import Table
from splunkd.instance import Splunkd
from splunkd.rest import User
from splunkd.search import Conduct, Event, Outcome, chunked

PROCMON64 = "b0a3ecc9eaa2521ddea2fc067785b84e"
GIT_EXE = "3d485deffe2f74d0c15f1cb23086f936"
PROCMON64_GUID = "00000001-0000-0f40-01d2-e4ee910d2930"
FIELDS = ["status", "signed", "publisher", "issuer", "sign_time", "why", "source", "age_s"]
EVENTS: list[Event] = [
    {b"_time": b"1497431643", b"process_md5": PROCMON64.upper().encode(), b"_raw": b'a "raw"\r\nevent, \xff\xfe'},
    {b"_time": b"1497431644", b"md5": GIT_EXE.encode(), b"user": (b"a", b"$b$;")},
    {b"_time": b"1497431645", b"md5": b"0" * 31 + b"1"},
    {b"_time": b"1497431646", b"md5": b"no hash at all"},
    {b"_time": b"1497431647", b"host": b"nothing to look up"},
    {b"_time": b"1497431648", b"process_hash": (b"MD5=" + PROCMON64.encode(), b"SHA256=" + b"0" * 64)},
    {b"_time": b"1497431649", b"process_hash": b"MD5=" + GIT_EXE.encode() + b",SHA1=" + b"0" * 40},
]
STATUSES = ["Signed", "Unsigned", "Unknown", "Unknown", "Unknown", "Signed", "Unsigned"]
CONDUCTS = {
    "merged": Conduct(),
    "all fields": Conduct(selects=False),
    "finished with the rows": Conduct(finishes_with_rows=True),
    "pauses": Conduct(pauses=1),
}


@pytest.fixture(scope="module")
def analyst(instance: Splunkd) -> User:
    """Someone with the app's role for analysts, and no right beyond it."""
    return instance.user("analyst", roles=("cbsigned_user",))


def search(
    splunkd: Splunkd, user: User, name: str, *args: str, events: list[Event] = EVENTS, **more: object
) -> Outcome:
    outcome = splunkd.search(name, args, user=user, chunks=chunked(events, [3, 1]), **more)
    assert outcome.exit_code == 0
    assert outcome.log == ""
    return outcome


def told(outcome: Outcome) -> str:
    """Return what ended the search, or stands under the search bar: the SDK's commands know only the latter."""
    return outcome.error or " ".join(outcome.banners)


def without(events: list[Event], prefix: str) -> list[Event]:
    return [{k: v for k, v in event.items() if not k.startswith(prefix.encode())} for event in events]


@pytest.mark.parametrize("conduct", CONDUCTS.values(), ids=CONDUCTS)
def test_every_event_gets_its_status_and_keeps_its_fields(instance: Splunkd, analyst: User, conduct: Conduct) -> None:
    outcome = search(instance, analyst, "cbsigned", conduct=conduct)

    assert outcome.error is None
    assert outcome.column("cbsigned_status") == STATUSES
    assert outcome.column("cbsigned_signed") == ["true", "false", "", "", "", "true", "false"]
    assert without(outcome.events, "cbsigned_") == EVENTS
    assert all(outcome.column("cbsigned_why"))
    assert outcome.column("cbsigned_publisher")[0] == "Microsoft Corporation"
    assert outcome.column("cbsigned_source")[0].startswith("edr:127.0.0.1")
    assert not outcome.banners


def test_options_choose_the_field_and_the_names(instance: Splunkd, analyst: User) -> None:
    events: list[Event] = [{b"file hash": GIT_EXE.encode(), b"md5": PROCMON64.encode()}]

    outcome = search(instance, analyst, "cbsigned", 'field="file hash"', "prefix=x_", events=events)

    assert outcome.column("x_status") == ["Unsigned"]
    assert without(outcome.events, "x_") == events


def test_blanks_around_the_equals_sign_change_nothing(instance: Splunkd, analyst: User) -> None:
    outcome = search(instance, analyst, "cbsigned", "prefix", "=", "y_")

    assert outcome.column("y_status") == STATUSES


def test_new_fields_are_merged_by_a_splunkd_that_wants_them_named(instance: Splunkd, analyst: User) -> None:
    strict = Conduct(merges_unnamed=False)

    plain = search(instance, analyst, "cbsigned", conduct=strict)
    declared = search(instance, analyst, "cbsigned", "declare=true", conduct=strict)

    assert set(plain.column("cbsigned_status")) == {""}
    assert declared.column("cbsigned_status") == STATUSES


@pytest.mark.parametrize("conduct", [CONDUCTS["merged"], CONDUCTS["all fields"]], ids=["merged", "all fields"])
def test_a_second_run_replaces_the_answers_of_the_first(instance: Splunkd, analyst: User, conduct: Conduct) -> None:
    events = [{**event, b"cbsigned_status": (b"old", b"older"), b"cbsigned_issuer": b"old"} for event in EVENTS]

    outcome = search(instance, analyst, "cbsigned", events=events, conduct=conduct)

    assert outcome.column("cbsigned_status") == STATUSES
    assert "old" not in outcome.column("cbsigned_issuer")


def test_lineage_comes_with_the_status_when_asked_for(instance: Splunkd, analyst: User) -> None:
    events: list[Event] = [{b"process_guid": PROCMON64_GUID.encode(), b"md5": PROCMON64.encode()}, {b"md5": b"zz"}]

    outcome = search(instance, analyst, "cbsigned", "lineage=true", events=events)

    assert outcome.column("cbsigned_status") == ["Signed", "Unknown"]
    assert outcome.column("cbsigned_lineage")[0].startswith("procmon64.exe (Signed) <- procmon.exe (Signed) <- ")
    assert outcome.column("cbsigned_lineage_ended") == ["root", ""]


@pytest.mark.parametrize(
    "event",
    [
        {b"process_guid": PROCMON64_GUID.encode()},
        {b"dest": b"SDL-DEV", b"process_id": b"3904", b"_time": b"1497431644"},
    ],
    ids=["by guid", "by host, pid and time"],
)
def test_cblineage_names_all_ancestors(instance: Splunkd, analyst: User, event: Event) -> None:
    outcome = search(instance, analyst, "cblineage", events=[event, {b"md5": b"1"}])

    (found, other) = outcome.events
    names = found[b"lineage_names"]
    assert names[:2] == (b"procmon64.exe", b"procmon.exe")
    assert len(names) == len(found[b"lineage_statuses"]) == int(found[b"lineage_depth"]) + 1
    assert found[b"lineage_root"] == names[-1]
    assert found[b"lineage_guid"].decode() == PROCMON64_GUID
    assert json.loads(found[b"lineage_json"])["nodes"][0]["guid"] == PROCMON64_GUID
    assert other[b"lineage_why"]
    assert without([found], "lineage_") == [event]


def test_processes_are_searched_in_the_servers_own_language(instance: Splunkd, analyst: User) -> None:
    outcome = search(instance, analyst, "cbprocess", 'query="process_name:git.exe"', events=[])

    assert outcome.error is None
    assert {name.lower() for name in outcome.column("process_name")} == {"git.exe"}
    assert all(re.fullmatch(r"[0-9a-f-]{36}", guid) for guid in outcome.column("process_guid"))


def test_binaries_are_searched_and_maxrows_holds(instance: Splunkd, analyst: User) -> None:
    outcome = search(instance, analyst, "cbbinary", 'query="digsig_result:Unsigned"', "maxrows=2", events=[])

    assert outcome.error is None
    assert len(outcome.events) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", md5.lower()) for md5 in outcome.column("md5"))


def test_a_query_that_cannot_be_read_is_the_users_to_mend(instance: Splunkd, analyst: User) -> None:
    outcome = search(instance, analyst, "cbprocess", 'query="process_name:(cmd.exe"', events=[])

    assert "never closed" in told(outcome)
    assert not outcome.events


def test_activity_is_listed_for_a_process(instance: Splunkd, analyst: User) -> None:
    outcome = search(instance, analyst, "cbactivity", f"guid={PROCMON64_GUID}", "kinds=filemod", events=[])

    assert outcome.error is None
    assert any("procmon23.sys" in text for text in outcome.column("text"))
    assert set(outcome.column("kind")) == {"filemod"}


def test_health_counts_what_was_asked(instance: Splunkd, analyst: User) -> None:
    search(instance, analyst, "cbsigned")

    outcome = search(instance, analyst, "cbhealth", events=[])

    assert outcome.error is None
    assert outcome.events


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("cbsigned", ["timeout=fast"], ["timeout", "fast", "0.1 to 600"]),
        ("cbsigned", ["filed=md5"], ["filed", "field, prefix, timeout"]),
        ("cblineage", ["max_depth=9999"], ["max_depth", "0 to 500"]),
        ("cbprocess", [], ["query"]),
        ("cbactivity", ["guid=1"], ["guid"]),
    ],
)
def test_a_wrong_option_ends_the_search_and_says_what_is_right(
    instance: Splunkd, analyst: User, name: str, args: list[str], said: list[str]
) -> None:
    outcome = search(instance, analyst, name, *args)

    assert [word for word in said if word not in told(outcome)] == []


@pytest.mark.parametrize("name", ["cbsigned", "cblineage"])
def test_on_an_indexer_the_command_says_where_it_belongs(instance: Splunkd, analyst: User, name: str) -> None:
    before = instance.seen.count("/cbsigned/rows")

    outcome = search(instance, analyst, name, sid="remote_sh1_1763800000.1")

    assert "search head" in (outcome.error or "")
    assert instance.seen.count("/cbsigned/rows") == before


def test_a_preview_asks_nothing_and_loses_nothing(instance: Splunkd, analyst: User) -> None:
    before = instance.seen.count("/cbsigned/rows")

    outcome = search(instance, analyst, "cbsigned", preview=True)

    assert without(outcome.events, "cbsigned_") == EVENTS
    assert instance.seen.count("/cbsigned/rows") == before


def test_a_user_without_the_capability_is_told_which_one(instance: Splunkd) -> None:
    outcome = search(instance, instance.user("guest"), "cbsigned")

    told = [outcome.error] if outcome.error else outcome.banners
    assert len(told) == 1
    assert "cbsigned_use" in told[0]
    assert outcome.error or without(outcome.events, "cbsigned_") == EVENTS


@pytest.mark.parametrize("name", ["cbsigned", "cblineage", "cbprocess"])
def test_before_setup_the_search_says_who_sets_it_up(fresh: Splunkd, name: str) -> None:
    args = ['query="process_name:cmd.exe"'] if name == "cbprocess" else []

    outcome = search(fresh, fresh.user("analyst", roles=("cbsigned_user",)), name, *args, events=[
        {b"md5": GIT_EXE.encode(), b"process_guid": PROCMON64_GUID.encode()}
    ])  # fmt: skip

    assert "not set up" in told(outcome)


def test_the_connection_test_is_for_administrators_and_passes(instance: Splunkd, analyst: User) -> None:
    stored = instance.conf.read("cbsigned")
    settings = {"edr": {k: v for k, v in stored["edr"].items() if v}, "cache": stored["cache"]}
    document = {"settings": settings}

    refused, _ = instance.post("/services/cbsigned_admin/test", document, analyst)
    status, found = instance.post("/services/cbsigned_admin/test", document, instance.user("boss", roles=("admin",)))

    assert refused == 403
    assert status == 200
    assert [finding for finding in found["findings"] if finding["ok"] is False] == []


def test_the_alert_action_writes_result_events_and_its_run(instance: Splunkd) -> None:
    owner = instance.user("owner", "edit_tcp", roles=("cbsigned_user",))
    names = (b"md5", b"host", b"rid")
    table = Table(names, [(GIT_EXE.encode(), b"HR-LT-017", b"0"), (PROCMON64.encode(), b"SDL-DEV", b"1")])
    log = instance.home / "var" / "log" / "splunk" / "cbsigned_enrich_modalert.log"

    done = instance.alert("cbsigned_enrich", {}, table, user=owner)

    assert done.returncode == 0, done.stderr
    assert re.search('action_status="success"', log.read_text(encoding="utf-8"))
    texts = "\n".join(event["text"] for event in instance.management.received)
    assert "Unsigned" in texts
    assert GIT_EXE in texts


def test_what_was_found_can_be_looked_up_in_the_table_of_verdicts(instance: Splunkd, analyst: User) -> None:
    search(instance, analyst, "cbsigned", "cache=false")
    verdicts = instance.management.collection("cbsigned_verdicts")
    instance.handler.close()  # it ends as at splunkd's end: what is still to be written is written

    found = {document["_key"]: document for document in verdicts.find()}

    assert found[PROCMON64]["status"] == "Signed"
    assert found[GIT_EXE]["signed"] == "false"
    assert {document["status"] for document in found.values()} == {"Signed", "Unsigned"}
