"""Which real files a simulated test may write: those under the folders its world allows."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from windtunnel.sim.fence.refusal import escape

if TYPE_CHECKING:
    from windtunnel.sim.world import World

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DEVICES = frozenset({"/dev/null", "/dev/tty", "/dev/stdout", "/dev/stderr"})
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_FIX = "write under tmp_path, or allow the folder: simulated(writable=[...])"


def opened(world: World, path: Any, mode: Any, flags: Any) -> None:
    """A file is about to be opened; reading is free."""
    if isinstance(flags, int) and not flags & _WRITES:
        return
    if isinstance(mode, str) and not isinstance(flags, int) and not set(mode) & set("wax+"):
        return
    written(world, "open", path)


def written(world: World, call: str, *paths: Any) -> None:
    """Something is about to be written, made, renamed or removed at these paths.

    :raises EscapeError: when one of them is outside the folders that the world allows.
    """
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike) and not _may_write(world, path):
            raise escape(world, "writing a real file", f"{call}({os.fspath(path)!r})", _FIX)


def _may_write(world: World, path: Any) -> bool:
    full = os.path.abspath(os.fsdecode(path))
    if full in _DEVICES or _is_bytecode(full) or _by_the_house():
        return True
    real = os.path.realpath(full)
    for folder in world.config.writable:
        if _is_under(real, os.path.realpath(folder)):
            world.note("file", path=full)
            return True
    return False


def _is_under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_bytecode(path: str) -> bool:
    """Whether it is what an import leaves: no more than a faster import next time."""
    folder, name = os.path.split(path)
    if name == "__pycache__":
        return True
    return os.path.basename(folder) == "__pycache__" and ".pyc" in name


def _by_the_house() -> bool:
    """Whether the innermost code outside the standard library is windtunnel's own.

    Its record of the run is written to files of its own while a world runs.
    """
    frame = sys._getframe(1)
    here = os.path.dirname(os.path.abspath(__file__)) + os.sep
    stdlib = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(here):
            if file.startswith(_OURS):
                return True
            if not file.startswith(stdlib) or "site-packages" in file:
                return False
        frame = frame.f_back  # type: ignore[assignment]
    return False
