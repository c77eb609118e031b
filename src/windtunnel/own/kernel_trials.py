"""Trials of kernel facilities, each run as a script of its own: ``python -I THIS_FILE NAME``.

A trial changes the namespaces of its process and then ends, so nothing it did outlives it. It
prints one line that says what worked, or what did not and exits with 1. Constants are those of
the kernel's headers (sched.h, mount.h, if.h, kvm.h).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
KVM_GET_API_VERSION = 0xAE00


def user() -> str:
    """A user namespace in which this user is root."""
    _own_namespaces(0, always_user=True)
    return "made one, as root in it"


def mount() -> str:
    """A mount namespace with a file system of its own in it."""
    how = _own_namespaces(CLONE_NEWNS)
    _scratch()
    return f"made one, {how}"


def overlay() -> str:
    """An overlay whose changes do not reach the folder below."""
    how = _own_namespaces(CLONE_NEWNS)
    place = _scratch()
    layers = [place / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir()
    lower, upper, work, merged = layers
    (lower / "file").write_text("before")
    _mount("overlay", merged, "overlay", f"lowerdir={lower},upperdir={upper},workdir={work}")
    (merged / "file").write_text("after")
    if (lower / "file").read_text() != "before":
        raise OSError("a write went through to the folder below")
    return f"mounted one, {how}"


def net() -> str:
    """A network namespace with a loopback that carries a connection."""
    how = _own_namespaces(CLONE_NEWNET)
    _raise_loopback()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    return f"made one with loopback, {how}"


def cgroup() -> str:
    """A control group of our own below the one we are in."""
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        raise OSError("cgroup2 is not mounted at /sys/fs/cgroup")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
    child = root / own / f"windtunnel-trial-{os.getpid()}"
    child.mkdir()
    child.rmdir()
    controllers = (root / own / "cgroup.controllers").read_text().split()
    return f"made one; controllers: {' '.join(controllers) or 'none'}"


def kvm() -> str:
    """The hypervisor's device, answering."""
    import fcntl

    with open("/dev/kvm", "r+b", buffering=0) as device:
        return f"API version {fcntl.ioctl(device, KVM_GET_API_VERSION, 0)}"


def _own_namespaces(flags: int, *, always_user: bool = False) -> str:
    """Unshare, by way of a user namespace where this user may not do it directly."""
    if not always_user and os.geteuid() == 0 and _unshare(flags) == 0:
        return "as root"
    uid, gid = os.geteuid(), os.getegid()
    if error := _unshare(flags | CLONE_NEWUSER):
        raise OSError(error, f"unshare: {os.strerror(error)}")
    # Without this the kernel refuses the group map of an unprivileged process.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    return "through a user namespace"


def _unshare(flags: int) -> int:
    """0, or the error's number."""
    return 0 if _LIBC.unshare(flags) == 0 else ctypes.get_errno()


def _scratch() -> Path:
    """An empty file system that only this process sees, on a folder removed with it."""
    if _LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "cannot make / private")
    # On /tmp itself: a folder made below it would outlive this process.
    place = Path(tempfile.gettempdir())
    _mount("tmpfs", place, "tmpfs", "")
    return place


def _mount(source: str, target: Path, kind: str, options: str) -> None:
    if _LIBC.mount(source.encode(), bytes(target), kind.encode(), 0, options.encode()):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot mount {kind}: {os.strerror(error)}")


def _raise_loopback() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))


_LIBC = ctypes.CDLL(None, use_errno=True)

TRIALS: dict[str, Callable[[], str]] = {
    trial.__name__: trial for trial in (user, mount, overlay, net, cgroup, kvm)
}
"""Every trial by name."""

if __name__ == "__main__":
    try:
        print(TRIALS[sys.argv[1]]())
    except OSError as error:
        print(error)
        sys.exit(1)
