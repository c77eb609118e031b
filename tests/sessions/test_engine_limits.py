"""Limits of time, memory, depth and output: they hold, what was ended is gone, all serves on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from windtunnel import sessions
from windtunnel.own.waiting import wait_until
from windtunnel.sessions import EngineSession, ExecResult, Limits
from windtunnel.sessions.engines.monty import MontyGuest

ENGINES = ["monty", "starlark", "process"]
FOREVER = {
    "monty": "while True:\n    pass",
    "process": "while True:\n    pass",
    "starlark": "def spin():\n    for _ in range(1 << 30):\n        for _ in range(1 << 30):\n"
    "            pass\nspin()",
}
FULL = {
    "monty": "x = []\nwhile True:\n    x.append('a' * 100_000)",
    "process": "x = []\nwhile True:\n    x.append(bytes(1_000_000))",
    "starlark": "def fill():\n    x = []\n    for i in range(1 << 30):\n"
    "        x.append('a' * 100000 + str(i))\nfill()",
}
CHATTER = {
    "monty": "while True:\n    print('x' * 1000)",
    "process": "while True:\n    print('x' * 1000)",
    "starlark": "def talk():\n    for _ in range(1 << 30):\n        print('x' * 1000)\ntalk()",
}
DEEP = "def down(n):\n    return down(n + 1)\ndown(0)"


def processes() -> dict[int, tuple[int, float]]:
    """Of every process its parent, and how many ticks it used a processor."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = (int(after[1]), float(after[11]) + float(after[12]))
    return found


def busy_children() -> dict[int, float]:
    """Descendants of this process, and how many ticks each used a processor."""
    found = processes()
    mine = {os.getpid()}
    while True:
        more = {pid for pid, (parent, _) in found.items() if parent in mine} - mine
        if not more:
            return {pid: found[pid][1] for pid in mine - {os.getpid()}}
        mine |= more


def nothing_spins() -> bool:
    """Whether no child of ours uses a processor between two looks."""
    before = busy_children()
    threading.Event().wait(0.05)
    return all(ticks <= before.get(pid, ticks) for pid, ticks in busy_children().items())


@pytest.mark.parametrize("engine", ENGINES)
def test_an_endless_loop_is_ended_and_gone_and_the_session_serves_on(engine: str) -> None:
    with sessions.open(engine) as session:
        result = session.run_sync(FOREVER[engine], timeout_s=0.1)
        assert (result.ok, result.error_type) == (False, "TimeoutError"), result
        assert "0.1 s" in result.error
        assert "names are" in result.error  # kept or lost, but said
        assert wait_until(nothing_spins, within=60)
        assert session.run_sync("1 + 1").value == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_the_limit_of_the_session_holds_where_a_run_says_none(engine: str) -> None:
    with sessions.open(engine, limits=Limits(timeout_s=0.1)) as session:
        assert session.run_sync(FOREVER[engine]).error_type == "TimeoutError"
        session.run_sync(
            FOREVER[engine].replace("spin()", "").replace("while", "def spin():\n  while")
        )
    with sessions.executor(engine, limits=Limits(timeout_s=0.1)) as executor:
        assert executor.execute_sync(FOREVER[engine]).error_type == "TimeoutError"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_called_function_is_limited_too(engine: str) -> None:
    spin = (
        FOREVER["starlark"].removesuffix("spin()")
        if engine == "starlark"
        else ("def spin():\n    while True:\n        pass")
    )
    with sessions.open(engine) as session:
        session.run_sync(spin)
        with pytest.raises(sessions.GuestError) as failure:
            session.call_sync("spin", timeout_s=0.1)
        assert failure.value.error_type == "TimeoutError"


@pytest.mark.parametrize("engine", ["monty", "process"])
@pytest.mark.parametrize("sleep", ["time.sleep(1000)", "asyncio.run(asyncio.sleep(1000))"])
def test_a_guest_that_sleeps_is_woken_by_its_limit(engine: str, sleep: str) -> None:
    if engine == "monty":
        sleep = sleep.replace("asyncio.run(asyncio.sleep(1000))", "await asyncio.sleep(1000)")
    with sessions.open(engine) as session:
        result = session.run_sync(f"import asyncio, time\n{sleep}", timeout_s=0.1)
        assert result.error_type == "TimeoutError", result
        assert result.timings.run_s < 60


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_is_limited(engine: str) -> None:
    with sessions.open(engine, limits=Limits(memory_mb=32, timeout_s=60)) as session:
        result = session.run_sync(FULL[engine])
        assert (result.ok, result.error_type) == (False, "MemoryError"), result
        assert session.run_sync("1 + 1").value == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_depth_is_limited_and_names_are_kept(engine: str) -> None:
    with sessions.open(engine, limits=Limits(recursion=50)) as session:
        session.run_sync("kept = 7")
        result = session.run_sync(DEEP)
        assert (result.ok, result.error_type) == (False, "RecursionError"), result
        shallow = "def deep(n):\n    return 0 if n == 0 else 1 + deep(n - 1)\ndeep(30)"
        assert session.run_sync(shallow).value == 30
        assert session.run_sync("kept").value == 7


