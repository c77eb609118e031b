"""The census names what neither a patch nor the audit hook saw."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest
import worlds

from windtunnel.sim import World
from windtunnel.sim.fence import Census


def test_nothing_changed_is_nothing_to_say() -> None:
    assert Census.take().differences(Census.take()) == []


def test_a_simulated_test_leaves_nothing() -> None:
    async def main(world: World) -> None:
        async def sleeper() -> None:
            pass

        world.start("a", sleeper)

    worlds.run(main)
    before = Census.take()
    worlds.run(main)
    assert before.changes() == []


def test_threads_descriptors_and_children_are_named() -> None:
    before = Census.take()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="left-behind")
    thread.start()
    child = subprocess.Popen(["sleep", "60"])
    file = open(os.devnull)  # noqa: SIM115
    found = before.differences(Census.take())
    file.close()
    child.kill()
    child.wait()
    end.set()
    thread.join()
    assert found == [
        f"thread left running: left-behind ({thread.native_id})",
        f"descriptor left open: {found[1].split()[3]} -> /dev/null",
        f"child process left: {child.pid}",
    ]
    assert before.changes() == []


def test_a_descriptor_that_leads_elsewhere_than_before_is_named(tmp_path: object) -> None:
    first = os.open(os.devnull, os.O_RDONLY)
    before = Census.take()
    os.close(first)
    second = os.open("/dev/zero", os.O_RDONLY)
    assert second == first
    found = before.differences(Census.take())
    os.close(second)
    assert found == [f"descriptor left open: {second} -> /dev/zero"]


def test_a_native_thread_is_found_by_the_kernels_own_list() -> None:
    import ctypes

    before = Census.take()
    libc = ctypes.CDLL(None)
    thread, end = ctypes.c_ulong(), ctypes.create_string_buffer(64)  # a sem_t has 32 bytes at most
    assert libc.sem_init(end, 0, 0) == 0
    # A thread of native code, there until it is told: Python's own threading does not know it.
    assert libc.pthread_create(ctypes.byref(thread), None, libc.sem_wait, end) == 0
    found = before.differences(Census.take())
    libc.sem_post(end)
    libc.pthread_join(thread, None)
    assert len(found) == 1
    assert found[0].startswith("thread left running: native, ")
    assert before.changes() == []


def test_a_thread_that_ends_while_children_are_counted_hides_none_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed, gone = os.listdir, ["7"]  # a number that no thread of this process has

    def with_one_that_has_ended(path: str) -> list[str]:
        return [gone.pop(), *listed(path)] if gone and path == "/proc/self/task" else listed(path)

    child = subprocess.Popen(["sleep", "60"])
    try:
        monkeypatch.setattr(os, "listdir", with_one_that_has_ended)
        assert child.pid in Census.take().children
    finally:
        child.kill()
        child.wait()
    assert gone == []
