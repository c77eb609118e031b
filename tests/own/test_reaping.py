"""The reaper: what a killed process held is cleared, and nothing of anybody else's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.own import ProcessIdentity, Scope, reap
from windtunnel.own.inventory import Inventory
from windtunnel.own.waiting import wait_until

HOLDER = """
import sys, json, time
from pathlib import Path
from windtunnel.own import Scope, inventory
from windtunnel.own.redis import RedisServer
inventory.use_state_dir(Path(sys.argv[1]))
scope = Scope("holder")
folder = scope.temp_dir()
(folder / "content").write_text("x")
plain = scope.child(["sh", "-c", "setsid sleep 1000 & echo $!; exec sleep 1000"], stdout=-1)
detached = int(plain.process.stdout.readline())
port = scope.port()
redis = RedisServer(scope) if sys.argv[2] == "redis" else None
print(json.dumps({
    "folder": str(folder), "child": plain.pid, "detached": detached, "port": port.number,
    "redis": redis and redis.pid, "redis_port": redis and redis.lease.port,
    "redis_folder": redis and str(Path(redis.lease.unix_socket).parent),
}), flush=True)
time.sleep(1000)
"""


def held_by_a_process_that_is_then_killed(state_dir: Path, *, redis: bool = False) -> dict:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state_dir), "redis" if redis else "-"],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    held = json.loads(holder.stdout.readline())
    for key in ("child", "detached", "redis"):
        if held[key]:
            held[key] = ProcessIdentity.of(held[key])
            assert held[key].alive
    holder.kill()
    holder.wait()
    holder.stdout.close()
    return held


def test_what_a_killed_process_held_is_cleared_by_the_next_reap(
    tmp_path: Path, require_tool
) -> None:
    require_tool("redis-server")
    held = held_by_a_process_that_is_then_killed(tmp_path, redis=True)
    # Its direct children die with it, by the kernel's hand, before any reaper comes.
    assert wait_until(lambda: not held["child"].alive, within=10)
    assert wait_until(lambda: not held["redis"].alive, within=10)
    # What a child put into a session of its own, and files, outlive it.
    assert held["detached"].alive
    assert Path(held["folder"]).exists()

    found = reap(tmp_path)

    assert not held["detached"].alive
    assert not Path(held["folder"]).exists()
    assert not Path(held["redis_folder"]).exists()
    for number in (held["port"], held["redis_port"]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))
    assert {(reaped.kind, reaped.problem) for reaped in found} >= {
        ("process", ""),
        ("directory", ""),
    }
    assert reap(tmp_path) == []
    assert list((tmp_path / "own").iterdir()) == []


def test_a_server_s_folder_is_cleared_also_where_the_inventory_was_deleted(
    tmp_path: Path, require_tool
) -> None:
    require_tool("redis-server")
    held = held_by_a_process_that_is_then_killed(tmp_path / "project", redis=True)
    for inventory in (tmp_path / "project" / "own").iterdir():
        inventory.unlink()
    assert Path(held["redis_folder"]).exists()
    assert held["redis_folder"] in [reaped.name for reaped in reap(tmp_path)]
    assert not Path(held["redis_folder"]).exists()
    held["detached"].signal(signal.SIGKILL)


def test_a_live_owner_is_not_reaped(tmp_path: Path, require_tool) -> None:
    require_tool("redis-server")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "redis"], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    held = json.loads(holder.stdout.readline())
    try:
        assert reap(tmp_path) == []
        assert Path(held["folder"]).exists()
        assert Path(held["redis_folder"]).exists()
        assert Path(f"/proc/{held['child']}").exists()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        reap(tmp_path)


def test_a_process_of_another_start_time_is_never_signalled(tmp_path: Path) -> None:
    with Scope("bystander") as scope:
        bystander = scope.child(["sleep", "60"])
        _dead_inventory(
            tmp_path,
            {
                "take": 1,
                "kind": "process",
                "pid": bystander.pid,
                "start": "1",
                "world": bystander.identity.world,
                "signal": 9,
            },
        )
        assert reap(tmp_path) == []
        assert bystander.running


def test_a_process_of_another_boot_is_never_signalled(tmp_path: Path) -> None:
    with Scope("bystander") as scope:
        bystander = scope.child(["sleep", "60"])
        _dead_inventory(
            tmp_path,
            {
                "take": 1,
                "kind": "process",
                "pid": bystander.pid,
                "start": bystander.identity.start,
                "world": "another boot",
                "signal": 9,
            },
        )
        assert reap(tmp_path) == []
        assert bystander.running


def test_a_half_written_line_of_an_inventory_is_passed_over(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    path = _dead_inventory(tmp_path, {"take": 1, "kind": "directory", "path": str(left)})
    with path.open("a") as file:
        file.write('{"take": 2, "ki')
    assert [reaped.name for reaped in reap(tmp_path)] == [str(left)]
    assert not left.exists()
    assert not path.exists()


def test_what_was_given_back_is_not_touched(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    _dead_inventory(tmp_path, {"take": 1, "kind": "directory", "path": str(kept)}, {"drop": 1})
    assert reap(tmp_path) == []
    assert kept.exists()


def test_an_entry_of_a_newer_version_is_reported_and_stays_listed(tmp_path: Path) -> None:
    path = _dead_inventory(tmp_path, {"take": 1, "kind": "warp core", "name": "one"})
    [reaped] = reap(tmp_path)
    assert (reaped.kind, reaped.name) == ("warp core", "one")
    assert "does not know" in reaped.problem
    assert path.exists()


def test_only_functions_of_the_house_are_called_to_undo(tmp_path: Path) -> None:
    _dead_inventory(tmp_path, {"take": 1, "kind": "trap", "name": "x", "undo": "os:abort"})
    [reaped] = reap(tmp_path)
    assert "does not know" in reaped.problem


def test_an_inventory_is_removed_with_the_last_thing_listed_when_its_owner_ends(
    tmp_path: Path,
) -> None:
    inventory = Inventory(tmp_path)
    number = inventory.take("file", path="/nowhere")
    assert inventory.path is not None
    assert inventory.path.exists()
    inventory.drop(number)
    inventory.close()
    assert list(tmp_path.iterdir()) == []


def test_what_goes_after_the_inventory_was_closed_is_the_reaper_s_to_strike_off(
    tmp_path: Path,
) -> None:
    # As the last thing of a process may: a sandbox that only the interpreter's end takes down.
    inventory = Inventory(tmp_path / "own")
    number = inventory.take("directory", path=str(tmp_path / "gone"))
    inventory.close()
    inventory.drop(number)
    assert inventory.outstanding == 0
    assert len(list((tmp_path / "own").iterdir())) == 1
    assert reap(tmp_path) == []
    assert list((tmp_path / "own").iterdir()) == []


def test_two_reapers_at_once_clear_each_thing_once(tmp_path: Path) -> None:
    folders = [tmp_path / f"left-{number}" for number in range(40)]
    for folder in folders:
        folder.mkdir()
        _dead_inventory(tmp_path, {"take": 1, "kind": "directory", "path": str(folder)})
    program = (
        "import sys; from pathlib import Path; from windtunnel.own import reap\n"
        "for reaped in reap(Path(sys.argv[1])): print(reaped.name, reaped.problem)"
    )
    reapers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = [line for reaper in reapers for line in reaper.communicate()[0].splitlines()]
    assert sorted(line.strip() for line in told) == sorted(map(str, folders))


def test_a_process_is_itself_only_while_it_lives() -> None:
    child = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    assert identity.alive
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive  # a zombie
    assert not identity.signal(signal.SIGTERM)
    child.wait()
    assert ProcessIdentity.of(child.pid) != identity


def _dead_inventory(state_dir: Path, *entries: dict) -> Path:
    directory = state_dir / "own"
    directory.mkdir(exist_ok=True)
    path = directory / f"1-{len(list(directory.iterdir()))}dead.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in ({"token": ""}, *entries)))
    return path


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTUNNEL_HOME", str(tmp_path_factory.mktemp("h")))
