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
import os
import select
import socket
import threading
from collections.abc import Iterator
from types import TracebackType

from windtunnel.own import inventory
from windtunnel.sandboxes import tiers
from windtunnel.sandboxes.cell import ProcessCell
from windtunnel.sandboxes.cgroups import CellGroup, Groups
from windtunnel.sandboxes.interpreter import Interpreter, InterpreterGoneError
from windtunnel.sandboxes.protocol import CellLimits, Program, SandboxError
from windtunnel.sandboxes.tiers import Tier

_DEFAULT = CellLimits()


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
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        """Nothing is started yet in this process."""
        self._pid = os.getpid()
        self._zygote: Interpreter | None = None
        self._groups: Groups | None = None
        self._starting = threading.RLock()
        self._cells: set[ProcessCell] = set()
        self._spare: ProcessCell | None = None
        self._free: list[_Slot] = []

    @property
    def isolation(self) -> str:
        """What keeps a cell in, in one sentence that names what does not."""
        tier = self._settled()
        groups = self._own_groups()
        return tiers.isolation(
            tier,
            self._refusals,
            groups.counted,
            groups.refusal,
            limits_threads=tier.forks and self._awake(tier).limits_threads,
        )

    @property
    def tier(self) -> str:
        """The name of the tier that works here."""
        return self._settled().name

    def _settled(self) -> Tier:
        self._own()
        with self._starting:
            if self._tier is None:
                self._spare = self._first(_DEFAULT)
            assert self._tier is not None
            return self._tier

    def start(self, limits: CellLimits = _DEFAULT) -> ProcessCell:
        """A fresh cell; a few milliseconds where a zygote runs.

        :raises SandboxError: where no tier works, or the sandbox is closed.
        """
        self._own()
        with self._starting:
            if self._closed:
                raise _closed()
            if self._spare is not None and limits == _DEFAULT:
                cell, self._spare = self._spare, None
                return cell
            if self._tier is None:
                return self._first(limits)
        return self._start(self._tier, limits)

    def _own(self) -> None:
        """In a process forked from the one that made it, begin anew: a zygote has one owner."""
        if self._pid != os.getpid():
            self._begin()
            inventory.before_closing(self.close)

    def _first(self, limits: CellLimits) -> ProcessCell:
        """The first cell: of the best tier that gives one."""
        with self._starting:
            found = [tier for tier in tiers.candidates() if self._wanted in (None, tier.name)]
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
        cell = self._forked(tier, limits) if tier.forks else self._alone(tier, limits)
        with self._starting:
            if not self._closed:
                self._cells = {known for known in self._cells if not known.closed} | {cell}
                return cell
        cell.close()  # who closed the sandbox did not know of it
        with self._starting:
            if self._groups is not None:
                self._groups.close()
        raise _closed()

    def _forked(self, tier: Tier, limits: CellLimits) -> ProcessCell:
        try:
            return self._in_slot(tier, limits)
        except InterpreterGoneError as gone:
            # Somebody ended it, or the kernel for want of memory: another one, once. Where it was
            # a slot alone, the zygote and the cells of other slots live on.
            with self._starting:
                if self._zygote is gone.interpreter and not gone.interpreter.answers:
                    self._end_zygote()
            return self._in_slot(tier, limits, fresh=True)

    def _in_slot(self, tier: Tier, limits: CellLimits, *, fresh: bool = False) -> ProcessCell:
        zygote = self._awake(tier)
        if not self._own_groups().counted:
            return zygote.cell(limits, lambda: None)
        slot = (None if fresh else self._free_slot(zygote)) or self._new_slot(zygote)
        try:
            with _told("limited"):
                slot.group.limit(limits, beside=2)  # who forks it, and whom it is forked through
            return zygote.cell(limits, lambda: self._give_back(slot), slot=slot.control)
        except BaseException:
            slot.close()
            raise

    def _free_slot(self, zygote: Interpreter) -> _Slot | None:
        """A slot that is there: there are as many as there were cells at one time."""
        with self._starting:
            while self._free:
                slot = self._free.pop()
                if slot.zygote is zygote and slot.answers:
                    return slot
                slot.close()
        return None

    def _new_slot(self, zygote: Interpreter) -> _Slot:
        with _told("made"):
            group = self._own_groups().slot()
        try:
            with group:
                return _Slot(zygote, group, zygote.slot(group.doors))
        except BaseException:
            group.remove()
            raise

    def _give_back(self, slot: _Slot) -> None:
        with self._starting:
            if slot.zygote is self._zygote and not self._closed:
                self._free.append(slot)
                return
        slot.close()

    def _alone(self, tier: Tier, limits: CellLimits) -> ProcessCell:
        with _told("made"):
            group = self._own_groups().slot()
            group.limit(limits)
        try:
            interpreter = Interpreter(tier, self._program, limits)
        except BaseException:
            group.remove()
            raise

        def give_back() -> None:
            interpreter.close()
            group.remove()

        try:
            with group:
                return interpreter.cell(limits, give_back, doors=group.doors)
        except BaseException:
            give_back()
            raise

    def _awake(self, tier: Tier) -> Interpreter:
        with self._starting:
            if self._closed:
                raise _closed()
            if self._zygote is None or not self._zygote.running:
                self._end_zygote()
                self._zygote = Interpreter(tier, self._program, _DEFAULT)
            return self._zygote

    def _own_groups(self) -> Groups:
        with self._starting:
            if self._groups is None:
                self._groups = Groups()
            return self._groups

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
            for slot in self._free:
                slot.close()
            self._free.clear()
            if self._groups is not None:
                self._groups.close()

    def __enter__(self) -> ProcessSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Slot:
    """A fork of the zygote in control groups, whose cells are born there one after another."""

    def __init__(self, zygote: Interpreter, group: CellGroup, control: socket.socket) -> None:
        self.zygote = zygote
        self.group = group
        self.control = control

    @property
    def answers(self) -> bool:
        """Whether its process is there."""
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """It ends when nobody is at the other end."""
        self.control.close()
        self.group.remove()


def _closed() -> SandboxError:
    return SandboxError("the sandbox is closed", found="close() before", fix="make another")


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say which control group it was that the kernel refused something about."""
    try:
        yield
    except OSError as error:
        raise SandboxError(
            f"the control group of a cell could not be {what}",
            found=str(error),
            fix="look at who else changes this process's control groups",
        ) from error


__all__ = ["ProcessSandbox"]
