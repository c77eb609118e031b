"""Attempts to get out of a cell, each refused, and for the reason given."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windtunnel.sandboxes import CellDiedError, landlock, seccomp

FILTERED = sys.platform == "linux" and os.uname().machine in seccomp.machines()
pytestmark = pytest.mark.skipif(not FILTERED, reason="no seccomp filter for this machine")

# On x86_64 and on aarch64 (asm/unistd_64.h, asm-generic/unistd.h).
NUMBERS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "inotify_init1": (294, 26),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444),
    "memfd_create": (319, 279),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "sched_setaffinity": (203, 122),
    "seccomp": (317, 277),
    "sendmsg": (46, 211),
    "setgid": (106, 144),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "setuid": (105, 146),
    "shmget": (29, 194),
    "swapon": (167, 224),
    "tkill": (200, 130),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
}


def number_of(name: str) -> int:
    return NUMBERS[name][0 if os.uname().machine == seccomp.X86_64 else 1]


@pytest.fixture
def tell(tier: str, cell_at, ask) -> Callable[[str], str]:
    """What a cell of the tier answers."""
    return lambda code: ask(cell_at(tier), code)


@pytest.fixture
def files_kept_away(tier: str) -> str:
    """The error that files outside give."""
    if tier != "plain":
        return "FileNotFoundError ENOENT"
    if not landlock.version():
        pytest.skip("this kernel has no Landlock, and without bubblewrap nothing hides files")
    return "PermissionError EACCES"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("the key")
    path.chmod(0o666)
    for folder in tmp_path.parents[:3]:
        folder.chmod(0o755)
    return path


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_system_call_that_no_guest_needs_is_refused_by_the_filter(
    name: str, tell: Callable[[str], str]
) -> None:
    assert tell(f"call({number_of(name)}, 0, 0, 0, 0, 0)") == "'EPERM'"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/maps", "/proc/version"]
)
def test_what_every_machine_has_cannot_be_read(
    path: str, tell: Callable[[str], str], files_kept_away: str
) -> None:
    assert Path(path).exists()
    assert tell(f"open({path!r}).read()").startswith(files_kept_away)


@pytest.mark.parametrize(
    "code",
    [
        "open(PATH).read()",
        "open('../' * 30 + PATH[1:]).read()",
        "os.symlink(PATH, 'link'); told = open('link').read()",
        "os.symlink('/', 'root'); told = open('root' + PATH).read()",
        "os.open(PATH, os.O_RDONLY | getattr(os, 'O_NOATIME', 0))",
        "os.link(PATH, 'hard'); told = open('hard').read()",
        "os.rename(PATH, 'mine')",
        "open(PATH, 'a')",
        "os.unlink(PATH)",
        "os.truncate(PATH, 0)",
    ],
)
def test_a_file_of_the_host_is_out_of_reach_by_any_way(
    code: str, secret: Path, tell: Callable[[str], str], files_kept_away: str
) -> None:
    answer = tell(f"""
