"""Isolation ``namespace``: the worker's own view of the project, /tmp and HOME.

In a mount namespace of its own, each of these folders is an overlay: what is there is read
through, what is written lands in memory of this worker and is gone with it. Folders on the
write-through list, the record's folder and pytest's temporary folders are the real ones; files on
the list are copied out at the end (:mod:`windtunnel.run.isolation.write_through`).

Everything is mounted by file descriptors opened before the first mount, so that folders within
folders (a project in HOME, a HOME in /tmp) do not hide one another's real content. The namespace
has no name and dies with the worker and what it started: nothing is left mounted.
See overlayfs (kernel documentation, filesystems/overlayfs) and mount_namespaces(7).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from windtunnel.core import IsolationError
from windtunnel.run.isolation import linux
from windtunnel.run.isolation.patterns import PathPatterns

_OPEN_DIR = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC if linux.available else 0
_SOCKET_SCAN_DEPTH = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """Which folders are to be isolated, and what within them is to stay real.

    :param root: the project's root.
    :param others: further folders, such as /tmp and HOME; those that do not exist are left out.
    :param real: folders that stay the real ones.
    :param patterns: what is written through besides.
    :param scratch: an existing folder to mount the worker's memory on.
    """

    root: str
    others: tuple[str, ...]
    real: tuple[str, ...]
    patterns: PathPatterns
    scratch: str

    def overlaid(self) -> list[str]:
        """The folders to overlay, real paths, each once."""
        found = [os.path.realpath(self.root)]
        for path in map(os.path.realpath, self.others):
            if path not in found and path != "/" and os.path.isdir(path):
                found.append(path)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """An overlaid folder: its path, and descriptors of its real content and of what this worker
    has written."""

    path: str
    real_fd: int
    upper_fd: int

    @property
    def real(self) -> str:
        return f"/proc/self/fd/{self.real_fd}"

    @property
    def upper(self) -> str:
        return f"/proc/self/fd/{self.upper_fd}"


def enter(places: Places) -> tuple[list[Layer], bool]:
    """Move this process into its own mount namespace; returns the overlaid folders, and whether
    that took a user namespace.

    :raises IsolationError: where that cannot be had; the process is then as it was, but for a
        user namespace where one was needed.
    """
    root = os.path.realpath(places.root)
    if root == "/":
        raise _unavailable("the project's root is /, over which nothing can be mounted")
    for path in places.real:
        if root == os.path.realpath(path):
            raise _unavailable(
                f"{path} must stay real, and is the project's root",
                fix="keep the record in a folder of its own: record = '.windtunnel/record.db'",
            )
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    cwd = os.getcwd()
    try:
        in_user = linux.unshare_with_user(linux.CLONE_NEWNS)
        try:
            layers = _mount_all(places, userxattr=in_user)
        except OSError:
            with contextlib.suppress(OSError):
                linux.setns(before, linux.CLONE_NEWNS)
            raise
        finally:
            os.chdir(cwd)  # the working directory is still the one below the new mount
    except OSError as error:
        raise _unavailable(error.strerror or str(error)) from error
    finally:
        os.close(before)
    return layers, in_user


def _mount_all(places: Places, *, userxattr: bool) -> list[Layer]:
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    overlaid = places.overlaid()
    submounts = [p for p in mount_points() if any(_within(p, base) for base in overlaid)]
    real = [os.path.realpath(p) for p in places.real]
    real += [os.path.realpath(p) for p in places.patterns.directories()]
    kept = [p for p in real if any(_within(p, base) for base in overlaid)]
    sockets = [s for base in overlaid for s in _sockets(base, _SOCKET_SCAN_DEPTH)]
    linux.mount("tmpfs", places.scratch, "tmpfs", data="mode=700")
    with contextlib.ExitStack() as opened:

        def descriptor(path: str, flags: int = os.O_PATH | os.O_CLOEXEC) -> int:
            fd = os.open(path, flags)
            opened.callback(os.close, fd)
            return fd

        scratch = descriptor(places.scratch)
        # A folder to be overlaid is that even where it is on another list too.
        binds = [p for p in {*submounts, *kept, *sockets} if p not in overlaid]
        sources = {path: descriptor(path) for path in (*overlaid, *binds)}
        layers: list[Layer] = []
        for path in sorted(sources, key=lambda p: (p.count("/"), p)):
            if path in overlaid:
                upper = _overlay(path, sources[path], scratch, len(layers), userxattr)
                layers.append(
                    Layer(path, os.open(f"/proc/self/fd/{sources[path]}", _OPEN_DIR), upper)
                )
            else:
                _bind(path, sources[path], must=path in kept)
        with contextlib.suppress(OSError):  # bound back into view where it lies in a real folder
            linux.unmount(places.scratch)
        return layers


def _overlay(path: str, real_fd: int, scratch: int, number: int, userxattr: bool) -> int:
    base = f"/proc/self/fd/{scratch}/{number}"
    for name in ("", "/upper", "/work"):
        os.mkdir(base + name, 0o755)
    _resemble(f"{base}/upper", os.fstat(real_fd))
    options = "userxattr" if userxattr else "redirect_dir=on"
    linux.mount(
        "overlay",
        path,
        "overlay",
        data=f"lowerdir=/proc/self/fd/{real_fd},upperdir={base}/upper,workdir={base}/work,{options}",
    )
    return os.open(f"{base}/upper", _OPEN_DIR)


def _resemble(path: str, original: os.stat_result) -> None:
    """The overlay's top folder has the mode and owner of the upper one: /tmp stays sticky."""
    with contextlib.suppress(OSError):
        os.chown(path, original.st_uid, original.st_gid)
    os.chmod(path, stat.S_IMODE(original.st_mode))


def _bind(path: str, source: int, *, must: bool) -> None:
    try:
        linux.mount(f"/proc/self/fd/{source}", path, flags=linux.MS_BIND | linux.MS_REC)
    except OSError:
        # Somebody else's socket may vanish meanwhile; a folder that must be real may not.
        if must:
            raise


def _within(path: str, base: str) -> bool:
    return path.startswith(base + "/")


def mount_points() -> list[str]:
    """Where something is mounted in this namespace, each path once."""
    points: dict[str, None] = {}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split(" ")[4]
        for escape, character in (
            ("\\040", " "),
            ("\\011", "\t"),
            ("\\012", "\n"),
            ("\\134", "\\"),
        ):
            point = point.replace(escape, character)
        points[point] = None
    return list(points)


def _sockets(folder: str, depth: int) -> Iterator[str]:
    """Sockets of running servers. Through an overlay nobody can connect to them: the kernel
    knows a socket by its inode, and the overlay's inode is another."""
    try:
        entries: Iterable[os.DirEntry[str]] = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISSOCK(mode):
                yield entry.path
            elif stat.S_ISDIR(mode) and depth > 1:
                yield from _sockets(entry.path, depth - 1)


def _unavailable(found: str, *, fix: str = "") -> IsolationError:
    return IsolationError("a mount namespace cannot be had", found=found, fix=fix)
