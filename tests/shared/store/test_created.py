"""Windows 4688 and auditd: starts without an id, joined to the same starts that have one, and to their parents."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsigned.store.audit import audit_groups
from cbsigned.store.ingest import ingest
from shared.store.eventlogs import PARENT, ZEROS, Record, created, flat
from shared.store.telemetry import Take, content, rows
from support import real_data

SYSMON_PING = flat(1, UtcTime="2021-06-12 01:07:15.634", CommandLine=None, User=None)
SAME_PING = created(2164, "System32\\PING.EXE", "2021-06-12T01:07:16.9Z")
STARTS = "SELECT count(*) FROM process WHERE described & 1"


def test_a_start_alone_is_a_process_with_an_id_made_here(take: Take) -> None:
    store, report = take(created(4711, "whoami.exe", "2021-06-12T01:00:00Z"))

    assert (report.kinds, report.malformed) == ({"windows.4688": 1}, 0)
    assert rows(store, "SELECT substr(hex(guid), 1, 4), pid, started, n.value, c.value, a.value FROM process"
                " JOIN name n ON n.id = name_id JOIN cmdline c ON c.id = cmdline_id JOIN account a ON a.id = account_id"
                ) == [("FF02", 4711, 1623459600000, "whoami.exe", "whoami.exe /x", "LAB\\jo")]  # fmt: skip


@pytest.mark.parametrize("events", itertools.permutations([SYSMON_PING, SAME_PING]), ids=["sysmon first", "4688 first"])
@pytest.mark.parametrize("together", [True, False], ids=["one file", "two files"])
def test_the_start_that_sysmon_told_too_is_one_process_counted_as_both(
    take: Take, events: tuple[Record, ...], together: bool
) -> None:
    for part in [events] if together else [(one,) for one in events]:
        store, _report = take(*part)

    assert rows(store, STARTS) == [(1,)]
    assert rows(store, "SELECT hex(p.guid) LIKE 'FF01%', c.value, a.value FROM process p"
                " JOIN message m ON m.process_id = p.id JOIN cmdline c ON c.id = p.cmdline_id"
                " JOIN account a ON a.id = p.account_id") == [(1, "System32\\PING.EXE /x", "LAB\\jo")]  # fmt: skip
    assert rows(store, "SELECT name, events FROM kind WHERE events > 0 ORDER BY name") == [
        ("sysmon.processcreate", 1), ("windows.4688", 1),
    ]  # fmt: skip


def test_the_same_files_again_change_nothing(take: Take) -> None:
    store, _report = take(SYSMON_PING, SAME_PING, created(9, "a.exe", "2021-06-12T01:00:00Z"))
    before = content(store)

    _store, report = take(SYSMON_PING, SAME_PING, created(9, "a.exe", "2021-06-12T01:00:00Z"))

    assert report.new == 0
    assert content(store) == before


@pytest.mark.parametrize(
    "other",
    [
        created(2164, "System32\\PING.EXE", "2021-06-12T01:07:18.8Z"),
        created(2164, "System32\\PONG.EXE", "2021-06-12T01:07:15.7Z"),
        created(2165, "System32\\PING.EXE", "2021-06-12T01:07:15.7Z"),
        created(2164, "System32\\PING.EXE", "2021-06-12T01:07:15.7Z", Hostname="LAB-WS-02"),
    ],
    ids=["later", "name", "pid", "host"],
)
def test_starts_that_differ_stay_two_processes(take: Take, other: Record) -> None:
    store, _report = take(SYSMON_PING, other)

    assert rows(store, STARTS) == [(2,)]


def test_the_log_s_own_clock_joins_where_utc_time_is_hours_off(take: Take) -> None:
    """Recorded by aptsimulator: UtcTime is 16 hours after TimeCreated, in every event of that host."""
    store, _report = take(flat(1, UtcTime="2021-06-12 17:07:15.634"), SAME_PING)

    assert rows(store, STARTS) == [(1,)]


def test_a_host_with_and_without_its_domain_is_one(take: Take) -> None:
    store, _report = take(SYSMON_PING, {**SAME_PING, "Hostname": "lab-ws-01.example.test"})

    assert rows(store, STARTS) == [(1,)]


def parent_of(store: Path, pid: int) -> list[tuple[Any, ...]]:
    """Return pid and name of a process's parent."""
    sql = "SELECT q.pid, n.value FROM process p JOIN process q ON q.id = p.parent_id JOIN name n ON n.id = q.name_id"
    return rows(store, f"{sql} WHERE p.pid = ?", pid)


