"""Landlock: files out of reach of a plain process, where the kernel can do that (Linux 5.13).

Sent to the sandboxed interpreter as text, for the tier that has no mount namespace. What is not
named can be neither opened nor changed; that it exists, and its size, can still be seen. Numbers
and structures are those of linux/landlock.h and landlock(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Any

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_ASK_VERSION = 1

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_EXECUTE, _WRITE_FILE, _TRUNCATE, _IOCTL_DEVICE = 1, 1 << 1, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_RIGHTS = 16
_NET_TCP = 0b11  # to bind, to connect
_SCOPED = 0b11  # abstract unix sockets, signals

_libc: Any = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Which version of Landlock the kernel has; 0 where none is in force."""
    found: int = _libc.syscall(_CREATE, None, 0, _ASK_VERSION)
    return max(0, found)


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Leave this process, for ever, these paths and what is below them.

    Needs PR_SET_NO_NEW_PRIVS. Also refuses TCP, abstract unix sockets and signals to others where
    the kernel knows how.

    :raises OSError: where the kernel refuses.
    """
    known = version()
    rights = (1 << _RIGHTS_BY_VERSION.get(known, _ALL_RIGHTS)) - 1
    attributes = struct.pack("=QQQ", rights, _NET_TCP, _SCOPED)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = _checked(_libc.syscall(_CREATE, attributes, size, 0))
    try:
        for path in readable:
            _allow(ruleset, path, (_READ_FILE | _READ_DIR) & rights)
        for path in writable:
            _allow(ruleset, path, rights & ~_EXECUTE & ~_IOCTL_DEVICE)
        _checked(_libc.syscall(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
    finally:
        os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return result
