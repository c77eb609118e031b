"""Cells: fresh, apart from each other, bounded in what they send, and gone when they are ended."""

from __future__ import annotations

import gc
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from windtunnel.own import ProcessIdentity, reap
from windtunnel.own.waiting import wait_until
from windtunnel.sandboxes import (
    Cell,
    CellDiedError,
    CellLimits,
    ProcessSandbox,
    Program,
    Sandbox,
    SandboxError,
)
from windtunnel.sandboxes.cell import ProcessCell
from windtunnel.sandboxes.cgroups import trees

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and pidfds")


def state_of(pid: int) -> str:
    """The state of a process as ``/proc`` has it (proc(5)): R, S, T, Z; empty where gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def open_files() -> int:
    """How many this process has open, without those that the collector would close."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_sandbox_and_cell_are_what_the_protocol_says(tier: str, sandbox_at, cell_at) -> None:
    assert isinstance(sandbox_at(tier), Sandbox)
    assert isinstance(cell_at(tier), Cell)
    assert sandbox_at(tier).tier == tier


def test_two_cells_share_nothing(tier: str, sandbox_at, ask) -> None:
    one, other = sandbox_at(tier).start(), sandbox_at(tier).start()
    try:
        assert ask(one, "open('note', 'w').write('mine'), setattr(sys, 'mark', 1)")
        assert ask(other, "os.listdir('.'), hasattr(sys, 'mark')") == "([], False)"
        # Neither can ask the kernel about the other by the number it has outside.
        assert ask(other, f"os.kill({one.pid}, 0)").startswith("PermissionError EPERM")
        assert "Error" in ask(other, f"open('/proc/{one.pid}/status').read()")
        if tier == "bubblewrap":
            assert ask(one, "os.getpid()") == ask(other, "os.getpid()") == "1"
            if "a user of its own" in sandbox_at(tier).isolation:
                assert ask(one, "os.getuid()") != ask(other, "os.getuid()")
        first, second = (ask(cell, "__import__('random').random()") for cell in (one, other))
        assert first != second  # what the zygote drew from is not drawn from twice
    finally:
        one.close()
        other.close()


