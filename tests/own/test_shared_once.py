"""Values made once for all workers: the count survives ``kill -9`` of any of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.core import UsageError
from windtunnel.own import ProcessIdentity, Scope, reap
from windtunnel.own.once import Shared
from windtunnel.own.waiting import wait_until

USER = """
import json, sys
from pathlib import Path
from windtunnel.own.once import Shared
log = Path(sys.argv[1]) / "log"
def tell(word):
    with log.open("a") as file:
        file.write(word + "\\n")
def make(scope):
    tell("made")
    child = scope.child(["sleep", "1000"])
    folder = scope.temp_dir()
    return {"pid": child.pid, "folder": str(folder)}
def destroy(value):
    tell("destroyed")
shared = Shared("broker/main", make, destroy, directory=Path(sys.argv[1]) / "own/once/run")
print(json.dumps(shared.value), flush=True)
sys.stdin.read()
shared.leave()
"""


class User:
    """A process that uses the shared value until it is told to leave, or is killed."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def value(self) -> dict[str, object]:
        assert self.process.stdout is not None
        value: dict[str, object] = json.loads(self.process.stdout.readline())
        return value

    def leave(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def child_of(value: dict[str, object]) -> ProcessIdentity:
    identity = ProcessIdentity.of(int(str(value["pid"])))
    assert identity is not None
    return identity


def told(directory: Path) -> list[str]:
    return (directory / "log").read_text().split()


def test_many_users_at_once_get_one_value_and_the_last_takes_it_down(tmp_path: Path) -> None:
    users = [User(tmp_path) for _ in range(5)]
    values = [user.value() for user in users]
    assert all(value == values[0] for value in values)
    child = child_of(values[0])
    for user in users[:-1]:
        user.leave()
        assert child.alive
    assert told(tmp_path) == ["made"]
    users[-1].leave()
    assert told(tmp_path) == ["made", "destroyed"]
    assert not child.alive
    assert not Path(str(values[0]["folder"])).exists()


def test_the_maker_can_be_killed_and_the_others_go_on(tmp_path: Path) -> None:
    maker = User(tmp_path)
    value = maker.value()
    child = child_of(value)
    second = User(tmp_path)
    assert second.value() == value
    maker.kill()
    third = User(tmp_path)
    assert third.value() == value
    assert child.alive
    second.leave()
    assert child.alive
    third.leave()
    assert not child.alive
    assert told(tmp_path) == ["made", "destroyed"]


def test_a_killed_user_is_not_counted(tmp_path: Path) -> None:
    first, second = User(tmp_path), User(tmp_path)
    child = child_of(first.value())
    second.value()
    second.kill()
    first.leave()
    assert not child.alive
    assert told(tmp_path) == ["made", "destroyed"]


def test_when_all_users_were_killed_the_next_one_takes_down_and_makes_anew(
    tmp_path: Path,
) -> None:
    first = User(tmp_path)
    old = child_of(first.value())
    first.kill()
    assert old.alive  # nobody has noticed yet
    second = User(tmp_path)
    new = child_of(second.value())
    assert not old.alive
    assert new.alive
    second.leave()
    assert told(tmp_path) == ["made", "destroyed", "made", "destroyed"]


def test_when_all_users_were_killed_the_reaper_takes_down(tmp_path: Path) -> None:
    users = [User(tmp_path), User(tmp_path)]
    value = users[0].value()
    assert users[1].value() == value
    child = child_of(value)
    users[0].kill()
    assert reap(tmp_path) == []  # one of them lives
    assert child.alive
    users[1].kill()
    assert {reaped.kind for reaped in reap(tmp_path)} == {"once", "process", "directory"}
    assert not child.alive
    assert not Path(str(value["folder"])).exists()
    assert list((tmp_path / "own" / "once").iterdir()) == []


def test_a_maker_that_fails_owns_nothing_and_the_next_may_try(tmp_path: Path) -> None:
    children = []

    def fail(scope: Scope) -> int:
        children.append(scope.child(["sleep", "60"]))
        raise LookupError("no luck")

    with pytest.raises(LookupError):
        Shared("value", fail, directory=tmp_path)
    assert not children[0].running
    with Shared("value", lambda scope: 7, directory=tmp_path) as shared:
        assert shared.value == 7


def test_a_maker_killed_in_the_middle_lets_the_next_one_make_it(tmp_path: Path) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:

        def hang(scope: Scope) -> int:
            child = scope.child(["sleep", "1000"])
            os.write(write, str(child.pid).encode())
            signal.pause()
            return 0

        Shared("value", hang, directory=tmp_path)
    half_made = ProcessIdentity.of(int(os.read(read, 20)))
    assert half_made is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with Shared("value", lambda scope: 8, directory=tmp_path) as shared:
        assert shared.value == 8
        assert wait_until(lambda: not half_made.alive, within=10)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("value", [object(), (1, 2), {1: 2}, {"a": {1, 2}}])
def test_a_value_that_would_differ_in_other_processes_is_refused(
    tmp_path: Path, value: object
) -> None:
    with pytest.raises(UsageError, match="does not survive JSON"):
        Shared("value", lambda scope: value, directory=tmp_path)


def test_a_forked_child_does_not_count_as_a_user(tmp_path: Path) -> None:
    ended: list[int] = []
    shared = Shared("value", lambda scope: 9, ended.append, directory=tmp_path)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        shared.leave()
        os._exit(len(ended))
    other = Shared("value", lambda scope: 10, directory=tmp_path)
    assert other.value == 9
    other.leave()
    shared.leave()
    assert ended == [9]
    os.write(write, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(read)
    os.close(write)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper clears what it finds in the user's own folder, where other tests leave things."""
    monkeypatch.setenv("WINDTUNNEL_HOME", str(tmp_path_factory.mktemp("h")))
