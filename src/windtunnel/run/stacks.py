"""Stacks of a process that crashed or hangs: all threads and all asyncio tasks, as text.

A process that runs tests calls :func:`install` once. From then on a fatal signal writes its
stacks to a file by itself (the standard library's ``faulthandler``), and another process can ask
for them with :func:`collect`, which sends two real-time signals: the first is answered in
Python, with thread names, source lines and every asyncio task's await chain; the second, sent
when no answer comes, is answered from C, even by an interpreter whose lock is never given back.

Nothing here starts a thread, and asyncio is looked at only where somebody else imported it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from windtunnel.core import REAL_CLOCK

# Real-time signals, because suites use SIGUSR1 and SIGUSR2 for their own programs.
_REALTIME: int | None = getattr(signal, "SIGRTMIN", None)
ASK_PYTHON: int = signal.SIGUSR1 if _REALTIME is None else _REALTIME + 3
ASK_C: int = signal.SIGUSR2 if _REALTIME is None else _REALTIME + 4

_POLL_S = 0.005
_TIMEOUT = "Timeout (>"
_DEATH = re.compile(rf"^(Fatal Python error: |{re.escape(_TIMEOUT)})", re.MULTILINE)
_HOUSE = f"{Path(__file__).parent.parent}{os.sep}"
_RUNNER = re.compile(
    r"[/\\](site|dist)-packages[/\\](_pytest|pytest|pluggy|xdist|execnet)[/\\]|^<frozen runpy>$"
)
_fd = -1


def folder(state_dir: Path, run_id: str) -> Path:
    """Where the processes of one run tell their stacks: runs may share a project."""
    return state_dir / "stacks" / run_id


def install(directory: Path, worker: str, *, fatal: bool = True) -> None:
    """Make this process tell its stacks into ``directory``, under the name of ``worker``.

    Call it in the main thread. It may be called again, in a forked child for example, to take
    another name. Children that this process forks later answer as well, into the same file.

    :param fatal: whether the stacks at a fatal signal go there too, and no longer where the
        process sent them before (under pytest: to stderr).
    :raises OSError: when the directory cannot be written.
    """
    global _fd
    directory.mkdir(parents=True, exist_ok=True)
    # Appended to, so that a forked child's stacks do not overwrite its parent's.
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    before, _fd = _fd, os.open(_path(directory, worker), flags, 0o644)
    if fatal:
        faulthandler.enable(file=_fd, all_threads=True)
    faulthandler.register(ASK_C, file=_fd, all_threads=True, chain=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(ASK_PYTHON, _answer)
    if before != -1:
        os.close(before)


def collect(pid: int, directory: Path, worker: str, within_s: float) -> str:
    """Ask a process that called :func:`install` for its stacks, and wait for them.

    Children it has forked, which run its tests under isolation by fork, are asked too.

    :param within_s: seconds to wait at most, for each process.
    :returns: readable text; empty when the process is gone or cannot be asked.
    """
    path = _path(directory, worker)
    parts = [_ask(asked, path, within_s) for asked in [pid, *_descendants(pid)]]
    return "\n".join(part for part in parts if part)


def crash_text(directory: Path, worker: str) -> str:
    """The stacks the worker left when it died; empty when it left none.

    It leaves some when it dies of a fatal signal, and when its time limit ends it.
    """
    text = _read(_path(directory, worker), 0)
    deaths = list(_DEATH.finditer(text))
    return _tidy(text[deaths[-1].start() :]) if deaths else ""


def tells_timeout(crash: str) -> bool:
    """Whether that :func:`crash_text` is of a process that its time limit ended."""
    return crash.startswith(_TIMEOUT)


def leave(directory: Path, worker: str, seconds: float, text: str) -> str:
    """Leave the stacks of a process about to be ended by its limit, for :func:`crash_text`.

    :returns: the whole text that was left.
    """
    whole = f"{_TIMEOUT}{seconds:g}s)\n\n{text}"
    with _path(directory, worker).open("a", encoding="utf-8", errors="replace") as file:
        file.write(whole)
    return whole


def describe(interrupted: FrameType | None = None) -> str:
    """The stacks of this process now: its threads, then its asyncio tasks.

    :param interrupted: where the calling thread was; its present frame when None. A signal
        handler passes the frame it was given.

    >>> print(describe().splitlines()[0])
    Thread MainThread:
    """
    frame = interrupted or sys._getframe(1)
    here = threading.get_ident()
    names: dict[int, threading.Thread] = dict(getattr(threading, "_active", {}))
    current = sys._current_frames()
    current[here] = frame
    sections = [
        _section(f"Thread {_thread_name(names.get(ident))}:", _frames_of(current[ident]))
        for ident in sorted(current, key=lambda ident: ident != here)
    ]
    sections += [_task_section(task) for task in _tasks(list(current.values()))]
    return "\n".join(sections)


# Asking


def _path(directory: Path, worker: str) -> Path:
    return directory / f"{worker}.stacks"


def _end(pid: int) -> str:
    return f"== end of the stacks of process {pid} ==\n"


def _answer(_signum: int, frame: FrameType | None) -> None:
    pid = os.getpid()
    try:
        text = describe(frame)
    except Exception as error:  # the process asked is in trouble; half an answer beats none
        text = f"(the stacks could not be read: {error!r})"
    with contextlib.suppress(OSError):
        os.write(_fd, f"{text}\n{_end(pid)}".encode(errors="replace"))


def _ask(pid: int, path: Path, within_s: float) -> str:
    before = path.stat().st_size if path.exists() else 0
    if not _send(pid, ASK_PYTHON):
        return ""
    end = _end(pid)
    text = _wait(path, before, within_s / 2, lambda text: text.endswith(end))
    if text.endswith(end):
        return f"Process {pid}\n{text.removesuffix(end)}"
    if not _send(pid, ASK_C):
        return ""
    # The C-level dump has no end mark: it is over when the file has stopped growing, and nobody
    # was only kept from going on with it.
    sizes = [-1]

    def settled(text: str) -> bool:
        sizes.append(len(text))
        return bool(text) and sizes[-1] == sizes[-2] and not _at_work_on(pid, ASK_C)

    text = _wait(path, before, within_s / 2, settled)
    return f"Process {pid}: no Python code can run in it, as read from outside\n{_tidy(text)}"


def _send(pid: int, signum: int) -> bool:
    """Send the signal if the process catches it: otherwise it would be killed by the question."""
    if not _catches(pid, signum):
        return False
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _catches(pid: int, signum: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return not Path("/proc/self/status").exists()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signum - 1) & 1)


def _at_work_on(pid: int, signum: int) -> bool:
    """Whether a thread of that process has yet to handle the signal, or is about it just now."""
    masks: list[int] = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            masks += [
                int(line.split()[1], 16)
                for line in status.read_text().splitlines()
                # A signal is blocked in the thread that handles it.
                if line.startswith(("SigPnd:", "ShdPnd:", "SigBlk:"))
            ]
    return any(mask >> (signum - 1) & 1 for mask in masks)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _wait(path: Path, offset: int, within_s: float, done: Callable[[str], bool]) -> str:
    deadline = REAL_CLOCK.monotonic() + within_s
    while not done(text := _read(path, offset)) and REAL_CLOCK.monotonic() < deadline:
        REAL_CLOCK.sleep(_POLL_S)
    return text


def _read(path: Path, offset: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


# Telling

_DEPTH = 60  # innermost frames shown of one stack


def _section(head: str, frames: list[tuple[FrameType, int]], tail: str = "") -> str:
    import linecache

    shown = [(frame, line) for frame, line in frames if not _ours(frame.f_code.co_filename)]
    lines = [head]
    if len(shown) > _DEPTH:
        lines.append(f"  ... {len(shown) - _DEPTH} outer frames left out")
    if not shown:
        lines.append("  only frames of the test runner")
    for frame, line in shown[-_DEPTH:]:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {line}, in {code.co_qualname}')
        if source := linecache.getline(code.co_filename, line, frame.f_globals).strip():
            lines.append(f"    {source}")
    return "\n".join([*lines, *([tail] if tail else [])]) + "\n"


def _frames_of(innermost: FrameType | None) -> list[tuple[FrameType, int]]:
    frames = []
    while innermost is not None:
        frames.append((innermost, innermost.f_lineno or innermost.f_code.co_firstlineno))
        innermost = innermost.f_back
    return frames[::-1]


def _thread_name(thread: threading.Thread | None) -> str:
    if thread is None:
        return "not started by Python"
    return f"{thread.name} (daemon)" if thread.daemon else thread.name


def _ours(filename: str) -> bool:
    return filename.startswith(_HOUSE) or bool(_RUNNER.search(filename))


def _tidy(dump: str) -> str:
    """A faulthandler dump without the frames of the test runner."""
    kept = []
    for line in dump.splitlines():
        name = line.partition('File "')[2].partition('"')[0]
        if not (name and _ours(name)):
            kept.append(line)
    return "\n".join(kept) + "\n"


def _tasks(frames: list[FrameType]) -> list[Any]:
    """Every unfinished asyncio task of this process, of all loops, by name.

    asyncio has no public way to ask for the tasks of loops one does not hold. Up to Python 3.13
    it keeps them in module-level sets; a loop that runs in some thread is found in its frames.
    """
    asyncio, tasks = sys.modules.get("asyncio"), sys.modules.get("asyncio.tasks")
    if asyncio is None or tasks is None:
        return []
    found: list[Any] = []
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):
        found += _snapshot(getattr(tasks, name, ()))
    for loop in _running_loops(frames):
        found += asyncio.all_tasks(loop)
    unique = {id(task): task for task in found if not task.done()}
    return sorted(unique.values(), key=lambda task: (len(task.get_name()), task.get_name()))


def _snapshot(registry: Any) -> list[Any]:
    for _ in range(10):
        with contextlib.suppress(RuntimeError):  # another thread adds a task meanwhile
            return list(registry)
    return []


def _running_loops(frames: list[FrameType]) -> list[Any]:
    loops = []
    for innermost in frames:
        for frame, _ in _frames_of(innermost):
            if frame.f_code.co_name == "run_forever" and "self" in frame.f_locals:
                loops.append(frame.f_locals["self"])
    return loops


def _task_section(task: Any) -> str:
    frames: list[tuple[FrameType, int]] = []
    waits_in: Any = task.get_coro()
    while waits_in is not None:
        frame = _first(waits_in, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            frames.append((frame, frame.f_lineno or frame.f_code.co_firstlineno))
        waits_in = _first(waits_in, "cr_await", "gi_yieldfrom", "ag_await")
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is None:
        tail = ""
    elif hasattr(waiter, "get_name"):
        tail = f"  waits for task {waiter.get_name()}"
    else:
        tail = f"  waits for {waiter!r}"
    where = "" if task.get_loop().is_running() else ", whose loop does not run"
    return _section(f"Task {task.get_name()}{where}:", frames, tail)


def _first(thing: Any, *names: str) -> Any:
    values = (getattr(thing, name, None) for name in names)
    return next((value for value in values if value is not None), None)
