"""What is known of a child that died under its test: in which phase, with what stacks."""

from __future__ import annotations

import faulthandler
import mmap
import os
import tempfile
from typing import TYPE_CHECKING, Literal

import pytest

from windtunnel.core import Outcome
from windtunnel.run.children import describe_status

if TYPE_CHECKING:
    from windtunnel.run.isolation.child import Ended

Phase = Literal["setup", "call", "teardown"]
_PHASES: tuple[Phase, ...] = ("setup", "call", "teardown")


class CrashNotes:
    """Shared between a parent and the child it waits for."""

    def __init__(self) -> None:
        self._phase = mmap.mmap(-1, 1)  # anonymous and shared: the child writes, the parent reads
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("windtunnel-stacks", os.MFD_CLOEXEC)
        else:
            self._fd, path = tempfile.mkstemp()
            os.unlink(path)

    @property
    def phase(self) -> Phase:
        """The phase the child is in, or was in when it ended."""
        return _PHASES[self._phase[0]]

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase[0] = _PHASES.index(phase)

    def clear(self) -> None:
        """In the parent, before a fork."""
        self._phase[0] = 0
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def watch(self) -> None:
        """In the child: have the stacks of a fatal signal written here."""
        faulthandler.enable(file=self._fd, all_threads=True)

    def stacks(self) -> str:
        """What a fatal signal left."""
        return os.pread(self._fd, 1 << 20, 0).decode(errors="replace").strip()

    def reports(self, item: pytest.Item, ended: Ended, took_s: float) -> list[pytest.TestReport]:
        """The reports of an attempt whose child sent none: what pytest would have reported, with
        the phase it ended in failed."""
        died_in = self.phase
        phases: list[Phase] = [p for p in _PHASES if p != "call" or died_in != "setup"]
        return [self._report(item, p, ended if p == died_in else None, took_s) for p in phases]

    def _report(
        self, item: pytest.Item, phase: Phase, ended: Ended | None, took_s: float
    ) -> pytest.TestReport:
        sections = []
        if ended is not None:
            for when, key, content in item._report_sections:
                sections.append((f"Captured {key} {when}", content))
            stacks = self.stacks()
            if stacks:
                sections.append(("Stacks of the process when it died", stacks))
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords=dict.fromkeys(item.keywords, 1),
            outcome="passed" if ended is None else "failed",
            longrepr=None if ended is None else self._text(ended),
            when=phase,
            sections=sections,
            duration=0.0 if ended is None else took_s,
            user_properties=item.user_properties,
        )
        if ended is not None:
            outcome = Outcome.CRASHED if ended.stopped is None else Outcome.TIMEOUT
            vars(report)["wt_outcome"] = outcome.value
        return report

    def _text(self, ended: Ended) -> str:
        if ended.stopped is not None:
            return f"the test's process was stopped in {self.phase}: {ended.stopped}"
        return f"the test's process {describe_status(ended.status)} in {self.phase}"