EXPLORER = flat(
    1, ProcessGuid=PARENT, ProcessId="88", Image="C:\\Windows\\explorer.exe", UtcTime="2021-06-12 00:00:00.000",
    TimeCreated="2021-06-12T00:00:00Z", ParentProcessGuid=ZEROS,
)  # fmt: skip


def test_a_parent_is_found_by_the_creator_s_pid_and_name(take: Take) -> None:
    store, _report = take(created(4711, "whoami.exe", "2021-06-12T01:00:00Z"), EXPLORER)

    assert parent_of(store, 4711) == [(88, "explorer.exe")]


def test_of_several_processes_with_the_creator_s_pid_the_latest_before_is_the_parent(take: Take) -> None:
    late, early = "2021-06-12T00:50:00Z", "2021-06-12T00:10:00Z"
    parents = [created(88, "explorer.exe", at, CommandLine=at) for at in (early, late, "2021-06-12T02:00:00Z")]

    store, _report = take(created(4711, "whoami.exe", "2021-06-12T01:00:00Z"), *parents)

    sql = "SELECT c.value FROM process p JOIN process q ON q.id = p.parent_id JOIN cmdline c ON c.id = q.cmdline_id"
    assert rows(store, f"{sql} WHERE p.pid = 4711") == [(late,)]


@pytest.mark.parametrize(
    "other",
    [
        flat(1, ProcessGuid=PARENT, ProcessId="88", Image="C:\\x\\other.exe", UtcTime="2021-06-12 00:00:00.000"),
        {**EXPLORER, "UtcTime": "2021-06-12 02:00:00.000", "TimeCreated": "2021-06-12T02:00:00Z"},
        {**EXPLORER, "ProcessId": "89"},
    ],
    ids=["another name", "started later", "another pid"],
)
def test_a_parent_that_does_not_fit_is_left_unknown(take: Take, other: Record) -> None:
    store, _report = take(created(4711, "whoami.exe", "2021-06-12T01:00:00Z"), other)

    assert parent_of(store, 4711) == []


def test_a_parent_that_had_ended_is_left_unknown(take: Take) -> None:
    end = flat(
        5, ProcessGuid=PARENT, ProcessId="88", Image="C:\\Windows\\explorer.exe", UtcTime="2021-06-12 00:30:00.0"
    )

    store, _report = take(created(4711, "whoami.exe", "2021-06-12T01:00:00Z"), EXPLORER, end)

    assert parent_of(store, 4711) == []


def test_children_of_a_merged_start_are_the_merged_process_s(take: Take) -> None:
    above = created(2164, "System32\\PING.EXE", "2021-06-12T01:07:15.7Z")
    below = created(
        5000, "whoami.exe", "2021-06-12T01:08:00Z", ProcessId=hex(2164),
        ParentProcessName="C:\\Windows\\System32\\PING.EXE",
    )  # fmt: skip
    take(above, below)

    store, _report = take(SYSMON_PING)

    assert rows(store, "SELECT hex(q.guid) LIKE 'FF01%' FROM process p JOIN process q ON q.id = p.parent_id"
                " WHERE p.pid = 5000") == [(1,)]  # fmt: skip


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"NewProcessId": "x"}, "no NewProcessId"),
        ({"NewProcessName": "-"}, "no NewProcessName"),
        ({"TimeCreated": "soon"}, "no time of the log"),
    ],
)
def test_a_start_without_pid_name_or_time_is_malformed(take: Take, members: Record, reason: str) -> None:
    _store, report = take(created(7, "a.exe", "2021-06-12T01:00:00Z", **members))

    assert [problem.rpartition(": ")[2] for problem in report.problems] == [reason]


# auditd

CALL = (
    "type=SYSCALL msg=audit(1604994496.155:{id}): arch=c000003e syscall=59 success=yes ppid={ppid} pid={pid} uid=1000"
    ' ses={ses} comm="x" exe="/usr/bin/{exe}" key=(null)\n'
)


def audit(tmp_path: Path, text: str) -> tuple[Path, Any]:
    """Return a store of one audit log, and the report."""
    (tmp_path / "audit.log").write_text(text, encoding="utf-8")
    return tmp_path / "lab.db", ingest(tmp_path / "lab.db", [tmp_path / "audit.log"])


