"""The system calls that isolation needs and Python does not have: namespaces, mounts, loopback.

Each function is one call, raises ``OSError`` and knows nothing of tests. See unshare(2),
user_namespaces(7), mount(2), capabilities(7), netdevice(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
_MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` name for new ones."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace of that kind that ``fd`` refers to."""
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    _check(result, f"mount {kind or 'bind'} on {target}")


def unmount(target: str) -> None:
    """Take the mount on ``target`` out of sight; it lives on while something uses it."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def unshare_with_user(flags: int) -> bool:
    """Unshare; without the privilege, in a user namespace in which the user stays who they are.

    Returns whether a user namespace was needed. That is only to be had by a process with one
    thread.

    :raises OSError: where neither way is open.
    """
    try:
        unshare(flags)
    except PermissionError:
        uid, gid, count = os.geteuid(), os.getegid(), threads()
        try:
            unshare(flags | CLONE_NEWUSER)
        except OSError as error:
            if error.errno == errno.EINVAL and count > 1:
                raise OSError(
                    errno.EINVAL,
                    "no CAP_SYS_ADMIN, and a user namespace is not given to a process with "
                    f"{count} threads",
                ) from None
            reason = os.strerror(error.errno or 0)
            if error.errno == errno.ENOSPC:
                reason = "the limit user.max_user_namespaces is reached"
            raise OSError(
                error.errno, f"no CAP_SYS_ADMIN, and no user namespace: {reason}"
            ) from None
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        return True
    return False


def drop_capabilities() -> None:
    """Give up every capability, as after a user namespace has served its purpose.

    Its creator has all of them within it, the right to read any file of their own whatever its
    mode among them, and a test that expects PermissionError would not get it.
    """
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _set_capabilities(0, 0, 0)


def keep_capabilities_over_exec(*capabilities: int) -> None:
    """Let a program that this process becomes by execve have these capabilities."""
    mask = sum(1 << capability for capability in capabilities)
    _set_capabilities(mask, mask, mask)
    for capability in capabilities:
        result = _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        _check(result, "prctl PR_CAP_AMBIENT_RAISE")


def _set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low = 0xFFFFFFFF
    data = struct.pack(
        "=6I",
        *(effective & low, permitted & low, inheritable & low),
        *(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    _check(_libc.capset(header, data), "capset")


def bring_loopback_up() -> None:
    """Bring the interface ``lo`` up; the kernel then gives it 127.0.0.1 and ::1."""
    import _socket  # not `socket`, whose names plugins replace to forbid tests the network
    import fcntl

    with contextlib.closing(_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)) as probe:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        (flags,) = struct.unpack_from("h", answer, 16)
        fcntl.ioctl(probe.fileno(), _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def die_with_parent(signal: int) -> None:
    """Have ``signal`` sent to this process when the thread that forked it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl PR_SET_PDEATHSIG")


available = sys.platform == "linux"
"""Whether this system has any of it."""
