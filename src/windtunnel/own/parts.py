"""The things a scope can own besides processes and leases: each knows how to end and to be forced.

A part is asked to end by ``stop``, looked at by ``stopped`` (which may try again), and at the
deadline told to end by ``force``, which says what was wrong; ``release`` collects what is left of
it: its exception, its exit status, its line in the inventory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from windtunnel.core import ResourceError
from windtunnel.own import inventory
from windtunnel.own.ledger import note

if TYPE_CHECKING:
    import asyncio


class Thread:
    """A thread, asked to end by calling ``stop``, then joined."""

    kind = "thread"

    def __init__(
        self,
        target: Callable[..., object],
        args: tuple[object, ...],
        *,
        name: str,
        stop: Callable[[], object] | None,
    ) -> None:
        self.thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self.name = repr(name)
        self._stop = stop
        note("acquired", self.kind, self.name)

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()

    def stopped(self) -> bool:
        return not self.thread.is_alive()

    def force(self) -> str:
        asked = "did not end when asked to" if self._stop else "was still running"
        return f"{asked}, and threads cannot be killed"

    def release(self) -> None:
        if self.stopped():
            note("released", self.kind, self.name)


class Task:
    """An asyncio task, cancelled, then awaited."""

    kind = "task"

    def __init__(self, work: Coroutine[Any, Any, Any], *, name: str) -> None:
        import asyncio

        self.task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(
            work, name=name or None
        )
        self.name = repr(self.task.get_name())
        self._loop = self.task.get_loop()
        note("acquired", self.kind, self.name)

    def in_its_loop(self) -> bool:
        """Whether the caller runs inside the task's event loop."""
        import asyncio

        with contextlib.suppress(RuntimeError):
            return asyncio.get_running_loop() is self._loop
        return False

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        if self._loop.is_running() and not self.in_its_loop():
            self._loop.call_soon_threadsafe(self.task.cancel)
        else:
            self.task.cancel()

    def stopped(self) -> bool:
        if not (self.task.done() or self._loop.is_closed() or self._loop.is_running()):
            import asyncio

            self._loop.run_until_complete(asyncio.sleep(0))
        return self.task.done()

    def force(self) -> str:
        if self._loop.is_closed():
            return "was left pending by an event loop that is closed"
        if self.in_its_loop():
            return "still runs after its cancellation; did an `async with` or `aclose` wait for it?"
        return "still runs after its cancellation"

    def release(self) -> None:
        if not self.task.done():
            return
        note("released", self.kind, self.name)
        if not self.task.cancelled() and (error := self.task.exception()) is not None:
            raise error


class Directory:
    """A folder, removed with what is in it."""

    kind = "file"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._owner_pid = os.getpid()
        # Written down before it is there: its name is nobody else's, so nothing is reaped wrongly.
        self._inventory = inventory.current()
        self._entry = self._inventory.take("directory", path=self.name)
        self._error = ""

    @classmethod
    def make(cls, prefix: str, parent: Path | None = None, *, mode: int = 0o700) -> Self:
        """Make a folder with a name of its own."""
        base = parent or Path(tempfile.gettempdir())
        part = cls(base / f"{prefix}{secrets.token_hex(6)}")
        part.path.mkdir(mode=mode)
        note("acquired", part.kind, part.name)
        return part

    def stop(self) -> None:
        pass

    def stopped(self) -> bool:
        self._error = remove_tree(self.path)
        return not self._error

    def force(self) -> str:
        return f"could not be removed: {self._error}"

    def release(self) -> None:
        if not self._error:
            self._inventory.drop(self._entry)
            note("released", self.kind, self.name)


def remove_tree(path: Path) -> str:
    """Remove a folder, read-only parts too; says what hindered it, nothing when it is gone."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return "" if not path.exists() else "it changes while it is removed"
    except OSError:
        for top, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                os.chmod(top, 0o700)
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            return str(error)
    return ""


class File:
    """A file, removed where it is there."""

    kind = "file"

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = str(self.path)
        self._inventory = inventory.current()
        self._entry = self._inventory.take("file", path=self.name)
        self._error = ""
        note("acquired", self.kind, self.name)

    def stop(self) -> None:
        pass

    def stopped(self) -> bool:
        self._error = ""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self._error = str(error)
        return not self._error

    def force(self) -> str:
        return f"could not be removed: {self._error}"

    def release(self) -> None:
        if not self._error:
            self._inventory.drop(self._entry)
            note("released", self.kind, self.name)


_MS_BIND = 4096
_MNT_DETACH = 2


class Mount:
    """A mounted file system."""

    kind = "mount"

    def __init__(self, source: str, target: Path, kind: str, options: str) -> None:
        self.path = target.resolve()
        self.name = str(self.path)
        self._inventory = inventory.current()
        self._entry = self._inventory.take("mount", path=self.name)
        flags = _MS_BIND if kind == "bind" else 0
        libc = ctypes.CDLL(None, use_errno=True)
        mounted = libc.mount(
            source.encode(), os.fsencode(self.path), kind.encode(), flags, options.encode()
        )
        if mounted != 0:
            number = ctypes.get_errno()
            self._inventory.drop(self._entry)
            raise ResourceError(
                f"cannot mount {kind} on {self.path}",
                found=os.strerror(number),
                fix="mounting needs root, or a user and mount namespace of its own",
            )
        note("acquired", self.kind, self.name)

    def stop(self) -> None:
        pass

    def stopped(self) -> bool:
        if self.path in mount_points():
            unmount(self.path)
        return self.path not in mount_points()

    def force(self) -> str:
        unmount(self.path, detach=True)
        return "was in use and was detached"

    def release(self) -> None:
        self._inventory.drop(self._entry)
        note("released", self.kind, self.name)


def mount_points() -> set[Path]:
    """Where something is mounted, in this process's mount namespace."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    # Field 5; a space in a path is written \040 there (proc(5)).
    return {
        Path(os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1")))
        for line in lines
    }


def unmount(path: Path, *, detach: bool = False) -> bool:
    """Unmount; with ``detach`` now and for good once nobody uses it any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.umount2(os.fsencode(path), _MNT_DETACH if detach else 0) == 0)


class Callback:
    """A function to call at the end. What it raises, the closing raises."""

    kind = "callback"

    def __init__(self, function: Callable[[], object], name: str) -> None:
        self._function = function
        self.name = name

    def stop(self) -> None:
        self._function()

    def stopped(self) -> bool:
        return True

    def force(self) -> str:
        return ""

    def release(self) -> None:
        pass


class Held(Callback):
    """A context manager that was entered."""

    kind = "context"

    def __init__(self, manager: AbstractContextManager[Any], name: str) -> None:
        super().__init__(lambda: manager.__exit__(None, None, None), name)
