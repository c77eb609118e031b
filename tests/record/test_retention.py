"""What the record lets go of, and what it never lets in."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from windtunnel.core import REAL_CLOCK, RunStarted, Sample, TestFinished, UsageError, Violation
from windtunnel.record import Redaction, open_record
from windtunnel.record.places import file_system, on_network
from windtunnel.record.redaction import OUTPUT_LIMIT

_DAY_S = 86_400


@pytest.fixture
def ten_days(record_path: Path, started, finished) -> Path:
    """A run a day for ten days; the oldest has a test that never ran again."""
    now = REAL_CLOCK.time()
    with open_record(record_path) as record:
        for number in range(10):
            events = [finished("t.py::a", "failed" if number < 3 else "passed", output="x" * 999)]
            if number == 0:
                events.append(finished("t.py::gone"))
            events += [Sample(name="s", value=number), Violation(rule="leak", subject="x")]
            day = now - (9.5 - number) * _DAY_S
            record.ingest(started(f"run-{number}", day), events)
    return record_path


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"keep_runs": 4}, 4),
        ({"keep_days": 6}, 6),
        ({"keep_runs": 4, "keep_days": 2}, 2),
        ({"keep_runs": 99, "keep_days": 99}, 10),
        ({}, 10),
    ],
)
def test_old_runs_go_with_all_that_belongs_to_them(
    ten_days: Path, limits: dict[str, int], kept: int
) -> None:
    with open_record(ten_days) as record:
        assert record.trim(**limits) == 10 - kept
        assert [run.run_id for run in record.runs()] == [f"run-{9 - n}" for n in range(kept)]
        assert len(record.samples()) == kept
        assert sum(len(record.outcomes(number)) for number in range(1, 11)) == kept + (kept == 10)
        assert len(record.violations(1)) == (kept == 10)
        strips = {row.nodeid: row.strip for row in record.recent()}
        whole = "FFF......."
        assert strips == {"t.py::a": whole[-kept:]} | ({"t.py::gone": "."} if kept == 10 else {})


def test_trimming_gives_the_space_back(ten_days: Path) -> None:
    connection = sqlite3.connect(ten_days)
    with open_record(ten_days) as record:
        before = connection.execute("PRAGMA page_count").fetchone()[0]
        record.trim(keep_runs=1)
    assert connection.execute("PRAGMA freelist_count").fetchone()[0] == 0
    assert connection.execute("PRAGMA page_count").fetchone()[0] < before
    connection.close()


def test_runs_after_a_trim_go_on_with_higher_numbers(ten_days: Path, started, finished) -> None:
    with open_record(ten_days) as record:
        record.trim(keep_runs=1)
        assert record.ingest(started("run-10", REAL_CLOCK.time()), [finished("t.py::a")]) == 11
        assert record.recent()[0].strip == ".."


def test_every_text_of_an_event_is_redacted_and_the_rest_is_left() -> None:
    redaction = Redaction([r"hunter\d", r"Bearer (\S+)"])
    event = redaction(
        TestFinished(
            time=1.0,
            nodeid="t.py::hunter2",
            outcome="failed",
            worker="gw0",
            message="Bearer abc was wrong",
            output="pass: hunter2\n",
            replay="windtunnel run --password hunter2",
        )
    )
    assert isinstance(event, TestFinished)
    assert event.message == "Bearer [redacted] was wrong"
    assert event.output == "pass: [redacted]\n"
    assert event.replay == "windtunnel run --password [redacted]"
    assert event.nodeid == "t.py::hunter2"
    run = redaction(RunStarted(run_id="r", argv="pytest --token=hunter3", root="/p"))
    assert isinstance(run, RunStarted)
    assert run.argv == "pytest --token=[redacted]"
    broken = redaction(Violation(rule="pollution", subject="os.environ['X']", detail="hunter4"))
    assert isinstance(broken, Violation)
    assert broken.detail == "[redacted]"


def test_an_event_without_secrets_passes_as_it_is() -> None:
    event = Sample(name="s", value=1)
    assert Redaction(["x"])(event) is event


def test_output_beyond_the_limit_keeps_its_beginning_and_its_end() -> None:
    event = Redaction()(
        TestFinished(
            nodeid="t", outcome="failed", worker="w", output="begin" + "." * 10**6 + "the end"
        )
    )
    assert isinstance(event, TestFinished)
    assert event.output.startswith("begin")
    assert event.output.endswith("the end")
    assert "characters left out" in event.output
    assert len(event.output) < OUTPUT_LIMIT + 100


def test_a_pattern_that_is_none_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match=r"redact pattern '\('"):
        Redaction(["("])


@pytest.mark.parametrize(
    ("mounts", "kind", "remote"),
    [
        ("/dev/a / ext4 rw\nsrv:/x /ci nfs rw", "nfs", True),
        ("/dev/a / ext4 rw\n//srv/x /ci cifs rw", "cifs", True),
        ("/dev/a / ext4 rw\nhost /ci 9p rw", "9p", True),
        ("/dev/a / ext4 rw\nx /ci fuse.sshfs rw", "fuse.sshfs", True),
        ("/dev/a / ext4 rw\nsrv:/x /ci2 nfs rw", "ext4", False),
        ("srv:/ / nfs rw\ntmpfs /ci tmpfs rw", "tmpfs", False),
        ("/dev/a / ext4 rw\nsrv:/x /ci nfs rw\ntmpfs /ci tmpfs rw", "tmpfs", False),
        ("", "", False),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_last_mount(
    mounts: str, kind: str, remote: bool
) -> None:
    path = Path("/ci/project/.windtunnel/record.db")
    assert file_system(path, mounts) == kind
    assert on_network(path, mounts) is remote


def test_on_a_networks_file_system_the_journal_is_not_a_write_ahead_log(
    record_path: Path, monkeypatch: pytest.MonkeyPatch, started, finished
) -> None:
    monkeypatch.setattr("windtunnel.record.schema.on_network", lambda path: True)
    with open_record(record_path) as record:
        record.ingest(started(), [finished()])
        assert not os.path.exists(f"{record_path}-wal")
    assert record_path.read_bytes()[18:20] == b"\1\1"  # the header's versions: 2 is WAL
    with open_record(record_path) as record:
        assert len(record.outcomes(1)) == 1


def test_on_a_local_file_system_the_journal_is_a_write_ahead_log(record_path: Path) -> None:
    with open_record(record_path):
        pass
    assert record_path.read_bytes()[18:20] == b"\2\2"
