"""The fleet as it is deployed: one process a service, on ports and files of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def worker(port_lease) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = str(port_lease.number)
    command = [sys.executable, "-m", "fleet", "worker", "--name", "ann", "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline()
        process.kill()


@pytest.mark.flaky(reruns=2, only_on=["ReadTimeout"])
def test_a_worker_process_serves_on_the_port_it_was_given(worker):
    _, greeting = worker
    url = greeting.split()[-1]
    step = {"id": "1", "token": 1, "tool": "upper", "argument": "moon"}
    reply = httpx.post(f"{url}/steps", json=step)
    assert reply.json() == {"result": "MOON", "worker": "ann"}


def test_a_worker_process_ends_quietly_when_interrupted(worker):
    process, _ = worker
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_without_a_redis_url_leases_stay_in_memory():
    from fleet.__main__ import lease_store

    os.environ.pop("REDIS_URL", None)
    assert type(lease_store(httpx.AsyncClient())).__name__ == "MemoryLeaseStore"


def test_with_a_redis_url_leases_are_in_redis():
    # Sets the variable and never takes it back: under --isolation env nobody else sees it.
    from fleet.__main__ import lease_store

    os.environ["REDIS_URL"] = "redis://127.0.0.1:6379/0"
    assert type(lease_store(httpx.AsyncClient())).__name__ == "RedisLeaseStore"


@pytest.mark.lease("model", 1)
@pytest.mark.parametrize("name", ["ann", "bob"])
def test_a_note_is_kept_in_the_folder_for_temporary_files(name: str):
    # Every worker uses the same file name: under --isolation env each has a folder of its own.
    note = Path(tempfile.gettempdir()) / "fleet-note.txt"
    note.write_text(name)
    assert note.read_text() == name
