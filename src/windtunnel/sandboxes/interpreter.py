"""The interpreter that cells come from: started at one tier, asked for cells over a socket.

Each request carries the cell's own ends of its channel, output and report, so any number of threads
may ask at once and no answer can reach the wrong one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from windtunnel.own import Child, Scope
from windtunnel.own.waiting import wait_until
from windtunnel.sandboxes.cell import Life, Pidfd, ProcessCell
from windtunnel.sandboxes.protocol import CellLimits, Program, SandboxError
from windtunnel.sandboxes.tiers import Tier

_START_WITHIN_S = 30.0
_DYING_MS = 200
_FIX = "see `windtunnel doctor` for what this machine allows"
_INSIDE = Path(__file__).with_name("inside.py")
_LANDLOCK = Path(__file__).with_name("landlock.py")
# Datagrams that end where the other side does; macOS has none, and sends little in one piece.
_DATAGRAMS = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM


class InterpreterGoneError(SandboxError):
    """The interpreter ended before it gave a cell.

    :ivar interpreter: which one.
    """

    interpreter: Interpreter


class Interpreter:
    """A started interpreter with the program loaded: a zygote, or one cell to be.

    :raises SandboxError: where it does not start.
    """

    def __init__(self, tier: Tier, program: Program, limits: CellLimits) -> None:
        self._tier = tier
        self._scope = Scope("a process sandbox", house=True)
        self._scope.owner = None  # whichever test came first, it is the process's
        self._messages = self._scope.enter(tempfile.TemporaryFile())  # noqa: SIM115 (the scope's)
        self._scratch = "/tmp"
        if tier.name == "plain":
            self._scratch = str(self._scope.temp_dir("wt-cell-"))
        self._control, theirs = socket.socketpair(socket.AF_UNIX, _DATAGRAMS)
        self._scope.callback(self._control.close)
        try:
            with theirs:
                self._child = self._scope.child(
                    tier.command(limits.scratch_mb, program.packages),
                    name=f"sandbox ({tier.name})",
                    env=_environment(),
                    stdin=subprocess.PIPE,
                    stderr=self._messages,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    stop_signal=signal.SIGKILL,
                )
                self._load(program, theirs.fileno())
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def _load(self, program: Program, control: int) -> None:
        landlock = ("_windtunnel_landlock", _LANDLOCK.read_text(encoding="utf-8"))
        config = {
            "control": control,
            "alone": not self._tier.forks,
            "modules": [landlock, *program.modules],
            "entry": program.entry,
            "paths": sorted({str(package.parent) for package in program.packages}),
        }
        source = f"{_INSIDE.read_text(encoding='utf-8')}\nmain({config!r})\n"
        stdin = self._child.process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError), stdin:  # what it said is read below
            stdin.write(source.encode())

    def _await_ready(self) -> None:
        message = _received(self._control, _START_WITHIN_S)[0]
        if not message.startswith(b"ready"):
            raise self.refused("the sandboxed interpreter did not start")
        self.limits_threads = message == b"ready"
        """Whether the kernel counts the threads of its user against a limit."""

    def refused(self, what: str, found: str = "") -> SandboxError:
        """The error for what it did not do, with what it said last."""
        return SandboxError(what, found=found or self._said(), fix=_FIX)

    def gone(self) -> InterpreterGoneError:
        """The error for its having ended."""
        error = InterpreterGoneError(
            "the sandboxed interpreter is gone", found=self._said(), fix=_FIX
        )
        error.interpreter = self
        return error

    def _said(self) -> str:
        self._messages.seek(0)
        said = self._messages.read(4000).decode(errors="replace")
        return ([line for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1]

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._child.running

    @property
    def answers(self) -> bool:
        """Whether somebody is at the other end; whoever just died has let go in a moment."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        return not poll.poll(_DYING_MS)

    def slot(self, doors: Sequence[int]) -> socket.socket:
        """Have a fork enter control groups, and fork cells there when asked over the socket.

        :param doors: those of the groups.
        :raises SandboxError: where it could not enter them.
        """
        control, theirs = socket.socketpair(socket.AF_UNIX, _DATAGRAMS)
        try:
            with theirs:
                fds = [theirs.fileno(), *doors]
                socket.send_fds(self._control, [json.dumps({"slot": True}).encode()], fds)
            message, _ = _received(control, _START_WITHIN_S)
        except OSError:
            message = b""
        if message == b"ready":
            return control
        control.close()
        if not message:
            raise self.gone()
        raise self.refused("a control group could not be entered", message.decode())

    def cell(
        self,
        limits: CellLimits,
        give_back: Callable[[], None],
        *,
        slot: socket.socket | None = None,
        doors: Sequence[int] = (),
    ) -> ProcessCell:
        """A cell, forked or this interpreter itself.

        :param give_back: called once when the cell is gone.
        :param slot: where to have it forked.
        :param doors: those of the control groups that it is to enter.
        :raises InterpreterGoneError: where there is nobody to ask any more.
        :raises SandboxError: where it could not be confined.
        """
        channel, theirs = socket.socketpair()
        report, reporting = socket.socketpair(socket.AF_UNIX, _DATAGRAMS)
        output, printing = os.pipe()
        try:
            with report:
                with theirs, reporting:
                    fds = [theirs.fileno(), printing, reporting.fileno(), *doors]
                    try:
                        request = json.dumps(self._request(limits)).encode()
                        socket.send_fds(slot or self._control, [request], fds)
                    except OSError as error:
                        raise self.gone() from error
                    finally:
                        os.close(printing)
                life = self._life(report)
        except BaseException:
            channel.close()
            os.close(output)
            raise
        return ProcessCell(
            channel, output, life, message_bytes=limits.message_bytes, give_back=give_back
        )

    def _request(self, limits: CellLimits) -> dict[str, object]:
        return {
            "memory_bytes": None if limits.memory_mb is None else limits.memory_mb << 20,
            "scratch_bytes": limits.scratch_mb << 20,
            "scratch": self._scratch,
            "threads": limits.threads if self._tier.forks else None,
            "files": limits.files,
            "cpu_s": limits.cpu_s,
            "user": self._tier.new_user(),
            "filter": self._filter(),
            "readable": self._tier.readable(),
        }

    def _filter(self) -> str:
        if self._tier.forks:
            return self._tier.filter_for(1)
        # bubblewrap's own first process is 1, what it starts is 2.
        return self._tier.filter_for(self._child.pid if self._tier.name == "plain" else 2)

    def _life(self, report: socket.socket) -> Life:
        """Wait until the cell has given up what it must not have."""
        pidfd = -1
        while True:
            message, fds = _received(report, _START_WITHIN_S)
            if message == b"pidfd":
                (pidfd,) = fds
            elif message == b"ready":
                return Pidfd(pidfd) if pidfd >= 0 else _ByChild(self._child)
            else:
                if pidfd >= 0:
                    os.close(pidfd)
                if not message:
                    raise self.gone()
                found = message.decode(errors="replace").removeprefix("error ")
                raise self.refused("a cell could not be confined", found)

    def close(self) -> None:
        """Kill it; returns when it and all its cells are gone."""
        self._scope.close()


class _ByChild:
    """The life of a cell that is a child of this process: until waited for, its number is its."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid if self._child.running else 0

    def signal(self, number: int) -> None:
        if self._child.running:
            self._child.process.send_signal(number)

    def gone(self, within_s: float) -> bool:
        return wait_until(lambda: not self._child.running, within_s)

    def close(self) -> None:
        pass


def _environment() -> dict[str, str]:
    """Nothing of this process's environment but where the interpreter's libraries are."""
    names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def _received(sock: socket.socket, within_s: float) -> tuple[bytes, list[int]]:
    """The next datagram and its descriptors; empty where the other side is gone or silent."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    if not poll.poll(within_s * 1000):
        return b"", []
    try:
        message, fds, _flags, _address = socket.recv_fds(sock, 1 << 16, 4)
    except OSError:
        return b"", []
    return message, fds


__all__ = ["Interpreter"]