import os
PATH = {str(secret)!r}
for left in ("link", "root", "hard"):
    try: os.unlink(left)
    except OSError: pass
{code if "told" in code else "told = " + code}
""")
    # A link or a rename out of one file system into another is refused before it is looked at.
    assert answer.startswith((files_kept_away, "OSError EXDEV", "PermissionError"))
    assert secret.read_text() == "the key"


@pytest.mark.parametrize("change", ["os.chmod(PATH, 0)", "os.utime(PATH, (0, 0))"])
def test_mode_and_times_of_a_file_of_the_host_stay(
    change: str, secret: Path, tell: Callable[[str], str]
) -> None:
    before = secret.stat()
    answer = tell(change.replace("PATH", repr(str(secret))))
    assert answer.startswith(("FileNotFoundError ENOENT", "PermissionError EPERM"))
    after = secret.stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_the_interpreter_cannot_be_changed(tell: Callable[[str], str], files_kept_away) -> None:
    answer = tell("open(os.__file__, 'r+')")
    assert answer.startswith(("OSError EROFS", "PermissionError EACCES"))


@pytest.mark.parametrize("folder", ["/", "/usr", "/dev", "/tmp/..", "/proc"])
def test_nothing_is_written_outside_the_scratch_folder(
    folder: str, tell: Callable[[str], str], files_kept_away: str
) -> None:
    answer = tell(f"open({folder!r} + '/wt-escape', 'w')")
    assert answer.startswith(("OSError EROFS", "PermissionError EACCES", "FileNotFoundError"))
    assert not Path(folder, "wt-escape").exists()


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_server_of_the_host_is_not_reached(listener: int, tell: Callable[[str], str]) -> None:
    answer = tell(f"socket.create_connection(('127.0.0.1', {listener}), 1)")
    assert answer == "PermissionError EPERM [Errno 1] Operation not permitted"


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"])
def test_no_socket_of_any_family_is_made(family: str, tell: Callable[[str], str]) -> None:
    assert tell(f"socket.socket(socket.{family}, socket.SOCK_DGRAM)").startswith("PermissionError")


def test_an_end_of_a_pair_sends_to_no_address(tell: Callable[[str], str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0wt-escape-{os.getpid()}")
        server.setblocking(False)
        answer = tell(
            "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]"
            f".sendto(b'out', {server.getsockname()!r})"
        )
        assert answer.startswith("PermissionError EPERM")
        with pytest.raises(BlockingIOError):
            server.recv(10)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("os.fork()", "PermissionError EPERM"),
        ("__import__('subprocess').run(['/bin/true'])", "PermissionError EPERM"),
        ("os.posix_spawn(sys.executable, ['x'], {})", "PermissionError EPERM"),
        ("os.execv(sys.executable, ['python'])", "PermissionError EPERM"),
        ("libc.unshare(0x10000000), ctypes.get_errno()", "(-1, 1)"),  # CLONE_NEWUSER
        ("call(56 if sys.maxsize and os.uname().machine == 'x86_64' else 220, 17)", "'EPERM'"),
        ("call(435, bytes(88), 88)", "'ENOSYS'"),  # clone3
    ],
)
def test_no_process_and_no_namespace_is_made(
    code: str, answer: str, tell: Callable[[str], str]
) -> None:
    assert tell(code).startswith(answer)


def test_threads_end_where_the_limit_is(tell, sandbox_at, tier: str) -> None:
    if "its threads are not counted" in sandbox_at(tier).isolation:
        pytest.skip("nothing counts threads here, which the isolation says")
    answer = tell("""
import threading
hold, told = threading.Event(), 0
threading.stack_size(65536)
try:
    while told < 500:
        threading.Thread(target=hold.wait, daemon=True).start()
        told += 1
except RuntimeError as error:
    told = (told <= 64, str(error))
finally:
    hold.set()
    threading.stack_size(0)
""")
    assert answer == '(True, "can\'t start new thread")'


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("len(bytearray(1 << 30))", "MemoryError"),
        ("len(mmap.mmap(-1, 1 << 30))", "OSError ENOMEM"),
        ("[bytes(1 << 20) for _ in range(1000)]", "MemoryError"),
        ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "ValueError"),
        ("resource.prlimit(0, resource.RLIMIT_NOFILE, (9999, 9999))", "PermissionError EPERM"),
        ("[os.dup(1) for _ in range(1000)]", "OSError EMFILE"),
    ],
)
def test_memory_and_descriptors_have_an_end(
    code: str, answer: str, tell: Callable[[str], str]
) -> None:
    assert tell(code).startswith(answer)
    tell("os.closerange(4, 300)")


def test_the_scratch_folder_fills_up(tell: Callable[[str], str]) -> None:
    told = tell("open('big', 'wb').write(bytes(3 << 20))")
    assert told.startswith(("OSError ENOSPC", "OSError EFBIG"))
    tell("os.unlink('big')")


def test_code_from_the_scratch_folder_is_not_loaded(tell, tier: str) -> None:
    if tier != "bubblewrap":
        pytest.skip("only a cell that is forked mounts its scratch folder itself")
    told = tell("""
