"""Files that are not as they should be: damaged, newer, older, or somebody else's."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from windtunnel.core import RecordError
from windtunnel.record import Record, Spool, ensure_ingester, open_record
from windtunnel.record.transfer import repair_file

PAGE = 4096


@pytest.fixture
def filled(record_path: Path, started, finished) -> Path:
    """A record of 40 runs of 50 tests."""
    with open_record(record_path) as record:
        for number in range(40):
            events = [finished(f"t.py::test_{n}", message="m" * 50) for n in range(50)]
            record.ingest(started(f"run-{number}", 1000.0 + number), events)
    return record_path


def _corrupt(record_path: Path) -> list[Path]:
    return sorted(record_path.parent.glob("record.db.corrupt-*[0-9]"))


@pytest.mark.parametrize("content", [b"garbage", b"\0" * 200, b"x" * 100_000])
def test_what_is_no_database_is_set_aside_with_one_notice_and_the_run_goes_on(
    record_path: Path, state_dir: Path, finished, content: bytes
) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(finished())
    record_path.write_bytes(content)
    with open_record(record_path) as record:
        (notice,) = record.notices
        assert "has been set aside as" in notice
        assert "windtunnel record repair" in notice
        assert [row.strip for row in record.recent()] == ["."]
    assert [path.read_bytes() for path in _corrupt(record_path)] == [content]
    with open_record(record_path) as record:
        assert record.notices == ()
    spool.close()


def test_a_first_page_that_was_overwritten_loses_nothing_after_repair(filled: Path) -> None:
    with open(filled, "r+b") as file:
        file.write(random.Random(1).randbytes(PAGE))
    with open_record(filled) as record:
        assert record.runs() == []
        (aside,) = _corrupt(filled)
        found, merged = repair_file(record, aside)
        assert (found.runs, merged.outcomes) == (40, 2000)
        assert {row.strip for row in record.recent()} == {"." * 20}
        assert repair_file(record, aside)[1].outcomes == 0


def test_a_file_cut_in_half_keeps_its_first_half_after_repair(filled: Path) -> None:
    data = filled.read_bytes()
    filled.write_bytes(data[: len(data) // 2 // PAGE * PAGE])
    with open_record(filled) as record:
        (aside,) = _corrupt(filled)
        _, merged = repair_file(record, aside)
        assert 0 < merged.outcomes < 2000
        assert sum(len(record.outcomes(run.number)) for run in record.runs()) == merged.outcomes


def test_damage_that_is_found_only_by_reading_is_one_clear_error(filled: Path) -> None:
    data = bytearray(filled.read_bytes())
    for page in range(24, len(data) // PAGE):
        data[page * PAGE : page * PAGE + PAGE] = b"\xff" * PAGE
    filled.write_bytes(data)

    def read_all() -> None:
        with open_record(filled) as record:
            for run in record.runs():
                record.outcomes(run.number)

    with pytest.raises(RecordError, match="is damaged"):
        read_all()
    assert len(_corrupt(filled)) == 1
    with open_record(filled) as record:
        assert record.runs() == []


def test_a_check_finds_one_broken_page(filled: Path) -> None:
    data = bytearray(filled.read_bytes())
    middle = len(data) // PAGE // 2 * PAGE
    data[middle : middle + PAGE] = bytes(PAGE)
    filled.write_bytes(data)
    with open_record(filled) as record, pytest.raises(RecordError, match="is damaged"):
        record.check()
    (aside,) = _corrupt(filled)
    with open_record(filled) as record:
        repair_file(record, aside)
        assert sum(len(record.outcomes(run.number)) for run in record.runs()) > 1500


def test_a_record_that_breaks_under_a_run_costs_the_run_nothing(
    record_path: Path, state_dir: Path, finished, wait_until
) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(finished("t.py::before"))
    ensure_ingester(record_path)
    wait_until(lambda: record_path.exists() and _rows(record_path) == 1, "the first outcome")
    for suffix in ("", "-wal"):
        Path(f"{record_path}{suffix}").write_bytes(b"\xff" * 50_000)
    spool.sink(finished("t.py::after"))
    with open_record(record_path) as record:
        assert len(_corrupt(record_path)) == 1
        assert sorted(row.nodeid for row in record.outcomes(1)) == ["t.py::after", "t.py::before"]
    spool.close()


def _rows(record_path: Path) -> int:
    try:
        connection = sqlite3.connect(f"file:{record_path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM outcomes").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return -1


def test_a_newer_format_is_refused_and_left_alone_to_the_byte(
    filled: Path, state_dir: Path
) -> None:
    connection = sqlite3.connect(filled)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    before = filled.read_bytes()
    spool = Spool.open(state_dir, "run-new")
    with pytest.raises(RecordError, match="written by a newer windtunnel") as caught:
        open_record(filled)
    assert "format 99" in str(caught.value)
    assert filled.read_bytes() == before
    assert spool.path.exists()
    assert _corrupt(filled) == []
    spool.close()


def test_another_programs_database_is_refused_and_left_alone(record_path: Path) -> None:
    record_path.parent.mkdir()
    connection = sqlite3.connect(record_path)
    connection.execute("PRAGMA application_id = 7")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = record_path.read_bytes()
    with pytest.raises(RecordError, match="no record of windtunnel's"):
        open_record(record_path)
    assert record_path.read_bytes() == before


def test_a_database_without_any_mark_that_holds_tables_is_refused_too(record_path: Path) -> None:
    record_path.parent.mkdir()
    connection = sqlite3.connect(record_path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(RecordError, match="no record of windtunnel's"):
        open_record(record_path)


def test_an_empty_file_becomes_a_record(record_path: Path) -> None:
    record_path.parent.mkdir()
    record_path.touch()
    with open_record(record_path) as record:
        assert record.runs() == []
        assert record.notices == ()


# What format 1 was, written down as it was: the test must not follow later changes.
_FORMAT_1 = """
CREATE TABLE runs (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, started REAL NOT NULL,
    argv TEXT NOT NULL DEFAULT '', root TEXT NOT NULL DEFAULT '',
    "commit" TEXT NOT NULL DEFAULT '', tree TEXT NOT NULL DEFAULT '',
    environment TEXT NOT NULL DEFAULT '', environment_text TEXT NOT NULL DEFAULT '',
    isolation TEXT NOT NULL DEFAULT '', world TEXT NOT NULL DEFAULT 'real',
    workers INTEGER NOT NULL DEFAULT 0, seed INTEGER NOT NULL DEFAULT 0,
    ci TEXT NOT NULL DEFAULT '', finished REAL, exit_code INTEGER, duration_s REAL,
    collected INTEGER NOT NULL DEFAULT 0);
