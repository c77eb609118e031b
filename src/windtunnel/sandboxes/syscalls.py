"""The system calls that a confined Python needs, by name and number; what is not here is refused.

Numbers are those of the kernel's headers: ``asm/unistd_64.h`` for x86_64, ``asm-generic/unistd.h``
for aarch64, which lacks the calls that newer ones replaced. What is left out on purpose: whatever
makes or enters namespaces, mounts, traces or looks into other processes, loads code into the
kernel, makes sockets that can be addressed, starts programs, or has had more holes than uses
(io_uring, userfaultfd, bpf, perf_event_open, keyctl, vmsplice, io_setup).
"""

from __future__ import annotations

import dataclasses
from typing import Final

X86_64: Final = "x86_64"
AARCH64: Final = "aarch64"

_BOTH = """
read 0 63, write 1 64, close 3 57, fstat 5 80, lseek 8 62, mmap 9 222, mprotect 10 226,
munmap 11 215, brk 12 214, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139,
ioctl 16 29, pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66, sched_yield 24 124,
mremap 25 216, msync 26 227, mincore 27 232, madvise 28 233, dup 32 23, nanosleep 35 101,
getitimer 36 102, setitimer 38 103, getpid 39 172, sendfile 40 71, sendto 44 206,
recvfrom 45 207, shutdown 48 210, getsockname 51 204, getpeername 52 205, socketpair 53 199,
getsockopt 55 209, clone 56 220, exit 60 93, wait4 61 260, kill 62 129,
uname 63 160, fcntl 72 25, flock 73 32, fsync 74 82, fdatasync 75 83, truncate 76 45,
ftruncate 77 46, getcwd 79 17, chdir 80 49, fchdir 81 50, fchmod 91 52, umask 95 166,
gettimeofday 96 169, getrlimit 97 163, getrusage 98 165, sysinfo 99 179, times 100 153,
getuid 102 174, getgid 104 176, geteuid 107 175, getegid 108 177, getppid 110 173,
getgroups 115 158, getresuid 118 148, getresgid 120 150, getpgid 121 155, getsid 124 156,
rt_sigpending 127 136, rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132,
statfs 137 43, fstatfs 138 44, getpriority 140 141, sched_getparam 143 121,
sched_getscheduler 145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126,
prctl 157 167, gettid 186 178, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, getxattr 191 8,
lgetxattr 192 9, fgetxattr 193 10, listxattr 194 11, llistxattr 195 12, flistxattr 196 13,
removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, futex 202 98,
sched_getaffinity 204 123, getdents64 217 61, set_tid_address 218 96, restart_syscall 219 128,
fadvise64 221 223, timer_create 222 107, timer_settime 223 110, timer_gettime 224 108,
timer_getoverrun 225 109, timer_delete 226 111, clock_gettime 228 113, clock_getres 229 114,
clock_nanosleep 230 115, exit_group 231 94, epoll_ctl 233 21, tgkill 234 131, waitid 247 95,
openat 257 56, mkdirat 258 34, newfstatat 262 79, unlinkat 263 35, renameat 264 38,
linkat 265 37, symlinkat 266 36, readlinkat 267 78, fchmodat 268 53, faccessat 269 48,
pselect6 270 72, ppoll 271 73, set_robust_list 273 99,
utimensat 280 88, epoll_pwait 281 22, timerfd_create 283 85, fallocate 285 47,
timerfd_settime 286 86, timerfd_gettime 287 87, signalfd4 289 74, eventfd2 290 19,
epoll_create1 291 20, dup3 292 24, pipe2 293 59, preadv 295 69, pwritev 296 70,
prlimit64 302 261, getcpu 309 168, renameat2 316 276, getrandom 318 278, membarrier 324 283,
copy_file_range 326 285, preadv2 327 286, pwritev2 328 287, statx 332 291, rseq 334 293,
clone3 435 435, close_range 436 436, openat2 437 437, faccessat2 439 439, epoll_pwait2 441 441,
futex_waitv 449 449
"""
_X86_64_ALONE = """
open 2, stat 4, lstat 6, poll 7, access 21, pipe 22, select 23, dup2 33, pause 34, alarm 37,
getdents 78, rename 82, mkdir 83, rmdir 84, creat 85, link 86, unlink 87, symlink 88,
readlink 89, chmod 90, getpgrp 111, utime 132, arch_prctl 158, time 201, epoll_create 213,
epoll_wait 232, utimes 235, signalfd 282, eventfd 284
"""


def _numbers(table: str, column: int) -> dict[str, int]:
    rows = (entry.split() for entry in table.split(","))
    return {row[0]: int(row[column]) for row in rows}


NUMBERS: Final[dict[str, dict[str, int]]] = {
    X86_64: _numbers(_BOTH, 1) | _numbers(_X86_64_ALONE, 1),
    AARCH64: _numbers(_BOTH, 2),
}
"""Number of each needed call, by machine (``os.uname().machine``)."""

AUDIT_ARCH: Final = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}
"""What the kernel calls the machine in ``seccomp_data.arch`` (linux/audit.h)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """A demand on one argument of a call: ``argument & mask`` is one of ``values``.

    :param index: which argument, 0 the first.
    :param wide: whether all 64 bits count; else the kernel reads the lower 32 only.
    """

    index: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    wide: bool = False


CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x00000080 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000
_CLONE_NEW |= 0x10000000 | 0x20000000 | 0x40000000
_AF_UNIX = 1
# TCGETS (isatty), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: not TIOCSTI, not TIOCLINUX.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA (the allocator names its memory).
_PRCTLS = (3, 15, 16, 0x53564D41)
# To duplicate, flags, locks, sizes of pipes: not F_SETOWN and F_SETSIG, by which a descriptor
# sends any signal to any process of this user.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 36, 37, 38, 1030, 1032)


def demands(pid: int) -> dict[str, tuple[Argument, ...]]:
    """What is asked of the arguments of allowed calls, for the process of that number.

    :param pid: the number under which the process knows itself: the only one it may signal.
    """
    null = 0
    return {
        # A thread of this process: no process of its own, no namespaces.
        "clone": (Argument(0, (CLONE_THREAD,), CLONE_THREAD | _CLONE_NEW),),
        "kill": (Argument(0, (pid,)),),
        "tgkill": (Argument(0, (pid,)),),
        "ioctl": (Argument(1, _IOCTLS),),
        "fcntl": (Argument(1, _FCNTLS),),
        "prctl": (Argument(0, _PRCTLS),),
        # Reading the limits of oneself; setting them would raise the soft ones.
        "prlimit64": (Argument(0, (0, pid)), Argument(2, (null,), wide=True)),
        # A pair is reached by its ends alone, as long as nothing is sent to an address.
        "socketpair": (Argument(0, (_AF_UNIX,)),),
        "sendto": (Argument(4, (null,), wide=True),),
    }


METADATA: Final = ("chmod", "fchmod", "fchmodat", "utime", "utimes", "utimensat")
"""Changes to files that Landlock lets pass; refused where nothing else keeps files away."""

UNKNOWN: Final = ("clone3",)
"""Answered as by an old kernel (ENOSYS), so that the C library takes the call that can be judged:
the flags of clone3 lie in memory, where a filter cannot read them."""

UNSUPPORTED: Final = tuple(
    f"{prefix}{verb}xattr" for verb in ("set", "get", "list", "remove") for prefix in ("", "l", "f")
)
"""Answered as by a file system that has no such thing (ENOTSUP), which ``shutil`` expects."""
