"""What leaves the namespace: copies of a worker's writes, made where the real folders are.

Folders on the write-through list that exist when a worker starts are the real ones in its view.
This module brings out the rest: files on the list, such as coverage data, and folders on it that
tests made; and all that is written after the last test, when plugins write their reports.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator

from windtunnel.run.isolation.namespace import Layer
from windtunnel.run.isolation.patterns import PathPatterns


class WriteThrough:
    """Copies out what a process wrote within its layers."""

    def __init__(self, layers: list[Layer], patterns: PathPatterns) -> None:
        self._layers = layers
        self._patterns = patterns
        self._seen: dict[str, tuple[int, int]] | None = None
        self._pid = os.getpid()

    def after_tests(self) -> None:
        """Copy out what the patterns name, and note the rest: it was the tests' and stays."""
        if os.getpid() != self._pid or self._seen is not None:
            return
        self._seen = {}
        for layer, path, status in self._written():
            self._seen[path] = _version(status)
            if self._patterns.match(path):
                _copy_out(layer, path, status)

    def at_exit(self) -> None:
        """Copy out what was written since: reports, caches, coverage."""
        if os.getpid() != self._pid or self._seen is None:
            return
        for layer, path, status in self._written():
            changed = self._seen.get(path) != _version(status)
            if changed and (self._patterns.match(path) or not _removed(status)):
                _copy_out(layer, path, status)
                self._seen[path] = _version(status)

    def _written(self) -> Iterator[tuple[Layer, str, os.stat_result]]:
        for layer in self._layers:
            for folder, _, names in os.walk(layer.upper):
                relative = folder[len(layer.upper) :]
                for name in names:
                    with contextlib.suppress(OSError):
                        status = os.lstat(f"{folder}/{name}")
                        yield layer, f"{layer.path}{relative}/{name}", status


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


def _removed(status: os.stat_result) -> bool:
    """An overlay notes a removed file as a character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _copy_out(layer: Layer, path: str, status: os.stat_result) -> None:
    relative = path[len(layer.path) :]
    source, target = layer.upper + relative, layer.real + relative
    if _removed(status):
        with contextlib.suppress(OSError):
            os.unlink(target)
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # Renamed into place: another worker, or the user's editor, sees the old file or the new.
    partial = f"{target}.wt-{os.getpid()}"
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), partial)
    elif stat.S_ISREG(status.st_mode):
        shutil.copy2(source, partial)
    else:
        return
    os.replace(partial, target)
