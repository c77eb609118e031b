"""Control groups: where this process's are, by what the kernel says, and that they count."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from windtunnel.own import ProcessIdentity
from windtunnel.own.waiting import wait_until
from windtunnel.sandboxes import CellLimits, ProcessSandbox, Program
from windtunnel.sandboxes.cgroups import Groups, Tree, trees, undo

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
)


def test_the_group_of_version_2_is_found() -> None:
    assert trees(V2, "0::/user.slice/session-3.scope\n") == [
        Tree(("memory", "pids"), 2, Path("/sys/fs/cgroup/user.slice/session-3.scope"))
    ]


def test_each_tree_of_version_1_has_its_own_group() -> None:
    assert trees(V1, "4:memory:/docker/abc\n8:pids:/\n1:cpu,cpuacct:/x\n0::/\n") == [
        Tree(("memory",), 1, Path("/sys/fs/cgroup/memory/docker/abc")),
        Tree(("pids",), 1, Path("/sys/fs/cgroup/pids")),
    ]


def test_a_container_sees_its_part_of_the_tree_as_the_whole() -> None:
    mounted = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert trees(mounted, "4:memory:/docker/abc/inner\n") == [
        Tree(("memory",), 1, Path("/sys/fs/cgroup/memory/inner"))
    ]


def test_no_control_groups_at_all_give_none() -> None:
    assert trees("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/\n") == []


@pytest.fixture
def counted() -> tuple[str, ...]:
    groups = Groups()
    found, refusal = groups.counted, groups.refusal
    groups.close()
    if "memory" not in found:
        pytest.skip(f"no control group can be made here: {refusal}")
    return found


def test_groups_are_made_for_a_cell_and_removed(counted: tuple[str, ...]) -> None:
    groups = Groups()
    cell = groups.slot()
    cell.limit(CellLimits(memory_mb=64, scratch_mb=1))
    cell.limit(CellLimits(memory_mb=None))
    cell.limit(CellLimits(memory_mb=16))
    made = cell.folders
    assert made
    assert all(folder.is_dir() for folder in made)
    cell.remove()
    groups.close()
    assert not [folder for folder in made if folder.parent.exists()]


def test_a_group_that_somebody_is_in_stays_listed_for_the_next_reaper(
    counted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.sandboxes.cgroups._REMOVED_WITHIN_S", 0.05)
    groups = Groups()
    slot = groups.slot()
    (folder, *_) = {path.parent for path in slot.folders}
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        for path in slot.folders:
            (path / "cgroup.procs").write_text(str(sleeper.pid))
        with pytest.raises(OSError, match="somebody is still in the control group"):
            undo({"path": str(folder)})
        sleeper.kill()
    monkeypatch.undo()
    assert undo({"path": str(folder)})
    assert not undo({"path": str(folder)})
    groups.close()


def test_a_cell_is_in_its_group_from_the_start(counted, sandbox_at, require_tool) -> None:
    require_tool("bwrap")
    cell = sandbox_at("bubblewrap").start(CellLimits(memory_mb=64, scratch_mb=4))
    groups = trees(
        Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{cell.pid}/cgroup").read_text()
    )
    own = next(tree.own for tree in groups if "memory" in tree.controllers and tree.own.is_dir())
    assert own.parent.name.startswith("windtunnel-")
    limit = next(
        own / name for name in ("memory.max", "memory.limit_in_bytes") if (own / name).exists()
    )
    assert int(limit.read_text()) == (64 + 4 + 32) << 20
    assert str(cell.pid) in (own / "cgroup.procs").read_text().split()
    cell.close()
    other = sandbox_at("bubblewrap").start(CellLimits(memory_mb=32, scratch_mb=4))
    assert int(limit.read_text()) == (32 + 4 + 32) << 20  # born where the first one was
    other.close()


def test_without_control_groups_the_isolation_says_so(
    monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    def nowhere(mountinfo: str, membership: str) -> list[Tree]:
        return []

    monkeypatch.setattr("windtunnel.sandboxes.cgroups.trees", nowhere)
    with ProcessSandbox(program, tier="plain") as sandbox:
        assert "no control group counts its memory (no tree counts memory" in sandbox.isolation
        assert "its threads are not counted" in sandbox.isolation


def test_a_slot_that_the_kernel_ended_takes_no_other_cell_along(
    counted, program: Program, ask, require_tool
) -> None:
    require_tool("bwrap")
    with ProcessSandbox(program, tier="bubblewrap") as sandbox:
        one, other, *idle = (sandbox.start() for _ in range(4))
        tree = trees(
            Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{one.pid}/cgroup").read_text()
        )
        own = next(tree.own for tree in tree if tree.own.is_dir() and "slot" in tree.own.name)
        cells = {cell.pid for cell in (one, other, *idle)}

        def others() -> set[int]:
            groups = own.parent.glob("slot-*")
            pids = [(group / "cgroup.procs").read_text().split() for group in groups]
            return {int(pid) for some in pids for pid in some} - cells

        # Whom a cell was forked through may be about to end.
        assert wait_until(lambda: len(others()) == 4, 30)
        for slot in others():
            identity = ProcessIdentity.of(slot)
            assert identity is not None
            identity.signal(signal.SIGKILL)  # as for want of memory
        assert ask(one, "1 + 1") == "2"
        for cell in (one, *idle):
            cell.close()
        assert ask(sandbox.start(), "2 + 2") == "4"
        assert ask(other, "3 + 3") == "6"
