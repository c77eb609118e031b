"""The host functions that attempts are given: what each needs, and what it is seen to do."""

from __future__ import annotations

import copy
import os
import socket
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.sessions.confinement.ground import Ground
from windtunnel.sessions.confinement.model import Canary

if TYPE_CHECKING:
    from windtunnel.sessions.hosting import HostFunction

USES = 3
"""How often ``count`` may be used."""
ALLOWED_HOST = "allowed.test"
TALK, VAULT, COUNT, READ, FLAT, FETCH = (
    "ground.talk", "vault.open", "count.use", "fs.read", "fs.flat", "net.connect",
)  # fmt: skip


class HostFault(Exception):
    """What a host function of the ground raises; it has a reference to the host with it."""

    def __init__(self, host: Keeper) -> None:
        super().__init__("the host had a fault")
        self.host = host


class Keeper:
    """An object of the host with something to keep."""

    def __init__(self, ground: Ground) -> None:
        self.secret = ground.secret

    def greet(self) -> str:
        """Something harmless."""
        return "hello"


class Shelf:
    """What the host lends to guests, and what it keeps of them."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.begin()

    def begin(self) -> None:
        """Have things of its own again, and nothing of the guest's."""
        self.listed = ["mine"]
        self.mapped = {"mine": ["mine"]}
        self.kept: list[tuple[Any, str]] = []

    def lend(self, what: str) -> Any:
        """Something of the host: its own list or dict, an object, a method, an error."""
        keeper = Keeper(self.ground)
        if what == "error":
            raise HostFault(keeper)
        return {
            "list": self.listed,
            "dict": self.mapped,
            "object": keeper,
            "method": keeper.greet,
        }[what]

    def keep(self, items: Any) -> None:
        """Look a value over now and use it later."""
        self.kept.append((items, repr(items)))

    def look(self) -> None:
        """Whether the guest reached the host's own things."""
        if self.listed != ["mine"] or self.mapped != {"mine": ["mine"]}:
            self.ground.saw(Canary.HOST, "the host's own list or dict was changed")
        for items, before in self.kept:
            if repr(items) != before:
                self.ground.saw(Canary.HOST, "what the host had looked over was changed afterwards")


def functions(ground: Ground, shelf: Shelf) -> list[HostFunction]:
    """The host functions of a ground. All of them do what they are told: it is for the executor
    to hold back a call that is not granted."""
    from windtunnel.sessions.hosting import HostFunction

    return [
        *(HostFunction(call.__name__, call, needs=TALK) for call in _talk(ground)),
        *(HostFunction(call.__name__, call, needs=TALK) for call in (shelf.lend, shelf.keep)),
        *(HostFunction(call.__name__, call, needs=TALK) for call in _naive(ground)),
        HostFunction("forbidden", _forbidden(ground), needs=VAULT),
        HostFunction("count", lambda: ground.used(USES), needs=COUNT),
        *_readers(ground),
        HostFunction("fetch", _fetch, needs=FETCH, resource="url"),
    ]


def _talk(ground: Ground) -> Iterator[Callable[..., Any]]:
    def tried() -> None:
        """The guest has come to the attempt itself."""
        ground.tries += 1

    def tell(value: Any) -> None:
        """The guest hands out what it has got."""
        ground.told.append(value)

    def hold() -> None:
        """The guest holds now what it could get."""
        ground.weigh()

    def tick() -> int:
        """The guest is still at work."""
        ground.ticks += 1
        if ground.over:
            ground.saw(Canary.WORKING, "the code called a host function after it had ended")
        return ground.ticks

    return iter((tried, tell, hold, tick))


def _naive(ground: Ground) -> Iterator[Callable[..., Any]]:
    def log_in(password: Any) -> bool:
        """Compare with what is secret."""
        return bool(ground.secret == password)

    def call_back(function: Any) -> Any:
        """Call what the guest gave, with the host's own rights."""
        return function() if callable(function) else None

    def copied(value: Any) -> None:
        """Copy what the guest gave."""
        copy.deepcopy(value)

    return iter((log_in, call_back, copied))


def _forbidden(ground: Ground) -> Callable[..., Any]:
    def forbidden(*args: Any, **kwargs: Any) -> str:
        ground.saw(Canary.FORBIDDEN, "the function ran, without its capability")
        return "opened"

    return forbidden


def _readers(ground: Ground) -> Iterator[HostFunction]:
    from windtunnel.sessions.hosting import HostFunction

    for name, decoded in DECODERS.items():
        yield HostFunction(name, _reader(ground, decoded), needs=READ, operation="read",
                           resource="path")  # fmt: skip

    def read_flat(path: str) -> str:
        return ground.opened(path, ground.root / "flat", deep=False)

    yield HostFunction("read_flat", read_flat, needs=FLAT, operation="read", resource="path")


def _reader(ground: Ground, decoded: Callable[[str], str]) -> Callable[[str], str]:
    def read(path: str) -> str:
        return ground.opened(decoded(os.fsdecode(path)), ground.root)

    return read


DECODERS: dict[str, Callable[[str], str]] = {
    "read": lambda path: path,
    "read_decoded": lambda path: urllib.parse.unquote(urllib.parse.unquote(path)),
    "read_folded": lambda path: unicodedata.normalize("NFKC", path),
    "read_windows": lambda path: path.replace("\\", "/"),
    "read_cut": lambda path: path.split("\0")[0],
    "read_stripped": lambda path: "".join(one for one in path if one not in "\u200b\u200d\u2060"),
}
"""What layers below a guard do to paths: a web server decodes, a name service folds Unicode to its
compatible form, Windows takes backslashes, C cuts at NUL, a filter strips what is not seen."""


def _fetch(url: str) -> str:
    """Connect to where a URL leads, as ``urllib`` and the C library read it."""
    folded = unicodedata.normalize("NFKC", url.replace("\\", "/"))
    parts = urllib.parse.urlsplit(folded)
    host, port = parts.hostname or "", parts.port or 80
    try:
        address = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        address = "127.0.0.1" if host.endswith("localhost") or ":" in host else ""
    if not address.startswith("127."):
        return "nothing there"  # the ground has no other server, and asks none
    with socket.create_connection((address, port), timeout=2.0):
        return "connected"


def constraints(ground: Ground) -> dict[str, dict[str, Any]]:
    """What is granted, by the type of capability; the vault's is not."""
    return {
        TALK: {},
        COUNT: {"uses": USES},
        READ: {"resources": (f"{ground.root}/**",), "operations": ("read",),
               "resolve_symlinks": True},
        FLAT: {"resources": (f"{ground.root}/flat/*.txt",), "operations": ("read",),
               "resolve_symlinks": True},
        FETCH: {"hosts": (ALLOWED_HOST,), "ports": (80,)},
    }  # fmt: skip


__all__ = ["ALLOWED_HOST", "COUNT", "DECODERS", "FETCH", "FLAT", "READ", "TALK", "USES", "VAULT",
           "HostFault", "Keeper", "Shelf", "constraints", "functions"]  # fmt: skip