import ctypes, shutil, _ctypes
shutil.copyfile(_ctypes.__file__, 'own.so')
told = ctypes.CDLL('./own.so')
""")
    assert told.startswith("OSError")
    assert "failed to map segment" in told


@pytest.mark.parametrize("pid", ["PARENT", "1 if os.getpid() != 1 else 2", "0", "-1"])
def test_nobody_else_is_signalled(pid: str, tell: Callable[[str], str]) -> None:
    assert tell(f"os.kill({pid.replace('PARENT', str(os.getpid()))}, 9)").startswith(
        "PermissionError EPERM"
    )


@pytest.mark.parametrize("command", [8, 10, 15])  # F_SETOWN, F_SETSIG, F_SETOWN_EX
def test_a_descriptor_signals_nobody(command: int, tell: Callable[[str], str]) -> None:
    told = tell(f"__import__('fcntl').fcntl(1, {command}, {os.getpid()})")
    assert told.startswith("PermissionError EPERM")


@pytest.mark.parametrize("request_", ["TIOCSTI", "TIOCLINUX"])
def test_nothing_is_typed_into_a_terminal(request_: str, tell: Callable[[str], str]) -> None:
    number = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}[request_]
    # The upper half is not looked at by the kernel, and so must not save it from the filter.
    code = f"[call({16 if os.uname().machine == 'x86_64' else 29}, 1, {number} | high, b'x')"
    assert tell(code + " for high in (0, 1 << 32)]") == "['EPERM', 'EPERM']"
    assert tell("open('/dev/tty')").split()[0] in (
        "FileNotFoundError",
        "PermissionError",
        "OSError",
    )


def test_no_descriptor_but_its_own_is_open(tell: Callable[[str], str], secret: Path) -> None:
    inherited = os.open(secret, os.O_RDONLY)
    try:
        os.set_inheritable(inherited, True)
        told = tell("""
import os
told = []
for fd in range(300):
    try: os.fstat(fd)
    except OSError: continue
    told.append(fd)
""")
    finally:
        os.close(inherited)
    assert told == "[0, 1, 2, 3]"  # nothing, output, errors, the channel


def test_the_environment_is_empty(tell: Callable[[str], str], monkeypatch) -> None:
    assert tell("dict(os.environ)") == "{}"
    assert tell("[name for name in ('PATH', 'HOME') if libc.getenv(name.encode())]") == "[]"


def test_a_call_by_another_machines_table_ends_the_cell(sandbox_at, tier: str) -> None:
    if os.uname().machine != seccomp.X86_64:
        pytest.skip("int 0x80 is x86")
    cell = sandbox_at(tier).start()
    cell.send(b"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
told = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
""")
    with pytest.raises(CellDiedError, match="its process has ended"):
        cell.receive(20)
    cell.close()


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("open('own', 'w').write('mine'), open('own').read()", "(4, 'mine')"),
        ("os.kill(os.getpid(), 0)", "None"),
        ("__import__('asyncio').run(__import__('asyncio').sleep(0, 7))", "7"),
        ("__import__('sqlite3').connect('db').execute('select 1').fetchone()", "(1,)"),
        ("__import__('zoneinfo').ZoneInfo('UTC').key", "'UTC'"),
        ("__import__('ssl').RAND_status()", "True"),
        ("__import__('hashlib').sha256(b'').hexdigest()[:4]", "'e3b0'"),
        (
            "sum(__import__('concurrent.futures').futures.ThreadPoolExecutor(3).map(abs, [-1, 2]))",
            "3",
        ),
        ("len(__import__('tempfile').TemporaryFile(dir='.').name.__str__()) > 0", "True"),
    ],
)
def test_what_a_guest_may_do_works(code: str, answer: str, tell: Callable[[str], str]) -> None:
    assert tell(code) == answer
