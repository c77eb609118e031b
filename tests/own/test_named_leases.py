"""Named resources: never more holders than slots, and no holder but a live one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.core import ResourceError, UsageError
from windtunnel.own import NamedLease
from windtunnel.own.ledger import place
from windtunnel.own.named import parse_capacities

CROWD = """
import os, random, sys
from pathlib import Path
from windtunnel.own import NamedLease
there, seed = Path(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
capacities = {"gpu": 3, "disk": 2}
for _ in range(40):
    wanted = {"gpu": rng.randint(1, 3)} | ({"disk": rng.randint(1, 2)} if rng.random() < .5 else {})
    if rng.random() < 0.5:
        wanted = dict(reversed(wanted.items()))
    with NamedLease(wanted, capacities, directory=there, within=60) as lease:
        for name, slots in lease.slots.items():
            for slot in slots:  # exclusive creation fails if anyone else is in this slot
                os.close(os.open(there / f"in-{name}-{slot}", os.O_CREAT | os.O_EXCL))
        for name, slots in lease.slots.items():
            for slot in slots:
                os.unlink(there / f"in-{name}-{slot}")
print("done")
"""


def test_a_crowd_never_shares_a_slot_and_never_deadlocks(tmp_path: Path) -> None:
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, str(tmp_path), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(6)
    ]
    assert [one.communicate()[0] for one in crowd] == ["done\n"] * 6


def test_the_slots_of_a_killed_holder_are_free_at_once(tmp_path: Path) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        NamedLease({"gpu": 2}, {"gpu": 2}, directory=tmp_path)
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    with pytest.raises(ResourceError):
        NamedLease({"gpu": 1}, {"gpu": 2}, directory=tmp_path, within=0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with NamedLease({"gpu": 2}, {"gpu": 2}, directory=tmp_path, within=0) as lease:
        assert lease.slots == {"gpu": (0, 1)}
    os.close(read)
    os.close(write)


def test_who_waits_in_vain_is_told_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "nodeid", "test_it.py::test_on_the_gpu")
    monkeypatch.setattr(place, "worker", "gw3")
    with (
        NamedLease({"gpu": 1}, directory=tmp_path),
        pytest.raises(ResourceError) as caught,
    ):
        NamedLease({"gpu": 1}, directory=tmp_path, within=0.01)
    assert caught.value.what == "no 1 of 1 gpu came free within 0.01 s"
    assert caught.value.found == (
        f"held by test_it.py::test_on_the_gpu (worker gw3, pid {os.getpid()})"
    )


def test_a_lease_is_all_or_nothing(tmp_path: Path) -> None:
    with NamedLease({"b": 1}, directory=tmp_path):
        with pytest.raises(ResourceError):
            NamedLease({"a": 1, "b": 1}, directory=tmp_path, within=0.01)
        with NamedLease({"a": 1}, directory=tmp_path, within=0) as lease:
            assert lease.slots == {"a": (0,)}


def test_more_than_there_is_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the capacity of gpu is 2"):
        NamedLease({"gpu": 3}, {"gpu": 2}, directory=tmp_path)
    with pytest.raises(UsageError, match="word without slash"):
        NamedLease({"../gpu": 1}, directory=tmp_path)


@pytest.mark.parametrize("word", ["gpu", "gpu=", "gpu=none", "gpu=0", "=2"])
def test_a_capacity_that_cannot_be_meant_is_one_clear_error(word: str) -> None:
    with pytest.raises(UsageError, match="name=number"):
        parse_capacities([word])
