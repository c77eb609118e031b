"""Second ring: what the interpreter itself reports (PEP 578), refused in the thread of a world.

A hook cannot be removed, so it is added when a world first runs in a process, and it looks at one
global before anything else: an event outside a world costs the call of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.fence.files import opened, written
from windtunnel.sim.fence.refusal import escape

if TYPE_CHECKING:
    from windtunnel.sim.world import World

Sees = Callable[["World", str, tuple[Any, ...]], None]


def _process(world: World, event: str, args: tuple[Any, ...]) -> None:
    raise escape(
        world,
        "a process",
        f"{event}{args[:1] if args else '()'}",
        "run a simulated node in its place (world.start), or stub the call in the test",
    )


def _thread(world: World, event: str, args: tuple[Any, ...]) -> None:
    raise escape(
        world,
        "a thread",
        f"{event}({args[0]!r})" if args else f"{event}()",
        "await asyncio.to_thread(...), which the simulated world runs as a step of its own",
    )


def _socket(world: World, event: str, args: tuple[Any, ...]) -> None:
    raise escape(
        world,
        "a real socket",
        f"{event}{tuple(args[1:])!r}",
        "use asyncio's streams or socket.socket in the step itself: those are simulated",
    )


def _waits(world: World, event: str, args: tuple[Any, ...]) -> None:
    raise escape(
        world, "reading from the terminal", f"{event}()", "pass the input in as an argument"
    )


def _elsewhere(world: World, event: str, args: tuple[Any, ...]) -> None:
    raise escape(world, "a service of the machine", f"{event}()", "stub the call in the test")


def _open(world: World, event: str, args: tuple[Any, ...]) -> None:
    opened(world, *args)


def _one_path(world: World, event: str, args: tuple[Any, ...]) -> None:
    written(world, event, args[0])


def _two_paths(world: World, event: str, args: tuple[Any, ...]) -> None:
    written(world, event, args[0], args[1])


def _second_path(world: World, event: str, args: tuple[Any, ...]) -> None:
    written(world, event, args[1])


def _database(world: World, event: str, args: tuple[Any, ...]) -> None:
    if args[0] not in (":memory:", "", b":memory:", b""):
        written(world, event, args[0])


def _noted(world: World, event: str, args: tuple[Any, ...]) -> None:
    world.note("uncontrolled", call=event, argument=repr(args[0]) if args else "")


_TABLE: dict[str, Sees] = {
    "open": _open,
    "sqlite3.connect": _database,
    **dict.fromkeys(
        ("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown",
         "os.utime", "os.setxattr", "os.removexattr", "os.chflags"), _one_path),
    "os.rename": _two_paths,
    "os.link": _second_path,
    "os.symlink": _second_path,
    **dict.fromkeys(
        ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system",
         "subprocess.Popen", "pty.spawn", "os.killpg"), _process),
    **dict.fromkeys(
        ("_thread.start_new_thread", "_thread.start_joinable_thread"), _thread),
    **dict.fromkeys(
        ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg",
         "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
         "socket.getnameinfo", "socket.sethostname"), _socket),
    "builtins.input": _waits,
    **dict.fromkeys(("syslog.openlog", "syslog.syslog", "webbrowser.open"), _elsewhere),
    # Not refused, but said: what they change is the process's, or out of anyone's sight.
    **dict.fromkeys(
        ("ctypes.dlopen", "os.chdir", "fcntl.flock", "fcntl.lockf", "resource.setrlimit"),
        _noted),
}  # fmt: skip


def _hook(event: str, args: tuple[Any, ...]) -> None:
    world = inside.world
    if world is None:
        return
    sees = _TABLE.get(event)
    if sees is not None and get_ident() == inside.thread:
        sees(world, event, args)


_added = False


def add() -> None:
    """Add the hook to this process, once."""
    global _added
    if not _added:
        _added = True
        sys.addaudithook(_hook)
