"""Tables of the embedded store, their version, and how an older file becomes a newer one.

Everything repeated is interned: event rows hold integers. Event tables are `WITHOUT ROWID` and their primary
key is the whole event, so an event that is delivered twice is one row. Times are integer milliseconds
since 1970, UTC. 0 stands for *none* inside a primary key, NULL elsewhere.
"""

from __future__ import annotations

import sqlite3

from cbsigned.errors import ConfigError

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "migrate", "version_of"]

APPLICATION_ID = 0x63627364
"""`PRAGMA application_id` of our files: "cbsd"."""

_BASE = """
CREATE TABLE name    (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE path    (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE, name_id INTEGER NOT NULL);
CREATE TABLE cmdline (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE account (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE host    (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE, short TEXT NOT NULL);
CREATE TABLE regpath (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE domain  (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE word    (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE extra   (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE INDEX path_name ON path (name_id);
CREATE INDEX host_short ON host (short);

CREATE TABLE binary (id INTEGER PRIMARY KEY, md5 BLOB UNIQUE, sha256 BLOB);
CREATE INDEX binary_sha256 ON binary (sha256) WHERE sha256 IS NOT NULL;
CREATE TABLE file (
    id INTEGER PRIMARY KEY, path_id INTEGER NOT NULL, binary_id INTEGER NOT NULL, UNIQUE (path_id, binary_id));
CREATE INDEX file_binary ON file (binary_id);
CREATE TABLE binary_record (
    binary_id INTEGER NOT NULL, kind TEXT NOT NULL, word TEXT NOT NULL, code_text TEXT NOT NULL, code INTEGER,
    publisher TEXT, issuer TEXT, subject TEXT, program_name TEXT, signed INTEGER, recorded INTEGER NOT NULL,
    host_count INTEGER, paths TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (binary_id, kind, word, code_text)) WITHOUT ROWID;

CREATE TABLE sensor (
    server TEXT NOT NULL, sensor_id INTEGER NOT NULL, host_id INTEGER NOT NULL,
    PRIMARY KEY (server, sensor_id, host_id)) WITHOUT ROWID;
CREATE TABLE process (
    id INTEGER PRIMARY KEY, guid BLOB NOT NULL UNIQUE, sensor_id INTEGER, pid INTEGER, started INTEGER,
    reported INTEGER, ended INTEGER, parent_id INTEGER, name_id INTEGER, path_id INTEGER, binary_id INTEGER,
    cmdline_id INTEGER, account_id INTEGER, host_id INTEGER, os_id INTEGER, extra_id INTEGER,
    described INTEGER NOT NULL, flags INTEGER NOT NULL, ranks INTEGER NOT NULL);
CREATE INDEX process_binary ON process (binary_id, started);
CREATE INDEX process_name ON process (name_id, started);
CREATE INDEX process_host ON process (host_id, started);
CREATE INDEX process_started ON process (started, name_id);
CREATE INDEX process_parent ON process (parent_id, started);

CREATE TABLE modload (
    process_id INTEGER NOT NULL, file_id INTEGER NOT NULL, at INTEGER NOT NULL, extra_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, file_id, at, extra_id)) WITHOUT ROWID;
CREATE INDEX modload_file ON modload (file_id);
CREATE TABLE filemod (
    process_id INTEGER NOT NULL, path_id INTEGER NOT NULL, at INTEGER NOT NULL, action INTEGER NOT NULL,
    binary_id INTEGER NOT NULL, filetype INTEGER NOT NULL, extra_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, path_id, at, action, binary_id, filetype, extra_id)) WITHOUT ROWID;
CREATE INDEX filemod_path ON filemod (path_id);
CREATE INDEX filemod_written ON filemod (binary_id) WHERE binary_id > 0;
CREATE TABLE regmod (
    process_id INTEGER NOT NULL, regpath_id INTEGER NOT NULL, at INTEGER NOT NULL, action INTEGER NOT NULL,
    extra_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, regpath_id, at, action, extra_id)) WITHOUT ROWID;
CREATE INDEX regmod_path ON regmod (regpath_id);
CREATE TABLE netconn (
    process_id INTEGER NOT NULL, at INTEGER NOT NULL, outbound INTEGER NOT NULL, protocol INTEGER NOT NULL,
    remote_ip BLOB NOT NULL, remote_port INTEGER NOT NULL, local_ip BLOB NOT NULL, local_port INTEGER NOT NULL,
    domain_id INTEGER NOT NULL, extra_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, at, outbound, protocol, remote_ip, remote_port, local_ip, local_port, domain_id,
                 extra_id)) WITHOUT ROWID;
CREATE INDEX netconn_ip ON netconn (remote_ip);
CREATE INDEX netconn_domain ON netconn (domain_id) WHERE domain_id > 0;
CREATE TABLE childproc (
    process_id INTEGER NOT NULL, child_id INTEGER NOT NULL, at INTEGER NOT NULL, created INTEGER NOT NULL,
    file_id INTEGER NOT NULL, extra_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, child_id, at, created, file_id, extra_id)) WITHOUT ROWID;
CREATE TABLE crossproc (
    process_id INTEGER NOT NULL, target_id INTEGER NOT NULL, at INTEGER NOT NULL, word_id INTEGER NOT NULL,
    access INTEGER NOT NULL, is_target INTEGER NOT NULL, file_id INTEGER NOT NULL, extra_id INTEGER NOT NULL,
    PRIMARY KEY (process_id, target_id, at, word_id, access, is_target, file_id, extra_id)) WITHOUT ROWID;
CREATE INDEX crossproc_target ON crossproc (target_id);

CREATE TABLE message (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, kind_id INTEGER NOT NULL, at INTEGER,
    process_id INTEGER, binary_id INTEGER, body TEXT NOT NULL);
CREATE INDEX message_process ON message (process_id) WHERE process_id IS NOT NULL;
CREATE INDEX message_binary ON message (binary_id) WHERE binary_id IS NOT NULL;
CREATE INDEX message_kind ON message (kind_id, at);

CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, events INTEGER NOT NULL);
CREATE TABLE ingested (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, changed INTEGER NOT NULL,
    position INTEGER NOT NULL, finished INTEGER NOT NULL, read INTEGER NOT NULL, new INTEGER NOT NULL,
    malformed INTEGER NOT NULL, skipped INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE malformed (
    ingested_id INTEGER NOT NULL, member TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL,
    text TEXT NOT NULL, PRIMARY KEY (ingested_id, member, line)) WITHOUT ROWID;
"""

