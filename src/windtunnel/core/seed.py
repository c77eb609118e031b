"""The run's one seed, from which everything random is drawn by name.

Streams are named so that adding a draw in one place does not move the draws of another: the
stream ``"net"`` yields the same numbers whether or not anyone ever asked for ``"disk"``.
"""

from __future__ import annotations

import dataclasses
import random

from windtunnel.core.errors import UsageError

_MAX = 2**63


@dataclasses.dataclass(frozen=True, slots=True)
class Seed:
    """A 63-bit seed with named streams.

    :param value: an integer from 0 to 2**63 - 1.
    :raises UsageError: when the value is outside that range.

    >>> Seed(7).stream("net").random() == Seed(7).stream("net").random()
    True
    >>> Seed(7).stream("net").random() == Seed(7).stream("disk").random()
    False
    """

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value < _MAX:
            raise UsageError("a seed is a whole number from 0 to 2**63 - 1", found=repr(self.value))

    @classmethod
    def parse(cls, text: str) -> Seed:
        """Read a seed as a user writes it, decimal or ``0x`` hexadecimal.

        >>> Seed.parse("0x10")
        Seed(value=16)
        """
        try:
            return cls(int(text, 0))
        except ValueError:
            raise UsageError(
                "a seed is a whole number from 0 to 2**63 - 1", found=repr(text)
            ) from None

    @classmethod
    def fresh(cls) -> Seed:
        """A new seed from the operating system's entropy."""
        return cls(random.SystemRandom().getrandbits(63))

    def stream(self, name: str) -> random.Random:
        """The generator of that name, at its beginning.

        Seeding a ``random.Random`` from a string goes through SHA-512 (``random.seed``,
        version 2), so a stream is the same on every Python and under every PYTHONHASHSEED.
        """
        return random.Random(f"{self.value}/{name}")

    def child(self, name: str) -> Seed:
        """A seed of its own for the part called ``name``."""
        return Seed(self.stream(f"child/{name}").getrandbits(63))


_run_seed: Seed | None = None


def run_seed() -> Seed:
    """The seed of the run this process takes part in; outside a run, one drawn on first use."""
    global _run_seed
    if _run_seed is None:
        _run_seed = Seed.fresh()
    return _run_seed


def set_run_seed(seed: Seed) -> None:
    """Make ``seed`` the one this process draws from."""
    global _run_seed
    _run_seed = seed
