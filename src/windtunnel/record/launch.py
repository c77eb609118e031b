"""Starting the ingester: detached, at once, and holding nothing of who started it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from windtunnel.record.places import election_path, is_locked, make_spool_dir

_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "SQLITE_TMPDIR")


def ensure_ingester(record: Path) -> bool:
    """See to it that somebody moves events from the spools into ``record``.

    To be called after this process has opened its spool. Where no ingester can be started
    nothing is lost: whoever opens the record next takes in what is in the spools.

    :param record: path of the record's file.
    :returns: whether an ingester is running or was started.
    """
    record = Path(os.path.abspath(record))
    make_spool_dir(record)
    if is_locked(election_path(record)):
        return True
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ingester.py")
    if not sys.executable or not os.path.exists(script):
        return False
    # The shell leaves at once, so that the ingester is no child of ours: a suite that waits for
    # all of its children, or counts them, does not meet it.
    command = [
        "/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-S", "-E", "-s", script, str(record),
    ]  # fmt: skip
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    null = os.devnull
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
    ]
    try:
        if sys.platform == "linux":  # a session of its own: no signal of the terminal reaches it
            pid = os.posix_spawn("/bin/sh", command, environment, file_actions=actions, setsid=True)
        else:
            pid = os.posix_spawn("/bin/sh", command, environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
    except OSError:
        return False
    return status == 0
