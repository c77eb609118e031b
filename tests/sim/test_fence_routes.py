"""Every way out of the simulated world: one test a row of docs/sim-fence.md."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import ctypes
import io
import multiprocessing
import os
import queue
import selectors
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import syslog
import tempfile
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import worlds

from windtunnel.sim import BlockingCallError, EscapeError, World
from windtunnel.sim.fence import arming

BUSY = concurrent.futures.ThreadPoolExecutor(1)
FORK = multiprocessing.get_context("fork")
SPAWN = multiprocessing.get_context("spawn")


def nothing() -> None:
    pass


def open_socket() -> None:
    real = socket.SocketType  # the C type beneath socket.socket, which is not simulated
    sock = real(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.connect(("127.0.0.1", 9))
    finally:
        sock.close()


def set_uvloop_policy() -> None:
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())


def write(path: str) -> None:
    with open(path, "w"):
        pass


HOME = os.path.expanduser("~/windtunnel-was-here")

REFUSED: dict[str, Callable[[], Any]] = {
    "subprocess.run": lambda: subprocess.run(["true"]),
    "subprocess.Popen": lambda: subprocess.Popen("true", shell=True, stdout=subprocess.PIPE),
    "os.system": lambda: os.system("true"),
    "os.popen": lambda: os.popen("true"),
    "os.fork": os.fork,
    "os.forkpty": os.forkpty,
    "os.posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "os.spawnv": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "os.execv": lambda: os.execv("/bin/true", ["true"]),
    "os.waitpid": lambda: os.waitpid(-1, os.WNOHANG),
    "os._exit": lambda: os._exit(3),
    "os.abort": os.abort,
    "os.kill": lambda: os.kill(os.getppid(), 0),
    "os.killpg": lambda: os.killpg(os.getpgid(0), 0),
    "multiprocessing fork": lambda: FORK.Process(target=nothing).start(),
    "multiprocessing spawn": lambda: SPAWN.Process(target=nothing).start(),
    "threading.Thread": lambda: threading.Thread(target=nothing).start(),
    "threading.Timer": lambda: threading.Timer(1, nothing).start(),
    "_thread": lambda: _thread.start_new_thread(nothing, ()),
    "ThreadPoolExecutor": lambda: concurrent.futures.ThreadPoolExecutor().submit(nothing),
    "an executor with threads": lambda: BUSY.submit(nothing),
    "ProcessPoolExecutor": lambda: concurrent.futures.ProcessPoolExecutor().submit(nothing),
    "the C type of sockets": open_socket,
    "os.pipe": os.pipe,
    "os.openpty": os.openpty,
    "selectors": selectors.DefaultSelector,
    "signal.alarm": lambda: signal.alarm(1),
    "signal.setitimer": lambda: signal.setitimer(signal.ITIMER_REAL, 1),
    "signal.set_wakeup_fd": lambda: signal.set_wakeup_fd(-1),
    "signal.sigwait": lambda: signal.sigwait([signal.SIGUSR1]),
    "another policy": set_uvloop_policy,
    "open for writing": lambda: write(HOME),
    "open for appending": lambda: open(HOME, "a"),  # noqa: SIM115
    "os.open": lambda: os.open(HOME, os.O_WRONLY | os.O_CREAT),
    "io.FileIO": lambda: io.FileIO(HOME, "w"),
    "pathlib": lambda: Path(HOME).write_text("x"),
    "tempfile": lambda: tempfile.NamedTemporaryFile(),  # noqa: SIM115
    "os.mkdir": lambda: os.mkdir(HOME),
    "os.remove": lambda: os.remove(HOME),
    "os.rename": lambda: os.rename(HOME, HOME + "2"),
    "os.symlink": lambda: os.symlink("/", HOME),
    "os.truncate": lambda: os.truncate(HOME, 0),
    "os.chmod": lambda: os.chmod(HOME, 0o600),
    "shutil.copy": lambda: shutil.copy(__file__, HOME),
    "sqlite3": lambda: sqlite3.connect(HOME),
    "input": input,
    "syslog": lambda: syslog.syslog("x"),
}
if hasattr(os, "eventfd"):
    REFUSED["os.eventfd"] = lambda: os.eventfd(0)

BLOCKED: dict[str, Callable[[], Any]] = {
    "time.sleep": lambda: time.sleep(1),
    "threading.Event": lambda: threading.Event().wait(1),
    "threading.Condition": lambda: _condition(),
    "queue.Queue": lambda: queue.Queue().get(timeout=1),
    "a future of another thread": lambda: concurrent.futures.Future().result(1),
    "joining a thread": lambda: NEIGHBOUR.join(1),
}

END = threading.Event()
NEIGHBOUR = threading.Thread(target=END.wait, daemon=True)


def _condition() -> None:
    condition = threading.Condition()
    with condition:
        condition.wait(1)


@pytest.fixture(scope="module", autouse=True)
def _neighbours() -> Any:
    BUSY.submit(nothing).result(10)
    NEIGHBOUR.start()
    yield
    END.set()
    NEIGHBOUR.join(10)
    BUSY.shutdown()


def tried(call: Callable[[], Any]) -> tuple[World, Exception | None]:
    """The world in which the call was made, and what it raised there."""

    async def main(_world: World) -> Exception | None:
        try:
            call()
        except Exception as error:
            return error
        return None

    world = worlds.make()
    return world, worlds.run(main, world)


@pytest.mark.parametrize("route", REFUSED)
def test_a_way_out_is_refused_where_it_is_taken_and_remembered(route: str) -> None:
    world, raised = tried(REFUSED[route])
    assert isinstance(raised, EscapeError)
    what, found, fix = str(raised).splitlines()
    assert what.endswith("would leave the simulated world")
    assert "test_fence_routes.py:" in found
    assert fix.startswith("  to fix: ")
    assert world.escapes == [raised]
    assert not os.path.exists(HOME)


@pytest.mark.parametrize("route", BLOCKED)
def test_a_call_that_waits_for_another_thread_is_an_error(route: str) -> None:
    _, raised = tried(BLOCKED[route])
    assert isinstance(raised, BlockingCallError)
    assert "test_fence_routes.py:" in str(raised)


@pytest.mark.parametrize(
    "route", ["subprocess.run", "os.pipe", "threading.Thread", "open for writing", "selectors"]
)
def test_a_swallowed_refusal_is_remembered_by_the_world(route: str) -> None:
    async def main(_world: World) -> str:
        try:
            REFUSED[route]()
        except Exception:
            pass
        return "all is well"

    world = worlds.make()
    assert worlds.run(main, world) == "all is well"
    assert len(world.escapes) == 1


def test_native_loops_are_refused_by_name() -> None:
    import uvloop

    _, raised = tried(uvloop.new_event_loop)
    assert isinstance(raised, EscapeError)
    assert "uvloop.new_event_loop" in str(raised)
    uvloop.new_event_loop().close()  # outside the world it is what it was


def test_native_channels_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def insecure_channel(target: str, options: Any = None) -> None:
        raise AssertionError("reached")

    # A stand-in: what is refused is the Python function in front of the native code.
    aio = types.ModuleType("grpc.aio")
    aio.insecure_channel = insecure_channel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grpc.aio", aio)
    monkeypatch.setattr(arming, "_seen_native", arming._seen_native - {"grpc.aio"})  # the real one
    _, raised = tried(lambda: insecure_channel("a:1"))
    assert isinstance(raised, EscapeError)
    assert "grpc.aio.insecure_channel" in str(raised)
    with pytest.raises(AssertionError, match="reached"):
        insecure_channel("a:1")


def test_files_may_be_read_and_written_where_the_world_allows(tmp_path: Path) -> None:
    def call() -> str:
        assert Path(__file__).read_text().startswith('"""')
        os.listdir("/")
        with open(os.devnull, "w") as null:
            null.write("x")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "file").write_text("kept")
        (tmp_path / "new" / "file").rename(tmp_path / "moved")
        with sqlite3.connect(tmp_path / "base") as base:
            base.execute("create table t (a)")
        base.close()
        with sqlite3.connect(":memory:") as memory:
            memory.execute("create table t (a)")
        memory.close()
        return (tmp_path / "moved").read_text()

    async def main(_world: World) -> str:
        return call()

    world = worlds.make(writable=(str(tmp_path),))
    assert worlds.run(main, world) == "kept"
    assert world.escapes == []
    named = {note.facts["path"] for note in world.trace.notes if note.kind == "file"}
    assert str(tmp_path / "moved") in named


