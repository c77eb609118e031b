"""Watching a process that runs an experiment: its results, its hangs, its crashes.

The process writes JSON lines to a pipe (:mod:`windtunnel.probe.observer` does); whoever started
it calls :func:`watch`, which returns when the process said that it is done, ended, or was killed
because a test passed its time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.core import REAL_CLOCK, Outcome
from windtunnel.probe.experiment import Result, Trial

STACKS_SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""At this signal the process under watch writes its threads' stacks to the second pipe."""

_STACKS_WITHIN_S = 1.0
_STACKS_MOST = 20_000


class Watched:
    """What is known so far of the process under watch."""

    def __init__(self, nodeids: Sequence[str]) -> None:
        self.nodeids: list[str] = list(nodeids)
        self.results: list[Result] = []
        self.missing: dict[str, str] = {}
        self.reached: list[str] = []
        self.running: int | None = None
        self.running_pid = 0
        self.done = False
        self.broke = ""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take in what was read from the pipe."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, said: dict[str, Any]) -> None:
        match said["said"]:
            case "order":
                self.nodeids = [str(nodeid) for nodeid in said["nodeids"]]
            case "start":
                self.running, self.running_pid = said["index"], said["pid"]
            case "finish":
                self.results.append(
                    Result(
                        nodeid=self.nodeids[said["index"]],
                        outcome=Outcome(said["outcome"]),
                        phase=said["phase"],
                        duration_s=said["duration_s"],
                        message=said["message"],
                    )
                )
                self.running = None
            case "missing":
                self.missing.update(said["missing"])
            case "reached":
                self.reached.append(said["host"])
            case "broke":
                self.broke = said["why"]
            case "done":
                self.done = True

    def stop(self, outcome: Outcome, message: str, stacks: str = "") -> None:
        """The test that was running ended so."""
        if self.running is not None:
            nodeid = self.nodeids[self.running]
            self.results.append(
                Result(nodeid=nodeid, outcome=outcome, message=message, stacks=stacks)
            )
            self.running = None

    def trial(self) -> Trial:
        """All of it."""
        return Trial(
            results=tuple(self.results),
            missing=self.missing,
            reached=tuple(self.reached),
            order=tuple(self.nodeids),
        )


def watch(
    pid: int,
    lines: int,
    stacks: int,
    nodeids: Sequence[str],
    limits: Mapping[str, float],
    *,
    limit_s: float,
    start_s: float = 30.0,
) -> Trial:
    """Follow the process ``pid``, a child of ours and leader of its group, to its end.

    :param lines: read end of the pipe for results; ``stacks``: of the pipe for stacks.
    :param nodeids: the tests as the process numbers them.
    :param limits: seconds that each test may take; ``limit_s`` for one that has no entry.
    :param start_s: seconds allowed before the first and between two tests, beyond ``limit_s``.
    """
    seen = Watched(nodeids)
    os.set_blocking(lines, False)
    exited = _exit_descriptor(pid)
    status: int | None = None
    deadline = REAL_CLOCK.monotonic() + limit_s + start_s
    try:
        while not seen.done:
            before = seen.running
            ready, _, _ = select.select(
                [fd for fd in (lines, exited) if fd is not None], [], [], _patience(deadline)
            )
            ended = _drain(lines, seen)
            if seen.running is not None and seen.running != before:
                limit = limits.get(seen.nodeids[seen.running], limit_s)
                deadline = REAL_CLOCK.monotonic() + limit
            elif seen.running is None and seen.results:
                deadline = REAL_CLOCK.monotonic() + limit_s + start_s
            if seen.done:
                break
            if ended or (exited is not None and exited in ready):
                status = _reap(pid, block=ended or exited is not None)
                _drain(lines, seen)
                if status is not None or ended:
                    break
            elif exited is None and (status := _reap(pid, block=False)) is not None:
                _drain(lines, seen)
                break
            if REAL_CLOCK.monotonic() >= deadline:
                text = _ask_stacks(seen.running_pid or pid, stacks)
                seen.stop(Outcome.TIMEOUT, "it ran longer than its time limit", text)
                break
    finally:
        _kill_group(pid)
        if status is None:
            status = _reap(pid, block=True)
        if exited is not None:
            os.close(exited)
    if seen.broke:
        seen.stop(Outcome.CRASHED, f"it ended the session: {seen.broke}")
    seen.stop(Outcome.CRASHED, _how_it_died(status))
    return seen.trial()


def _patience(deadline: float) -> float:
    return min(0.5, max(0.0, deadline - REAL_CLOCK.monotonic()))


def _exit_descriptor(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _drain(lines: int, seen: Watched) -> bool:
    """Read what is there; whether the pipe has come to its end."""
    while True:
        try:
            data = os.read(lines, 65536)
        except BlockingIOError:
            return False
        if not data:
            return True
        seen.feed(data)


def _reap(pid: int, *, block: bool) -> int | None:
    try:
        reaped, status = os.waitpid(pid, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if reaped else None


def _ask_stacks(pid: int, stacks: int) -> str:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACKS_SIGNAL)
    text = b""
    deadline = REAL_CLOCK.monotonic() + _STACKS_WITHIN_S
    while len(text) < _STACKS_MOST:
        # The first line may take its time; after it, a short silence is the end.
        wait = 0.05 if text else deadline - REAL_CLOCK.monotonic()
        if wait <= 0 or not select.select([stacks], [], [], wait)[0]:
            break
        data = os.read(stacks, 65536)
        if not data:
            break
        text += data
    return text.decode(errors="replace")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how_it_died(status: int | None) -> str:
    if status is None:
        return "its process disappeared"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"its process was killed by {signal.Signals(number).name}"
    return f"its process ended with status {os.waitstatus_to_exitcode(status)} under the test"
