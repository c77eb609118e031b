"""What runs inside a process sandbox: the zygote, and each cell that it forks.

This file is sent to the sandboxed interpreter as text and needs nothing but the standard library.
The zygote imports the program once and waits for requests. For each it forks; the fork goes into
namespaces of its own, forks the cell (process 1 of its pid namespace) and ends. The cell gives up
everything it will not need, installs the filter, and only then runs the program.

All of it is trusted until the program gets its first message.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

# linux/sched.h, sys/mount.h, linux/prctl.h
_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID = 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
_SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVS, _FILTER_MODE = 4, 22, 38, 2
_ARENA_MAX = -8  # malloc.h: M_ARENA_MAX

_CHANNEL, _REPORT = 3, 4

_libc: Any = ctypes.CDLL(None, use_errno=True)


class Interrupts:
    """SIGINT as KeyboardInterrupt where the program says it may come, held back elsewhere.

    One that comes while a message is being read or written would leave half of it behind.
    """

    def __init__(self) -> None:
        self.held = True
        self._pending = False
        self._main = threading.get_ident()

    def install(self) -> None:
        """Take SIGINT over; held back until :meth:`allow`."""
        signal.signal(signal.SIGINT, self._arrived)

    def _arrived(self, number: int, frame: object) -> None:
        if self.held:
            self._pending = True
        else:
            self.held, self._pending = True, False  # one request, one exception
            raise KeyboardInterrupt

    def hold(self) -> bool:
        """Hold it back from here on; whether it was held already."""
        if threading.get_ident() != self._main:
            return True
        was, self.held = self.held, True
        return was

    def allow(self, was_held: bool = False) -> None:
        """Let it come from here on, also one that came meanwhile; not where it ``was_held``."""
        if was_held or threading.get_ident() != self._main:
            return
        self.held = False  # first: one that comes between the two lines is not overlooked
        if self._pending:
            self.held, self._pending = True, False
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Drop one that came too late."""
        self.held, self._pending = True, False


class Channel:
    """Messages of bytes to and from the parent: each its length as four bytes, then itself."""

    def __init__(self, fd: int, interrupts: Interrupts) -> None:
        self.interrupts = interrupts
        self._fd = fd
        self._received = bytearray()
        self._sending = threading.Lock()

    def send(self, message: bytes) -> None:
        """Send a message whole; any thread may."""
        was_held = self.interrupts.hold()
        try:
            with self._sending:
                rest = memoryview(struct.pack("<I", len(message)) + message)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        finally:
            self.interrupts.allow(was_held)

    def receive(self, *, interruptible: bool = False) -> bytes:
        """The next message; one thread at a time. Ends the process where the parent is gone.

        :param interruptible: whether KeyboardInterrupt may come while it waits. Never while it
            reads, so nothing of a message is lost: the caller holds interrupts before and after.
        """
        while True:
            message = self._take()
            if message is not None:
                return message
            if interruptible:
                self._wait()
            self._received += self._read()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        try:
            self.interrupts.allow()
            poll.poll()
        finally:
            self.interrupts.hold()

    def _read(self) -> bytes:
        data = os.read(self._fd, 1 << 16)
        if not data:
            os._exit(0)
        return data

    def _take(self) -> bytes | None:
        if len(self._received) < 4:
            return None
        (size,) = struct.unpack_from("<I", self._received)
        if len(self._received) < 4 + size:
            return None
        message = bytes(self._received[4 : 4 + size])
        del self._received[: 4 + size]
        return message


def main(config: dict[str, Any]) -> None:
    """Become the zygote, or at once the one cell where ``config["alone"]``."""
    control = socket.socket(fileno=config["control"])
    os.environ.clear()
    # A thread's own arena would take 64 MiB of the address space that the limit counts.
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_ARENA_MAX, 1)
    sys.path += config["paths"]
    program = _load(config["modules"], config["entry"])
    interrupts = Interrupts()
    interrupts.install()
    if not config["alone"]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody need wait for the forks
    gc.collect()
    gc.freeze()  # what is there now is shared with every fork as long as nobody writes to it
    control.send(b"ready" if _threads_are_limited() else b"ready, threads unlimited")
    while True:
        message, fds, _flags, _address = socket.recv_fds(control, 1 << 17, 8)
        if not message:
            return
        request = json.loads(message)
        if request.get("slot"):
            if os.fork() == 0:
                control.close()
                control = _take_slot(*fds)
                continue
        elif config["alone"]:
            control.close()
            _enter_groups(fds[3:])
            _cell(request | {"base_bytes": _address_space()}, fds[:3], interrupts, program)
        elif os.fork() == 0:
            control.close()
            _launch(request | {"base_bytes": _address_space()}, fds, interrupts, program)
        for fd in fds:
            os.close(fd)


def _take_slot(control: int, *doors: int) -> socket.socket:
    """In a fork of the zygote: enter control groups once, and fork cells that are born in them.

    To enter a group costs the kernel a grace period, milliseconds each time; to be born there does
    not.
    """
    owner = socket.socket(fileno=control)
    try:
        _enter_groups(doors)
    except OSError as error:
        _say(control, error)
        os._exit(1)
    owner.send(b"ready")
    return owner


def _threads_are_limited() -> bool:
    """Whether RLIMIT_NPROC holds for this user: it does not for the machine's own root."""
    limits = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, limits[1]))
    try:
        one_more = threading.Thread(target=int)
        one_more.start()
        one_more.join()
    except RuntimeError:
        return True
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, limits)
    return False


