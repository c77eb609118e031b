"""Which shared libraries a program needs, read from the files as the dynamic loader reads them.

No program is run for it: ``ldd`` runs what it looks at. ELF of 64 bits, little-endian (elf(5));
names are looked for as ld.so(8) does: DT_RPATH or DT_RUNPATH, LD_LIBRARY_PATH, the loader's
cache, the folders of the system.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_CACHE = Path("/etc/ld.so.cache")
_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29


def needed(programs: Iterable[Path]) -> frozenset[Path]:
    """Every library, and the loader, that these programs and libraries need, and what those need.

    The paths are those under which the loader looks for them, links not followed.

    >>> import sys
    >>> [path.name for path in needed([Path(sys.executable)]) if path.name.startswith("ld-")] != []
    True
    """
    found: set[Path] = set()
    todo = list(programs)
    seen = set(todo)
    while todo:
        program = todo.pop()
        for library in _direct(program):
            found.add(library)
            if library not in seen:
                seen.add(library)
                todo.append(library)
    return frozenset(found)


def _direct(program: Path) -> Iterator[Path]:
    elf = _Elf(program)
    if elf.interpreter:
        yield Path(elf.interpreter)
    origin = str(program.resolve().parent)
    own = [folder.replace("$ORIGIN", origin).replace("${ORIGIN}", origin) for folder in elf.folders]
    for name in elf.needed:
        library = _look_up(name, tuple(own))
        if library is not None:
            yield library


def library(name: str) -> Path | None:
    """Where the loader finds a library of that name; None where it does not.

    >>> library("libno-such-thing.so.9") is None
    True
    """
    return _look_up(name, ())


def _look_up(name: str, own: tuple[str, ...]) -> Path | None:
    environment = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    for folder in [*own, *environment]:
        if (candidate := Path(folder) / name).is_file():
            return candidate
    if (cached := _cached().get(name)) is not None:
        return Path(cached)
    for folder in _FOLDERS:
        if (candidate := Path(folder) / name).is_file():
            return candidate
    return None


@cache
def _cached() -> dict[str, str]:
    """The loader's cache: the library of each name, as glibc's ``ldconfig`` wrote it.

    After a header of 48 bytes come entries of 24: flags, the offsets of name and path, and what
    hardware they demand. Of several of one name the first that demands nothing is taken.
    """
    try:
        data = _CACHE.read_bytes()
    except OSError:
        return {}
    start = data.find(b"glibc-ld.so.cache1.1")
    if start < 0:
        return {}
    (count,) = struct.unpack_from("<I", data, start + 20)
    found: dict[str, str] = {}
    for index in range(count):
        _flags, name, path, _os, hardware = struct.unpack_from(
            "<iIIIQ", data, start + 48 + 24 * index
        )
        if not hardware and _of_this_machine(spelled := _text(data, start + path)):
            found.setdefault(_text(data, start + name), spelled)
    return found


def _of_this_machine(path: str) -> bool:
    """Whether a library has words of 64 bits; a cache lists those of 32 bits beside them."""
    try:
        with open(path, "rb") as file:
            return file.read(5) == b"\x7fELF\x02"
    except OSError:
        return False


def _text(data: bytes | mmap.mmap, at: int) -> str:
    return data[at : data.find(b"\0", at)].decode(errors="surrogateescape")


class _Elf:
    """What the dynamic section of one file says; nothing where it is no such file."""

    def __init__(self, path: Path) -> None:
        self.interpreter = ""
        self.needed: list[str] = []
        self.folders: list[str] = []
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                if data[:6] == b"\x7fELF\x02\x01":
                    self._read(data)
        except (OSError, ValueError, struct.error):
            pass  # unreadable, empty or cut off: it needs nothing that could be found

    def _read(self, data: mmap.mmap) -> None:
        (table,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        loads: list[tuple[int, int, int]] = []
        dynamic = (0, 0)
        for index in range(count):
            kind, _flags, offset, address, _physical, length = struct.unpack_from(
                "<IIQQQQ", data, table + index * size
            )
            if kind == _PT_LOAD:
                loads.append((address, length, offset))
            elif kind == _PT_DYNAMIC:
                dynamic = (offset, length)
            elif kind == _PT_INTERP:
                self.interpreter = _text(data, offset)
        tags = list(struct.iter_unpack("<qQ", data[dynamic[0] : dynamic[0] + dynamic[1]]))
        strings = dict(tags).get(_DT_STRTAB, 0)
        names = next((strings - a + o for a, n, o in loads if a <= strings < a + n), 0)
        for tag, value in tags:
            if tag == _DT_NEEDED:
                self.needed.append(_text(data, names + value))
            elif tag in (_DT_RPATH, _DT_RUNPATH):
                self.folders += re.split("[:;]", _text(data, names + value))


__all__ = ["library", "needed"]
