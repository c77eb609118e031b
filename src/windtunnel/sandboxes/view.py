"""What of this machine a confined interpreter sees: itself, its libraries, four devices.

All of it read-only. No ``/etc`` but the loader's cache, no home, no installed packages, no project.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from windtunnel.sandboxes import libraries

_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# Extension modules that want a display, a terminal or a network directory, and tests.
_UNWANTED = ("_tkinter", "_curses", "readline", "nis", "_gdbm", "_dbm", "_test", "xx", "_xx")
_ALSO = ("libgcc_s.so.1",)  # loaded by the C library when a thread ends
_PLACES = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
_PACKAGES = ("site-packages", "dist-packages")


def interpreter() -> Path:
    """The interpreter itself, behind the links of a virtual environment."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return Path(base).resolve()


def standard_library() -> Path:
    """The folder of the standard library."""
    return Path(os.__file__).resolve().parent


@cache
def visible() -> tuple[Path, ...]:
    """Every path that the interpreter needs to see, the folders before what is in them."""
    folder = standard_library()
    extensions = _extensions(folder)
    programs = [interpreter(), *extensions]
    paths = {folder, interpreter(), *libraries.needed(programs)}
    paths |= {path.parent for path in extensions if folder not in path.parents}
    paths |= {found for name in _ALSO if (found := libraries.library(name))}
    paths |= {Path(place) for place in _PLACES if Path(place).exists()}
    return tuple(sorted(paths))


def folders() -> tuple[Path, ...]:
    """The folders on the way to what is visible, each after the one that it is in."""
    found = {parent for path in (*visible(), *devices()) for parent in path.parents}
    return tuple(sorted(found - set(visible()) - {Path("/")}))


def hidden() -> tuple[Path, ...]:
    """Folders within what is visible that are covered with nothing: installed packages."""
    folder = standard_library()
    return tuple(folder / name for name in _PACKAGES if (folder / name).is_dir())


def needed_by(packages: Iterable[Path]) -> tuple[Path, ...]:
    """What is to be seen for these packages beyond what is visible: themselves, and libraries."""
    found: set[Path] = set()
    for package in packages:
        extensions = [path for path in package.rglob("*.so") if path.is_file()]
        found |= {package, *libraries.needed(extensions)}
    return tuple(sorted(found - set(visible())))


def folders_to(packages: Iterable[Path]) -> tuple[Path, ...]:
    """The folders on the way to what :func:`needed_by` gives that are not there yet."""
    found = {parent for path in needed_by(packages) for parent in path.parents}
    covered = {parent for path in visible() for parent in (path, *path.parents)}
    return tuple(sorted(found - covered - {Path("/")}))


def devices() -> tuple[Path, ...]:
    """The devices a program may expect everywhere."""
    return tuple(Path(device) for device in _DEVICES if Path(device).exists())


def _extensions(folder: Path) -> list[Path]:
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    places = {folder / "lib-dynload"} | {
        Path(entry).resolve() for entry in sys.path if entry.endswith("lib-dynload")
    }
    return sorted(
        path
        for place in places
        if place.is_dir()
        for path in place.iterdir()
        if path.name.endswith(suffixes) and not path.name.startswith(_UNWANTED)
    )


__all__ = [
    "devices",
    "folders",
    "folders_to",
    "hidden",
    "interpreter",
    "needed_by",
    "standard_library",
    "visible",
]
