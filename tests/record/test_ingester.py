"""The ingester: prompt, alone, detached, and gone when it has nothing to do."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from windtunnel.record import Spool, ensure_ingester, open_record
from windtunnel.record.places import election_path, is_locked


def _outcomes(record_path: Path) -> int:
    """What is in the file itself, without taking in anything."""
    try:
        connection = sqlite3.connect(f"file:{record_path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM outcomes").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return -1


def test_events_reach_the_file_while_their_writer_lives(
    state_dir: Path, record_path: Path, finished, wait_until
) -> None:
    spool = Spool.open(state_dir, "run-1")
    assert ensure_ingester(record_path)
    for number in range(1, 4):
        spool.sink(finished(f"test_a.py::test_{number}"))
        wait_until(lambda want=number: _outcomes(record_path) == want, f"outcome {number}")
    spool.close()


def test_there_is_one_ingester_however_many_ask_for_it(
    state_dir: Path, record_path: Path, finished, wait_until, ingesters_of
) -> None:
    spool = Spool.open(state_dir, "run-1")
    for _ in range(5):
        assert ensure_ingester(record_path)
    spool.sink(finished())
    wait_until(lambda: _outcomes(record_path) == 1, "the outcome")
    wait_until(lambda: len(ingesters_of(record_path)) == 1, "the others to step back")
    spool.close()
    wait_until(lambda: not ingesters_of(record_path), "the ingester to end")


def test_the_ingester_is_no_child_and_holds_nothing_of_who_started_it(
    tmp_path: Path, state_dir: Path, record_path: Path, wait_until, ingesters_of
) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from windtunnel.record import Spool, ensure_ingester\n"
        "spool = Spool.open(Path(sys.argv[1]), 'run-1')\n"
        "os.set_inheritable(spool._fd, True)\n"
        "ensure_ingester(Path(sys.argv[1]) / 'record.db')\n"
        "try:\n    os.waitpid(-1, 0)\n"
        "except ChildProcessError:\n    print('no child')\n"
        "sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(state_dir)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"no child\n"
    wait_until(lambda: is_locked(election_path(record_path)), "the ingester to serve")
    (pid,) = ingesters_of(record_path)
    wait_until(lambda: os.readlink(f"/proc/{pid}/cwd") == "/", "the ingester to leave the folder")
    assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)} == {"/dev/null"}
    assert os.getsid(pid) != os.getsid(starter.pid)
    # Both pipes end although the ingester lives: it does not have them.
    starter.communicate()
    wait_until(lambda: not ingesters_of(record_path), "the ingester to end")


def test_a_killed_ingester_loses_nothing_and_the_next_run_has_one_again(
    state_dir: Path, record_path: Path, finished, wait_until, ingesters_of
) -> None:
    spool = Spool.open(state_dir, "run-1")
    ensure_ingester(record_path)
    spool.sink(finished("test_a.py::test_1"))
    wait_until(lambda: _outcomes(record_path) == 1, "the first outcome")
    for pid in ingesters_of(record_path):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_locked(election_path(record_path)), "the lock to be free")
    spool.sink(finished("test_a.py::test_2"))
    with open_record(record_path) as record:
        assert len(record.outcomes(1)) == 2
    ensure_ingester(record_path)
    spool.sink(finished("test_a.py::test_3"))
    wait_until(lambda: _outcomes(record_path) == 3, "the third outcome")
    spool.close()


def test_the_ingester_ends_when_its_folder_is_deleted(
    state_dir: Path, record_path: Path, wait_until, ingesters_of
) -> None:
    spool = Spool.open(state_dir, "run-1")
    ensure_ingester(record_path)
    wait_until(lambda: ingesters_of(record_path), "the ingester to begin")

    def deleted() -> bool:
        shutil.rmtree(state_dir, ignore_errors=True)  # it may be making a file there just now
        return not state_dir.exists()

    wait_until(deleted, "the folder to be gone")
    wait_until(lambda: not ingesters_of(record_path), "the ingester to end")
    spool.close()


def test_the_ingester_starts_without_the_house_and_its_libraries() -> None:
    code = (
        "import sys; before = set(sys.modules); import windtunnel.record.ingester;"
        "print(*sorted(set(sys.modules) - before))"
    )
    source = Path(__file__).parents[2] / "src"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "windtunnel.record.intake" in found
    assert not {"windtunnel.core", "dataclasses", "pytest", "asyncio"} & set(found)
