"""Control groups for cells, where this process may make them: memory and threads really counted.

Both versions of the kernel's interface: one tree (v2) whose controllers must be handed down, or a
tree a controller (v1). Under a limit of address space alone a cell could still fill its scratch
space and memory that the kernel keeps for it; a group counts all of it. Where no group can be
made, :attr:`Groups.refusal` says why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from windtunnel.own import inventory
from windtunnel.own.waiting import wait_until
from windtunnel.sandboxes.protocol import CellLimits

_WANTED = ("memory", "pids")
_SLACK_MB = 32  # what the kernel keeps for a process, and pages copied from the zygote
_REMOVED_WITHIN_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """A hierarchy in which this process has a group.

    :param controllers: which of memory and pids it counts.
    :param version: 1 or 2.
    :param own: the folder of this process's group.
    """

    controllers: tuple[str, ...]
    version: int
    own: Path


def trees(mountinfo: str, membership: str) -> list[Tree]:
    """The hierarchies that count memory or threads, by what the kernel says of this process.

    :param mountinfo: ``/proc/self/mountinfo`` (proc(5)).
    :param membership: ``/proc/self/cgroup`` (cgroups(7)).
    """
    paths = {}
    for line in membership.splitlines():
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _source, options = after.split(" ", 2)
        root, point = before.split(" ")[3:5]
        counted = [name for name in options.split(",") if name in _WANTED]
        if kind == "cgroup2" and "" in paths:
            found.append(Tree(_WANTED, 2, _below(point, root, paths[""])))
        elif kind == "cgroup" and counted and counted[0] in paths:
            found.append(Tree(tuple(counted), 1, _below(point, root, paths[counted[0]])))
    return found


def _below(point: str, root: str, path: str) -> Path:
    """Where the group lies: its path is from the hierarchy's root, of which a part is mounted."""
    relative = path.removeprefix(root.rstrip("/")) if path.startswith(root) else path
    return Path(point) / relative.lstrip("/")


class Groups:
    """The groups of one sandbox: one for itself in each tree, below it one a slot for cells."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.refusal = ""
        self._slots = itertools.count(1)
        self._entries: list[int] = []
        self._folders: list[tuple[Tree, tuple[str, ...], Path]] = []
        name = f"windtunnel-{os.getpid()}-{next(self._numbers)}"
        try:
            found = trees(
                Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"),
                Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape"),
            )
        except OSError as error:
            self.refusal = str(error)
            return
        for tree in found:
            self._make(tree, name)
        if not self.counted:
            self.refusal = self.refusal or "no tree counts memory or threads"

    @property
    def counted(self) -> tuple[str, ...]:
        """What the groups count: of ``memory`` and ``pids``."""
        return tuple(sorted({name for _, names, _ in self._folders for name in names}))

    def _make(self, tree: Tree, name: str) -> None:
        folder = tree.own / name
        missing = set(tree.controllers) - set(self.counted)
        if not missing:
            return
        current = inventory.current()
        entry = current.take(
            "cgroup", name=name, path=str(folder), undo="windtunnel.sandboxes.cgroups:undo"
        )
        try:
            folder.mkdir()
            counted = _handed_down(tree, folder) if tree.version == 2 else tree.controllers
            if not counted:
                raise PermissionError(f"{tree.own} hands no controller down")
        except OSError as error:
            self.refusal = f"{type(error).__name__}: {error}"
            _remove(folder)
            current.drop(entry)
        else:
            self._entries.append(entry)
            self._folders.append((tree, counted, folder))

    def slot(self) -> CellGroup:
        """A group for one cell after another; empty where none can be made."""
        name = f"slot-{next(self._slots)}"
        made: list[tuple[Tree, tuple[str, ...], Path]] = []
        try:
            for tree, counted, parent in self._folders:
                (parent / name).mkdir()
                made.append((tree, counted, parent / name))
        except OSError:
            CellGroup(made).remove()
            raise
        return CellGroup(made)

    def close(self) -> None:
        """Remove them. The cells are gone; where one was not, the next call removes its group."""
        left = []
        for folder, entry in zip(self._folders, self._entries, strict=True):
            if _remove(folder[2]):
                inventory.current().drop(entry)
            else:  # it stays listed for the reaper
                left.append((folder, entry))
        self._folders, self._entries = [one for one, _ in left], [entry for _, entry in left]


class CellGroup:
    """The groups of one cell.

    :ivar folders: where they lie.
    :ivar doors: within the block of it, descriptors: who writes ``0`` to each is in the groups.
    """

    def __init__(self, made: list[tuple[Tree, tuple[str, ...], Path]]) -> None:
        self._made = made
        self.folders = tuple(folder for _, _, folder in made)
        self.doors: list[int] = []

    def limit(self, limits: CellLimits, *, beside: int = 0) -> None:
        """Have these limits in force.

        :param beside: processes of the house that are in it with the cell.
        """
        for tree, counted, folder in self._made:
            for name, value in _settings(tree.version, counted, limits, beside):
                with contextlib.suppress(FileNotFoundError):  # no swap is counted here
                    (folder / name).write_text(value)

    def __enter__(self) -> CellGroup:
        """Open the doors for the block."""
        for folder in self.folders:
            self.doors.append(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        return self

    def __exit__(self, *raised: object) -> None:
        for door in self.doors:
            os.close(door)
        self.doors.clear()

    def remove(self) -> None:
        """Remove them, once the cell is gone."""
        for folder in self.folders:
            _remove(folder)


def undo(entry: Mapping[str, object]) -> bool:
    """Remove what a dead process left, for the reaper; whether there was anything.

    :raises OSError: while somebody is still in it.
    """
    folder = Path(str(entry["path"]))
    if not folder.is_dir():
        return False
    if not _remove(folder):
        raise OSError(errno.EBUSY, "somebody is still in the control group", str(folder))
    return True


def _handed_down(tree: Tree, folder: Path) -> tuple[str, ...]:
    """Which controllers cells below ``folder`` can have; tries to have them handed down."""
    for group in (tree.own, folder):
        for name in tree.controllers:
            with contextlib.suppress(OSError):  # what counts is what is there afterwards
                (group / "cgroup.subtree_control").write_text(f"+{name}")
    handed = (folder / "cgroup.subtree_control").read_text().split()
    return tuple(name for name in tree.controllers if name in handed)


def _settings(
    version: int, counted: tuple[str, ...], limits: CellLimits, beside: int
) -> Iterator[tuple[str, str]]:
    if "pids" in counted:
        yield "pids.max", str(limits.threads + beside)
    if "memory" not in counted:
        return
    size = None
    if limits.memory_mb is not None:
        size = str((limits.memory_mb + limits.scratch_mb + _SLACK_MB) << 20)
    if version == 2:
        yield "memory.max", size or "max"
        yield "memory.swap.max", "0"
    else:
        yield "memory.memsw.limit_in_bytes", "-1"  # never below the other
        yield "memory.limit_in_bytes", size or "-1"
        yield "memory.memsw.limit_in_bytes", size or "-1"


def _remove(folder: Path) -> bool:
    """Remove a group and those below it, which is possible as soon as nobody is in them."""
    if [below for below in folder.glob("*/") if not _remove(below)]:
        return False

    def removed() -> bool:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    return wait_until(removed, _REMOVED_WITHIN_S)


__all__ = ["CellGroup", "Groups", "Tree", "trees", "undo"]