CREATE TABLE tests (id INTEGER PRIMARY KEY, nodeid TEXT NOT NULL UNIQUE,
    strip TEXT NOT NULL DEFAULT '', results INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, finals INTEGER NOT NULL DEFAULT 0,
    last_run INTEGER NOT NULL DEFAULT 0);
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE outcomes (run INTEGER NOT NULL, test INTEGER NOT NULL, attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL, final INTEGER NOT NULL, phase TEXT NOT NULL, setup_s REAL NOT NULL,
    call_s REAL NOT NULL, teardown_s REAL NOT NULL, started REAL NOT NULL, worker INTEGER NOT NULL,
    position INTEGER NOT NULL, isolation INTEGER NOT NULL, quarantined INTEGER NOT NULL,
    seed INTEGER NOT NULL, PRIMARY KEY (run, test, attempt)) WITHOUT ROWID;
CREATE TABLE texts (run INTEGER NOT NULL, test INTEGER NOT NULL, attempt INTEGER NOT NULL,
    message TEXT NOT NULL, output TEXT NOT NULL, replay TEXT NOT NULL,
    PRIMARY KEY (run, test, attempt)) WITHOUT ROWID;
CREATE TABLE samples (run INTEGER NOT NULL, time REAL NOT NULL, name TEXT NOT NULL, value REAL,
    unit TEXT NOT NULL, nodeid TEXT NOT NULL, failed INTEGER NOT NULL);
CREATE INDEX samples_by_name ON samples (name, run);
CREATE INDEX samples_by_run ON samples (run);
CREATE TABLE violations (run INTEGER NOT NULL, time REAL NOT NULL, rule TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL, nodeid TEXT NOT NULL, worker TEXT NOT NULL,
    location TEXT NOT NULL, fails INTEGER NOT NULL);
CREATE INDEX violations_by_run ON violations (run);
CREATE TABLE resources (run INTEGER NOT NULL, time REAL NOT NULL, action TEXT NOT NULL,
    resource TEXT NOT NULL, name TEXT NOT NULL, nodeid TEXT NOT NULL, worker TEXT NOT NULL);
CREATE INDEX resources_by_run ON resources (run);
CREATE TABLE spools (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA application_id = 1465142860;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


def _write_format_1(path: Path) -> None:
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript(_FORMAT_1)
    connection.execute("INSERT INTO names VALUES (1, 'gw0'), (2, '')")
    connection.execute(
        "INSERT INTO tests VALUES (1, 't.py::a', '.F', 2, 1, 2, 2), (2, 't.py::b', 's', 0, 0, 1, 2)"
    )
    for run in (1, 2):
        connection.execute(
            "INSERT INTO runs (number, run_id, started) VALUES (?, ?, ?)",
            (run, f"run-{run}", 1000.0 + run),
        )
    row = "INSERT INTO outcomes VALUES (?,?,?,?,?,'',0.5,?,0.0,1000.0,1,0,2,0,0)"
    connection.execute(row, (1, 1, 1, ".", 1, 1.0))
    connection.execute(row, (2, 1, 1, "F", 1, 2.0))
    connection.execute(row, (2, 2, 1, "s", 1, 3.0))
    connection.execute("INSERT INTO texts VALUES (2, 1, 1, 'assert 0', '', '')")
    connection.commit()
    connection.close()


def test_a_record_of_format_1_is_brought_up_to_date_with_all_it_holds(
    record_path: Path, state_dir: Path, finished
) -> None:
    _write_format_1(record_path)
    spool = Spool.open(state_dir, "run-3")
    spool.sink(finished("t.py::a", call_s=3.0, setup_s=0.5))
    with open_record(record_path) as record:
        assert record.notices == ()
        assert {row.nodeid: row.strip for row in record.recent()} == {
            "t.py::a": ".F.",
            "t.py::b": "s",
        }
        duration = record.durations()["t.py::a"]
        assert (duration.p75_s, duration.results) == (3.5, 3)
        assert [row.message for row in record.outcomes(2)] == ["assert 0", ""]
        assert record.check().format == 2
    spool.close()


def test_a_migration_that_fails_changes_nothing(record_path: Path) -> None:
    _write_format_1(record_path)
    connection = sqlite3.connect(record_path)
    connection.execute("CREATE TABLE unfinished (x)")  # the step will want to make this itself
    connection.commit()
    connection.close()
    with pytest.raises(RecordError):
        Record(record_path)
    connection = sqlite3.connect(record_path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
    columns = [row[1] for row in connection.execute("PRAGMA table_info(tests)")]
    assert "durations" not in columns
    connection.close()


def test_a_file_that_may_not_be_read_is_one_clear_error(record_path: Path) -> None:
    record_path.mkdir(parents=True)
    with pytest.raises(RecordError, match="the record"):
        open_record(record_path)
