"""The time zone of a world's nodes while its loop runs.

The C library keeps one zone a process, read from TZ: it decides what `time.localtime`,
`datetime.now` and ``astimezone`` show. Changing it and changing it back costs some 20
microseconds a run of the loop, and nothing when the process is in that zone already. Threads of
the real world that ask for the local time while a world runs see the world's zone: that is the
price of one zone a process.
"""

from __future__ import annotations

import ctypes
import os
import time

# Not os.environ: while a world runs that is the environment of one of its nodes.
_getenv = ctypes.CDLL(None).getenv
_getenv.restype = ctypes.c_char_p


class Zone:
    """Puts a zone in, and back the one that was there."""

    def __init__(self) -> None:
        self._before: bytes | None = None
        self._in_place = False

    def put(self, name: str) -> None:
        """Make ``name`` the process's zone.

        :param name: what TZ may hold: ``UTC``, ``Europe/Vienna``.
        """
        self._before = _getenv(b"TZ")
        self._in_place = True
        _set(os.fsencode(name))

    def take_out(self) -> None:
        """Bring back the zone from before `put`."""
        if self._in_place:
            self._in_place = False
            _set(self._before)


def _set(name: bytes | None) -> None:
    if _getenv(b"TZ") == name:
        return
    if name is None:
        os.unsetenv("TZ")
    else:
        os.putenv(b"TZ", name)
    time.tzset()
