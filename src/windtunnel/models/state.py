"""What one server remembers and draws from: identifiers, the models it has, stored objects.

The core makes one :class:`ServerState` and hands it to the dialects. Whatever looks random in an
answer is drawn here from the server's seed, so that the same requests in the same order are
answered with the same bytes.
"""

from __future__ import annotations

import dataclasses
import random
import string
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from windtunnel.core.clock import Clock
from windtunnel.core.seed import Seed
from windtunnel.models.protocol import HttpRequest, Response


def _table(alphabet: str) -> bytes:
    return bytes(ord(alphabet[value % len(alphabet)]) for value in range(256))


_ALNUM = _table(string.ascii_letters + string.digits)
_BASE58 = _table("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
_POOL = 4096


class Ids:
    """Identifiers and times, drawn from a seed in the order in which they are asked for.

    >>> from windtunnel.core.clock import REAL_CLOCK
    >>> one, same = Ids(Seed(7), REAL_CLOCK), Ids(Seed(7), REAL_CLOCK)
    >>> one.alnum("chatcmpl-", 29) == same.alnum("chatcmpl-", 29)
    True
    >>> len(one.hex("req_", 32))
    36
    """

    __slots__ = (
        "_alnums",
        "_at",
        "_chance",
        "_clock_time",
        "_hexes",
        "_pool",
        "_seed",
        "fixed_time",
    )

    def __init__(self, seed: Seed, clock: Clock) -> None:
        self._seed = seed
        self._clock_time = clock.time
        self._chance = seed.stream("ids")
        self._pool = b""
        self._alnums = self._hexes = ""  # the pool, written so
        self._at = _POOL
        self.fixed_time: float | None = None
        """Seconds since the epoch that every answer shall bear, None for the clock's."""

    def _take(self, length: int) -> int:
        """Where in the pool so many unused bytes begin."""
        at = self._at
        if at + length > _POOL:
            # Drawn and written in bulk: one call of the generator serves a hundred identifiers.
            pool = self._pool = self._chance.randbytes(max(_POOL, length))
            self._alnums, self._hexes = pool.translate(_ALNUM).decode(), pool.hex()
            at = 0
        self._at = at + length
        return at

    def alnum(self, prefix: str, length: int) -> str:
        """``prefix`` and so many letters and digits."""
        at = self._take(length)
        return prefix + self._alnums[at : at + length]

    def base58(self, prefix: str, length: int) -> str:
        """``prefix`` and so many characters of the alphabet without 0, O, I and l."""
        at = self._take(length)
        return prefix + self._pool[at : at + length].translate(_BASE58).decode()

    def hex(self, prefix: str, length: int) -> str:
        """``prefix`` and so many hexadecimal digits."""
        at = 2 * self._take((length + 1) // 2)
        return prefix + self._hexes[at : at + length]

    def uuid(self) -> str:
        """A UUID of version 4."""
        digits = self.hex("", 32)
        variant = "89ab"[int(digits[16], 16) & 3]
        return (
            f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
        )

    def time(self) -> float:
        """Seconds since the epoch, on the world's clock."""
        return self.fixed_time if self.fixed_time is not None else self._clock_time()

    def now(self) -> int:
        """Whole seconds since the epoch."""
        return int(self.fixed_time if self.fixed_time is not None else self._clock_time())

    def rewind(self) -> None:
        """Begin again with the first identifier."""
        self._chance = self._seed.stream("ids")
        self._pool = b""
        self._at = _POOL


@dataclasses.dataclass(slots=True)
class ModelEntry:
    """A model that the server has.

    :param name: as the client writes it.
    :param dialect: the only dialect that has it, empty for all.
    :param created: when it came to be, seconds since the epoch.
    :param loaded: whether it is in memory (Ollama).
    :param details: whatever the dialect wants to tell about it.
    """

    name: str
    dialect: str = ""
    created: int = 1_700_000_000
    loaded: bool = False
    details: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])


