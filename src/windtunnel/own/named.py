"""Named resources with a capacity: ``@pytest.mark.lease("gpu", 1)``.

A resource of capacity N is N slot files, each held under flock by whoever has that slot, so a
dead holder's slots are free at once. Slots of one resource are taken under the resource's gate,
one taker at a time, and resources in the order of their names: nobody waits for something while
holding what the other one waits for, so takers cannot deadlock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from windtunnel.core import REAL_CLOCK, ResourceError, UsageError
from windtunnel.own.home import folder
from windtunnel.own.ledger import note, place
from windtunnel.own.locks import FileLock
from windtunnel.own.waiting import wait_until


def parse_capacities(words: Iterable[str]) -> dict[str, int]:
    """Read ``name=number`` as settings give it.

    :raises UsageError: for anything else.

    >>> parse_capacities(["gpu=2"])
    {'gpu': 2}
    """
    capacities: dict[str, int] = {}
    for word in words:
        name, _, number = word.partition("=")
        if not name or not number.isdigit() or int(number) < 1:
            raise UsageError(
                "a capacity is written name=number, the number from 1 up", found=repr(word)
            )
        capacities[name] = int(number)
    return capacities


class NamedLease:
    """Slots of named resources, all of them or none; a context manager.

    :param amounts: how many slots of which resource.
    :param capacities: how many there are of each; one where it is not listed.
    :param within: seconds to wait for them.
    :param directory: where the slots are: the user's folder on this machine where None, so that
        all sessions of this user on this machine share them.
    :raises UsageError: when more is asked for than there is.
    :raises ResourceError: when they are not free in time; it says who holds them.

    >>> import tempfile
    >>> there = Path(tempfile.mkdtemp())
    >>> with NamedLease({"gpu": 1}, {"gpu": 2}, directory=there) as lease:
    ...     lease.slots
    {'gpu': (0,)}
    """

    kind = "lease"

    def __init__(
        self,
        amounts: Mapping[str, int],
        capacities: Mapping[str, int] | None = None,
        *,
        within: float = 120.0,
        directory: Path | None = None,
    ) -> None:
        self.slots: dict[str, tuple[int, ...]] = {}
        """Which slots of each resource are held, numbered from 0: which GPU to use, say."""
        self._locks: list[FileLock] = []
        self._directory = directory or folder("named")
        self._capacities = {name: (capacities or {}).get(name, 1) for name in amounts}
        for name, amount in amounts.items():
            _check(name, amount, self._capacities[name])
        self.name = ", ".join(f"{name}={amount}" for name, amount in sorted(amounts.items()))
        self._pid = os.getpid()
        deadline = REAL_CLOCK.monotonic() + within
        try:
            for name in sorted(amounts):
                self._take(name, amounts[name], deadline, within)
        except BaseException:
            self._let_go()
            raise
        note("acquired", self.kind, self.name)

    def release(self) -> None:
        """Give all slots back."""
        if self._locks and self._pid == os.getpid():
            self._let_go()
            note("released", self.kind, self.name)

    def __enter__(self) -> NamedLease:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    # -- as a part of a scope ----------------------------------------------------------------

    def stop(self) -> None:
        """Nothing to ask for: the slots are files of this process."""

    def stopped(self) -> bool:
        """Always: nothing else can hold this process's slots."""
        return True

    def force(self) -> str:
        """Never needed."""
        return ""

    def _take(self, name: str, amount: int, deadline: float, within: float) -> None:
        gate = FileLock(self._path(name, "gate"))
        slots = [FileLock(self._path(name, str(n))) for n in range(self._capacities[name])]
        taken: list[int] = []

        def enough() -> bool:
            for number, slot in enumerate(slots):
                if len(taken) < amount and number not in taken and slot.take():
                    taken.append(number)
            return len(taken) == amount

        def left() -> float:
            return max(0.0, deadline - REAL_CLOCK.monotonic())

        try:
            if not (gate.wait(left()) and wait_until(enough, left())):
                raise ResourceError(
                    f"no {amount} of {self._capacities[name]} {name} came free within {within:g} s",
                    found=f"held by {self._holders(name)}",
                    fix=f"raise the capacity ({name}=N in the setting `capacities`)"
                    " or the setting `lease_timeout`",
                )
        finally:
            for number, slot in enumerate(slots):
                if number in taken:
                    self._locks.append(slot)
                    slot.write(_who())
                else:
                    slot.close()
            gate.close()
        self.slots[name] = tuple(sorted(taken))

    def _path(self, name: str, part: str) -> Path:
        return self._directory / f"{name}.{part}"

    def _let_go(self) -> None:
        for lock in self._locks:
            if self._pid == os.getpid():
                lock.write("")
            lock.close()
        self._locks.clear()
        self.slots.clear()

    def _holders(self, name: str) -> str:
        told = []
        mine = {lock.path for lock in self._locks}
        for number in range(self._capacities[name]):
            path = self._path(name, str(number))
            try:
                who = json.loads(path.read_text(encoding="utf-8") or "{}")
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            if who and path not in mine:
                told.append(
                    f"{who['nodeid'] or 'a program'} (worker {who['worker'] or 'none'}, "
                    f"pid {who['pid']})"
                )
        return "; ".join(told) or "somebody who takes them in turns"


def _check(name: str, amount: int, capacity: int) -> None:
    if not name or "/" in name or name.startswith("."):
        raise UsageError("a resource's name is a word without slash", found=repr(name))
    if not 1 <= amount <= capacity:
        raise UsageError(
            f"a lease asks for {amount} of {name}",
            found=f"the capacity of {name} is {capacity}",
            fix=f'set capacities = ["{name}=N"] under [tool.windtunnel]',
        )


def _who() -> str:
    return json.dumps({"pid": os.getpid(), "nodeid": place.nodeid, "worker": place.worker})
