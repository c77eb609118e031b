"""What a server was asked and what it answered, the last of it: bounded, so that memory is flat."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, TypeVar

from windtunnel.core.faults import Fault
from windtunnel.models.jsonio import loads
from windtunnel.models.protocol import HttpRequest, ModelCall, Reply, Usage
from windtunnel.models.script import Script

_PARSED = 16
_FIRST = 100
T = TypeVar("T")

State: TypeAlias = Literal["answering", "sent", "aborted"]


@dataclasses.dataclass(slots=True, eq=False)
class Recorded:
    """One request and its answer, as a test reads them.

    :param number: 1 for the first.
    :param time: when it came, seconds since the epoch on the world's clock.
    :param reply: what was answered, None likewise.
    :param usage: the tokens that were reported.
    :param status: the HTTP status, 0 where none was sent.
    :param script: the script that answered; None for a default.
    :param state: ``answering``, ``sent``, or ``aborted`` when the client hung up before the end.
    :param faults: the faults that befell it.
    :param weight: bytes it counts for in the journal, 0 where it is in none.
    """

    number: int
    time: float
    request: HttpRequest
    dialect: str = ""
    endpoint: str = ""
    _call: ModelCall | None = None
    reply: Reply | None = None
    usage: Usage | None = None
    status: int = 0
    script: Script | None = None
    state: State = "answering"
    faults: tuple[Fault, ...] = ()
    _read: Callable[[HttpRequest], ModelCall | None] | None = None
    weight: int = 0

    @property
    def call(self) -> ModelCall | None:
        """What it asked, None where it asked no model or was refused."""
        if self._call is None and self._read is not None:
            self._call = self._read(self.request)
        return self._call

    def bear(self, call: ModelCall, read: Callable[[HttpRequest], ModelCall | None] | None) -> None:
        """Have this call; ``read`` can make it of the request again, None where nothing can."""
        self._call, self._read = call, read

    def shed(self) -> None:
        """Keep the bytes alone, where the call can be made of them again."""
        if self._read is not None:
            self._call = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.request.method

    @property
    def path(self) -> str:
        """The path, without the query."""
        return self.request.path

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return dict(self.request.headers)

    @property
    def body(self) -> Any:
        """The body: parsed where it is JSON, None where there is none, else as bytes."""
        if not self.request.body:
            return None
        try:
            return loads(self.request.body)
        except ValueError:
            return self.request.body

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self.call.model if self.call is not None else ""

    @property
    def text(self) -> str:
        """The last text of the user."""
        return self.call.last_user_text if self.call is not None else ""

    @property
    def prompt(self) -> str:
        """All text that the model was given."""
        return self.call.prompt if self.call is not None else ""

    @property
    def answer(self) -> str:
        """The text of the answer."""
        return self.reply.text if self.reply is not None else ""

    def __str__(self) -> str:
        asked = f" {self.model} {self.text!r}" if self.call is not None else ""
        return f"{self.number}. {self.method} {self.path}{asked} -> {self.status}"


class Firsts(list[T]):
    """The first hundred of what is appended, which say most; the rest is counted.

    >>> wrong = Firsts(range(100))
    >>> wrong.append(100)
    >>> len(wrong), wrong.dropped
    (100, 1)
    """

    dropped = 0
    """How many were not kept."""

    def append(self, one: T) -> None:
        """Keep it, or count it."""
        if len(self) < _FIRST:
            super().append(one)
        else:
            self.dropped += 1

    def clear(self) -> None:
        """Forget all, and how many there were."""
        super().clear()
        self.dropped = 0


class Journal:
    """The last requests of a server, and the bytes of those before them not at all: nothing here
    grows for ever.

    :param limit: how many are kept.
    :param limit_bytes: how many bytes the bodies of the requests and the texts of the answers that
        were made for one request alone may have together.
    """

    def __init__(self, *, limit: int = 10_000, limit_bytes: int = 64 << 20) -> None:
        self.count = 0
        """How many requests there were, kept or not."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._kept: deque[Recorded] = deque()

    def begin(self, request: HttpRequest, time: float) -> Recorded:
        """Enter a request that has come."""
        self.count += 1
        recorded = Recorded(self.count, time, request)
        kept = self._kept
        kept.append(recorded)
        recorded.weight = weight = len(request.body) + 1
        self._bytes += weight
        if len(kept) > _PARSED:
            # A parsed call is many small objects, which the garbage collector would visit again
            # and again; so only the last few are kept as such.
            kept[-_PARSED].shed()
        if len(kept) > self._limit or self._bytes > self._limit_bytes:
            self._drop()
        return recorded

    def _drop(self) -> None:
        kept = self._kept
        while len(kept) > self._limit or (self._bytes > self._limit_bytes and len(kept) > 1):
            dropped = kept.popleft()
            self._bytes -= dropped.weight
            dropped.weight = 0

    def weigh(self, recorded: Recorded, size: int) -> None:
        """Count so many characters of an answer that no other request has."""
        if recorded.weight:  # else it is not kept any more
            recorded.weight += size
            self._bytes += size
            if self._bytes > self._limit_bytes:
                self._drop()

    @property
    def dropped(self) -> int:
        """How many of the first are no longer kept."""
        return self.count - len(self._kept)

    def __iter__(self) -> Iterator[Recorded]:
        return iter(list(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget everything, the count too."""
        self.count = self._bytes = 0
        for one in self._kept:
            one.weight = 0
        self._kept.clear()
