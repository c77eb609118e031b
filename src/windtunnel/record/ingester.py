"""The detached process that moves events from spools into the record while a run goes on.

There is one a record, elected by a lock. It looks every 20 ms, and ends by itself when no spool
has a living owner any more, or when the folder has gone. It is started by path and not as a
module, without site-packages and without ``windtunnel.core``: it has to be there at once.
"""

from __future__ import annotations

import fcntl
import os
import select
import sqlite3
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

from windtunnel.record.intake import Intake
from windtunnel.record.places import election_path, spool_dir
from windtunnel.record.schema import connect, inode_of, is_damage, set_aside

POLL_S = 0.02
_POLLS_A_CLEANUP = 25
_IDLE_POLLS = 45_000  # a quarter of an hour; a run that goes on longer is taken in at its end
_TRIES_AFTER_ERROR = 50


def main(record: Path) -> None:
    """Serve ``record`` until nobody writes to it any more."""
    while _elected(record) is not None:
        # An owner that began while we were ending saw our lock and started nobody else: having
        # let go of the lock, look once more.
        if not _spools(record):
            return


def _elected(record: Path) -> bool | None:
    """Serve for as long as needed under the lock; None when another process has it."""
    try:
        fd = os.open(election_path(record), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    try:
        if not _lock(fd):
            return None
        return True if _serve(record) else None
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    for _ in range(10):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _wait(0.005)  # it may be somebody who only looks whether there is an ingester
        except OSError:
            return False
        else:
            return True
    return False


def _serve(record: Path) -> bool:
    """Take in until there is no living owner; returns whether that was the reason to end."""
    errors = 0
    while errors < _TRIES_AFTER_ERROR:
        try:
            connection = connect(record)
        except FileNotFoundError:
            return False
        inode = inode_of(record)
        try:
            return _take_in(record, Intake(connection, record), inode)
        except sqlite3.DatabaseError as error:
            errors += 1
            if is_damage(error):
                set_aside(record, str(error), inode)
            elif not _spools(record):
                return False
            else:
                _wait(0.5)  # a full disk, a long lock: the spools keep what comes in meanwhile
        finally:
            connection.close()
    return False


def _take_in(record: Path, intake: Intake, inode: int) -> bool:
    polls = idle = 0
    while idle < _IDLE_POLLS:
        polls += 1
        if inode_of(record) != inode:  # deleted, or set aside by somebody
            return spool_dir(record).is_dir()
        if intake.step():
            idle = 0
            continue
        idle += 1
        cleanup = polls % _POLLS_A_CLEANUP == 0 or not intake.any_owner_lives()
        if cleanup and not intake.finish():
            return True
        _wait(POLL_S)
    return False


def _spools(record: Path) -> bool:
    try:
        return any(name.endswith(".jsonl") for name in os.listdir(spool_dir(record)))
    except OSError:
        return False


def _wait(seconds: float) -> None:
    select.select((), (), (), seconds)


if __name__ == "__main__":
    os.chdir("/")  # hold nobody's folder
    main(Path(sys.argv[1]))
