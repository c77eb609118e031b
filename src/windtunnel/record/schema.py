"""The file's tables, their versions, and what is done with a file that is not as it should be.

A file is known by SQLite's ``application_id`` and its format by ``user_version``. Both are read
from the file's first 100 bytes before SQLite opens it, so that a record of a newer format, or a
database of somebody else, is refused without one byte of it changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

from windtunnel.record.places import change_path, make_spool_dir, on_network

APPLICATION_ID = 0x57544E4C  # "WTNL"
FORMAT = 2
PAGE = 4096

_MAGIC = b"SQLite format 3\x00"
_BUSY_S = 30.0

_TABLES = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    started REAL NOT NULL,
    argv TEXT NOT NULL DEFAULT '',
    root TEXT NOT NULL DEFAULT '',
    "commit" TEXT NOT NULL DEFAULT '',
    tree TEXT NOT NULL DEFAULT '',
    environment TEXT NOT NULL DEFAULT '',
    environment_text TEXT NOT NULL DEFAULT '',
    isolation TEXT NOT NULL DEFAULT '',
    world TEXT NOT NULL DEFAULT 'real',
    workers INTEGER NOT NULL DEFAULT 0,
    seed INTEGER NOT NULL DEFAULT 0,
    ci TEXT NOT NULL DEFAULT '',
    finished REAL,
    exit_code INTEGER,
    duration_s REAL,
    collected INTEGER NOT NULL DEFAULT 0
);
-- A test and its roll-up, which is kept up to date with every batch: `strip` has a letter for
-- each of the last 20 deciding outcomes, `durations` the last 10 durations, 8 characters each.
CREATE TABLE tests (
    id INTEGER PRIMARY KEY,
    nodeid TEXT NOT NULL UNIQUE,
    strip TEXT NOT NULL DEFAULT '',
    durations TEXT NOT NULL DEFAULT '',
    results INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    finals INTEGER NOT NULL DEFAULT 0,
    last_run INTEGER NOT NULL DEFAULT 0
);
-- Names of workers and of isolations, which repeat in every outcome.
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
-- Clustered by run: a batch touches the last pages only, however long the history is. A test's
-- history is one look-up a run.
CREATE TABLE outcomes (
    run INTEGER NOT NULL,
    test INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    final INTEGER NOT NULL,
    phase TEXT NOT NULL,
    setup_s REAL NOT NULL,
    call_s REAL NOT NULL,
    teardown_s REAL NOT NULL,
    started REAL NOT NULL,
    worker INTEGER NOT NULL,
    position INTEGER NOT NULL,
    isolation INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    PRIMARY KEY (run, test, attempt)
) WITHOUT ROWID;
CREATE TABLE texts (
    run INTEGER NOT NULL,
    test INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    message TEXT NOT NULL,
    output TEXT NOT NULL,
    replay TEXT NOT NULL,
    PRIMARY KEY (run, test, attempt)
) WITHOUT ROWID;
-- Attempts that began and of whose end nothing is known yet, or ever will be.
CREATE TABLE unfinished (
    run INTEGER NOT NULL,
    test INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    started REAL NOT NULL,
    worker TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (run, test, attempt)
) WITHOUT ROWID;
CREATE TABLE samples (
    run INTEGER NOT NULL,
    time REAL NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    unit TEXT NOT NULL,
    nodeid TEXT NOT NULL,
    failed INTEGER NOT NULL
);
CREATE INDEX samples_by_name ON samples (name, run);
CREATE INDEX samples_by_run ON samples (run);
CREATE TABLE violations (
    run INTEGER NOT NULL,
    time REAL NOT NULL,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    nodeid TEXT NOT NULL,
    worker TEXT NOT NULL,
    location TEXT NOT NULL,
    fails INTEGER NOT NULL
);
CREATE INDEX violations_by_run ON violations (run);
CREATE TABLE resources (
    run INTEGER NOT NULL,
    time REAL NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    name TEXT NOT NULL,
    nodeid TEXT NOT NULL,
    worker TEXT NOT NULL
);
CREATE INDEX resources_by_run ON resources (run);
-- How far each spool has been taken in; changed in the transaction that takes it in.
CREATE TABLE spools (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
-- What the next one who opens the record should be told.
CREATE TABLE notices (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
"""