def test_a_cell_has_none_of_its_users_rights(tier: str, cell_at) -> None:
    status = Path(f"/proc/{cell_at(tier).pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == int(facts["CapInh"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"


def test_a_cell_is_in_namespaces_of_its_own(sandbox_at, require_tool) -> None:
    require_tool("bwrap")
    one, other = sandbox_at("bubblewrap").start(), sandbox_at("bubblewrap").start()
    try:
        for kind in ("pid", "mnt", "ipc", "uts"):
            names = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in (one.pid, other.pid)}
            assert len(names) == 2
            assert os.readlink(f"/proc/self/ns/{kind}") not in names
        assert os.readlink(f"/proc/{one.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    finally:
        one.close()
        other.close()


def test_a_frozen_cell_does_nothing_until_it_is_thawed(tier: str, cell_at, ask) -> None:
    cell = cell_at(tier)
    cell.freeze()
    assert wait_until(lambda: state_of(cell.pid) == "T", 60)
    cell.send(b"40 + 2")
    assert cell.receive(0.05) is None
    cell.thaw()
    assert cell.receive(20) == b"42"


def test_a_killed_cell_is_gone_with_its_threads(tier: str, sandbox_at, ask) -> None:
    cell = sandbox_at(tier).start()
    ask(cell, "[threading.Thread(target=exec, args=('while True: pass',)).start() for _ in '123']")
    pid = cell.pid
    cell.kill()
    assert state_of(pid) in ("", "Z")
    assert not cell.alive
    with pytest.raises(CellDiedError):
        cell.send(b"1")
    with pytest.raises(CellDiedError):
        cell.receive(5)
    cell.close()
    cell.close()
    assert cell.pid == 0


def test_a_cell_that_ignores_every_signal_is_killed_all_the_same(
    tier: str, sandbox_at, ask
) -> None:
    cell = sandbox_at(tier).start()
    ask(
        cell,
        "[__import__('signal').signal(n, __import__('signal').SIG_IGN)"
        " for n in range(1, 32) if n not in (9, 19)]",
    )
    cell.interrupt()
    assert ask(cell, "1") == "1"
    cell.kill()
    assert not cell.alive
    cell.close()


def test_output_comes_in_the_order_in_which_it_was_written(tier: str, cell_at, ask) -> None:
    cell = cell_at(tier)
    cell.take_output()
    ask(cell, "[os.write(1 + n % 2, b'%d ' % n) for n in range(6)]")
    assert cell.take_output() == b"0 1 2 3 4 5 "


def test_waiting_for_a_message_ends_when_woken(tier: str, cell_at) -> None:
    waker = threading.Timer(0.01, cell_at(tier).wake)
    waker.start()
    assert cell_at(tier).receive(30) is None
    waker.join()


def test_a_message_behind_one_that_is_not_taken_has_its_time_too(tier: str, sandbox_at) -> None:
    cell = sandbox_at(tier).start()
    cell.freeze()
    died: list[CellDiedError] = []

    def send_much() -> None:
        try:
            cell.send(bytes(8 << 20))
        except CellDiedError as error:
            died.append(error)

    first = threading.Thread(target=send_much)
    first.start()
    assert wait_until(cell._sending.locked, 60)
    with pytest.raises(TimeoutError):
        cell.send(b"1", timeout_s=0.05)
    cell.close()
    first.join()
    assert len(died) == 1


def test_who_waits_for_a_message_of_a_cell_that_is_closed_is_told(tier: str, sandbox_at) -> None:
    cell = sandbox_at(tier).start()
    waits, told = threading.Event(), []

    def wait() -> None:
        waits.set()
        try:
            while True:
                cell.receive()
        except CellDiedError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert waits.wait(60)
    cell.close()
    waiting.join()
    assert len(told) == 1
    with pytest.raises(CellDiedError, match="it was closed"):
        cell.receive()
    assert cell.take_output() == b""


def test_a_message_over_the_limit_ends_the_talk_before_it_is_read(sandbox_at, ask) -> None:
    cell = sandbox_at("plain").start(CellLimits(message_bytes=1000))
    assert len(ask(cell, "'x' * 900")) == 902
    with pytest.raises(CellDiedError, match="2147483647 bytes; at most 1000"):
        ask(cell, f"os.write(3, {struct.pack('<I', 2**31 - 1)!r})")
    cell.close()


def test_descriptors_that_a_cell_tries_to_pass_do_not_arrive(tier: str, cell_at, ask) -> None:
    cell = cell_at(tier)
    before = open_files()
    sent = ask(cell, "socket.send_fds(socket.socket(fileno=os.dup(3)), [b''], [0])")
    assert sent.startswith("PermissionError EPERM")
    assert open_files() == before


def test_many_threads_may_start_cells_at_once(sandbox_at, ask, require_tool) -> None:
    require_tool("bwrap")

    def one(n: int) -> str:
        cell = sandbox_at("bubblewrap").start()
        try:
            return ask(cell, f"{n} * {n}")
        finally:
            cell.close()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(16))) == [str(n * n) for n in range(16)]


def test_nothing_is_left_open_by_cells_that_were_closed(tier: str, sandbox_at) -> None:
    sandbox_at(tier).start().close()
    before = open_files()
    for _ in range(3):
        sandbox_at(tier).start().close()
    assert open_files() == before


def test_a_sandbox_that_lost_its_zygote_starts_another(program: Program, ask, require_tool) -> None:
    require_tool("bwrap")
    with ProcessSandbox(program, tier="bubblewrap") as sandbox:
        cell = sandbox.start()
        # Without the first process of its namespace the kernel ends all.
        first = ProcessIdentity.of(first_of(cell.pid))
        assert first is not None
        first.signal(signal.SIGKILL)
        assert wait_until(lambda: not cell.alive, 20)
        assert ask(sandbox.start(), "2 + 2") == "4"


def first_of(pid: int) -> int:
    """The outermost process above that one that is not in our own namespace of processes."""
    ours = os.readlink("/proc/self/ns/pid")
    while os.readlink(f"/proc/{parent_of(pid)}/ns/pid") != ours:
        pid = parent_of(pid)
    return pid


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_closed_sandbox_gives_no_cells(program: Program) -> None:
    sandbox = ProcessSandbox(program, tier="plain")
    cell = sandbox.start()
    sandbox.close()
    sandbox.close()
    assert not cell.alive
    with pytest.raises(SandboxError, match="the sandbox is closed"):
        sandbox.start()


