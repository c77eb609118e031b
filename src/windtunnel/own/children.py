"""Child processes: own process group, gone with their parent, ended politely and then not.

A child is started through ``setpriv --pdeathsig`` (util-linux), which asks the kernel to signal it
when its parent dies, and then becomes the program; where there is no such setpriv a small Python
program does the same. Nothing runs between fork and exec in a copy of this process, where
other threads' locks would be held for ever. The kernel counts as parent the *thread* that started
the child, so one started off the main thread is started by a thread that lives as long as the
process does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TypeAlias

from windtunnel.core import ResourceError
from windtunnel.own import forks, inventory
from windtunnel.own.identity import ProcessIdentity
from windtunnel.own.ledger import note
from windtunnel.own.waiting import wait_until

_BECOMES_WITHIN_S = 1.0

Stream: TypeAlias = int | IO[bytes] | None


class MissingBinaryError(ResourceError):
    """A program is not installed. The message names the Debian package that has it."""


def find_binary(name: str, *, package: str, also: Sequence[Path] = ()) -> str:
    """Path of an installed program, looked for on PATH and in the folders ``also``.

    :raises MissingBinaryError: where it is in none of them.
    """
    found = shutil.which(name)
    for directory in also:
        found = found or shutil.which(name, path=str(directory))
    if not found:
        raise MissingBinaryError(
            f"the program {name} is needed and not installed",
            found=f"PATH={os.environ.get('PATH', '')}",
            fix=f"apt-get install {package}",
        )
    return found


class Child:
    """A started child process, as a rule made by :meth:`windtunnel.own.Scope.child`.

    :param argv: program and arguments.
    :param name: what to call it; the program's name where not given.
    :param env: its whole environment; this process's where None.
    :param stop_signal: what asks it to end.
    :param death_signal: what it gets when its parent dies. Nothing where several processes
        share it (:class:`windtunnel.own.once.Shared`): then the last of them ends it.
    :param user: the user to run as, by name; needs root.
    :raises MissingBinaryError: where there is no such program.
    """

    kind = "process"

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        pass_fds: Sequence[int] = (),
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
        death_signal: int = signal.SIGKILL,
    ) -> None:
        program = find_binary(argv[0], package=f"<the package that has {argv[0]}>")
        self.stop_signal = stop_signal
        self._inventory = inventory.current()
        self._inventory.open()
        environment = dict(os.environ if env is None else env)
        environment[inventory.TOKEN_VARIABLE] = self._inventory.token
        command = _wrapped(
            [program, *argv[1:]], None if self._inventory.shared else death_signal, user
        )

        if self._inventory.shared:
            # Whoever waits for the end of this process's output must not wait for the child's.
            stdout = subprocess.DEVNULL if stdout is None else stdout
            stderr = subprocess.DEVNULL if stderr is None else stderr

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=tuple(pass_fds),
                process_group=0,
            )

        self.process = _in_lasting_thread(start)
        """The ``subprocess.Popen`` behind it: its pipes, its return code."""
        self.pid = self.process.pid
        self._owner_pid = os.getpid()
        self.identity = ProcessIdentity.of(self.pid) or ProcessIdentity(self.pid, "", "")
        self._entry = self._inventory.take(
            "process",
            pid=self.pid,
            start=self.identity.start,
            world=self.identity.world,
            signal=int(stop_signal),
        )
        self.name = f"{name or Path(argv[0]).name} (pid {self.pid})"
        note("acquired", self.kind, self.name)

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        if self._owner_pid != os.getpid():
            return self.identity.alive  # a forked process cannot wait for its parent's children
        return self.process.poll() is None

    def stop(self) -> None:
        """Ask it, and whatever it started in its process group, to end."""
        self._signal_group(self.stop_signal)

    def stopped(self) -> bool:
        """Whether it has ended and nothing of its process group is left."""
        return not self.running and not self._survivors()

    def force(self) -> str:
        """Kill the whole group; says what had to be killed."""
        was_running = self.running
        left = ", ".join(f"pid {survivor.pid}" for survivor in self._survivors())
        self._signal_group(signal.SIGKILL)
        wait_until(self.stopped, within=5.0)
        if was_running:
            name = signal.Signals(self.stop_signal).name
            return f"did not end on {name} and was killed"
        return f"ended and left {left or 'processes'} running, killed now"

    def release(self) -> None:
        """Collect its exit status and strike it off the inventory."""
        if self._owner_pid != os.getpid():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=0.5)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._inventory.drop(self._entry)

    def _signal_group(self, number: int) -> None:
        if self._owner_pid != os.getpid():
            return
        if self.running:
            # Until it is waited for, its number, and so its group's, is nobody else's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        else:
            for survivor in self._survivors():
                survivor.signal(number)

    def _survivors(self) -> list[ProcessIdentity]:
        """Processes still running in its group once it has ended itself."""
        if self.running:
            return []
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return []
        return carriers(self._inventory.token, group=self.pid)


def carriers(token: str, group: int | None = None) -> list[ProcessIdentity]:
    """Live processes that have ``token`` in their environment: children of its owner, and
    theirs, whatever group or session they went into.

    :param group: look at the processes of that group alone.
    """
    wanted = f"{inventory.TOKEN_VARIABLE}={token}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if group is not None and _group_of(int(entry.name)) != group:
            continue
        identity = ProcessIdentity.of(int(entry.name))
        if identity is None:
            continue
        if group is not None:
            wait_until(partial(_is_a_program, identity), _BECOMES_WITHIN_S)
        if wanted in _environ(identity.pid).split(b"\0") and identity.alive:
            found.append(identity)
    return found


def _is_a_program(identity: ProcessIdentity) -> bool:
    """Whether it is not just becoming another one: meanwhile it has no environment."""
    return bool(_environ(identity.pid)) or not identity.alive


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""  # another user's, or gone


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def as_user(argv: list[str], user: str | None) -> list[str]:
    """The command that runs ``argv`` as another user; needs root.

    :raises MissingBinaryError: where setpriv is not installed.
    """
    if user is None:
        return argv
    import pwd

    setpriv = find_binary("setpriv", package="util-linux")
    group = str(pwd.getpwnam(user).pw_gid)
    return [setpriv, "--reuid", user, "--regid", group, "--init-groups", "--", *argv]


def _wrapped(argv: list[str], death_signal: int | None, user: str | None) -> list[str]:
    if death_signal is None:
        return as_user(argv, user)
    if not _setpriv():
        parent = str(os.getpid())
        return [sys.executable, "-I", "-S", "-c", _BECOME, str(death_signal), parent, *argv]
    # After the change of user, which would clear the death signal again (prctl(2)).
    signal_name = signal.Signals(death_signal).name.removeprefix("SIG")
    return as_user(["setpriv", "--pdeathsig", signal_name, "--", *argv], user)


@cache
def _setpriv() -> bool:
    if not shutil.which("setpriv"):
        return False
    probe = ["setpriv", "--pdeathsig", "KILL", "--", "true"]
    return subprocess.run(probe, capture_output=True).returncode == 0


_BECOME = """
import ctypes, os, sys
number, parent, *argv = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(number))  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        sys.exit(1)
os.execv(argv[0], argv)
"""

Start: TypeAlias = Callable[[], subprocess.Popen[bytes]]

_starts: SimpleQueue[tuple[Start, Future[subprocess.Popen[bytes]]]] | None = None
_starts_mutex = threading.Lock()


def _in_lasting_thread(start: Start) -> subprocess.Popen[bytes]:
    """Call ``start`` on a thread that ends only with the process."""
    global _starts
    if threading.current_thread() is threading.main_thread():
        return start()
    with _starts_mutex:
        if _starts is None:
            _starts = SimpleQueue()
            threading.Thread(
                target=_serve, args=(_starts,), name="windtunnel-spawner", daemon=True
            ).start()
    future: Future[subprocess.Popen[bytes]] = Future()
    _starts.put((start, future))
    return future.result()


def _serve(starts: SimpleQueue[tuple[Start, Future[subprocess.Popen[bytes]]]]) -> None:
    while True:
        start, future = starts.get()
        try:
            future.set_result(start())
        except BaseException as error:
            future.set_exception(error)


def _forget() -> None:
    global _starts, _starts_mutex
    _starts, _starts_mutex = None, threading.Lock()


forks.in_child(_forget)