def connect(
    path: Path, *, damaged: Literal["set aside", "refuse"] = "set aside"
) -> sqlite3.Connection:
    """Open the file at ``path``, created or migrated to this format if need be.

    A file that is damaged, or is no database at all, is set aside under another name and a new
    one begun, which holds a notice of it; or it is refused, if ``damaged`` says so.

    :raises RecordError: when the format is newer, when the file is some other program's
        database, or when it cannot be read or written.
    """
    inode = inode_of(path)
    try:
        version = peek(path)
        if version == FORMAT:
            connection = _open(path)
            if _ready(connection):
                return connection
            connection.close()
        return _change(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            fail_sqlite(path, error)
        if damaged == "refuse":
            fail(f"{path} is damaged", str(error), f"windtunnel record repair {path}")
        set_aside(path, str(error), inode)
        return _change(path)
    except OSError as error:
        fail(f"cannot open the record {path}", str(error), "give permission, or name another file")


def inode_of(path: Path) -> int:
    """The file's number on its file system, 0 where there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def peek(path: Path) -> int:
    """The format of the file at ``path``; 0 for one that is absent, empty or damaged at its head.

    :raises RecordError: when the format is newer, or when the file is not a record.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        return 0
    if len(head) < 100 or not head.startswith(_MAGIC):
        return 0
    version = int.from_bytes(head[60:64], "big")
    application = int.from_bytes(head[68:72], "big")
    if (application, version) != (0, 0):
        _check_format(path, application, version)
    return version if application else 0


def _check_format(path: Path, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        fail(
            f"{path} is a database, but no record of windtunnel's",
            f"application id {application:#x}",
            "name another file as the record",
        )
    if version > FORMAT:
        fail(
            f"the record {path} was written by a newer windtunnel; it was left as it is",
            f"format {version}, where this version knows formats up to {FORMAT}",
            "upgrade windtunnel, or name another file as the record",
        )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=-32768")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    return connection


def _ready(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there in this format, as SQLite sees it: its head may be newer than
    the one peeked at, while the change is in the write-ahead log."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version == FORMAT


def _change(path: Path) -> sqlite3.Connection:
    """Create or migrate, one process at a time."""
    with changing(path):
        peek(path)  # again: another process may have been here, also a newer one
        connection = _open(path)
        try:
            _bring_up(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == FORMAT:
        return
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version or application or tables:
        _check_format(path, application, version)
        migrate(connection, version)
    else:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        with transaction(connection):
            for statement in _statements(_TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
    # WAL needs memory shared by all who have the file open, which machines on a network have not.
    journal = "TRUNCATE" if on_network(path) else "WAL"
    connection.execute(f"PRAGMA journal_mode={journal}")


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring an older format up to this one, in one transaction a step."""
    from windtunnel.record.migrations import STEPS

    for step in range(version, FORMAT):
        with transaction(connection):
            STEPS[step](connection)
            connection.execute(f"PRAGMA user_version={step + 1}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: all of the block or, when it raises, none of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the lock under which the file is created, migrated or set aside."""
    make_spool_dir(path)
    fd = os.open(change_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            pass  # no locks on this file system; SQLite's own have to do
        yield
    finally:
        os.close(fd)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the error means that the file's content is broken, not merely out of reach."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return True
    # A table that a whole record has: its page of tables was overwritten with zeros.
    return "no such table" in str(error)


def damage(found: str) -> sqlite3.DatabaseError:
    """An error that :func:`is_damage` holds for."""
    error = sqlite3.DatabaseError(found)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def set_aside(path: Path, why: str, inode: int) -> Path | None:
    """Rename a damaged record and what belongs to it; the next to connect begins a new one.

    :param inode: the damaged file's, by :func:`inode_of`; when another stands there by now,
        nothing is done.
    :returns: the new path, or None when somebody else had done it already.
    """
    from windtunnel.core import REAL_CLOCK

    with changing(path):
        if inode_of(path) != inode:
            return None
        stamp = int(REAL_CLOCK.time())
        aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        while aside.exists():
            stamp += 1
            aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        os.rename(path, aside)
        for suffix in ("-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    connection = _change(path)
    text = (
        f"the record {path} was damaged ({why}) and has been set aside as {aside.name}; "
        f"a new record was begun; to fix: windtunnel record repair {aside}"
    )
    connection.execute("INSERT INTO notices (text) VALUES (?)", (text,))
    connection.close()
    return aside


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit on its own before it begins.
    for statement in script.split(";\n"):
        if statement.strip():
            yield statement


def fail(what: str, found: str, fix: str) -> NoReturn:
    """Raise a RecordError; imported only now, as the ingester starts without ``core``."""
    from windtunnel.core import RecordError

    raise RecordError(what, found=found, fix=fix)


def fail_sqlite(path: Path, error: sqlite3.Error) -> NoReturn:
    """Say in a RecordError what SQLite could not do with the file."""
    from windtunnel.core import RecordError

    raise RecordError(
        f"cannot use the record {path}",
        found=str(error),
        fix="look at the file's permissions, at the space on its disk, and at who holds it open",
    ) from error
