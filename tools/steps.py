"""Runs named commands side by side and shows one line for each, with its time.

A step's output is kept and shown in full when it fails. Standard library only.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

HEARTBEAT_S = 30.0
_SUMMARY = re.compile(r"\d+ (passed|failed|error)\w*\b.* in [\d.]+s")


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Something to do: a command, or a function that returns its output or raises."""

    name: str
    command: list[str] | Callable[[], str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """How a step ended."""

    step: Step
    code: int
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """pytest's summary, which something may have been printed after; else the last line."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        summaries = [line for line in lines if _SUMMARY.search(line)]
        return (summaries or lines or [""])[-1].strip(" =")


class Steps:
    """A pool of that many steps at once; shows each as it ends, and what is still going on."""

    def __init__(self, root: Path, jobs: int) -> None:
        self._root = root
        self._jobs = jobs
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._children: set[subprocess.Popen[str]] = set()

    def run(self, steps: list[Step]) -> list[Result]:
        """Run the steps, first ones first; results in the order in which they ended."""
        results = list[Result]()
        with ThreadPoolExecutor(self._jobs) as pool:
            waiting: set[Future[Result]] = {pool.submit(self._one, step) for step in steps}
            try:
                while waiting:
                    done, waiting = wait(waiting, HEARTBEAT_S, FIRST_COMPLETED)
                    for future in done:
                        results.append(future.result())
                        self._show(results[-1], len(results), len(steps))
                    if not done:
                        self._heartbeat()
            except KeyboardInterrupt:
                for future in waiting:
                    future.cancel()
                self._interrupt()
                raise
        return results

    def _one(self, step: Step) -> Result:
        began = time.perf_counter()
        with self._lock:
            self._running[step.name] = began
        try:
            code, output = self._call(step)
        finally:
            with self._lock:
                del self._running[step.name]
        return Result(step, code, output, time.perf_counter() - began)

    def _call(self, step: Step) -> tuple[int, str]:
        if callable(step.command):
            try:
                return 0, step.command()
            except Exception as error:  # shown in full as the step's failure
                return 1, str(error)
        with subprocess.Popen(
            step.command,
            cwd=self._root,
            env=os.environ | step.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as child:
            with self._lock:
                self._children.add(child)
            output, _ = child.communicate()
            with self._lock:
                self._children.discard(child)
        return child.returncode, output

    def _interrupt(self) -> None:
        with self._lock:
            children = list(self._children)
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGINT)

    def _show(self, result: Result, number: int, total: int) -> None:
        mark = "ok  " if result.code == 0 else "FAIL"
        width = len(str(total))
        line = f"  {mark} {number:>{width}}/{total} {result.seconds:6.1f} s  {result.step.name}"
        counted = re.search(r"\d+ (passed|failed|error)", result.last_line)
        print(line + (f": {result.last_line}" if counted else ""), flush=True)
        if result.code != 0:
            print(result.output.rstrip(), flush=True)
            print(f"  ---- {result.step.name} ended with {result.code}", flush=True)

    def _heartbeat(self) -> None:
        now = time.perf_counter()
        with self._lock:
            names = [f"{name} ({now - began:.0f} s)" for name, began in self._running.items()]
        print(f"  ...  {', '.join(names)}", flush=True)


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def fail(error: Exception) -> int:
    """Show an error that is the user's to mend; returns the exit code."""
    print(f"make: {error}", file=sys.stderr, flush=True)
    return 2
