"""The ground that attempts are made on: everything that must not be reached, and the eyes on it.

A folder with a part that is granted and secrets outside of it, a secret in the environment and one
in the memory of the host, a server on loopback, host functions that count who called them, and the
state of the host process itself. Nothing of it leaves its temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windtunnel.sessions.confinement import measures
from windtunnel.sessions.confinement.hoststate import HostState, captured_streams
from windtunnel.sessions.confinement.model import Canary

VARIABLE = "WINDTUNNEL_CANARY"
"""The environment variable with a secret."""
MODULE = "windtunnel_canary"
"""The module with a secret, as ``SECRET``."""
MEMORY_MB = 64
OUTPUT_BYTES = 20_000
SLACK_MB = 96
"""Mebibytes above the limit that an interpreter may take before it counts as an escape: a Python
process of its own, its copies of pages, and what the host needs to carry values."""
SLACK_BYTES = 16_384
_FILES = {
    "secret.txt": "SECRET = '{}'\n",  # a module of Starlark too
    "secret.py": "SECRET = '{}'\n",
    "elsewhere/secret.txt": "{}",
    "elsewhere/deep/secret.txt": "{}",
    "root-evil/secret.txt": "{}",
    "root/public.txt": "public",
    "root/flat/public.txt": "public",
    "root/flat/deep/secret.txt": "{}",
}
_LINKS = {"root/link": "../secret.txt", "root/way": "../elsewhere/deep"}
_DEEPEST = 6
_LONGEST = 50_000


class Ground:
    """One ground, made afresh for each attempt by :meth:`begin`.

    :ivar root: the folder that is granted for reading, with everything below it.
    :ivar secret: the text that must not come out.
    :ivar planted: the file that must not appear.
    """

    def __init__(self) -> None:
        # Resolved: a pattern with a symbolic link in it is another matter than those tried here.
        self.folder = Path(tempfile.mkdtemp(prefix="windtunnel-confinement-")).resolve()
        self.root = self.folder / "root"
        self.planted = self.folder / "planted"
        self.secret_file = self.folder / "secret.txt"
        self._expected: dict[str, tuple[int, ...]] | None = None
        self.secret = secrets.token_hex(16)
        self.marker = f"{3000 + secrets.randbelow(1000)}.{secrets.randbelow(10**6):06}"
        self._server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        module = types.ModuleType(MODULE)
        vars(module).update(SECRET=self.secret, SHELF=[])  # the collector skips what has no lists
        sys.modules[MODULE] = module
        self._variable_before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = self.secret
        self.begin()

    # -- the places ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Put everything back, and forget what was seen."""
        self.effects: dict[Canary, str] = {}
        self.tries = 0
        self.told: list[Any] = []
        self.ticks = 0
        self.over = False
        self.uses = 0
        self.before: tuple[int, int] | None = None
        self._lay_out()
        self._drain()

    def _lay_out(self) -> None:
        """Make the places anew, where an attempt has touched them."""
        if self._found() == self._expected:
            return
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for name, content in _FILES.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content.format(self.secret))
        for name, target in _LINKS.items():
            (self.folder / name).symlink_to(target)
        self._expected = self._found()

    def _found(self) -> dict[str, tuple[int, ...]]:
        """Every file, folder and link, with what changes when it is touched."""
        found: dict[str, tuple[int, ...]] = {}
        for entry in self.folder.rglob("*"):
            seen = entry.lstat()
            found[str(entry)] = (seen.st_mode, seen.st_ino, seen.st_size, seen.st_mtime_ns)
        return found

    def inputs(self) -> dict[str, Any]:
        """What the code of attempts may name."""
        return {
            "root": str(self.root),
            "secret_file": str(self.secret_file),
            "planted": str(self.planted),
            "port": self.port,
            "marker": self.marker,
            "variable": VARIABLE,
            "module": MODULE,
        }

    def close(self) -> None:
        """Take everything away."""
        self._server.close()
        sys.modules.pop(MODULE, None)
        if self._variable_before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._variable_before
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- the eyes --------------------------------------------------------------------------------

    def saw(self, canary: Canary, detail: str) -> None:
        """Note an effect; the first of a kind is kept."""
        self.effects.setdefault(canary, detail)

    @contextlib.contextmanager
    def watched(self, *, streams: bool = False, weighed: bool = False) -> Iterator[None]:
        """Look at the host before and after; put back what was changed.

        :param streams: watch its standard output and error too.
        :param weighed: weigh its memory and files where the guest says that it holds them.
        """
        state = HostState()
        if weighed:
            self.before = (measures.memory_bytes(), measures.open_files())
        if streams:
            with captured_streams(self.folder / "streams") as written:
                yield
            if written.size > OUTPUT_BYTES + SLACK_BYTES:
                self.saw(Canary.FLOOD, f"{written.size} bytes on the host's standard streams")
        else:
            yield
        for change in state.put_back():
            self.saw(Canary.HOST, change)
        self.look()

    def look(self) -> None:
        """The canaries that need no waiting."""
        if self.planted.exists():
            self.saw(Canary.PLANTED, "the file was there after the attempt")
        reached = self._drain()
        if reached:
            self.saw(Canary.NETWORK, f"{reached} connections came in")
        if holds(self.told, self.secret):
            self.saw(Canary.SECRET, "the code handed it to a host function")

    def came_out(self, result: Any) -> None:
        """Look through what an execution gave."""
        for name in ("value", "output", "error", "error_type"):
            if holds(getattr(result, name, ""), self.secret):
                self.saw(Canary.SECRET, f"it stands in the {name} of the result")
        for name in ("output", "error", "error_type"):
            size = len(str(getattr(result, name, "")).encode("utf-8", "replace"))
            if size > OUTPUT_BYTES + SLACK_BYTES:
                self.saw(Canary.FLOOD, f"{size} bytes of {name}; the limit is {OUTPUT_BYTES}")
        self._handle(getattr(result, "value", None))

    def _handle(self, value: Any) -> None:
        """Do with a value what a host does that logs it: a harmless value bears that."""
        # That a deep value has no repr is for Python to say, and not an escape.
        with contextlib.suppress(RecursionError):
            _ = (repr(value), str(value), bool(value), value == self.marker)

    def weigh(self) -> None:
        """The guest holds now what it could get: look how much that is."""
        if self.before is None:
            return
        grown = (measures.memory_bytes() - self.before[0]) >> 20
        if grown > MEMORY_MB + SLACK_MB:
            self.saw(Canary.MEMORY, f"{grown} MiB more than before; the limit is {MEMORY_MB}")
        opened = measures.open_files() - self.before[1]
        if opened > 100:
            self.saw(Canary.HOST, f"{opened} more files are open in the host")

    def opened(self, path: str, granted: Path, *, deep: bool = True) -> str:
        """Open a file as a host function does that trusts its guard."""
        real = Path(os.path.realpath(path))
        inside = granted in real.parents if deep else real.parent == granted
        if not inside:
            self.saw(Canary.OUTSIDE, f"{path!r} was opened, which is {real}")
        return Path(path).read_text()

    def used(self, granted: int) -> int:
        """Count a use of what may be used ``granted`` times."""
        self.uses += 1
        if self.uses > granted:
            self.saw(Canary.USES, f"use number {self.uses} of {granted}")
        return self.uses

    def _drain(self) -> int:
        count = 0
        while True:
            try:
                connection, _ = self._server.accept()
            except BlockingIOError:
                return count
            connection.close()
            count += 1


def holds(value: Any, secret: str, depth: int = 0) -> bool:
    """Whether a secret is somewhere in a value, text or bytes, as far as values are looked into."""
    if isinstance(value, str):
        return secret in value
    if isinstance(value, bytes | bytearray):
        return secret.encode() in value
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return any(holds(one, secret, depth + 1) for one in list(value)[:_LONGEST])
    if value is None or isinstance(value, int | float):
        return False
    return secret in _shown(value)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # its own repr, which may be the guest's code, fails as it likes
        return str(type(error))


__all__ = ["MEMORY_MB", "MODULE", "OUTPUT_BYTES", "VARIABLE", "Ground", "holds"]
