"""The reaper: clears what dead owners left, as their inventories list it.

It runs when a session starts, and whenever it is called. It takes the lock of an inventory, which
only works when the owner is dead; ends the processes whose recorded identity still matches, and
those that carry the dead owner's token in their environment (a child's own children, whatever
session they moved to); then undoes the rest, last taken first. Two reapers do not meet: one of
them gets the lock. A process of another identity is never signalled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from windtunnel.own.children import carriers
from windtunnel.own.home import folder
from windtunnel.own.identity import ProcessIdentity
from windtunnel.own.ledger import note
from windtunnel.own.locks import FileLock
from windtunnel.own.parts import mount_points, remove_tree, unmount
from windtunnel.own.server_folder import remove_unheld
from windtunnel.own.waiting import wait_until

_GRACE_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Reaped:
    """One thing the reaper found in a dead owner's inventory, or with its token.

    :param kind: ``process``, ``directory``, ``file``, ``mount`` …
    :param name: which one.
    :param problem: why it could not be cleared; empty when it was.
    """

    kind: str
    name: str
    problem: str = ""


def reap(state_dir: Path | None = None) -> list[Reaped]:
    """Clear what dead owners left under ``state_dir`` and in the user's own folder.

    Returns what was found and cleared; what was gone already is not listed.

    >>> import tempfile
    >>> reap(Path(tempfile.mkdtemp()))
    []
    """
    found: list[Reaped] = []
    directories = [folder("own")] if state_dir is None else [state_dir / "own", folder("own")]
    for directory in directories:
        for path in _inventories(directory):
            found += _reap_inventory(path)
        if (directory / "once").is_dir():
            from windtunnel.own.once import reap_shared

            found += reap_shared(directory / "once")
    found += [Reaped("directory", str(path)) for path in remove_unheld()]
    for reaped in found:
        note("reaped", reaped.kind, reaped.name)
    return found


def reap_entries(lines: Iterable[str]) -> list[Reaped]:
    """Clear what an inventory with these lines still lists; its owners are known to be dead."""
    taken: dict[int, dict[str, Any]] = {}
    token = ""
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the machine went down in the middle of a write
        if "take" in entry:
            taken[entry["take"]] = entry
        elif "drop" in entry:
            taken.pop(entry["drop"], None)
        else:
            token = entry.get("token", "")
    entries = list(reversed(taken.values()))
    found = _end_processes([entry for entry in entries if entry["kind"] == "process"], token)
    for entry in entries:
        if entry["kind"] != "process" and (reaped := _undo(entry)) is not None:
            found.append(reaped)
    return found


def _inventories(directory: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(directory.glob("[0-9]*.jsonl"))
    return []


def _reap_inventory(path: Path) -> list[Reaped]:
    try:
        lock = FileLock(path)
    except OSError:
        return []
    try:
        if not lock.take() or not lock.in_place:
            return []
        found = reap_entries(path.read_text(encoding="utf-8").splitlines())
        if not any(reaped.problem for reaped in found):
            path.unlink(missing_ok=True)
        return found
    finally:
        lock.close()


def _end_processes(entries: list[dict[str, Any]], token: str) -> list[Reaped]:
    carrying = carriers(token) if token else []
    signals: dict[ProcessIdentity, int] = dict.fromkeys(carrying, signal.SIGTERM)
    for entry in entries:
        identity = ProcessIdentity(entry["pid"], entry["start"], entry["world"])
        if identity.alive:
            signals[identity] = entry["signal"]
    for identity, number in signals.items():
        identity.signal(number)
    if not wait_until(lambda: not any(i.alive for i in signals), _GRACE_S):
        for identity in signals:
            identity.signal(signal.SIGKILL)
        wait_until(lambda: not any(i.alive for i in signals), _GRACE_S)
    return [
        Reaped("process", f"pid {identity.pid}", "it still runs" if identity.alive else "")
        for identity in signals
    ]


def _undo(entry: dict[str, Any]) -> Reaped | None:
    """Undo one entry; None where there was nothing left to undo."""
    kind = entry["kind"]
    if kind in ("directory", "file", "mount"):
        return _undo_path(kind, Path(entry["path"]))
    # Another kind brings the function that undoes it, in a module of the house.
    module, _, name = str(entry.get("undo", "")).partition(":")
    if not module.startswith("windtunnel."):
        return Reaped(kind, str(entry.get("name", "")), "this version does not know how to undo it")
    undo = getattr(importlib.import_module(module), name)
    try:
        undone: bool = undo(entry)
    except Exception as error:
        # What cannot be undone now (a server that is away) stays listed for the next reaper.
        return Reaped(kind, str(entry.get("name", "")), f"{type(error).__name__}: {error}")
    return Reaped(kind, str(entry.get("name", ""))) if undone else None


def _undo_path(kind: str, path: Path) -> Reaped | None:
    if kind == "mount":
        if path not in mount_points():
            return None
        return Reaped(
            kind, str(path), "" if unmount(path, detach=True) else "it cannot be unmounted"
        )
    if not path.exists() and not path.is_symlink():
        return None
    if kind == "directory":
        return Reaped(kind, str(path), remove_tree(path))
    try:
        path.unlink()
    except OSError as error:
        return Reaped(kind, str(path), str(error))
    return Reaped(kind, str(path))
