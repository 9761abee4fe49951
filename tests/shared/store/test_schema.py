"""The file itself: made, migrated, refused."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cbsigned.errors import ConfigError
from cbsigned.store.database import open_reader, open_writer, refuse_network
from cbsigned.store.ingest import ingest
from cbsigned.store.schema import SCHEMA_VERSION, migrate
from shared.store.telemetry import MD5, Take, content, rows, start


def executed(path: Path, *statements: str) -> Path:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    return path


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A store of schema version 1 with one start and two loads of one binary on one host."""
    path = tmp_path / "old.db"
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, 1)
    db.execute("INSERT INTO host VALUES (1, 'LAB', 'lab')")
    db.execute("INSERT INTO binary VALUES (1, ?, NULL)", (bytes.fromhex(MD5),))
    db.execute("INSERT INTO file VALUES (1, 1, 1)")
    columns = "id, guid, started, reported, binary_id, host_id, described, flags, ranks"
    db.execute(f"INSERT INTO process ({columns}) VALUES (1, ?, 500, 1000, 1, 1, 1, 0, 0)", (bytes(16),))
    db.executemany("INSERT INTO modload VALUES (1, 1, ?, 0)", [(2000,), (3000,)])
    db.close()
    return path


def test_version_1_file_is_brought_up_to_date_with_its_content(version_1: Path) -> None:
    open_writer(version_1).close()

    assert rows(version_1, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert rows(version_1, "SELECT * FROM bin_host") == [(1, 1, 1000, 3000)]


def test_migrated_file_takes_in_more(version_1: Path, take: Take) -> None:
    store, report = take(start(), name=version_1.name)

    assert (report.new, len(content(store)["process"])) == (1, 3)


def test_reader_asks_for_the_upgrade_of_an_old_file(version_1: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"schema version 1, older than \d\. Bring it up to date: cbsigned store vacuum"
    ):
        open_reader(version_1)


def test_migration_that_fails_leaves_the_file_as_it_was(version_1: Path) -> None:
    executed(version_1, "CREATE TABLE bin_host (other)")

    with pytest.raises(Exception, match="already exists"):
        open_writer(version_1)

    assert rows(version_1, "PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize("opener", [open_reader, open_writer])
def test_newer_file_is_refused(take: Take, opener: object) -> None:
    store, _ = take()
    executed(store, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(ConfigError, match=f"schema version {SCHEMA_VERSION + 1}, and this cbsigned knows up to"):
        opener(store)  # type: ignore[operator]


@pytest.mark.parametrize("opener", [open_reader, open_writer])
def test_database_of_another_program_is_refused_and_untouched(tmp_path: Path, opener: object) -> None:
    other = executed(tmp_path / "other.db", "CREATE TABLE mine (x)")
    before = other.read_bytes()

    with pytest.raises(ConfigError, match="another program"):
        opener(other)  # type: ignore[operator]
    assert other.read_bytes() == before


@pytest.mark.parametrize("opener", [open_reader, open_writer])
def test_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path, opener: object) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but longer than a header of one hundred bytes " * 9)

    with pytest.raises(ConfigError, match=r"notes\.txt is not a store"):
        opener(text)  # type: ignore[operator]
    assert text.read_text().startswith("not a database")


def test_empty_file_has_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()

    with pytest.raises(ConfigError, match="is empty"):
        open_reader(tmp_path / "a.db")


def test_store_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        ingest(tmp_path / "no" / "a.db", [])


def test_store_is_readable_by_its_owner_alone(take: Take) -> None:
    store, _ = take(start())
    open_writer(store).close()

    assert stat.S_IMODE(os.stat(store).st_mode) == 0o600


MOUNTS = (
    "/dev/vda / ext4 rw 0 0\nfiler:/x /mnt/lab\\040share nfs4 rw 0 0\n/dev/vdb /mnt/lab\\040share/local xfs rw 0 0\n"
)


@pytest.mark.parametrize("folder", ["/mnt/lab share", "/mnt/lab share/deep/er"])
def test_network_file_system_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\)"):
        refuse_network(Path(folder) / "a.db", MOUNTS)


@pytest.mark.parametrize("folder", ["/home", "/mnt/lab share/local", "/mnt/lab shared"])
def test_local_disk_is_accepted(folder: str) -> None:
    refuse_network(Path(folder) / "a.db", MOUNTS)


def test_file_systems_of_this_machine_can_be_read(tmp_path: Path) -> None:
    refuse_network(tmp_path / "a.db")


READING_AS_NOBODY = """
import os, sys
from pathlib import Path
from cbsigned.store.database import open_reader
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
db = open_reader(Path(sys.argv[1]))
print(db.execute("SELECT count(*) FROM process").fetchone()[0])
db.close()
"""


@pytest.fixture
def shut(take: Take) -> Iterator[Path]:
    """A store of two processes that everyone may read and nobody may write, in a folder of the same kind."""
    store, _ = take(start())
    with tempfile.TemporaryDirectory() as name:  # the folders above pytest's are its user's alone
        folder = Path(name)
        copy = folder / "lab.db"
        copy.write_bytes(store.read_bytes())
        copy.chmod(0o444)
        folder.chmod(0o555)
        yield copy
        folder.chmod(0o755)


def read_as_nobody(store: Path) -> subprocess.CompletedProcess[str]:
    """Read a store as a user whom file modes bind, which root is not."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", READING_AS_NOBODY, str(store)], env=environment, text=True, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_reader_who_may_write_neither_store_nor_folder_reads_it(shut: Path) -> None:
    """Seen: `attempt to write a readonly database` for a user beside the owner, folder 755, file 644."""
    done = read_as_nobody(shut)

    assert (done.stdout, done.stderr) == ("2\n", "")
    assert [path.name for path in shut.parent.iterdir()] == ["lab.db"]


def test_reader_of_an_unfinished_store_that_may_not_write_is_told_whom_to_ask(shut: Path) -> None:
    shut.parent.chmod(0o755)
    shut.with_name("lab.db-wal").write_bytes(bytes(5000))
    shut.parent.chmod(0o555)

    done = read_as_nobody(shut)

    assert "ConfigError" in done.stderr
    assert "its writer has not finished, lab.db-wal holds the newest part" in done.stderr


def test_reader_leaves_nothing_beside_the_store(take: Take) -> None:
    store, _ = take(start())

    open_reader(store).close()

    assert [path.name for path in store.parent.glob("lab.db*")] == ["lab.db"]


def test_reader_cannot_write(take: Take) -> None:
    store, _ = take(start())
    db = open_reader(store)

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM process")
    db.close()
