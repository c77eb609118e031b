"""Fresh TMPDIR and HOME folders, one pair a test.

A pair that its test left empty serves the next test again, since nobody can tell it from a new
one: most tests write to neither, and then pay no file system work but two listings.

What a test wrote stays until the process has run its last test: a log handler, or whatever else
the process opened once and keeps, may still write there long after that test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """A test's own folder: ``tmp`` and ``home`` within ``path``."""

    path: str
    tmp: str
    home: str


class Folders:
    """The folders of one process, below ``root``, which is made at the first use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made = 0
        self._current: Folder | None = None

    def fresh(self) -> Folder:
        """An empty pair."""
        if self._current is None:
            self._made += 1
            self._current = self._make(str(self.root / str(self._made)))
        return self._current

    def release(self) -> None:
        """The test is over: the next one sees nothing of what it wrote."""
        folder = self._current
        if folder is None or _as_new(folder):
            return
        self._current = None
        for path in _beside(folder):  # a copy of the project, large and the test's alone
            remove_tree(path)

    def remove(self) -> None:
        """Remove all folders."""
        self._current = None
        remove_tree(str(self.root))

    def _make(self, path: str) -> Folder:
        folder = Folder(path, f"{path}/tmp", f"{path}/home")
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            self.root.mkdir(mode=0o700, exist_ok=True)
            os.mkdir(path, 0o700)
        except FileExistsError:  # left by a forked test that died under the same number
            remove_tree(path)
            os.mkdir(path, 0o700)
        os.mkdir(folder.tmp, 0o700)
        os.mkdir(folder.home, 0o700)
        return folder


def _beside(folder: Folder) -> list[str]:
    try:
        paths = [os.path.join(folder.path, name) for name in os.listdir(folder.path)]
    except OSError:
        return []
    return [path for path in paths if path not in (folder.tmp, folder.home)]


def _as_new(folder: Folder) -> bool:
    try:
        if len(os.listdir(folder.path)) != 2:
            return False
        return not any(
            os.listdir(path) or stat.S_IMODE(os.stat(path).st_mode) != 0o700
            for path in (folder.tmp, folder.home)
        )
    except OSError:
        return False


def remove_tree(path: str) -> None:
    """Remove a tree, also where a test has taken away permissions; what cannot go stays."""

    def retry(function: Callable[[str], object], failed: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(failed), 0o700)
            if not os.path.islink(failed):
                os.chmod(failed, 0o700)
            if function in (os.open, os.scandir, os.listdir):
                shutil.rmtree(failed, ignore_errors=True)
            else:
                function(failed)

    if os.path.lexists(path):
        shutil.rmtree(path, onerror=retry)