@pytest.mark.parametrize("engine", ENGINES)
def test_output_is_limited_to_the_byte_and_what_there_is_of_it_is_given(engine: str) -> None:
    with sessions.open(engine, limits=Limits(output_bytes=10_000, timeout_s=60)) as session:
        result = session.run_sync(CHATTER[engine])
        assert (result.ok, result.error_type) == (False, "OutputLimitError"), result.error
        assert len(result.output) == 10_000
        assert set(result.output) == {"x", "\n"}
        assert session.run_sync("print('é')").output == "é\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_fits_the_limit_is_all_there(engine: str) -> None:
    with sessions.open(engine, limits=Limits(output_bytes=6)) as session:
        assert session.run_sync("print('é' + 'abc')") == ok(output="éabc\n")
        over = session.run_sync("print('éé' + 'abc')")
        assert over.error_type == "OutputLimitError"
        assert over.output == "ééab"


def ok(output: str) -> object:
    class Printed:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, ExecResult) and (other.ok, other.output) == (True, output)

    return Printed()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_guest_whose_process_is_killed_is_an_outcome_and_the_next_run_has_another(
    engine: str,
) -> None:
    @sessions.host_function(needs="kill")
    def kill() -> None:
        for pid in leaves():
            with contextlib.suppress(ProcessLookupError):  # whom the guest was forked through ends
                os.kill(pid, signal.SIGKILL)

    held = [sessions.CapabilityToken("kill")]
    with sessions.open(engine, functions=[kill], capabilities=held) as session:
        result = session.run_sync("kill()\n1")
        assert (result.ok, result.error_type) == (False, "GuestDiedError"), result
        assert session.run_sync("1 + 1").value == 2


def leaves() -> set[int]:
    """Descendants of this process without children: guests, not what they are forked from."""
    parents = {pid: parent for pid, (parent, _) in processes().items()}
    return {pid for pid in busy_children() if pid not in parents.values()}


def test_a_monty_guest_with_a_full_heap_gets_another_worker() -> None:
    with sessions.open("monty", limits=Limits(memory_mb=16, timeout_s=60)) as session:
        full = session.run_sync(FULL["monty"])
        assert full.error_type == "MemoryError"
        assert "names are lost" in full.error
        too_large = session.run_sync("kept = 1\n'a' * 10**9")
        assert too_large.error_type == "MemoryError"
        assert session.run_sync("kept").ok == ("names are lost" not in too_large.error)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupted_guest_is_gone_and_serves_on(engine: str) -> None:
    spins = FOREVER[engine]
    with sessions.open(engine) as session:
        session.run_sync("1")
        guest = session._guest
        done = threading.Event()
        timer = threading.Timer(0.1, interrupt_until, (guest.interrupt, done))
        timer.start()
        result = session.run_sync(spins, timeout_s=60)
        done.set()
        timer.join()  # else one that is under way would hit the next run
        assert not result.ok
        assert result.error_type == "InterruptedError", result
        assert session.run_sync("1 + 1").value == 2


def interrupt_until(interrupt: Callable[[], None], done: threading.Event) -> None:
    while not done.wait(0.05):
        interrupt()


def test_interrupting_a_guest_that_runs_nothing_changes_nothing() -> None:
    guest = MontyGuest([])
    guest.interrupt()
    limits = Limits()
    guest.run("x = 1", inputs={}, limits=limits, host=lambda *_: None)
    guest.interrupt()
    assert guest.run("x", inputs={}, limits=limits, host=lambda *_: None).value == 1
    guest.close()
    guest.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_isolation_is_said_with_what_it_does_not_keep(engine: str) -> None:
    with sessions.open(engine) as session:
        said = EngineSession.isolation.fget(session)  # type: ignore[attr-defined]
        assert len(said) > 40
        weak = {"monty": "would not be contained"}
        assert weak.get(engine, "kernel") in said or "weaker" in said
