"""Which test goes to which worker when: a pure plan, and the dispenser that follows it.

Longest processing time first (Graham, "Bounds on multiprocessing timing anomalies", SIAM J.
Appl. Math. 17, 1969): with the longest tests first and the next one always to whoever is free,
the run ends within a hair of the lower bound ``max(sum / n, longest)``, provided that the
durations are known. They come from the record (75th percentile of the last runs); a test it does
not know is taken to last as long as its file's tests do on average.

Nothing here imports pytest, starts a process or reads a clock.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

_UNKNOWN_S = 0.05
_WORTH_S = 0.1
_WORTH_SHARE = 0.01
_WORTH_DIVIDING_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One collected test.

    :param nodeid: its node id.
    :param group: the tests that must stay together on one worker share this; empty for none.
    """

    nodeid: str
    group: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run will hand out.

    :param units: indices of tests, in the order to hand them out; a unit stays together.
    :param durations: expected seconds of each test, by index.
    :param divisible: whether the tail of a unit may move to an idle worker.
    :param chunked: units are shares of the whole rather than tests that belong together, so
        that dividing them costs nothing.
    """

    units: tuple[tuple[int, ...], ...]
    durations: tuple[float, ...]
    divisible: bool
    chunked: bool = False

    def lower_bound_s(self, workers: int) -> float:
        """Seconds below which no schedule on that many workers can end."""
        if not self.durations:
            return 0.0
        return max(sum(self.durations) / workers, max(self.durations))


def expected(nodeids: Sequence[str], known: Mapping[str, float]) -> tuple[float, ...]:
    """Seconds each test is expected to take.

    >>> expected(["a.py::x", "a.py::y", "b.py::z"], {"a.py::x": 2.0})
    (2.0, 2.0, 2.0)
    """
    by_file: defaultdict[str, list[float]] = defaultdict(list)
    for nodeid in nodeids:
        if nodeid in known:
            by_file[_file(nodeid)].append(known[nodeid])
    means = {file: sum(values) / len(values) for file, values in by_file.items()}
    overall = sum(means.values()) / len(means) if means else _UNKNOWN_S
    return tuple(
        known[nodeid] if nodeid in known else means.get(_file(nodeid), overall)
        for nodeid in nodeids
    )


def plan(
    jobs: Sequence[Job],
    workers: int,
    *,
    known: Mapping[str, float],
    dist: str = "duration",
    keep_order: bool = False,
) -> Plan:
    """Plan a run.

    :param jobs: the tests in collection order.
    :param workers: number of workers.
    :param known: seconds from the record, by node id.
    :param dist: ``duration`` for ours, or one of pytest-xdist's modes, which keep their meaning:
        ``load`` and ``worksteal`` hand out single tests in order, ``loadscope`` keeps a module's
        functions or a class together, ``loadfile`` a file, ``loadgroup`` an ``xdist_group``.
    :param keep_order: the order was given by the user (``--ff``, an ordering plugin, node ids on
        the command line): hand out in that order instead of longest first.

    >>> jobs = [Job("a.py::short"), Job("a.py::long")]
    >>> plan(jobs, 2, known={"a.py::short": 1.0, "a.py::long": 9.0}).units
    ((1,), (0,))
    """
    durations = expected([job.nodeid for job in jobs], known)
    if dist == "worksteal":
        return Plan(_chunks(len(jobs), workers), durations, divisible=True, chunked=True)
    units = _units([_key(job, dist) for job in jobs])
    if dist == "duration":
        share = sum(durations) / workers if workers else 0.0
        units = [part for unit in units for part in _split(unit, durations, share)]
    if known and not keep_order and dist != "load":
        units = _longest_first(units, durations, workers)
    return Plan(tuple(units), durations, divisible=dist == "duration")


def _longest_first(
    units: list[tuple[int, ...]], durations: Sequence[float], workers: int
) -> list[tuple[int, ...]]:
    """Put forward the units that could make the run end late; leave the others in their order.

    A unit that ends last delays the run by its own length at most. Where that is not worth
    having, the order in which the tests were written is: suites rely on it more than they know
    (a victim of pollution, as a rule, comes before what pollutes it).
    """
    worth_s = max(_WORTH_SHARE * sum(durations) / workers, _WORTH_S)
    lengths = {unit: sum(durations[index] for index in unit) for unit in units}
    long = [unit for unit in units if lengths[unit] >= worth_s]
    long.sort(key=lambda unit: -lengths[unit])
    return [*long, *(unit for unit in units if lengths[unit] < worth_s)]


def _key(job: Job, dist: str) -> str:
    if dist == "load":
        return ""
    if dist == "loadfile":
        return _file(job.nodeid)
    if dist == "loadscope":
        return job.nodeid.split("[", 1)[0].rpartition("::")[0] or _file(job.nodeid)
    return job.group


def _file(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]


def _units(keys: Iterable[str]) -> list[tuple[int, ...]]:
    units: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        units.setdefault(key or index, []).append(index)
    return [tuple(unit) for unit in units.values()]


def _chunks(count: int, workers: int) -> tuple[tuple[int, ...], ...]:
    edges = [count * number // workers for number in range(workers + 1)]
    return tuple(tuple(range(low, high)) for low, high in itertools.pairwise(edges) if high > low)


def _split(
    unit: tuple[int, ...], durations: Sequence[float], share_s: float
) -> list[tuple[int, ...]]:
    """Cut a unit that is longer than a worker's fair share, which would bound the whole run."""
    if len(unit) == 1 or sum(durations[index] for index in unit) <= share_s:
        return [unit]
    parts: list[list[int]] = [[]]
    filled = 0.0
    for index in unit:
        if parts[-1] and filled + durations[index] > share_s:
            parts.append([])
            filled = 0.0
        parts[-1].append(index)
        filled += durations[index]
    return [tuple(part) for part in parts]