def test_a_way_around_the_allowed_folder_is_seen(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)

    async def main(_world: World) -> None:
        for path in (inside / "link" / "x", inside / ".." / "out" / "x", tmp_path / "inner"):
            with pytest.raises(EscapeError):
                path.write_text("x")

    worlds.run(main, writable=(str(inside),))
    assert list(outside.iterdir()) == []


def test_an_import_may_leave_its_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_in_a_step.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def call() -> None:
        import imported_in_a_step

        assert imported_in_a_step.answer == 42

    world, raised = tried(call)
    assert (raised, world.escapes) == (None, [])
    assert list((tmp_path / "__pycache__").glob("imported_in_a_step.*.pyc"))


def test_what_is_only_detected_is_noted() -> None:
    def call() -> None:
        ctypes.CDLL(None)
        os.chdir(os.getcwd())

    async def main(_world: World) -> None:
        call()

    world = worlds.make()
    worlds.run(main, world)
    noted = [note.facts["call"] for note in world.trace.notes if note.kind == "uncontrolled"]
    assert noted == ["ctypes.dlopen", "os.chdir"]


def test_the_same_calls_are_free_outside_and_in_other_threads(tmp_path: Path) -> None:
    found: list[Any] = []
    go, done = threading.Event(), threading.Event()

    def elsewhere() -> None:
        go.wait(10)
        (tmp_path / "file").write_text("x")
        found.append(subprocess.run(["true"]).returncode)
        read, write = os.pipe()
        os.close(read), os.close(write)
        selectors.DefaultSelector().close()
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()

    async def main(_world: World) -> None:
        go.set()
        while not done.is_set():
            await asyncio.sleep(1)

    world = worlds.make()
    worlds.run(main, world)
    thread.join(10)
    assert found == [0]
    assert world.escapes == []
    assert subprocess.run(["true"]).returncode == 0