def test_a_cell_that_starts_while_its_sandbox_is_closed_is_ended(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = ProcessSandbox(program, tier="plain")
    sandbox.start()
    started: list[ProcessCell] = []
    alone = sandbox._alone

    def meanwhile(*asked: Any) -> ProcessCell:
        started.append(alone(*asked))
        with monkeypatch.context() as patch:
            patch.setattr("windtunnel.sandboxes.cgroups._REMOVED_WITHIN_S", 0)  # it is in use
            sandbox.close()
        return started[0]

    monkeypatch.setattr(sandbox, "_alone", meanwhile)
    with pytest.raises(SandboxError, match="the sandbox is closed"):
        sandbox.start()
    assert started[0].closed


def test_a_program_that_does_not_load_says_why(require_tool) -> None:
    broken = Program((("broken", "import no_such_module"),), "broken:main")
    with (
        ProcessSandbox(broken, tier="plain") as sandbox,
        pytest.raises(SandboxError, match="No module named 'no_such_module'"),
    ):
        sandbox.start()


def test_where_bubblewrap_is_missing_a_plain_process_says_what_is_weaker(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask
) -> None:
    for tool in ("setpriv", "true"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with ProcessSandbox(program) as sandbox:
        assert sandbox.tier == "plain"
        assert ask(sandbox.start(), "6 * 7") == "42"
        assert sandbox.isolation.startswith("a child process with a seccomp filter")
        assert (
            "what it does not keep: it shares this machine's kernel, it sees which processes"
            in (sandbox.isolation)
        )


def test_where_bubblewrap_is_refused_the_reason_is_told(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ProcessSandbox(program) as sandbox:
        assert sandbox.tier == "plain"
        assert "bwrap: No permissions to create new namespace" in sandbox.isolation
    with (
        ProcessSandbox(program, tier="bubblewrap") as sandbox,
        pytest.raises(SandboxError, match="No permissions to create new namespace"),
    ):
        sandbox.start()


def test_an_unprivileged_user_has_the_same_cells(program: Program, require_tool) -> None:
    bwrap = require_tool("bwrap")
    script = f"""
from windtunnel.sandboxes import ProcessSandbox, Program
import os
with ProcessSandbox(Program({program.modules!r}, {program.entry!r}), tier="bubblewrap") as sandbox:
    cell = sandbox.start()
    cell.send(b"os.getpid(), os.listdir('/proc'), call(165, 0, 0, 0, 0, 0)")
    print(os.geteuid(), cell.receive(20).decode())
"""
    as_user = [bwrap, "--unshare-user", "--uid", "1000", "--gid", "1000", "--dev-bind", "/", "/"]
    done = subprocess.run(
        [*as_user, "--", sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "1000 (1, [], 'EPERM')\n", done.stderr


HOLDER = """
import json, os, sys, time
from pathlib import Path
from windtunnel.own import inventory
from windtunnel.sandboxes import ProcessSandbox, Program
from windtunnel.sandboxes.cgroups import trees
FILES = ("mountinfo", "cgroup")
inventory.use_state_dir(Path(sys.argv[1]))
spin = "def main(channel):\\n while True: pass"
sandbox = ProcessSandbox(Program((("spin", spin),), "spin:main"))
cells = [sandbox.start() for _ in range(3)]
own = [tree.own for tree in trees(*(Path(f"/proc/self/{n}").read_text() for n in FILES))]
groups = [str(path) for one in own for path in one.glob(f"windtunnel-{os.getpid()}-*")]
print(json.dumps({"pids": [cell.pid for cell in cells], "groups": groups}), flush=True)
time.sleep(1000)
"""


def test_kill_9_of_its_owner_leaves_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    held = json.loads(holder.stdout.readline())
    assert len(held["pids"]) == 3
    assert all(state_of(pid) for pid in held["pids"])
    parents = {parent_of(pid) for pid in held["pids"]}
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    for pid in (*held["pids"], *parents - {0, 1}):
        assert wait_until(lambda pid=pid: state_of(pid) in ("", "Z"), 60)
    reap(tmp_path)
    assert not [group for group in held["groups"] if Path(group).exists()]


def test_every_cell_has_the_limits_that_are_asked_for(tier: str, sandbox_at, ask) -> None:
    for files in (40, 50, 40):
        cell = sandbox_at(tier).start(CellLimits(files=files))
        assert ask(cell, "resource.getrlimit(resource.RLIMIT_NOFILE)") == f"({files}, {files})"
        cell.close()


def test_a_closed_sandbox_leaves_no_descriptor_and_no_group(program: Program) -> None:
    with ProcessSandbox(program) as sandbox:
        sandbox.start()
        before = open_files()
    with ProcessSandbox(program) as sandbox:
        cells = [sandbox.start() for _ in range(3)]
        groups = Path(f"/proc/{cells[0].pid}/cgroup").read_text()
        cells.pop().close()
        cells.append(sandbox.start())
    assert open_files() < before
    facts = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    # Below the group of this process alone: others make and remove theirs meanwhile.
    left = [path for tree in trees(*facts) for path in tree.own.glob(f"windtunnel-{os.getpid()}-*")]
    assert not [path for path in left if f"/{path.name}/" in groups]
