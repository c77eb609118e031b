"""The ways in which a process can be confined here, best first, and what each is worth.

A tier is a command line that starts ``inside.py`` in an interpreter. Whether it works is found
out by starting a cell: what a kernel, a container or a policy refuses shows only then.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from windtunnel.sandboxes import landlock, seccomp, view

_SYS_ADMIN = 21
_BOOT = "import sys;exec(compile(sys.stdin.buffer.read(),'<sandbox>','exec'))"
_PYTHON = ("-I", "-S", "-B", "-X", "utf8", "-c", _BOOT)
_NAMESPACES = (
    "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
    "--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv",
)  # fmt: skip
_NOBODY = "65534"


@dataclasses.dataclass(frozen=True, slots=True)
class Tier:
    """One way to confine a process.

    :param name: what to call it: ``bubblewrap``, ``bubblewrap-cold``, ``plain``.
    :param forks: whether one interpreter forks every cell; else each cell starts its own.
    :param as_root: whether cells are forked by root, each for a user of its own.
    """

    name: str
    forks: bool
    as_root: bool = False

    def command(self, scratch_mb: int, packages: Sequence[Path] = ()) -> list[str]:
        """The command line of the interpreter; the source of what it runs goes to its stdin."""
        python = [str(view.interpreter()), *_PYTHON]
        if self.name == "plain":
            return python
        command = ["bwrap", *_NAMESPACES]
        if self.as_root:
            command += ["--cap-drop", "ALL"]
            for capability in ("SYS_ADMIN", "SETUID", "SETGID"):
                command += ["--cap-add", f"CAP_{capability}"]
        elif self.forks:
            command += ["--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
        else:
            command += ["--unshare-user-try"]
        if folders := os.environ.get("LD_LIBRARY_PATH"):
            command += ["--setenv", "LD_LIBRARY_PATH", folders]
        for folder in view.folders():
            # Made on the way to a file they would be for root's eyes alone.
            command += ["--perms", "0755", "--dir", str(folder)]
        for path in view.visible():
            command += ["--ro-bind", str(path), str(path)]
        for path in view.hidden():
            command += ["--tmpfs", str(path)]
        for folder in view.folders_to(packages):
            command += ["--perms", "0755", "--dir", str(folder)]
        for path in view.needed_by(packages):
            command += ["--ro-bind", str(path), str(path)]
        for path in view.hidden():
            command += ["--remount-ro", str(path)]
        for path in view.devices():
            command += ["--dev-bind", str(path), str(path)]
        if self.forks:
            # For the zygote alone, which maps its cells' users there: each cell's is covered.
            command += ["--bind", "/proc", "/proc", "--dir", "/tmp"]
        else:
            command += ["--size", str(scratch_mb << 20), "--tmpfs", "/tmp"]
        return [*command, "--remount-ro", "/", "--chdir", "/", *python]

    def new_user(self) -> int | None:
        """The user that the next cell becomes; None where it stays who it is."""
        return _unused_user() if self.as_root else None

    def readable(self) -> list[str]:
        """What Landlock leaves it to read; empty where a mount namespace does the same."""
        if self.name != "plain" or sys.platform != "linux" or not landlock.version():
            return []
        return [str(path) for path in (*view.visible(), *view.devices())]

    def filter_for(self, pid: int) -> str:
        """The seccomp filter in hexadecimal; empty where this machine has none."""
        machine = os.uname().machine
        if sys.platform != "linux" or machine not in seccomp.machines():
            return ""
        return _filter(machine, pid, self.name != "plain")


@functools.lru_cache(maxsize=8)
def _filter(machine: str, pid: int, own_files: bool) -> str:
    return seccomp.assemble(machine, pid=pid, own_files=own_files).hex()


BY_ROOT = Tier("bubblewrap", forks=True, as_root=True)
BY_USER = Tier("bubblewrap", forks=True)
COLD = Tier("bubblewrap-cold", forks=False)
PLAIN = Tier("plain", forks=False)


def candidates() -> list[Tier]:
    """The tiers worth a try on this machine, best first."""
    found: list[Tier] = []
    if sys.platform == "linux" and shutil.which("bwrap"):
        if os.geteuid() == 0 and _may_administer():
            found.append(BY_ROOT)
        found += [BY_USER, COLD]
    return [*found, PLAIN]


def _may_administer() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _SYS_ADMIN & 1)
    return False


def _unused_user() -> int:
    """A user's number that nobody has: from far above, or near the end of a short map."""
    ends = [
        int(first) + int(count)
        for first, _outside, count in (
            line.split() for line in Path("/proc/self/uid_map").read_text("ascii").splitlines()
        )
    ]
    if max(ends, default=0) > 0x72000000:
        return 0x71000000 + secrets.randbelow(0x1000000)
    return max(max(ends, default=2) - 2 - secrets.randbelow(4096), 1)


def isolation(
    tier: Tier,
    refusals: list[str],
    counted: tuple[str, ...],
    ungrouped: str,
    *,
    limits_threads: bool,
) -> str:
    """In one sentence what keeps a cell of this tier in, and what does not.

    :param refusals: why no better tier works here.
    :param counted: what control groups count.
    :param ungrouped: why they count nothing.
    :param limits_threads: whether the kernel counts the threads of the interpreter's user.
    """
    kept = [_FILTER if tier.filter_for(1) else "resource limits alone, no seccomp filter"]
    weaker = ["it shares this machine's kernel"]
    if tier.name == "plain":
        start = "a child process"
        weaker += _plain_weaknesses(bool(tier.filter_for(1)), bool(tier.readable()))
        kept += ["Landlock over its files"] if tier.readable() else []
    else:
        start = "under bubblewrap"
        kept = [_OWN, "a read-only view of the interpreter alone", *kept]
        kept += ["a user of its own"] if tier.as_root else []
    if not tier.forks:
        weaker.append("each cell starts an interpreter of its own")
    kept.append("resource limits")
    if counted:
        kept.append(f"control groups for {' and '.join(counted)}")
    else:
        weaker.append(f"no control group counts its memory ({ungrouped})")
    if "pids" not in counted and not (tier.as_root or (tier.forks and limits_threads)):
        weaker.append("its threads are not counted")
    why = f" (no better tier: {'; '.join(refusals)})" if refusals else ""
    return f"{start} with {', '.join(kept)}; what it does not keep: {', '.join(weaker)}{why}"


_FILTER = "a seccomp filter that refuses every system call it does not know"
_OWN = "process, mount, network, IPC, host name and cgroup namespaces of its own"


def _plain_weaknesses(filtered: bool, landlocked: bool) -> list[str]:
    found = ["it sees which processes and files there are"]
    if not landlocked:
        found.append("it reads and writes every file that this user may")
    if not filtered:
        found.append("it reaches the network and signals this user's processes")
    return found
