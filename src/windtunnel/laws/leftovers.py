"""What is alive in this process: threads, tasks, open files, child processes.

Two looks are compared; what the second has more was started in between, and is still there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TypeAlias

from windtunnel.own.identity import child_pids

Leftovers: TypeAlias = dict[tuple[str, int], str]
"""What is alive: its kind and number, and how to call it."""

_LIBRARY = (sysconfig.get_path("stdlib"), os.path.dirname(__file__))
_WORKERS = ("anyio", "trio", "outcome", "sniffio")


def alive() -> Leftovers:
    """Everything that is alive now, but the caller's own thread and task."""
    found: Leftovers = {}
    me = threading.current_thread()
    for thread in threading.enumerate():
        if thread is not me:
            found["thread", id(thread)] = f"thread {thread.name}"
    for task in _tasks():
        found["task", id(task)] = f"task {task.get_name()} ({_coroutine(task)})"
    found |= {("file", number): told for number, told in _files()}
    found |= {("process", pid): told for pid, told in _children()}
    return found


def _tasks() -> Iterable[asyncio.Task[object]]:
    try:
        current = asyncio.current_task()
        return [task for task in asyncio.all_tasks() if task is not current]
    except RuntimeError:
        return ()


def _coroutine(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def _files() -> Iterable[tuple[int, str]]:
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            target = os.readlink(os.path.join(folder, name))
        except OSError:
            continue  # the listing's own, or closed meanwhile
        if not target.startswith("/proc/"):
            yield int(name), f"open file {name} ({target})"


def _children() -> Iterable[tuple[int, str]]:
    for pid in child_pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        told = command.decode(errors="replace").strip()
        yield pid, f"process {pid} ({told or 'ended, not waited for'})"


def working_threads(before: Leftovers) -> list[str]:
    """Threads that were not there before and are in somebody's code now.

    A pool's thread that waits for work stands in the library alone, and does not count.
    """
    frames = sys._current_frames()
    return [
        f"thread {one.name} at {_innermost(frames[one.ident])}"
        for one in threading.enumerate()
        if ("thread", id(one)) not in before
        and one.ident in frames
        and one is not threading.current_thread()
        and _innermost(frames[one.ident])
    ]


def _innermost(frame: FrameType | None) -> str:
    """Where the innermost frame is that belongs to no library."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not in_library(file) and not any(name in Path(file).parts for name in _WORKERS):
            return f"{os.path.basename(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def in_library(file: str) -> bool:
    """Whether that is a file of the standard library, or of this room."""
    return file.startswith(("<frozen", *_LIBRARY)) and "site-packages" not in file
