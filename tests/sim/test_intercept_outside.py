"""Outside simulated steps everything behaves as before: the functions are what they always were."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import pydoc
import random
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
import worlds

from windtunnel.sim import World

FUNCTIONS: list[Callable[..., Any]] = [
    time.time, time.monotonic, time.sleep, time.localtime, time.strftime, time.clock_gettime,
    datetime.now, datetime.utcnow, date.today, os.urandom, os.getpid, os.kill, os.pipe,
    random.random, random.getrandbits, random.seed, random.Random.seed, select.select,
    signal.signal, subprocess.Popen.__init__, threading.Thread.join,
]  # fmt: skip


async def nothing(_world: World) -> None:
    time.time()


def looks(function: Callable[..., Any]) -> list[Any]:
    try:
        signature = str(inspect.signature(function))
    except ValueError as error:
        signature = str(error)
    return [
        repr(function),
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__doc__,
        getattr(function, "__self__", None),
        type(function),
        inspect.isbuiltin(function),
        signature,
        pydoc.render_doc(function),
        pickle.dumps(function) if "Random" not in repr(function) else None,
        getattr(function, "__code__", None),
    ]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__qualname__)
def test_a_function_looks_the_same_after_a_world_as_before(function: Callable[..., Any]) -> None:
    before = looks(function)
    worlds.run(nothing)
    assert looks(function) == before


@pytest.mark.parametrize(
    "function",
    [time.time, time.monotonic, time.sleep, time.localtime, os.urandom, os.getpid],
    ids=lambda each: each.__name__,
)
def test_a_function_can_be_pickled_printed_and_inspected_in_a_step_too(
    function: Callable[..., Any],
) -> None:
    before = repr(function), pickle.dumps(function), function.__name__, function.__doc__

    async def main(_world: World) -> tuple[Any, ...]:
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function
        return repr(function), pickle.dumps(function), function.__name__, function.__doc__

    assert worlds.run(main) == before


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: time.time(1),
        lambda: time.sleep(-1),
        lambda: time.localtime("x"),
        lambda: datetime.now("x"),
        lambda: datetime.now(1, 2),
        lambda: os.urandom(-1),
        lambda: random.Random(1).getrandbits(-1),
    ],
)
def test_an_error_reads_the_same_after_a_world_as_before(wrong: Callable[[], Any]) -> None:
    def said() -> str:
        with pytest.raises((TypeError, ValueError)) as caught:
            wrong()
        return f"{type(caught.value)} {caught.value}"

    before = said()
    worlds.run(nothing)
    assert said() == before


def test_an_exception_that_ends_the_loop_leaves_nothing_behind() -> None:
    async def main(_world: World) -> None:
        raise KeyboardInterrupt

    before = [looks(function) for function in FUNCTIONS]
    with pytest.raises(KeyboardInterrupt):
        worlds.run(main)
    assert [looks(function) for function in FUNCTIONS] == before


PROGRAM = """
import sys, time, os, atexit, threading, datetime
now, real = datetime.datetime.now, time.time
sys.path.insert(0, {folder!r})
import worlds

async def main(world):
    {body}

{rest}
"""


def python(body: str, rest: str) -> subprocess.CompletedProcess[str]:
    folder = os.path.dirname(os.path.abspath(worlds.__file__))
    program = PROGRAM.format(folder=folder, body=body, rest=textwrap.dedent(rest))
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_interpreter_shuts_down_in_peace_after_a_world_and_within_one() -> None:
    rest = """
    class Late:
        def __del__(self, time=time.time, now=now):
            print("late", time() > 1.75e9, now().year > 2024)

    late = Late()
    late.itself = late
    atexit.register(lambda: print("exit", time.time() > 1.75e9))
    worlds.run(main)
    """
    for body, code in (("time.time(); now()", 0), ("now(); sys.exit(7)", 7)):
        done = python(body, rest)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.splitlines() == ["exit True", "late True True"]


def test_a_forked_child_runs_worlds_of_its_own() -> None:
    rest = """
    worlds.run(main)
    child = os.fork()
    if not child:
        worlds.run(main)
        print("child", time.time() > 1.75e9, flush=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    worlds.run(main)
    print("parent", time.time() > 1.75e9)
    """
    done = python("print(time.time(), now())", rest)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "parent True"
    assert done.stdout.count("1704067200.0 2024-01-01 00:00:00") == 3


@pytest.mark.parametrize("order", ["before", "after", "around"])
def test_time_machine_and_a_world_do_not_disturb_each_other(order: str) -> None:
    travels = """
    def travel():
        with time_machine.travel(0, tick=False):
            assert (time.time(), now().year, time.localtime()[0]) == (0.0, 1970, 1970)
            if {around}:
                worlds.run(main)
                assert (time.time(), now().year) == (0.0, 1970)
        assert time.time() > 1.75e9 and now().year > 2024
    """.replace("{around}", str(order == "around"))
    first, then = ("travel()", "worlds.run(main)")
    if order == "after":
        first, then = then, first
    rest = (
        textwrap.dedent(travels) + f"\nimport time_machine\n{first}\n{then}\n{first}\nprint('ok')"
    )
    done = python("assert (time.time(), now().year) == (1704067200.0, 2024)", rest)
    assert (done.stderr, done.stdout) == ("", "ok\n")


def test_time_machine_travels_within_a_world() -> None:
    body = """
    import time_machine
    with time_machine.travel(1e9, tick=False):
        assert time.time() == 1e9 and now().year == 2001
    assert time.time() < 1704067210 and now().year == 2024"""
    done = python(body, "worlds.run(main); print(time.time() > 1.75e9)")
    assert (done.stderr, done.stdout) == ("", "True\n")


def test_freezegun_freezes_outside_and_leaves_the_world_its_names() -> None:
    rest = """
    import freezegun
    with freezegun.freeze_time("2001-01-01"):
        assert datetime.datetime.now().year == 2001
    worlds.run(main)
    with freezegun.freeze_time("2001-01-01"):
        assert datetime.datetime.now().year == 2001
    print(time.time() > 1.75e9)
    """
    done = python("assert (time.time(), now().year) == (1704067200.0, 2024)", rest)
    assert (done.stderr, done.stdout) == ("", "True\n")
