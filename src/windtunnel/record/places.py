"""Where a record keeps its things: the file, the spools beside it, and the locks among them.

Imported by the ingester, which starts often and must start fast: it imports nothing of the
house but this room's own leaves.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path

DEFAULT_NAME = "record.db"

# statfs names a file system by a number that Python does not hand out; /proc/mounts by its name.
_NETWORK = re.compile(
    "nfs4?|cifs|smb3|smbfs|9p|afs|ceph|glusterfs|lustre|beegfs|gpfs|ocfs2|gfs2|virtiofs"
    r"|webdav|davfs|vboxsf|prl_fs|drvfs|fuse|fuse\..+"
)


def spool_dir(record: Path) -> Path:
    """The folder with the spools that belong to ``record``."""
    return record.parent / "spool" / record.name


def election_path(record: Path) -> Path:
    """The file whose flock the one ingester of ``record`` holds while it lives."""
    return spool_dir(record) / "ingester.lock"


def change_path(record: Path) -> Path:
    """The file whose flock is held while ``record`` is created, migrated or set aside."""
    return spool_dir(record) / "change.lock"


def make_state_dir(directory: Path) -> None:
    """Create a folder for state, with a ``.gitignore`` in it where it did not exist before."""
    if directory.is_dir():
        return
    directory.mkdir(parents=True, exist_ok=True)
    try:
        (directory / ".gitignore").write_text("*\n", encoding="ascii")
    except OSError:
        pass  # a courtesy to git; the state does not depend on it


def make_spool_dir(record: Path) -> Path:
    """Create the spool folder of ``record`` if need be, and return it."""
    directory = spool_dir(record)
    if not directory.is_dir():
        make_state_dir(record.parent)
        directory.mkdir(parents=True, exist_ok=True)
    return directory


def is_locked(path: Path) -> bool:
    """Whether some process holds an exclusive flock on ``path``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(fd)
    return False


def file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that ``path`` is on, empty where that cannot be told.

    :param mounts: the table of mounts, as in ``/proc/mounts``, which is read by default.

    >>> file_system(Path("/mnt/ci/x.db"), "/dev/a / ext4 rw 0 0\\nsrv:/e /mnt/ci nfs4 rw 0 0")
    'nfs4'
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    real = os.path.realpath(path) if path.is_absolute() else os.path.abspath(path)
    best, found = -1, ""
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        point = words[1].replace("\\040", " ").rstrip("/")
        # Later lines are mounted over earlier ones: of two equal points the last one counts.
        if (real == point or real.startswith(f"{point}/")) and len(point) >= best:
            best, found = len(point), words[2]
    return found


def on_network(path: Path, mounts: str | None = None) -> bool:
    """Whether ``path`` is on a file system whose shared memory and locks SQLite's WAL cannot use.

    >>> on_network(Path("/mnt/x"), "/dev/a / ext4 rw 0 0\\nhost /mnt fuse.sshfs rw 0 0")
    True
    """
    return _NETWORK.fullmatch(file_system(path, mounts)) is not None