def test_a_program_start_of_auditd_has_its_arguments_as_a_shell_takes_them(tmp_path: Path) -> None:
    text = CALL.format(id=1, ppid=7, pid=8, ses=1, exe="grep")
    text += 'type=EXECVE msg=audit(1604994496.155:1): argc=3 a0="grep" a1="-v" a2=6120C3A9\n'

    store, report = audit(tmp_path, text)

    assert (report.kinds, report.malformed) == ({"auditd.execve": 1}, 0)
    assert rows(store, "SELECT pid, a.value, c.value, o.value, started FROM process JOIN path a ON a.id = path_id"
                " JOIN cmdline c ON c.id = cmdline_id JOIN word o ON o.id = os_id"
                ) == [(8, "/usr/bin/grep", "grep -v 'a é'", "linux", 1604994496155)]  # fmt: skip


def test_lines_of_two_events_may_alternate_and_other_events_are_counted_by_name(tmp_path: Path) -> None:
    lines = [
        CALL.format(id=1, ppid=7, pid=8, ses=1, exe="a"), CALL.format(id=2, ppid=7, pid=9, ses=1, exe="b"),
        'type=EXECVE msg=audit(1604994496.155:1): argc=1 a0="a"\n',
        'type=EXECVE msg=audit(1604994496.155:2): argc=1 a0="b"\n',
        "type=USER_LOGIN msg=audit(1604994496.155:3): pid=1\n", "what is this\n",
    ]  # fmt: skip

    _store, report = audit(tmp_path, "".join(lines))

    assert (report.new, dict(report.skipped), report.malformed) == (2, {"auditd, no program start": 1}, 1)
    assert report.problems[0].endswith("audit.log:6: no line of auditd")


@pytest.mark.parametrize(("session", "found"), [("1", [(7, "sh")]), ("2", [])], ids=["same session", "another"])
def test_auditd_s_parent_is_of_the_same_login_session_of_a_named_host(
    tmp_path: Path, session: str, found: list[tuple[int, str]]
) -> None:
    above = CALL.format(id=1, ppid=1, pid=7, ses=session, exe="sh").replace("155", "100")
    above += 'type=EXECVE msg=audit(1604994496.100:1): argc=1 a0="sh"\n'
    below = CALL.format(id=2, ppid=7, pid=8, ses=1, exe="ls")
    below += 'type=EXECVE msg=audit(1604994496.155:2): argc=1 a0="ls"\n'

    store, _report = audit(tmp_path, "".join(f"node=lab-lnx {line}\n" for line in (above + below).splitlines()))

    assert parent_of(store, 8) == found


@given(st.lists(st.text(max_size=60), max_size=20))
def test_no_line_breaks_the_reader_of_audit_events(lines: list[str]) -> None:
    made = [f"type=EXECVE msg=audit(1.1:{n % 3}): {line}" for n, line in enumerate(lines)]

    found = list(audit_groups(enumerate(lines + made, 1)))

    assert len(found) <= 2 * len(lines)


# The recordings.


def test_the_recorded_audit_log_has_two_program_starts(tmp_path: Path) -> None:
    report = ingest(tmp_path / "lab.db", [real_data("security-datasets") / "sh_arp_cache.zip"])

    assert (report.kinds, report.malformed) == ({"auditd.execve": 2}, 0)
    assert rows(tmp_path / "lab.db", "SELECT value FROM cmdline ORDER BY value") == [("arp -a",), ("grep -v '^?'",)]


@pytest.mark.parametrize(
    ("name", "logged", "alone"),
    [
        ("aptsimulator_cobaltstrike.zip", 36, 0),
        ("covenant_wmi_wbemcomn_dll_hijack.zip", 13, 0),
        ("empire_invoke_runas.tar.gz", 6, 0),
        ("auditpol_system_user_auditpolicy_modification.zip", 20, 1),
        ("empire_psexec_dcerpc_tcp_svcctl.zip", 7, 1),
        ("metasploit_procdump_lsass_memory_dump.zip", 66, 1),
        ("empire_persistence_registry_modification_run_keys_standard_user.zip", 546, 426),
    ],
)
def test_recorded_4688_are_the_starts_that_sysmon_told_and_the_rest_alone(
    tmp_path: Path, name: str, logged: int, alone: int
) -> None:
    """Counted apart from the store: which have a Sysmon start of the same host, pid and name within 2 s."""
    report = ingest(tmp_path / "lab.db", [real_data("security-datasets") / name])

    made = rows(tmp_path / "lab.db", "SELECT count(*) FROM process WHERE hex(guid) LIKE 'FF02%' AND described & 1")
    assert (report.kinds["windows.4688"], made) == (logged, [(alone,)])
