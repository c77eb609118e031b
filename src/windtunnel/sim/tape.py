"""The tape: every nondeterministic choice of a run, in order.

A choice is one integer. Scheduling picks are kept as they are; other draws carry the number of
their label in the high bits, so that a replay that asks for something else than what was drawn
is noticed at the first such choice. Each label draws from a stream of its own, so that a new
draw under one label does not move those of another.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence

from windtunnel.core.seed import Seed
from windtunnel.sim.errors import DivergedError

_SHIFT = 40
_MASK = (1 << _SHIFT) - 1
_UNIT = 1 << 32
_BATCH = 1024
# Numbers below 2**30 are one digit to Python, which makes their remainder cheap.
_THIRTY_BITS = int.from_bytes(b"\xff\xff\xff\x3f" * _BATCH, "little")


def _number(label: str) -> int:
    """What stands for a label on the tape: of its name, so that another label in the same place is
    noticed; 20 bits of it, since an entry of 60 is two digits to Python. Zero is the schedule.
    """
    return zlib.crc32(label.encode()) % 0xFFFFF + 1


class Tape:
    """Draws from a seed, or repeats what was drawn before.

    :param seed: seed of the streams.
    :param replay: choices of an earlier run, as :meth:`entries` gave them. When they are used
        up, the streams take over.
    :raises DivergedError: from a draw, when the replayed entry has another label or is out of
        range: the run is no longer the one that was recorded.

    >>> tape = Tape(Seed(1))
    >>> drawn = [tape.choose("net", 10) for _ in range(3)]
    >>> again = Tape(Seed(2), replay=tape.entries())
    >>> [again.choose("net", 10) for _ in range(3)] == drawn
    True
    """

    __slots__ = (
        "_bits",
        "_labels",
        "_left",
        "_past",
        "_position",
        "_replay",
        "_seed",
        "_words",
        "chunk",
    )

    def __init__(self, seed: Seed, *, replay: Iterable[int] | None = None) -> None:
        self._seed = seed
        self.chunk: list[int] = []
        self._past = array("Q")
        self._labels: dict[str, tuple[int, Callable[[], float]]] = {}
        self._replay = array("Q", replay) if replay is not None else None
        self._position = 0
        self._bits = seed.stream("sim/schedule").getrandbits
        self._words = array("I")
        self._left = 0

    @property
    def replaying(self) -> bool:
        """Whether recorded choices are left."""
        return self._replay is not None and self._position < len(self._replay)

    def leave_replay(self) -> None:
        """From here on, draw anew: the run is about to leave the one that is repeated."""
        self._replay = None

    def words(self, count: int) -> array[int]:
        """So many draws of the schedule's stream, each a whole number below 2**30.

        They come from one large draw of many, since drawing one by one costs as much as the
        rest of a step; what is not needed is dropped, which is the same in every run.
        """
        if self._left < count:
            bits = self._bits(32 * _BATCH) & _THIRTY_BITS
            self._words = array("I", bits.to_bytes(4 * _BATCH, "little"))
            self._left = _BATCH
        self._left = left = self._left - count
        return self._words[left : left + count]

    def choose(self, label: str, n: int) -> int:
        """A whole number from 0 to n - 1."""
        number, draw = self._label(label)
        if self._replay is not None and self._position < len(self._replay):
            value = self._recorded(label, number, n)
        else:
            value = int(draw() * n)
        self.chunk.append(number << _SHIFT | value)
        return value

    def chooser(self, label: str, values: Sequence[int]) -> Callable[[], int]:
        """A function that draws one of these values, for what is drawn with every message."""
        number, draw = self._label(label)
        n = len(values)
        keep = self.chunk.append
        shifted = number << _SHIFT

        def choose() -> int:
            if self._replay is not None and self._position < len(self._replay):
                value = self._recorded(label, number, n)
            else:
                value = int(draw() * n)
            keep(shifted | value)
            return values[value]

        return choose

    def uniform(self, label: str) -> float:
        """A number from 0 up to, not including, 1, in steps of 2**-32."""
        return self.choose(label, _UNIT) / _UNIT

    def pick(self, n: int) -> int:
        """Which of ``n`` runnable things goes on, where a recorded run is repeated."""
        value = self._recorded("the schedule", 0, n) if self.replaying else self.words(1)[0] % n
        self.chunk.append(value)
        return value

    def entries(self) -> array[int]:
        """All choices so far."""
        self.fold()
        return self._past[:]

    def fold(self) -> None:
        """Pack what was drawn lately: the list the loop appends to costs 8 bytes an entry and
        the objects besides."""
        self._past.extend(self.chunk)
        self.chunk.clear()

    def __len__(self) -> int:
        return len(self._past) + len(self.chunk)

    def _label(self, label: str) -> tuple[int, Callable[[], float]]:
        known = self._labels.get(label)
        if known is None:
            known = (_number(label), self._seed.stream(f"sim/{label}").random)
            self._labels[label] = known
        return known

    def _name(self, kind: int) -> str:
        if kind == 0:
            return "'the schedule'"
        return next(
            (repr(label) for label, (number, _) in self._labels.items() if number == kind),
            "a label that this run has not drawn for",
        )

    def _recorded(self, label: str, number: int, n: int) -> int:
        assert self._replay is not None
        entry = self._replay[self._position]
        kind, value = entry >> _SHIFT, entry & _MASK
        if kind != number or value >= n:
            raise DivergedError(
                f"the replay diverged at choice {self._position}",
                found=f"a draw for {label!r} among {n}, where the tape has"
                f" {self._name(kind)}: {value}",
                fix="replay with the code, interpreter and packages that the token names",
            )
        self._position += 1
        return value
