"""Cells in processes of this machine: forked from a warm interpreter under bubblewrap.

One interpreter is started inside the sandbox and imports the program once (*zygote*); each cell is
forked from it in a few milliseconds, into namespaces, a user and limits of its own. Where that is
refused, each cell starts an interpreter under bubblewrap; where bubblewrap is missing or refused, a
plain one with resource limits and, on Linux, the filter. :attr:`ProcessSandbox.isolation` says
which it is and what is weaker.

Prior art: Android's zygote for the warm fork, bubblewrap for the namespaces, Chromium's sandbox
for giving up rights before the first foreign byte is read.
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
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from windtunnel.own import Child, Scope
from windtunnel.own.waiting import wait_until
from windtunnel.sandboxes import tiers
from windtunnel.sandboxes.cell import Life, Pidfd, ProcessCell
from windtunnel.sandboxes.protocol import CellLimits, Program, SandboxError
from windtunnel.sandboxes.tiers import Tier

_START_WITHIN_S = 30.0
_INSIDE = Path(__file__).with_name("inside.py")
_DEFAULT = CellLimits()
# Datagrams that end where the other side does; macOS has none, and sends little in one piece.
_DATAGRAMS = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM


class ProcessSandbox:
    """A sandbox of processes, at the best tier that works here; also a context manager.

    :param program: what each cell runs.
    :param tier: ``bubblewrap``, ``bubblewrap-cold`` or ``plain`` to have that one and no other.
    :raises SandboxError: at the first cell, where no tier works.

    >>> source = "def main(channel): channel.send(channel.receive()[::-1])"
    >>> with ProcessSandbox(Program((("turn", source),), "turn:main")) as sandbox:
    ...     cell = sandbox.start()
    ...     cell.send(b"stressed")
    ...     print(cell.receive(10))
    ...     cell.close()
    b'desserts'
    """

    def __init__(self, program: Program, *, tier: str | None = None) -> None:
        self._program = program
        self._wanted = tier
        self._tier: Tier | None = None
        self._refusals: list[str] = []
        self._zygote: _Interpreter | None = None
        self._starting = threading.RLock()
        self._cells: set[ProcessCell] = set()
        self._spare: ProcessCell | None = None
        self._closed = False
        self._pid = os.getpid()

    @property
    def isolation(self) -> str:
        """What keeps a cell in, in one sentence that names what does not."""
        tier = self._settled()
        return tiers.isolation(
            tier,
            self._refusals,
            "",
            unlimited_threads=os.geteuid() == 0 and not tier.as_root,
        )

    @property
    def tier(self) -> str:
        """The name of the tier that works here."""
        return self._settled().name

    def _settled(self) -> Tier:
        if self._tier is None:
            self._spare = self._spare or self._first(_DEFAULT)
        assert self._tier is not None
        return self._tier

    def start(self, limits: CellLimits = _DEFAULT) -> ProcessCell:
        """A fresh cell; a few milliseconds where a zygote runs.

        :raises SandboxError: where no tier works, or the sandbox is closed.
        """
        with self._starting:
            self._refuse_where_gone()
            if self._spare is not None and limits == _DEFAULT:
                cell, self._spare = self._spare, None
                return cell
            if self._tier is None:
                return self._first(limits)
        return self._start(self._tier, limits)

    def _refuse_where_gone(self) -> None:
        if self._closed or self._pid != os.getpid():
            raise SandboxError(
                "the sandbox is closed",
                found="a process forked from its owner" if not self._closed else "close() before",
                fix="make another ProcessSandbox",
            )

    def _first(self, limits: CellLimits) -> ProcessCell:
        """The first cell: of the best tier that gives one."""
        with self._starting:
            found = [
                tier for tier in tiers.candidates() if self._wanted in (None, tier.name)
            ]
            for tier in found:
                try:
                    cell = self._start(tier, limits)
                except SandboxError as error:
                    self._refusals.append(f"{tier.name} is refused: {error.found}")
                    self._end_zygote()
                else:
                    self._tier = tier
                    return cell
            raise SandboxError(
                "no sandbox can be had here",
                found="; ".join(self._refusals) or f"no bwrap for tier {self._wanted!r}",
                fix="apt-get install bubblewrap, and allow user namespaces",
            )

    def _start(self, tier: Tier, limits: CellLimits) -> ProcessCell:
        if not tier.forks:
            interpreter = _Interpreter(tier, self._program, limits)
            try:
                return self._adopt(interpreter.cell(limits, interpreter.close))
            except BaseException:
                interpreter.close()
                raise
        with self._starting:
            if self._zygote is None or not self._zygote.running:
                self._end_zygote()
                self._zygote = _Interpreter(tier, self._program, limits)
            zygote = self._zygote
        return self._adopt(zygote.cell(limits, lambda: None))

    def _adopt(self, cell: ProcessCell) -> ProcessCell:
        self._cells = {known for known in self._cells if not known.closed} | {cell}
        return cell

    def _end_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def close(self) -> None:
        """End every cell and the zygote. Twice is allowed."""
        with self._starting:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
            for cell in self._cells:
                cell.close()
            self._end_zygote()

    def __enter__(self) -> ProcessSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Interpreter:
    """A started interpreter with the program loaded: a zygote, or one cell to be."""

    def __init__(self, tier: Tier, program: Program, limits: CellLimits) -> None:
        self._tier = tier
        self._scope = Scope("a process sandbox", house=True)
        self._scope.owner = None  # whichever test came first, it is the process's
        self._messages = self._scope.enter(tempfile.TemporaryFile())
        self._scratch = "/tmp"
        if tier.name == "plain":
            self._scratch = str(self._scope.temp_dir("wt-cell-"))
        self._control, theirs = socket.socketpair(socket.AF_UNIX, _DATAGRAMS)
        self._scope.callback(self._control.close)
        try:
            with theirs:
                self._child = self._scope.child(
                    tier.command(limits.scratch_mb),
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
        config = {
            "control": control,
            "alone": not self._tier.forks,
            "modules": list(program.modules),
            "entry": program.entry,
        }
        source = f"{_INSIDE.read_text(encoding='utf-8')}\nmain({config!r})\n"
        stdin = self._child.process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError), stdin:  # what it said is read below
            stdin.write(source.encode())

    def _await_ready(self) -> None:
        if _received(self._control, _START_WITHIN_S)[0] != b"ready":
            raise self._refused("the sandboxed interpreter did not start")

    def _refused(self, what: str, found: str = "") -> SandboxError:
        self._messages.seek(0)
        said = self._messages.read(4000).decode(errors="replace").strip()
        lines = [line for line in (found or said or "it said nothing").splitlines() if line.strip()]
        return SandboxError(
            what,
            found=lines[-1],
            fix="see `windtunnel doctor` for what this machine allows",
        )

    @property
    def running(self) -> bool:
        return self._child.running

    def cell(self, limits: CellLimits, give_back: Callable[[], None]) -> ProcessCell:
        """Have a cell forked, or become one."""
        channel, theirs = socket.socketpair()
        report, reporting = socket.socketpair(socket.AF_UNIX, _DATAGRAMS)
        output, printing = os.pipe()
        try:
            with theirs, reporting, report:
                try:
                    socket.send_fds(
                        self._control,
                        [json.dumps(self._request(limits)).encode()],
                        [theirs.fileno(), printing, reporting.fileno()],
                    )
                except OSError as error:
                    raise self._refused("the sandboxed interpreter is gone") from error
                finally:
                    os.close(printing)
                theirs.close()
                reporting.close()
                life = self._life(report)
            return ProcessCell(
                channel,
                output,
                life,
                message_bytes=limits.message_bytes,
                give_back=give_back,
            )
        except BaseException:
            channel.close()
            os.close(output)
            raise

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
                raise self._refused(
                    "a cell could not be confined", message.decode(errors="replace")
                )

    def close(self) -> None:
        """Kill it; returns when it and all its cells are gone."""
        self._scope.close()


class _ByChild:
    """The life of a cell that is a child of this process: until waited for, its number is its."""

    def __init__(self, child: Child) -> None:
        self._child = child

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


__all__ = ["ProcessSandbox"]
