"""`windtunnel doctor` says what can be used because it tried."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.once  # what this machine has

Doctor = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def doctor() -> Doctor:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "windtunnel", "doctor", *arguments],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def capabilities(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return {c["name"]: c for c in json.loads(done.stdout)["capabilities"]}


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_json_names_its_schema_and_everything_the_house_can_use(doctor: Doctor):
    done = doctor("--json")
    assert json.loads(done.stdout)["schema"] == 1
    expected = {
        *("user namespace", "mount namespace", "network namespace", "overlayfs", "cgroup v2"),
        *("KVM", "qemu", "libvirt", "bubblewrap", "chromium", "libfaketime"),
        *("valgrind", "perf"),
        *("redis-server", "postgres", "etcd", "nats-server"),
        *("Python 3.11", "Python 3.12", "Python 3.13", "Python 3.14"),
    }
    assert capabilities(done).keys() == expected


def test_the_running_interpreter_is_among_those_found(doctor: Doctor):
    name = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    assert capabilities(doctor("--json"))[name]["usable"] is True


def test_a_program_that_answers_is_usable_with_its_version(doctor: Doctor, tmp_path: Path):
    program(tmp_path, "redis-server", "echo 'Redis server v=99.1.2 sha=0'")
    found = capabilities(doctor("--json", PATH=str(tmp_path)))["redis-server"]
    assert found["usable"] is True
    assert found["version"] == "99.1.2"
    assert found["detail"] == str(tmp_path / "redis-server")
    assert found["fix"] == ""


def test_a_program_that_is_there_but_broken_is_not_usable(doctor: Doctor, tmp_path: Path):
    program(tmp_path, "bwrap", '[ "$1" = --version ] || { echo "bwrap: no permissions"; exit 1; }')
    found = capabilities(doctor("--json", PATH=str(tmp_path)))["bubblewrap"]
    assert found["usable"] is False
    assert found["detail"] == "bwrap: no permissions"


@pytest.mark.parametrize(("says", "usable"), [("4711", True), ("<not supported>", False)])
def test_perf_is_usable_where_it_counts(doctor: Doctor, tmp_path: Path, says: str, usable: bool):
    program(tmp_path, "perf", f"echo '{says},,instructions:u,1,100.00,,' >&2")
    assert capabilities(doctor("--json", PATH=str(tmp_path)))["perf"]["usable"] is usable


def test_what_is_missing_comes_with_the_package_to_install(doctor: Doctor, tmp_path: Path):
    done = doctor(PATH=str(tmp_path))
    assert done.returncode == 0
    missing = done.stdout[done.stdout.index("\nmissing") :]
    package = "apt install redis-server" if sys.platform == "linux" else "brew install redis"
    assert package in missing


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_namespaces_are_said_to_work_exactly_where_they_do(doctor: Doctor):
    really = subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=False)
    said = capabilities(doctor("--json"))["user namespace"]["usable"]
    assert said is (really.returncode == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="KVM is Linux's")
def test_kvm_is_usable_exactly_where_its_device_opens(doctor: Doctor):
    try:
        with open("/dev/kvm", "r+b", buffering=0):
            opens = True
    except OSError:
        opens = False
    assert capabilities(doctor("--json"))["KVM"]["usable"] is opens


def test_trying_leaves_the_machine_as_it_was(doctor: Doctor, tmp_path: Path):
    doctor("--json", TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    # All that is mounted for a trial is mounted there; what other tests mount is not.
    assert sys.platform != "linux" or str(tmp_path) not in Path("/proc/mounts").read_text()


def test_a_terminal_gets_a_table_and_a_pipe_gets_plain_text(doctor: Doctor):
    assert "\x1b[" not in doctor().stdout
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "windtunnel", "doctor"],
        stdout=slave,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "140"},
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert process.wait() == 0
    assert b"\x1b[" in seen
    assert b"can be used" in seen


def test_an_unknown_option_is_a_usage_error(doctor: Doctor):
    done = doctor("--jsn")
    assert done.returncode == 4
    assert "--jsn" in done.stderr
