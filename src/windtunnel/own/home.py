"""Where this room keeps what is the machine's and not one project's.

Slots of named resources, cached database templates and the folders of servers live in one folder
a user, under ``/var/tmp``: not under ``/tmp`` or the home folder, which the namespace isolation
makes each worker's own, and which would then stop excluding anyone. ``WINDTUNNEL_HOME`` names
another folder.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from windtunnel.core import ResourceError


def home() -> Path:
    """The folder, made where it is not there yet.

    :raises ResourceError: when somebody else owns it.
    """
    given = os.environ.get("WINDTUNNEL_HOME")
    if given:
        path = Path(given)
    else:
        base = Path("/var/tmp")
        if not (base.is_dir() and os.access(base, os.W_OK)):
            base = Path(tempfile.gettempdir())
        path = base / f"windtunnel-{os.getuid()}"
    try:
        # Others may pass through (the user that PostgreSQL runs as must), not look around.
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise ResourceError(
            f"cannot use the folder {path}", found=str(error), fix="set WINDTUNNEL_HOME"
        ) from None
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise ResourceError(
            f"{path} is not a folder of this user",
            found=f"owner {found.st_uid}, mode {stat.filemode(found.st_mode)}",
            fix="remove it, or set WINDTUNNEL_HOME to a folder of yours",
        )
    return path


def folder(name: str) -> Path:
    """A folder inside it that only this user can see into."""
    path = home() / name
    path.mkdir(mode=0o700, exist_ok=True)
    return path