def test_a_handler_set_by_signal_belongs_to_the_node() -> None:
    here = signal.getsignal(signal.SIGTERM)

    async def main(world: World) -> list[Any]:
        seen: list[Any] = []

        async def server() -> None:
            stop = asyncio.Event()
            before = signal.signal(signal.SIGTERM, lambda number, _frame: stop.set())
            seen.append(before)
            await stop.wait()
            seen.append(signal.signal(signal.SIGTERM, before) is not before)
            signal.raise_signal(signal.SIGTERM)  # its own default action is only noted
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("ended")

        node = world.start("server", server)
        await asyncio.sleep(1)
        seen.append(signal.getsignal(signal.SIGTERM))
        node.signal(signal.SIGTERM)
        await asyncio.sleep(1)
        return seen

    world = worlds.make()
    assert worlds.run(main, world) == [signal.SIG_DFL, signal.SIG_DFL, True, "ended"]
    assert world.escapes == []
    assert signal.getsignal(signal.SIGTERM) == here


def test_a_reader_of_the_kernels_counts_is_not_the_worlds() -> None:
    import resource

    def busy() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    async def main(_world: World) -> float:
        return busy()

    before = busy()
    # Between what it was and what it is now: the machine's, as the table says.
    assert before <= worlds.run(main) <= busy()


def test_what_the_c_library_draws_is_not_the_worlds() -> None:
    libc = ctypes.CDLL(None)

    async def main(_world: World) -> int:
        return int(libc.rand())

    libc.srand(1)
    first = worlds.run(main)
    assert worlds.run(main) != first
    libc.srand(1)
    assert worlds.run(main) == first
