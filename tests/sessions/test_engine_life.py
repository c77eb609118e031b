"""The life of engines: warm, forked, killed, brought by others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from windtunnel import sessions
from windtunnel.core.errors import ResourceError, UsageError
from windtunnel.own import ProcessIdentity, reap
from windtunnel.own.waiting import wait_until

ENGINES = ["monty", "starlark", "process"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_killed_process_left_spinning_is_ended_by_the_next_run(
    engine: str, tmp_path: Path
) -> None:
    spin = (
        "while True:\n    tick()"
        if engine != "starlark"
        else ("def spin():\n    for _ in range(1 << 30):\n        tick()\nspin()")
    )
    program = f"""
import os, pathlib, sys
from windtunnel import sessions
from windtunnel.own import inventory
inventory.use_state_dir(pathlib.Path(sys.argv[1]))

def below():
    found = {{}}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    mine = {{os.getpid()}}
    while more := {{pid for pid, parent in found.items() if parent in mine}} - mine:
        mine |= more
    return mine - {{os.getpid()}}

told = []

@sessions.host_function(needs="it")
def tick():
    if not told:
        told.append(print(*below(), flush=True))

held = [sessions.CapabilityToken("it")]
with sessions.open({engine!r}, functions=[tick], capabilities=held) as s:
    s.run_sync({spin!r}, timeout_s=600)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    left = [ProcessIdentity.of(int(pid)) for pid in child.stdout.readline().split()]
    assert left
    child.kill()
    child.wait()
    child.stdout.close()
    reap(tmp_path)
    assert wait_until(lambda: not any(one.alive for one in left if one is not None), within=60)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of the fork
@pytest.mark.parametrize("engine", ["starlark", "process"])
def test_a_forked_process_has_engines_of_its_own_and_leaves_its_parents_alone(engine: str) -> None:
    def child() -> bool:
        with sessions.open(engine) as own:
            own.run_sync("x = 2")
            return bool(own.run_sync("x").value == 2)

    with sessions.open(engine) as session:
        session.run_sync("x = 1")
        assert in_a_fork(child)
        assert session.run_sync("x").value == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of the fork
def test_monty_says_that_it_does_not_survive_a_fork_and_the_parents_goes_on() -> None:
    def child() -> bool:
        session.close_sync()
        try:
            with sessions.open("monty") as own:
                own.run_sync("1")
        except ResourceError as refusal:
            return "forked" in str(refusal)
        return False

    with sessions.open("monty") as session:
        session.run_sync("x = 1")
        assert in_a_fork(child)
        assert session.run_sync("x").value == 1


def in_a_fork(check: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_package_brings_an_engine_under_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud_engine.py").write_text(
        "from windtunnel.sessions import ExecResult\n"
        "class Guest:\n"
        "    isolation = 'none'\n"
        "    def __init__(self, functions): pass\n"
        "    def run(self, code, *, inputs, limits, host):\n"
        "        return ExecResult(ok=True, value=code.upper())\n"
        "    def close(self): pass\n"
    )
    about = tmp_path / "loud-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[windtunnel.engines]\nloud = loud_engine:Guest\nmonty = loud_engine:Guest\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert sessions.known_engines()["loud"] == "loud_engine:Guest"
    with sessions.open("loud") as session:
        assert session.run_sync("abc").value == "ABC"
        assert session.name == "loud"
    with sessions.open("monty") as session:
        assert session.run_sync("1 + 1").value == 2  # ours stays ours
    with pytest.raises(UsageError, match="loud"):
        sessions.open("lout")


def test_a_closed_sessions_worker_serves_another_which_sees_nothing_of_it() -> None:
    with sessions.open("monty") as one:
        one.run_sync("secret = 42\nimport math\nlen = None")
    for _ in range(5):
        with sessions.open("monty") as other:
            assert other.run_sync("secret").error_type == "NameError"
            assert other.run_sync("len([1])").value == 1


def test_after_many_sessions_at_a_time_few_workers_wait_idle() -> None:
    async def main() -> None:
        async with sessions.executor("monty") as executor:
            results = await asyncio.gather(*(executor.execute(f"{n} * 2") for n in range(40)))
        assert [result.value for result in results] == [n * 2 for n in range(40)]

    elsewhere = len(monty_workers())  # of sessions that other tests hold open
    assert elsewhere < 20
    asyncio.run(main())
    assert wait_until(lambda: len(monty_workers()) <= elsewhere + 8, within=60)


def monty_workers() -> list[str]:
    """Children of this process that are workers."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = stat.read_text().rpartition(")")
        except OSError:
            continue
        if int(after.split()[1]) == os.getpid() and after.split()[0] != "Z":
            names.append(before.partition("(")[2])
    return [name for name in names if name.startswith("monty")]
