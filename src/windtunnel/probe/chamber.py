"""What surrounds one experiment: its files, its network, its share of the CPU, its limits.

:func:`enter` changes the process it is called in, for good, so it is called in a forked child of
the lab, or by this file run as a script, which enters and then becomes the command it was given::

    python -I -S chamber.py '{"snapshot": ["/project"]}' python -m pytest tests/test_a.py

It imports the standard library alone, and little of it: as a script it runs under whatever
interpreter the tests use.

Sources: unshare(2), mount_namespaces(7), user_namespaces(7), capabilities(7), prctl(2),
Documentation/filesystems/overlayfs.rst of the Linux kernel.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

VARIABLE = "WINDTUNNEL_PROBE"
"""The environment variable that tells the observer what it is to do."""

OBSERVER = "windtunnel.probe.observer"

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_REC_PRIVATE = _MS_REC | (1 << 18)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}


def enter(wishes: dict[str, object]) -> dict[str, str]:
    """Put this process, which must have one thread, into the surroundings wished for.

    :param wishes: ``snapshot``: folders whose changes are to vanish with the process;
        ``layers``: an empty folder over which those changes are kept meanwhile; ``network``:
        False leaves loopback alone; ``core``: the one core to run on; ``nice``: added to the
        priority; ``files``: highest number of open file descriptors.
    :return: for each wish that could not be had, why.
    """
    missing: dict[str, str] = {}
    folders = wishes.get("snapshot")
    offline = wishes.get("network") is False
    flags = (_CLONE_NEWNS if folders else 0) | (_CLONE_NEWNET if offline else 0)
    if flags:
        listed = folders if isinstance(folders, list) else []
        missing |= _leave(flags, str(wishes.get("layers")), listed, offline)
    core = wishes.get("core")
    if isinstance(core, int) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    nice = wishes.get("nice")
    if isinstance(nice, int) and nice:
        os.nice(nice)
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
            file.write(str(nice))  # where sessions share the CPU, nice counts within one alone
    files = wishes.get("files")
    if isinstance(files, int):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
    return missing


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be killed."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


def _leave(flags: int, layers: str, folders: list[str], offline: bool) -> dict[str, str]:
    if sys.platform != "linux":
        return dict.fromkeys(_names(folders, offline), "it needs Linux namespaces")
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    own_user = False
    if libc.unshare(flags) != 0:
        if libc.unshare(flags | _CLONE_NEWUSER) != 0:
            reason = f"unshare: {os.strerror(ctypes.get_errno())}"
            return dict.fromkeys(_names(folders, offline), reason)
        own_user = True
        _map_user(uid, gid)
    missing: dict[str, str] = {}
    if folders:
        missing |= _snapshot(libc, layers, folders, own_user)
    if offline:
        _raise_loopback()
    if own_user and uid != 0:
        # In its own user namespace the process may read and write what its modes forbid, which
        # tests of permissions would notice.
        _drop_capabilities(libc)
    return missing


def _names(folders: list[str], offline: bool) -> list[str]:
    return ["snapshot"] * bool(folders) + ["network"] * offline


def _map_user(uid: int, gid: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _snapshot(libc: object, layers: str, folders: list[str], own_user: bool) -> dict[str, str]:
    """Lay an overlay whose upper layer is in memory over each folder."""
    # All is opened before the first overlay hides what lies below it: the folders themselves,
    # and what else is mounted somewhere in them, which an overlay does not show.
    below = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in _mounted_in(folders)}
    cwd = os.getcwd()
    if error := _mount(libc, "none", "/", None, _MS_REC_PRIVATE, None):
        return {"snapshot": error}
    if error := _mount(libc, "tmpfs", layers, "tmpfs", 0, "mode=1777"):
        return {"snapshot": error}
    failed: list[str] = []
    os.chdir(layers)
    for index, (path, descriptor) in enumerate(sorted(below.items())):
        source = f"/proc/self/fd/{descriptor}"
        if path in folders:
            error = _overlay(libc, index, source, path, own_user)
        else:
            error = _mount(libc, source, path, None, _MS_BIND | _MS_REC, None)
        os.close(descriptor)
        if error:
            failed.append(error)
    os.chdir(cwd)  # the same path, now through the overlay
    return {"snapshot": "; ".join(failed)} if failed else {}


def _overlay(libc: object, index: int, lower: str, target: str, own_user: bool) -> str:
    upper, work = f"upper{index}", f"work{index}"
    os.mkdir(work)
    os.mkdir(upper)
    os.chmod(upper, os.stat(lower).st_mode & 0o7777)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    error = ""
    # Without redirect_dir a folder of the lower layer cannot be renamed.
    for extra in (",userxattr" if own_user else ",redirect_dir=on", ""):
        error = _mount(libc, "overlay", target, "overlay", 0, options + extra)
        if not error:
            break
    return error


def _mounted_in(folders: list[str]) -> set[str]:
    """The folders, and every mount point below one of them."""
    found = set(folders)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            field = line.split()[4]
            for code, character in (
                ("\\040", " "),
                ("\\011", "\t"),
                ("\\012", "\n"),
                ("\\134", "\\"),
            ):
                field = field.replace(code, character)
            if any(field.startswith(folder + "/") for folder in folders):
                found.add(field)
    return found


def _mount(
    libc: object, source: str, target: str, kind: str | None, flags: int, options: str | None
) -> str:
    import ctypes

    assert isinstance(libc, ctypes.CDLL)
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else os.fsencode(options)
    if libc.mount(*encoded, ctypes.c_ulong(flags), data) == 0:
        return ""
    return f"mount {kind or 'private'} on {target}: {os.strerror(ctypes.get_errno())}"


def _drop_capabilities(libc: object) -> None:
    import ctypes
    import platform

    assert isinstance(libc, ctypes.CDLL)
    number = _SYS_CAPSET.get(platform.machine())
    if number is None:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    libc.syscall(number, header, (ctypes.c_uint32 * 6)())


def _raise_loopback() -> None:
    """A new network namespace has a loopback interface that is down."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", b"lo", 0x1 | 0x40, b"")  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


def _spin(core: object) -> None:
    if isinstance(core, int) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    while True:
        pass


def _start_rivals(count: int, core: object) -> None:
    """Busy processes that end when this one, or what it becomes, does."""
    for _ in range(count):
        if os.fork() == 0:
            os.setsid()
            die_with_parent()
            _spin(core)


def main(argv: list[str]) -> None:
    """Script: enter the surroundings of the JSON in ``argv[0]``, then become the command.

    The command is a pytest: it is made to load the observer, which applies what concerns the
    inside of the process and reports where the variable's ``lines`` says, if anywhere.
    """
    import json

    die_with_parent()
    if argv[0] == "--spin":
        _spin(int(argv[1]))
    wishes = json.loads(argv[0])
    missing = enter(wishes)
    _start_rivals(int(wishes.get("rivals", 0)), wishes.get("core"))
    said = json.loads(os.environ.get(VARIABLE, "{}"))
    addopts = os.environ.get("PYTEST_ADDOPTS", "")
    said |= {"wishes": wishes, "missing": missing, "addopts": addopts}
    os.environ[VARIABLE] = json.dumps(said)
    os.environ["PYTEST_ADDOPTS"] = f"{addopts} -p {OBSERVER}".strip()
    os.execvp(argv[1], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
