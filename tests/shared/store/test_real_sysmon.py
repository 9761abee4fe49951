"""The real Sysmon recordings: each file's starts, hashes, loads and verdicts as its README counts them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from cbsigned.gaps import Cause
from cbsigned.lineage import lineages
from cbsigned.signing import signing_statuses
from cbsigned.store.documents import UnknownKind, expand, translate
from cbsigned.store.ingest import ingest
from cbsigned.store.readers import read_items
from cbsigned.store.rows import Batch
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline
from shared.store.telemetry import rows
from support import real_data


class File(NamedTuple):
    """One file as its README counts it; `clipboard` of its MD5s are of a clipboard's content, which is no file."""

    folder: str
    name: str
    events: int
    starts: int
    md5s: int
    loads: int
    verdicts: int
    clipboard: int = 0


FLAT, EVTX = "security-datasets", "evtx-attack-samples"
FILES = [
    File(FLAT, "metasploit_procdump_lsass_memory_dump.zip", 42_482, 138, 685, 6_068, 516),
    File(FLAT, "metasploit_comsvcs_lsass_memory_dump.zip", 41_954, 127, 614, 3_836, 510, clipboard=1),
    File(FLAT, "empire_persistence_registry_modification_run_keys_standard_user.zip", 40_569, 120, 541, 3_907, 413),
    File(FLAT, "empire_dllinjection_LoadLibrary_CreateRemoteThread.zip", 12_200, 8, 293, 570, 291),
    File(FLAT, "empire_psinject_PEinjection.zip", 5_898, 1, 125, 173, 124),
    File(FLAT, "cmd_process_herpaderping_mimiexplorer.zip", 265, 3, 74, 108, 74),
    File(FLAT, "psh_mavinject_dll_notepad.zip", 509, 2, 75, 100, 73, clipboard=2),
    File(FLAT, "psh_mshta_html_application_execution.zip", 1_553, 7, 175, 446, 174),
    File(FLAT, "covenant_lolbin_wuauclt_createremotethread.zip", 1_326, 4, 109, 183, 108),
    File(FLAT, "auditpol_system_user_auditpolicy_modification.zip", 13_645, 19, 259, 842, 247),
    File(FLAT, "cmd_netsh_fw_mod_open_ports.zip", 2_366, 3, 115, 244, 114, clipboard=1),
    File(FLAT, "empire_wdigest_downgrade.tar.gz", 2_710, 2, 85, 112, 85),
    File(FLAT, "psh_python_webserver.zip", 2_395, 3, 122, 254, 122),
    File(FLAT, "covenant_wmi_wbemcomn_dll_hijack.zip", 8_947, 13, 296, 675, 294),
    File(FLAT, "empire_psexec_dcerpc_tcp_svcctl.zip", 4_348, 6, 183, 357, 179),
    File(FLAT, "empire_invoke_runas.tar.gz", 2_581, 6, 160, 363, 160),
    File(FLAT, "aptsimulator_cobaltstrike.zip", 2_611, 37, 144, 911, 128),
    File(FLAT, "sysmon_log4shell_cve2021_44228_java_serialized_object.zip", 487, 2, 120, 155, 118),
    File(FLAT, "syslog_sysmon_log4shell_cve2021_44228_jndi_reference.zip", 93, 31, 0, 0, 0),
    File("attack-data", "T1047_attack_data.tar.gz", 8_220, 335, 48, 4, 4),
    File(EVTX, "PanacheSysmon_vs_AtomicRedTeam01.evtx", 565, 511, 37, 5, 3),
    File(EVTX, "DSE_bypass_BYOV_TDL_dummydriver_sysmon_6_7_13.evtx", 8, 1, 3, 2, 2),
    File(EVTX, "sideloading_uacbypass_rundll32_injection_c2.evtx", 18, 7, 5, 6, 1),
    File(EVTX, "DE_timestomp_and_dll_sideloading_and_RunPersist.evtx", 23, 4, 5, 9, 3),
    File(EVTX, "apt10_jjs_sideloading_prochollowing_persist_as_service_sysmon_1_7_8_13.evtx", 11, 3, 3, 2, 1),
    File(EVTX, "sideloading_wwlib_sysmon_7_1_11.evtx", 7, 3, 4, 1, 1),
    File(EVTX, "persist_firefox_comhijack_sysmon_11_13_7_1.evtx", 19, 10, 5, 2, 1),
    File(EVTX, "Sysmon_UACME_64.evtx", 530, 3, 128, 511, 125),
    File(EVTX, "exec_msxsl_xsl_sysmon_1_7.evtx", 3, 2, 3, 1, 1),
]
ids = [file.name.split(".")[0][:40] for file in FILES]


