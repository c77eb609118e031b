"""The seccomp filter: what it answers to which call, and that the kernel takes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from windtunnel.sandboxes import seccomp
from windtunnel.sandboxes.syscalls import AARCH64, NUMBERS, UNKNOWN, UNSUPPORTED, X86_64, demands

THREAD = 0x003D0F00  # the flags that glibc starts a thread with
NEW_USER, NEW_NS, NEW_PID = 0x10000000, 0x00020000, 0x20000000


@pytest.fixture(params=[X86_64, AARCH64])
def machine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def answer(machine: str):
    program = seccomp.assemble(machine, pid=7)

    def of(name: str, *arguments: int) -> str:
        return seccomp.verdict(program, machine, NUMBERS[machine][name], *arguments)

    return of


def test_every_number_that_is_not_named_is_refused(machine: str) -> None:
    program = seccomp.assemble(machine, pid=7)
    named = set(NUMBERS[machine].values())
    answers = {n: seccomp.verdict(program, machine, n) for n in range(1024) if n not in named}
    assert set(answers.values()) == {"EPERM"}
    assert len(answers) > 800


def test_every_number_that_is_named_is_found(machine: str, answer) -> None:
    plain = set(NUMBERS[machine]) - set(demands(7)) - set(UNKNOWN) - set(UNSUPPORTED)
    assert {name: answer(name) for name in plain} == dict.fromkeys(plain, "allow")
    assert {answer(name) for name in UNKNOWN} == {"ENOSYS"}
    assert {answer(name) for name in UNSUPPORTED} == {"ENOTSUP"}


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (THREAD, "allow"),
        (17, "EPERM"),  # fork
        (THREAD | NEW_USER, "EPERM"),
        (THREAD | NEW_NS, "EPERM"),
        (THREAD | NEW_PID, "EPERM"),
        (NEW_USER, "EPERM"),
        (THREAD | 1 << 40, "allow"),  # the kernel does not look at the upper half
        (17 | 1 << 48, "EPERM"),
    ],
)
def test_only_threads_are_cloned(flags: int, verdict: str, answer) -> None:
    assert answer("clone", flags) == verdict


@pytest.mark.parametrize("pid", [1, 0, -1 & (1 << 64) - 1, 8, -7 & (1 << 64) - 1])
def test_only_the_process_itself_is_signalled(pid: int, answer) -> None:
    assert answer("kill", pid, 9) == "EPERM"
    assert answer("tgkill", pid, pid, 9) == "EPERM"
    assert answer("kill", 7, 9) == answer("tgkill", 7, 7, 9) == "allow"


@pytest.mark.parametrize("name", ["sendto", "prlimit64"])
def test_an_address_is_seen_in_either_half(name: str, answer) -> None:
    index = {"sendto": 4, "prlimit64": 2}[name]
    for address in (1, 1 << 32, 1 << 63, 0x7F0000000000):
        arguments = [0] * 6
        arguments[index] = address
        assert answer(name, *arguments) == "EPERM"
    assert answer(name, *[0] * 6) == "allow"


def test_the_limits_of_others_are_not_read(answer) -> None:
    assert [answer("prlimit64", pid) for pid in (0, 7, 8)] == ["allow", "allow", "EPERM"]


def test_requests_to_a_terminal_that_type_are_refused(answer) -> None:
    tiocsti, tcgets = 0x5412, 0x5401
    assert answer("ioctl", 0, tcgets) == "allow"
    assert answer("ioctl", 0, tiocsti) == answer("ioctl", 0, tiocsti | 1 << 32) == "EPERM"


def test_without_files_of_its_own_it_changes_no_modes(machine: str) -> None:
    program = seccomp.assemble(machine, pid=7, own_files=False)
    for name in ("fchmod", "fchmodat", "utimensat"):
        assert seccomp.verdict(program, machine, NUMBERS[machine][name]) == "EPERM"
    assert seccomp.verdict(program, machine, NUMBERS[machine]["openat"]) == "allow"


def test_a_call_of_another_machine_ends_the_process() -> None:
    program = seccomp.assemble(X86_64, pid=7)
    assert seccomp.verdict(program, AARCH64, NUMBERS[AARCH64]["getpid"]) == "kill"
    assert seccomp.verdict(program, X86_64, 0x40000000 | 39) == "kill"  # x32


def test_a_program_is_within_what_the_kernel_takes(machine: str) -> None:
    assert len(seccomp.assemble(machine, pid=7)) // 8 < 4096  # BPF_MAXINSNS


@pytest.mark.parametrize(
    ("machine_", "header"),
    [
        (X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (AARCH64, "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_those_of_the_kernels_headers(machine_: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"no {header} here (linux-libc-dev)")
    text = Path(header).read_text(encoding="utf-8")
    known = {
        name.removeprefix("3264_"): int(number)
        for name, number in re.findall(r"#define __NR_?(\w+)\s+(\d+)", text)
    }
    known.setdefault("newfstatat", known.get("fstatat", -1))  # aarch64's header has both names
    assert {name: known.get(name) for name in NUMBERS[machine_]} == NUMBERS[machine_]