_HOSTS_OF_BINARIES = """
CREATE TABLE bin_host (
    binary_id INTEGER NOT NULL, host_id INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (binary_id, host_id)) WITHOUT ROWID;
INSERT INTO bin_host
    SELECT binary_id, host_id, min(at), max(at) FROM (
        SELECT f.binary_id, p.host_id, m.at
            FROM modload m JOIN file f ON f.id = m.file_id JOIN process p ON p.id = m.process_id
        UNION ALL
        SELECT binary_id, host_id, coalesce(reported, started) FROM process
            WHERE binary_id IS NOT NULL AND coalesce(reported, started) IS NOT NULL)
    WHERE binary_id > 0 AND host_id IS NOT NULL GROUP BY binary_id, host_id;
"""

_WHAT_CAME_OF_FILES = """
ALTER TABLE ingested ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE TABLE skipped (
    ingested_id INTEGER NOT NULL, reason TEXT NOT NULL, records INTEGER NOT NULL,
    PRIMARY KEY (ingested_id, reason)) WITHOUT ROWID;
"""

_SEARCH = """
CREATE TABLE text (id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE binary_text (
    word_id INTEGER NOT NULL, text_id INTEGER NOT NULL, binary_id INTEGER NOT NULL,
    PRIMARY KEY (word_id, text_id, binary_id)) WITHOUT ROWID;
CREATE INDEX binary_text_binary ON binary_text (binary_id);
CREATE TABLE binary_number (
    word_id INTEGER NOT NULL, value INTEGER NOT NULL, binary_id INTEGER NOT NULL,
    PRIMARY KEY (word_id, value, binary_id)) WITHOUT ROWID;
CREATE INDEX binary_number_binary ON binary_number (binary_id);
CREATE TABLE process_text (
    word_id INTEGER NOT NULL, text_id INTEGER NOT NULL, process_id INTEGER NOT NULL,
    PRIMARY KEY (word_id, text_id, process_id)) WITHOUT ROWID;
CREATE INDEX process_text_process ON process_text (process_id);
CREATE TABLE process_number (
    word_id INTEGER NOT NULL, value INTEGER NOT NULL, process_id INTEGER NOT NULL,
    PRIMARY KEY (word_id, value, process_id)) WITHOUT ROWID;
CREATE INDEX process_number_process ON process_number (process_id);
CREATE TABLE indexed (name TEXT PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID;

ALTER TABLE process ADD COLUMN updated INTEGER;
UPDATE process SET updated = nullif(max(
    coalesce(reported, 0), coalesce(ended, 0), coalesce(started, 0),
    coalesce((SELECT max(at) FROM modload WHERE process_id = process.id), 0),
    coalesce((SELECT max(at) FROM filemod WHERE process_id = process.id), 0),
    coalesce((SELECT max(at) FROM regmod WHERE process_id = process.id), 0),
    coalesce((SELECT max(at) FROM netconn WHERE process_id = process.id), 0),
    coalesce((SELECT max(at) FROM childproc WHERE process_id = process.id), 0),
    coalesce((SELECT max(at) FROM crossproc WHERE process_id = process.id), 0)), 0);
CREATE INDEX process_updated ON process (updated);
CREATE INDEX process_cmdline ON process (cmdline_id, started);
CREATE INDEX process_path ON process (path_id, started);
CREATE INDEX process_account ON process (account_id, started);
"""

_SENSORS_OF_HOSTS = "CREATE INDEX sensor_host ON sensor (host_id, sensor_id);"

_STEPS = (_BASE, _HOSTS_OF_BINARIES, _WHAT_CAME_OF_FILES, _SEARCH, _SENSORS_OF_HOSTS)
"""Step n makes version n of version n - 1; a step that was released is never edited."""

SCHEMA_VERSION = len(_STEPS)


def version_of(db: sqlite3.Connection) -> int:
    """Return the schema version of an open file, 0 for an empty one.

    Raises:
        ConfigError: The file is a database, but not a store of ours.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if owner != APPLICATION_ID and (tables or version or owner):
        raise ConfigError("The file is an SQLite database of another program. Name another file for the store.")
    return version


def migrate(db: sqlite3.Connection, target: int = SCHEMA_VERSION) -> int:
    """Bring a file to a schema version, all steps or none, and return the version it had.

    Args:
        db: Open for writing, outside a transaction.
        target: Only tests ask for an older one than ours.

    Raises:
        ConfigError: The file is newer than this program, or not ours.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        had = version_of(db)
        check_version(had)
        for step in _STEPS[had:target]:
            for statement in step.split(";\n"):
                if statement.strip():
                    db.execute(statement)
        if had < target:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {target}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return had


def check_version(version: int) -> None:
    """Refuse a file that is newer than this program.

    Raises:
        ConfigError: It is; reading it would misread it.
    """
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"The store has schema version {version}, and this cbsigned knows up to {SCHEMA_VERSION}: a newer "
            "cbsigned wrote it. Upgrade cbsigned, or name another store."
        )
