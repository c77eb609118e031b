"""How many instructions a call takes: a figure that hardly depends on who else is at work.

Two processes run the function, one with more calls than the other, both with the same hash seed;
the difference in what they executed, over the difference in calls, leaves start and import out.
``perf`` counts in the processor, where the kernel and the (virtual) machine let it; callgrind, of
valgrind, executes the program in a machine of its own, some fifty times slower, and counts there.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from windtunnel.bench.plan import name_of
from windtunnel.bench.target import Reference, parse_target, target_of
from windtunnel.core import ResourceError, UsageError
from windtunnel.own import Scope
from windtunnel.own.machine import perf_counts

Tool = Literal["perf", "callgrind"]

_COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")


class NoCounterError(ResourceError):
    """Neither perf nor callgrind can count instructions here."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What :func:`count_instructions` found.

    :param per_call: instructions a call executes in user mode.
    :param tool: who counted.
    :param calls: calls by whose difference it was found.
    """

    name: str
    per_call: float
    tool: Tool
    calls: int

    def __str__(self) -> str:
        return f"{self.name}: {self.per_call:,.0f} instructions a call ({self.tool})"


def count_instructions(
    fn: Callable[[], Any] | str, *, calls: int = 20, tool: Tool | None = None
) -> Instructions:
    """Count the instructions of a call.

    :param fn: a function without arguments that can be imported, or ``FILE:NAME``.
    :param calls: calls that are counted; more of them for very short functions.
    :param tool: who counts; perf where it can, else callgrind, where not given.
    :raises UsageError: where the function cannot be imported, or fails.
    :raises NoCounterError: where nobody can count.
    """
    target = parse_target(fn) if isinstance(fn, str) else target_of(fn)
    name = fn if isinstance(fn, str) else name_of(fn)
    if not isinstance(target, Reference) or not target.qualname:
        raise UsageError(
            "instructions are counted in fresh processes",
            found=f"{name}, which cannot be imported",
            fix="define it at the top level of a module, and write FILE:NAME",
        )
    chosen = tool or _tool()
    few, many = 5, 5 + calls
    counted = [_count(target, name, number, chosen) for number in (few, many)]
    return Instructions(
        name=name, per_call=(counted[1] - counted[0]) / calls, tool=chosen, calls=calls
    )


def _tool() -> Tool:
    if perf_counts():
        return "perf"
    if shutil.which("valgrind"):
        return "callgrind"
    raise NoCounterError(
        "instructions cannot be counted here",
        found="no perf that counts them, and no valgrind",
        fix="apt-get install valgrind",
    )


def _count(target: Reference, name: str, calls: int, tool: Tool) -> int:
    with tempfile.TemporaryDirectory(prefix="windtunnel-count-") as folder:
        told = Path(folder) / "told"
        if tool == "perf":
            counter = ["perf", "stat", "-e", "instructions:u", "-x,", "-o", str(told), "--"]
        else:
            out = f"--callgrind-out-file={folder}/out"
            counter = ["valgrind", "--tool=callgrind", f"--log-file={told}", out]
        # Without `site`: what is imported before the calls takes fifty times as long here.
        program = [sys.executable, "-S", "-c", _PROGRAM, target.file, target.module]
        paths = [*target.paths, *(path for path in sys.path if path not in target.paths)]
        with Scope(f"counting {name}", house=True) as scope:
            child = scope.child(
                [*counter, *program, target.qualname, str(calls), *paths],
                name=f"counting {name}",
                env={**os.environ, "PYTHONHASHSEED": "0"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            _, errors = child.process.communicate()
        if child.process.returncode:
            last = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise UsageError(f"{name} fails, and is not counted", found=last)
        text = told.read_text()
    match = re.search(r"^(\d+),", text, re.MULTILINE) if tool == "perf" else _COLLECTED.search(text)
    if match is None:
        raise NoCounterError(f"{tool} counted no instructions", found=text.strip()[-200:])
    return int(match[1])


_PROGRAM = """
import sys
file, module, name, calls = sys.argv[1:5]
sys.path[:0] = sys.argv[5:]
if file:
    space = {"__name__": "windtunnel_counted", "__file__": file}
    with open(file, "rb") as source:
        exec(compile(source.read(), file, "exec"), space)
    found = space[name.partition(".")[0]]
    rest = name.split(".")[1:]
else:
    found, rest = __import__(module, fromlist=["*"]), name.split(".")
for part in rest:
    found = getattr(found, part)
if getattr(getattr(found, "__code__", None), "co_flags", 0) & 0x80:
    import asyncio
    async def run():
        for _ in range(int(calls)):
            await found()
    asyncio.run(run())
else:
    for _ in range(int(calls)):
        found()
"""
