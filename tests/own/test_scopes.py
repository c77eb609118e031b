"""Scopes: everything started through one is gone when it ends, or is named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from windtunnel.core import Event, Resource, ResourceError, set_sink
from windtunnel.own import Scope, children, inventory
from windtunnel.own.identity import ProcessIdentity
from windtunnel.own.parts import mount_points

IGNORES_SIGTERM = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); sys.stdin.read()"
)


@pytest.fixture
def may_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        with Scope("trial") as scope:
            scope.mount("none", tmp_path_factory.mktemp("trial"), "tmpfs", "size=64k")
    except ResourceError as error:
        pytest.skip(str(error))


def test_everything_a_scope_owns_is_gone_when_its_block_ends() -> None:
    stop = threading.Event()
    with Scope("all kinds") as scope:
        child = scope.child(["sleep", "60"])
        thread = scope.thread(stop.wait, stop=stop.set)
        folder = scope.temp_dir()
        (folder / "file").write_text("x")
        port = scope.port()
        assert child.running
        assert thread.is_alive()

    assert scope.leaks == []
    assert not child.running
    assert not thread.is_alive()
    assert not folder.exists()
    with Scope("again") as again:  # the number is nobody's any more
        assert port.number != again.port().number


def test_parts_end_last_in_first_out_and_only_once() -> None:
    ended: list[int] = []
    scope = Scope("order")
    for number in range(3):
        scope.callback(ended.append, number)
    scope.close()
    scope.close()
    assert ended == [2, 1, 0]


def test_one_part_that_fails_to_end_does_not_keep_the_others_from_ending() -> None:
    def fail(message: str) -> None:
        raise ValueError(message)

    scope = Scope("failing")
    child = scope.child(["sleep", "60"])
    scope.callback(fail, "first")
    folder = scope.temp_dir()
    scope.callback(fail, "second")
    with pytest.raises(ExceptionGroup) as caught:
        scope.close()
    assert [str(error) for error in caught.value.exceptions] == ["second", "first"]
    assert not child.running
    assert not folder.exists()


def test_a_closed_scope_owns_nothing_more_and_ends_what_it_is_given() -> None:
    scope = Scope("closed")
    scope.close()
    with pytest.raises(RuntimeError, match="'closed' is closed"):
        scope.temp_dir("wt-after-closing-")


def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline_and_named() -> None:
    with Scope("stubborn", within=0.2, house=True) as scope:
        child = scope.child(
            [sys.executable, "-c", IGNORES_SIGTERM],
            name="stubborn",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.process.stdout is not None
        assert child.process.stdout.readline() == b"up\n"
    assert not child.running
    [leak] = scope.leaks
    assert str(leak) == (
        f"process stubborn (pid {child.pid}) did not end on SIGTERM and was killed"
    )


def test_what_a_child_leaves_running_in_its_group_is_killed_and_named() -> None:
    with Scope("grandchild", within=0.2, house=True) as scope:
        child = scope.child(
            ["sh", "-c", "trap '' TERM; sleep 60 & echo $!; exec true"], stdout=subprocess.PIPE
        )
        assert child.process.stdout is not None
        grandchild = ProcessIdentity.of(int(child.process.stdout.readline()))
        assert grandchild is not None
        child.process.wait()
    assert not grandchild.alive
    [leak] = scope.leaks
    assert f"left pid {grandchild.pid} running" in str(leak)


def test_what_is_left_is_named_also_while_it_becomes_another_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    environ = children._environ

    def empty_at_first(pid: int) -> bytes:
        asked.append(pid)
        return environ(pid) if asked.count(pid) > 3 else b""

    monkeypatch.setattr(children, "_environ", empty_at_first)
    with Scope("grandchild", within=0.2, house=True) as scope:
        child = scope.child(["sh", "-c", "trap '' TERM; sleep 60 & exec true"])
        child.process.wait()
    [leak] = scope.leaks
    assert f"left pid {asked[0]} running" in str(leak)


def test_children_that_threads_begin_at_once_are_listed_in_one_inventory(tmp_path: Path) -> None:
    for number in range(20):
        directory = tmp_path / str(number)
        listed = inventory.Inventory(directory)
        all_there = threading.Barrier(4)

        def take(listed: inventory.Inventory = listed, all_there: threading.Barrier = all_there):
            all_there.wait()
            listed.open()
            listed.take("file", path="/nowhere")

        with Scope("takers") as scope:
            for _ in range(4):
                scope.thread(take)
        assert listed.outstanding == 4
        assert len(list(directory.iterdir())) == 1
        listed.close()


def test_a_child_that_ended_by_itself_is_no_leak() -> None:
    with Scope("short") as scope:
        scope.child(["true"]).process.wait()
    assert scope.leaks == []


def test_a_child_has_a_process_group_of_its_own() -> None:
    with Scope("group") as scope:
        child = scope.child(["sleep", "60"])
        assert os.getpgid(child.pid) == child.pid


def test_a_child_started_off_the_main_thread_outlives_that_thread() -> None:
    # The kernel's parent-death signal follows the starting thread, not the process.
    with Scope("threads") as scope:
        children = []
        starter = threading.Thread(target=lambda: children.append(scope.child(["cat"], stdin=-1)))
        starter.start()
        starter.join()
        stdin, stdout = children[0].process.stdin, children[0].process.stdout
        assert stdin is not None
        assert stdout is None
        stdin.write(b"still there\n")
        stdin.flush()
        assert children[0].running


def test_a_missing_program_is_one_clear_error() -> None:
    with Scope("missing") as scope, pytest.raises(ResourceError, match="wt-no-such-program"):
        scope.child(["wt-no-such-program"])


def test_a_thread_that_does_not_end_is_named() -> None:
    release = threading.Event()
    with Scope("thread", within=0.05, house=True) as scope:
        scope.thread(release.wait, name="deaf")
    assert [str(leak) for leak in scope.leaks] == [
        "thread 'deaf' was still running, and threads cannot be killed"
    ]
    release.set()


def test_a_scope_removes_folders_that_were_made_read_only() -> None:
    with Scope("read-only") as scope:
        folder = scope.temp_dir()
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("x")
        (folder / "sub").chmod(0o500)
    assert not folder.exists()
    assert scope.leaks == []


def test_a_file_is_removed_whether_it_came_to_be_or_not(tmp_path: Path) -> None:
    with Scope("files") as scope:
        made, never_made = scope.file(tmp_path / "made"), scope.file(tmp_path / "never")
        made.write_text("x")
    assert not made.exists()
    assert not never_made.exists()
    assert scope.leaks == []


def test_a_mount_is_unmounted(tmp_path: Path, may_mount: None) -> None:
    target = tmp_path / "mnt with space"
    target.mkdir()
    with Scope("mounts") as scope:
        assert scope.mount("none", target, "tmpfs", "size=64k") in mount_points()
    assert target not in mount_points()
    assert scope.leaks == []


def test_a_mount_that_the_kernel_refuses_is_one_clear_error(tmp_path: Path) -> None:
    with Scope("mounts") as scope, pytest.raises(ResourceError, match="cannot mount"):
        scope.mount("none", tmp_path, "wt-no-such-file-system")


def test_a_mount_in_use_is_detached_and_named(tmp_path: Path, may_mount: None) -> None:
    with Scope("busy", within=0.05, house=True) as scope:
        scope.mount("none", tmp_path, "tmpfs", "size=64k")
        in_use = (tmp_path / "open").open("w")
    in_use.close()
    assert tmp_path not in mount_points()
    assert [str(leak) for leak in scope.leaks] == [f"mount {tmp_path} was in use and was detached"]


def test_an_async_scope_cancels_and_awaits_its_tasks() -> None:
    seen: list[str] = []

    async def worker() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    async def main() -> Scope:
        async with Scope("tasks") as scope:
            scope.task(worker())
            await asyncio.sleep(0)
        return scope

    assert asyncio.run(main()).leaks == []
    assert seen == ["cleaned up"]


def test_a_task_that_swallows_its_cancellation_is_named() -> None:
    async def deaf() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main() -> list[str]:
        scope = Scope("tasks", within=0.02, house=True)
        task = scope.task(deaf(), name="deaf")
        await asyncio.sleep(0)
        await scope.aclose()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return [str(leak) for leak in scope.leaks]

    [leak] = asyncio.run(main())
    assert leak.startswith("task 'deaf' still runs after its cancellation")


def test_the_exception_of_a_task_is_raised_when_the_scope_closes() -> None:
    async def fail() -> None:
        raise LookupError("from the task")

    async def main() -> None:
        async with Scope("tasks") as scope:
            scope.task(fail())
            await asyncio.sleep(0)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert [str(error) for error in caught.value.exceptions] == ["from the task"]


def test_a_scope_cancelled_while_it_closes_ends_everything_and_stays_cancelled() -> None:
    async def main() -> tuple[bool, bool]:
        scope = Scope("cancelled", within=60, house=True)
        child = scope.child(["sleep", "60"])
        scope.child(
            [sys.executable, "-c", IGNORES_SIGTERM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ).process.stdout.readline()  # type: ignore[union-attr]
        closing = asyncio.create_task(scope.aclose())
        await asyncio.sleep(0.01)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        return child.running, closing.cancelled()

    assert asyncio.run(main()) == (False, True)


def test_closing_a_task_s_scope_without_await_in_its_loop_says_what_to_do() -> None:
    async def main() -> list[str]:
        scope = Scope("sync", within=60, house=True)
        scope.task(asyncio.sleep(60), name="napping")
        scope.close()
        return [str(leak) for leak in scope.leaks]

    [leak] = asyncio.run(main())
    assert "async with" in leak


def test_asyncio_is_imported_only_when_a_task_is_owned() -> None:
    program = (
        "import sys; from windtunnel.own import Scope\n"
        "with Scope('x') as s: s.child(['true']).process.wait(); s.temp_dir(); s.port()\n"
        "print('asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_what_is_taken_and_given_back_is_on_record() -> None:
    events: list[Event] = []
    before = set_sink(events.append)
    try:
        with Scope("recorded") as scope:
            port = scope.port()
            folder = scope.temp_dir()
    finally:
        set_sink(before)
    told = [(e.action, e.resource, e.name) for e in events if isinstance(e, Resource)]
    assert told == [
        ("acquired", "port", str(port.number)),
        ("acquired", "file", str(folder)),
        ("released", "file", str(folder)),
        ("released", "port", str(port.number)),
    ]


def test_a_forked_child_leaves_its_parent_s_scope_alone() -> None:
    with Scope("parent") as scope:
        child = scope.child(["sleep", "60"])
        folder = scope.temp_dir()
        pid = os.fork()
        if pid == 0:
            scope.close()
            os._exit(0 if not scope.leaks else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert child.running
        assert folder.exists()
    assert not child.running