def _tagged(name: str) -> str:
    """The other way to write a name: with the tag ``latest``, or without it."""
    return name.removesuffix(":latest") if ":" in name else f"{name}:latest"


class Catalogue:
    """The models of a server, in the order in which they were added.

    :param closed: whether the listed models are all there are. Where it is False, a dialect that
        is not strict by itself takes any name that was not removed.

    >>> models = Catalogue()
    >>> models.add("llama3.2", dialect="ollama").name
    'llama3.2'
    >>> models.known("gpt-4o"), models.known("gpt-4o", strict=True)
    (True, False)
    >>> models.remove("gpt-4o")
    False
    >>> models.known("gpt-4o")
    False
    """

    def __init__(self, *, closed: bool = False) -> None:
        self.closed = closed
        self._entries: dict[str, ModelEntry] = {}
        self._removed: set[str] = set()
        self.version = 0
        """Grows with every change."""
        self._scripted: Callable[[str], bool] = lambda name: False

    def add(self, name: str, *, dialect: str = "", **details: Any) -> ModelEntry:
        """Add a model, or replace the one of that name."""
        entry = ModelEntry(name, dialect, details=details)
        self._entries[name] = entry
        self.version += 1
        self._removed.difference_update((name, _tagged(name)))
        return entry

    def remove(self, name: str) -> bool:
        """Remove a model, listed or not; whether it was listed. It is unknown from now on. Its
        name with or without Ollama's tag ``latest`` is the same."""
        names = name, _tagged(name)
        self._removed.update(names)
        self.version += 1
        return sum(self._entries.pop(one, None) is not None for one in names) > 0

    def get(self, name: str) -> ModelEntry | None:
        """The entry of a listed model."""
        return self._entries.get(name)

    def known(self, name: str, *, strict: bool = False) -> bool:
        """Whether requests for the model are answered: it is listed, or a script names it, or any
        name is good enough (neither ``strict`` nor :attr:`closed`) and it was not removed."""
        if name in self._entries:
            return True
        if name in self._removed:
            return False
        return self._scripted(name) or not (strict or self.closed)

    def of(self, dialect: str) -> list[ModelEntry]:
        """The models listed for a dialect."""
        return [entry for entry in self._entries.values() if entry.dialect in ("", dialect)]

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(list(self._entries.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def clear(self) -> None:
        """Have no models, and none removed."""
        self._entries.clear()
        self._removed.clear()
        self.version += 1

    def ask_scripts(self, named: Callable[[str], bool]) -> None:
        """Have a model be known where ``named`` says that a script names it."""
        self._scripted = named


class ServerState:
    """What the dialects may ask of the server they speak for.

    :param serve: answers a request as if it had come over the network (for batches).
    :param count: tokens of a text.
    """

    def __init__(
        self,
        seed: Seed,
        clock: Clock,
        *,
        serve: Callable[[HttpRequest], Response],
        count: Callable[[str], int],
        models: Iterable[str] | None = None,
    ) -> None:
        self.seed = seed
        self.clock = clock
        self.ids = Ids(seed, clock)
        self.serve = serve
        self.count = count
        self.models = Catalogue(closed=models is not None)
        for name in models or ():
            self.models.add(name)
        self._stores: dict[str, dict[str, Any]] = {}

    def store(self, name: str) -> dict[str, Any]:
        """Things kept between requests, under a name of the dialect's choice: files, batches,
        stored responses. Empty at first and again after a reset."""
        return self._stores.setdefault(name, {})

    def random(self, name: str) -> random.Random:
        """A generator of its own for everything called ``name``: the same name, the same numbers,
        whoever else drew before."""
        return self.seed.stream(name)

    def forget(self, models: Iterable[str] | None = None) -> None:
        """Drop stored things, have these models, and begin identifiers anew."""
        self._stores.clear()
        self.ids.rewind()
        self.models.clear()
        for name in models or ():
            self.models.add(name)
