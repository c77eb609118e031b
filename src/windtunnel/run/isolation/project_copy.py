"""Fresh copies of the project for tests that begin in one (setting ``cwd = "copy"``).

The project is copied once a process, so that what other processes write meanwhile does not make
tests differ, and each test gets a copy of that copy: by reflink where the file system can, which
shares the blocks until somebody writes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

EXCLUDED = frozenset(
    {
        ".git",
        ".hg",
        ".venv",
        "venv",
        ".tox",
        ".nox",
        ".windtunnel",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        "__pycache__",
        "node_modules",
    }
)
"""What is not copied: version control, environments, caches."""

_FICLONE = 0x40049409


class ProjectCopy:
    """Copies of the project at ``root``; the first lies in ``folder``."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = os.path.realpath(root)
        self._folder = folder
        self._original: str | None = None

    def into(self, folder: str, start: str) -> str:
        """Copy the project into ``folder``; returns what ``start`` is in the copy.

        Where ``start`` is not within the project's root, ``start`` itself is copied.
        """
        source = os.path.realpath(start)
        root = self._root if Path(source).is_relative_to(self._root) else source
        if self._original is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._original = str(self._folder / f"project-{os.getpid()}")
            _copy(root, self._original, without={str(self._folder)})
        target = f"{folder}/{os.path.basename(root) or 'project'}"
        _copy(self._original, target, without=())
        return os.path.normpath(os.path.join(target, os.path.relpath(source, root)))


def _copy(source: str, target: str, without: Iterable[str]) -> None:
    left_out = set(without)

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {n for n in names if n in EXCLUDED or os.path.join(folder, n) in left_out}

    shutil.copytree(
        source,
        target,
        symlinks=True,
        ignore=ignored,
        copy_function=_clone,
        ignore_dangling_symlinks=True,
    )


def _clone(source: str, target: str) -> str:
    if not os.path.isfile(source):  # a socket or a pipe is nobody's content
        return target
    with open(source, "rb") as read, open(target, "wb") as write:
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, write, 1 << 20)
    shutil.copystat(source, target)
    return target
