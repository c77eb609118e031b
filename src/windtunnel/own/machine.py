"""What of this machine can be used: kernel facilities, programs, interpreters.

Each answer comes from really trying, in a child process that is thrown away: a namespace is
made, an overlay mounted, a sandbox started. A version number alone proves nothing in a
container. ``windtunnel doctor`` prints what :func:`survey` finds.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from windtunnel.own import kernel_trials

TIMEOUT_S = 20.0
_LINUX = sys.platform == "linux"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing a machine can have.

    :param group: ``isolation``, ``machines``, ``servers``, ``tools`` or ``interpreters``.
    :param usable: whether it was tried and worked.
    :param version: its version, where it has one.
    :param detail: where it was found, or why it cannot be used.
    :param serves: what of windtunnel needs it.
    :param fix: what to install or change; empty when it is usable.
    """

    group: str
    name: str
    usable: bool
    version: str = ""
    detail: str = ""
    serves: str = ""
    fix: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a trial found, before it is put beside the capability's name."""

    usable: bool
    version: str = ""
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    group: str
    name: str
    serves: str
    trial: Callable[[], Finding]
    debian: str = ""
    macos: str = ""


def survey() -> list[Capability]:
    """Try everything, side by side; a few hundred milliseconds.

    >>> {capability.group for capability in survey()} == set(GROUPS)
    True
    """
    wanted = _wanted()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        findings = list(pool.map(_try, wanted))
    return [_capability(*pair) for pair in zip(wanted, findings, strict=True)]


GROUPS = ("isolation", "machines", "servers", "tools", "interpreters")
"""The groups, in the order in which they are shown."""


def _try(wanted: _Wanted) -> Finding:
    try:
        return wanted.trial()
    except subprocess.TimeoutExpired:
        return Finding(False, detail=f"gave no answer within {TIMEOUT_S:.0f} s")
    except OSError as error:
        return Finding(False, detail=str(error))


def _capability(wanted: _Wanted, finding: Finding) -> Capability:
    return Capability(
        group=wanted.group,
        name=wanted.name,
        usable=finding.usable,
        version=finding.version,
        detail=finding.detail,
        serves=wanted.serves,
        fix="" if finding.usable else _fix(wanted),
    )


def _fix(wanted: _Wanted) -> str:
    if sys.platform == "darwin":
        return f"brew install {wanted.macos}" if wanted.macos else "needs Linux"
    if wanted.debian.startswith("!"):
        return wanted.debian[1:]
    return f"apt install {wanted.debian}" if wanted.debian else ""


def _wanted() -> list[_Wanted]:
    namespaces = (
        "!allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run as root"
    )
    return [
        _kernel("user namespace", "user", "isolation without root", namespaces),
        _kernel("mount namespace", "mount", "--isolation namespace", namespaces),
        _kernel("overlayfs", "overlay", "--isolation namespace", "!load the overlay module"),
        _kernel("network namespace", "net", "--isolation net", namespaces),
        _kernel(
            "cgroup v2", "cgroup", "limits of memory and processes", "!mount cgroup2, writable"
        ),
        _Wanted(
            group="isolation",
            name="bubblewrap",
            serves="sandboxes",
            trial=_bubblewrap,
            debian="bubblewrap",
        ),
        _kernel("KVM", "kvm", "microVMs at full speed", "!enable virtualisation", group="machines"),
        _program("qemu", ["qemu-system-x86_64", "qemu-system-aarch64"], "machines", "microVMs")(
            "qemu-system-x86", "qemu"
        ),
        _program("libvirt", ["libvirtd", "virtqemud"], "machines", "machines it manages")(
            "libvirt-daemon-system", "libvirt"
        ),
        _program("redis-server", ["redis-server"], "servers", "redis_lease")(
            "redis-server", "redis"
        ),
        _program("postgres", ["initdb"], "servers", "postgres_lease")(
            "postgresql", "postgresql@16"
        ),
        _program("etcd", ["etcd"], "servers", "clusters against a real etcd")(
            "etcd-server", "etcd"
        ),
        _program("nats-server", ["nats-server"], "servers", "clusters against a real NATS")(
            "nats-server", "nats-server"
        ),
        _program("chromium", _BROWSERS, "tools", "tests of the page")(
            "chromium", "--cask chromium"
        ),
        _Wanted(
            group="tools",
            name="libfaketime",
            serves="flaky hunt: another date",
            trial=_faketime,
            debian="libfaketime",
            macos="libfaketime",
        ),
        _program("valgrind", ["valgrind"], "tools", "counts of instructions")("valgrind", ""),
        _Wanted(
            group="tools",
            name="perf",
            serves="counts of instructions, faster",
            trial=_perf,
            debian="linux-perf, on a machine whose processor's counters can be read",
        ),
        *map(_interpreter, ("3.11", "3.12", "3.13", "3.14")),
    ]


_BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


def _kernel(name: str, trial: str, serves: str, fix: str, *, group: str = "isolation") -> _Wanted:
    def try_it() -> Finding:
        if not _LINUX:
            return Finding(False, detail="Linux only")
        done = _output([sys.executable, "-I", kernel_trials.__file__, trial])
        return Finding(done.returncode == 0, detail=_last_line(done.stdout))

    return _Wanted(group=group, name=name, serves=serves, trial=try_it, debian=fix)


def _program(
    name: str, binaries: list[str], group: str, serves: str
) -> Callable[[str, str], _Wanted]:
    def try_it() -> Finding:
        found = find_binary(*binaries)
        if found is None:
            return Finding(False, detail="not found")
        done = _output([str(found), "--version"])
        version = _version(done.stdout)
        usable = done.returncode == 0
        return Finding(usable, version, str(found) if usable else _last_line(done.stdout))

    return lambda debian, macos: _Wanted(
        group=group, name=name, serves=serves, trial=try_it, debian=debian, macos=macos
    )


def find_binary(*names: str) -> Path | None:
    """The first of these programs that is on PATH or where Debian and Homebrew hide servers.

    >>> find_binary("no-such-program") is None
    True
    """
    for name in names:
        if on_path := shutil.which(name):
            return Path(on_path)
        for folder in _hidden_folders():
            if os.access(folder / name, os.X_OK):
                return folder / name
    return None


def _hidden_folders() -> Iterable[Path]:
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda p: _number(p.parent.name), reverse=True)
    yield from map(Path, ("/usr/sbin", "/sbin", "/opt/homebrew/bin", "/usr/local/sbin"))


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def _bubblewrap() -> Finding:
    found = find_binary("bwrap")
    if found is None:
        return Finding(False, detail="not found" if _LINUX else "Linux only")
    version = _version(_output([str(found), "--version"]).stdout)
    walls = ["--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", "--die-with-parent"]
    done = _output([str(found), *walls, "true"])
    usable = done.returncode == 0
    return Finding(usable, version, str(found) if usable else _last_line(done.stdout))


def _faketime() -> Finding:
    library = faketime_library()
    if library is None:
        return Finding(False, detail="not found")
    preload = "LD_PRELOAD" if _LINUX else "DYLD_INSERT_LIBRARIES"
    date = {"FAKETIME": "2001-02-03 04:05:06", preload: str(library)}
    code = "import time; print(time.gmtime().tm_year)"
    done = _output([sys.executable, "-I", "-c", code], env=os.environ | date)
    usable = _last_line(done.stdout) == "2001"
    return Finding(usable, detail=str(library) if usable else "it did not move the date")


def _perf() -> Finding:
    found = find_binary("perf")
    if found is None:
        return Finding(False, detail="not found")
    usable = perf_counts()
    return Finding(usable, detail=str(found) if usable else "it counts no instructions here")


def perf_counts() -> bool:
    """Whether perf is there and counts instructions: a virtual machine may have no counters."""
    found = find_binary("perf")
    if found is None:
        return False
    done = _output([str(found), "stat", "-e", "instructions:u", "-x,", "--", "true"])
    return done.returncode == 0 and _last_line(done.stdout).partition(",")[0].strip().isdigit()


def faketime_library() -> Path | None:
    """libfaketime's shared library, which programs are started with to move their date."""
    patterns = (
        "usr/lib/*/faketime/libfaketime.so.1",
        "usr/lib*/faketime/libfaketime.so.1",
        "opt/homebrew/lib/faketime/libfaketime.1.dylib",
        "usr/local/lib/faketime/libfaketime.1.dylib",
    )
    found = (path for pattern in patterns for path in Path("/").glob(pattern))
    return next(found, None)


def _interpreter(version: str) -> _Wanted:
    def try_it() -> Finding:
        for candidate in _interpreters(version):
            done = _output([str(candidate), "-I", "-c", _WHICH_PYTHON])
            if done.returncode == 0 and _version(done.stdout).startswith(f"{version}."):
                return Finding(True, _version(done.stdout), str(candidate))
        return Finding(False, detail="not found on PATH or under pyenv")

    return _Wanted(
        group="interpreters",
        name=f"Python {version}",
        serves="tests on it",
        trial=try_it,
        debian=f"!pyenv install {version}",
        macos=f"python@{version}",
    )


_WHICH_PYTHON = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


def _interpreters(version: str) -> Iterable[Path]:
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in sorted(pyenv.glob(f"{version}.*"), reverse=True):
        yield folder / "bin" / "python"


def _output(
    command: list[str], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=False,
    )


def _version(text: str) -> str:
    match = re.search(r"\d+\.\d+(\.\d+)*", text)
    return match.group() if match else ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:160] if lines else ""