class Dispenser:
    """Hands out the tests of a plan, one at a time, to workers that ask.

    >>> dispenser = Dispenser(Plan(((2,), (0, 1)), (1.0, 1.0, 5.0), divisible=True))
    >>> dispenser.take("gw0"), dispenser.take("gw1"), dispenser.take("gw1"), dispenser.take("gw0")
    (2, 0, 1, None)
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._leads = {unit[0] for unit in plan.units}
        self._pending = deque(deque(unit) for unit in plan.units)
        self._current: dict[str, deque[int]] = {}

    def take(self, worker: str) -> int | None:
        """The next test for that worker; None when all are handed out."""
        unit = self._current.get(worker)
        if not unit:
            unit = self._pending.popleft() if self._pending else self._divide()
            if not unit:
                return None
            self._current[worker] = unit
        return unit.popleft()

    @property
    def left(self) -> bool:
        """Whether tests are still to be handed out, be it to the one they are reserved for."""
        return bool(self._pending) or any(self._current.values())

    def movable(self, index: int) -> bool:
        """Whether a test that one worker has queued may go to another.

        Where units must not be divided, only a unit's first test may, and takes the rest along.
        """
        return self._plan.divisible or index in self._leads

    def move(self, index: int, old: str, new: str) -> None:
        """Worker ``new`` has taken the queued test from ``old``; reserve its unit accordingly."""
        if not self._plan.divisible:
            self._current[new] = self._current.pop(old, deque())

    def give_back(self, worker: str, indices: Iterable[int] = ()) -> None:
        """That worker is gone: others take ``indices`` and what was reserved for it, first."""
        rest = deque([*indices, *self._current.pop(worker, ())])
        if rest:
            self._pending.appendleft(rest)

    def _length_s(self, unit: Iterable[int]) -> float:
        return sum(self._plan.durations[index] for index in unit)

    def _divide(self) -> deque[int] | None:
        """The later half of what the most loaded worker still has reserved."""
        if not self._plan.divisible:
            return None
        reserved = [unit for unit in self._current.values() if len(unit) >= 2]
        if not reserved:
            return None
        unit = max(reserved, key=self._length_s)
        if self._length_s(unit) < _WORTH_DIVIDING_S and not self._plan.chunked:
            return None
        return deque(reversed([unit.pop() for _ in range(len(unit) // 2)]))