def read(file: File) -> tuple[Batch, int, Counter[str]]:
    """Return all rows of a file in one batch, how many records it has, and what has no row."""
    batch, records, skipped = Batch(), 0, Counter[str]()
    path = real_data(file.folder) / file.name
    for item in read_items(path, path.open("rb", buffering=0)):
        assert item.record is not None, item
        records += 1
        for record in expand(item.record):
            try:
                translate(record, item.hint, batch)
            except UnknownKind as exc:
                skipped[str(exc)] += 1
    return batch, records, skipped


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_starts_hashes_loads_and_verdicts_are_as_counted(file: File) -> None:
    batch, records, _skipped = read(file)

    parts = batch.named.values()
    starts = [start for part in parts for start in part.starts]
    loads = [load for part in parts for load in part.loads]
    hashes = {start.md5 for start in starts} | {load[3] for load in loads}
    hashes |= {change[6] for part in parts for change in part.filemods}
    assert (records, len(starts), len(loads)) == (file.events, file.starts, file.loads)
    assert len(hashes - {None}) == file.md5s - file.clipboard
    assert len({md5 for md5, _word in batch.signatures}) == file.verdicts


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of all Sysmon recordings of Security-Datasets and the EVTX files, folders and archives at once."""
    store = tmp_path_factory.mktemp("sysmon") / "lab.db"
    report = ingest(store, [real_data(FLAT), real_data(EVTX), real_data("attack-data")])
    assert report.malformed == 0
    return store


def test_every_guid_that_starts_is_one_process(lab: Path) -> None:
    """Sysmon for Linux gave one GUID to two starts of omicli; only GUIDs join, so they are one process."""
    starts = sum(file.starts for file in FILES)

    assert rows(lab, "SELECT count(*) FROM process WHERE described & 1 AND hex(guid) LIKE 'FF01%'") == [(starts - 1,)]


def test_known_verdicts_are_read_and_contradictions_are_unknown(lab: Path) -> None:
    told: dict[str, set[str]] = {}
    for md5, word in rows(lab, "SELECT lower(hex(md5)), word FROM binary_record JOIN binary ON id = binary_id"):
        told.setdefault(md5, set()).add(word)
    with StoreSource(lab) as source:
        found = signing_statuses(source, told, Deadline(120))

    statuses = Counter((found[md5].status.value, found[md5].cause) for md5 in told)
    assert statuses == {
        ("Signed", Cause.RECORD): 1_834, ("Unsigned", Cause.RECORD): 208, ("Unknown", Cause.CONTRADICTION): 2,
    }  # fmt: skip


def test_a_drop_chain_of_four_generations_is_walked_by_guid(lab: Path) -> None:
    ((guid,),) = rows(
        lab, "SELECT lower(substr(hex(p.guid), 5)) FROM process p JOIN name n ON n.id = p.name_id"
        " WHERE n.value = 'procdump64.exe' AND p.described & 1",
    )  # fmt: skip
    asked = f"{{{guid[:8]}-{guid[8:12]}-{guid[12:16]}-{guid[16:20]}-{guid[20:]}}}"
    with StoreSource(lab) as source:
        chain = lineages(source, [asked], Deadline(60))[asked]
        hashes = [node.process.md5 or "" for node in chain.nodes[:4]]
        signed = signing_statuses(source, hashes, Deadline(60))

    names = [node.process.name for node in chain.nodes]
    wanted = ["procdump64.exe", "procdump.exe", "winx64_payload.exe", "happy_image.jpeg.exe"]
    assert [name for name in names if name in wanted] == wanted
    by_name = {
        node.process.name: signed[node.process.md5].status.value
        for node in chain.nodes[:6]
        if node.process.md5 in signed
    }
    assert by_name["procdump64.exe"] == "Signed"


def test_the_vulnerable_driver_is_loaded_after_furutaka_wrote_it(lab: Path) -> None:
    sql = (
        "SELECT n.value, e.at FROM {0} e JOIN process p ON p.id = e.process_id JOIN name n ON n.id = p.name_id"
        " {1} JOIN path a ON a.id = {2} WHERE a.value LIKE '%VBoxDrv.sys'"
    )
    ((writer, written),) = rows(lab, sql.format("filemod", "", "e.path_id"))
    ((loader, loaded),) = rows(lab, sql.format("modload", "JOIN file f ON f.id = e.file_id", "f.path_id"))

    assert (writer, loader) == ("furutaka.exe", "system")
    assert written <= loaded