def _load(modules: list[tuple[str, str]], entry: str) -> Callable[[Channel], object]:
    for name, source in modules:
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(source, f"<{name}>", "exec", dont_inherit=True), module.__dict__)
    name, _, function = entry.partition(":")
    loaded: Callable[[Channel], object] = getattr(sys.modules[name], function)
    return loaded


def _address_space() -> int:
    """Bytes of address space in use; a guess where there is no ``/proc``."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 32 << 20


def _launch(
    request: dict[str, Any],
    fds: list[int],
    interrupts: Interrupts,
    program: Callable[[Channel], object],
) -> NoReturn:
    """In the fork of the zygote: enter what is the cell's own, and fork the cell."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _enter_namespaces(request)
        if os.fork():
            os._exit(0)
    except BaseException as error:
        _say(fds[2], error)
        os._exit(1)
    _cell(request, fds, interrupts, program)


def _enter_groups(doors: Sequence[int]) -> None:
    for door in doors:
        os.write(door, b"0")  # whoever writes is in
        os.close(door)


def _enter_namespaces(request: dict[str, Any]) -> None:
    uid, gid = os.getuid(), os.getgid()
    kinds = _NEWNS | _NEWPID | _NEWIPC | _NEWUTS | _NEWCGROUP
    by_root = request["user"] is not None
    _must(_libc.unshare(kinds if by_root else kinds | _NEWUSER), "unshare")
    if not by_root:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    owner = request["user"] if by_root else uid
    _mount(None, "/", None, _REC | _PRIVATE, None)
    size = request["scratch_bytes"]
    _mount(
        "tmpfs",
        "/tmp",
        "tmpfs",
        _NOSUID | _NODEV | _NOEXEC,
        f"size={size},nr_inodes=4096,mode=0700,uid={owner},gid={owner if by_root else gid}",
    )
    # The zygote's view of /proc is not the cell's: an empty one lies over it.
    _mount("tmpfs", "/proc", "tmpfs", _RDONLY | _NOSUID | _NODEV | _NOEXEC, "size=4k,mode=0555")


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None
) -> None:
    def spelled(text: str | None) -> bytes | None:
        return None if text is None else text.encode()

    result = _libc.mount(spelled(source), spelled(target), spelled(kind), flags, spelled(options))
    _must(result, f"mount on {target}")


def _cell(
    request: dict[str, Any],
    fds: list[int],
    interrupts: Interrupts,
    program: Callable[[Channel], object],
) -> NoReturn:
    """Give up what is not needed, then run the program."""
    report = fds[2]
    try:
        _keep_only(fds)
        report = _REPORT
        _be_reachable(report)
        os.umask(0o077)
        _limit(request)
        _drop_privileges(request)
        os.chdir(request["scratch"])
        with open(os.__file__, "rb"):
            pass  # what it runs must be readable for whom it has become
        os.write(report, b"ready")
        os.close(report)
    except BaseException as error:
        _say(report, error)
        os._exit(1)
    try:
        program(Channel(_CHANNEL, interrupts))
    finally:
        os._exit(0)


def _keep_only(fds: list[int]) -> None:
    """Leave 0 (nothing), 1 and 2 (the output), 3 (the channel) and 4 (the report) open."""
    channel, output, report = (fcntl.fcntl(fd, fcntl.F_DUPFD, 16) for fd in fds)
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (output, 1), (output, 2), (channel, 3), (report, 4)):
        os.dup2(source, target, inheritable=False)
    os.closerange(5, max(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


def _be_reachable(report: int) -> None:
    """Hand the parent a pidfd of this process: no number of it can be mistaken."""
    if not hasattr(os, "pidfd_open"):
        return
    pidfd = os.pidfd_open(os.getpid())
    reporter = socket.socket(fileno=report)
    socket.send_fds(reporter, [b"pidfd"], [pidfd])
    reporter.detach()
    os.close(pidfd)


def _limit(request: dict[str, Any]) -> None:
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": request["cpu_s"],
        "RLIMIT_FSIZE": request["scratch_bytes"],
        "RLIMIT_NOFILE": request["files"],
        "RLIMIT_NPROC": request["threads"],
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    if request["memory_bytes"] is not None:
        wanted["RLIMIT_AS"] = request["base_bytes"] + request["memory_bytes"]
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is None or value is None:
            continue
        hard = resource.getrlimit(number)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (limit, limit))
        except (ValueError, OSError):
            if name != "RLIMIT_AS":  # macOS refuses it
                raise


def _drop_privileges(request: dict[str, Any]) -> None:
    if request["user"] is not None:
        user = request["user"]
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if sys.platform != "linux":
        return
    # Version 3 of struct __user_cap_header, two of __user_cap_data: all empty.
    header = struct.pack("=Ii", 0x20080522, 0)
    _must(_libc.capset(header, bytes(24)), "capset")
    _must(_libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")
    _must(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    if request["readable"]:
        sys.modules["_windtunnel_landlock"].restrict(request["readable"], [request["scratch"]])
    if request["filter"]:
        _install(bytes.fromhex(request["filter"]))


def _install(code: bytes) -> None:
    """Put the seccomp filter in force: struct sock_fprog is a count and a pointer."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    _must(_libc.prctl(_SET_SECCOMP, _FILTER_MODE, program, 0, 0), "prctl(PR_SET_SECCOMP)")


def _must(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _say(fd: int, error: BaseException) -> None:
    try:
        os.write(fd, f"error {type(error).__name__}: {error}".encode()[:4000])
    except OSError:
        pass  # nobody listens any more
