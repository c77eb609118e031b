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
from collections.abc import Collection, Iterable, Mapping, Sequence

_UNKNOWN_S = 0.05
_WORTH_S = 0.1
_WORTH_SHARE = 0.02
_SHORT_RUN_S = 5.0
_WORTH_SHORT_S = 0.5
_WORTH_SHORT_SHARE = 0.25
_WORTH_STEALING_S = 0.1
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
    :param starts: the tests at which a unit can be divided without parting what shares a fixture.
    :param stretches: the tests that go out in stretches of the suite, to be run as it was written.
    """

    units: tuple[tuple[int, ...], ...]
    durations: tuple[float, ...]
    divisible: bool
    starts: frozenset[int] = frozenset()
    stretches: frozenset[int] = frozenset()

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
        return Plan(
            _chunks(len(jobs), workers),
            durations,
            divisible=True,
            starts=frozenset(range(len(jobs))),
        )
    units = _units([_key(job, dist) for job in jobs])
    if dist == "duration":
        share_s = sum(durations) / workers
        units = [part for unit in units for part in _split(unit, durations, share_s)]
    starts = frozenset(unit[0] for unit in units)
    stretches: frozenset[int] = frozenset()
    if dist == "duration" and not keep_order:
        long = _worth_going_first(units, durations, workers) if known else []
        first = set(long)
        rest = [unit for unit in units if unit not in first]
        units = [*long, *_blocks(rest, durations, workers)]
        stretches = frozenset(index for unit in rest for index in unit)
    elif known and dist in ("loadscope", "loadfile", "loadgroup") and not keep_order:
        units = _longest_first(units, durations)
    return Plan(
        tuple(units),
        durations,
        divisible=dist == "duration",
        starts=starts,
        stretches=stretches,
    )


def _worth_going_first(
    units: list[tuple[int, ...]], durations: Sequence[float], workers: int
) -> list[tuple[int, ...]]:
    """The units long enough to make the run end late, longest first.

    A unit that ends last delays the run by its own length at most. Where that is not worth
    having, the order in which the tests were written is.
    """
    share_s = sum(durations) / workers
    if share_s >= _SHORT_RUN_S:
        worth_s = max(_WORTH_SHARE * share_s, _WORTH_S)
    else:  # a second at most is to be won here
        worth_s = max(_WORTH_SHORT_SHARE * share_s, _WORTH_SHORT_S)
    long = [unit for unit in units if sum(durations[index] for index in unit) >= worth_s]
    return _longest_first(long, durations)


def _blocks(
    units: list[tuple[int, ...]], durations: Sequence[float], workers: int
) -> list[tuple[int, ...]]:
    """One block of neighbours for each worker, of about equal length.

    Suites rely on the order they were written in more than they know. A worker that runs a
    stretch of it from one test to the next meets no order that the serial run did not have,
    but where its stretch begins.
    """
    lengths = [sum(durations[index] for index in unit) for unit in units]
    block_s = sum(lengths) / workers
    blocks: list[tuple[int, ...]] = []
    filled_s = 0.0
    for unit, length_s in zip(units, lengths, strict=True):
        if blocks and filled_s + length_s / 2 < block_s * len(blocks):
            blocks[-1] += unit
        else:
            blocks.append(unit)
        filled_s += length_s
    return blocks


def _longest_first(
    units: list[tuple[int, ...]], durations: Sequence[float]
) -> list[tuple[int, ...]]:
    return sorted(units, key=lambda unit: -sum(durations[index] for index in unit))


def _key(job: Job, dist: str) -> str:
    if dist == "load":
        return ""
    if dist == "loadfile":
        return _file(job.nodeid)
    return _scope(job) if dist == "loadscope" else job.group


def _scope(job: Job) -> str:
    return job.nodeid.split("[", 1)[0].rpartition("::")[0]


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
        self._expected_s = 0.0
        self._observed_s = 0.0

    def observe(self, index: int, seconds: float) -> None:
        """That test took so long; what is left is judged by how far off expectations were."""
        self._expected_s += self._plan.durations[index]
        self._observed_s += seconds

    def take(self, worker: str, held_up: Collection[str] = ()) -> int | None:
        """The next test for that worker; None when there is none for it now.

        :param held_up: workers whose test lasts: what is reserved for them would wait.
        """
        index = self.take_own(worker)
        if index is None and self.divide_for(worker, held_up):
            index = self.take_own(worker)
        return index

    def take_own(self, worker: str) -> int | None:
        """The next test of what is reserved for that worker, or of a unit that nobody has."""
        unit = self._current.get(worker)
        if not unit:
            if not self._pending:
                return None
            unit = self._current[worker] = self._pending.popleft()
        return unit.popleft()

    def divide_for(self, worker: str, held_up: Collection[str] = ()) -> bool:
        """Reserve for that worker a part of what is reserved for another, where that is worth it.

        :param held_up: workers whose test lasts: what is reserved for them would wait.
        """
        unit = self._divide(held_up)
        if unit:
            self._current[worker] = unit
        return bool(unit)

    def keeps_order(self, index: int) -> bool:
        """Whether a test is of a stretch that is to be run as it was written.

        A worker that has run something else would meet it in an order that no serial run has.
        """
        return index in self._plan.stretches

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

    def reserve(self, worker: str, index: int) -> None:
        """That worker is to have that test, which it cannot be given yet."""
        self._current.setdefault(worker, deque()).appendleft(index)

    def reserved_next(self, worker: str) -> int | None:
        """The test that worker takes next of what is reserved for it."""
        unit = self._current.get(worker)
        return unit[0] if unit else None

    def give_back(self, worker: str, indices: Iterable[int] = ()) -> None:
        """That worker is gone: others take ``indices`` and what was reserved for it, first."""
        rest = deque([*indices, *self._current.pop(worker, ())])
        if rest:
            self._pending.appendleft(rest)

    def _length_s(self, unit: Iterable[int]) -> float:
        pace = self._observed_s / self._expected_s if self._expected_s else 1.0
        return pace * sum(self._plan.durations[index] for index in unit)

    def _divide(self, held_up: Collection[str]) -> deque[int] | None:
        """The later half of what the most loaded worker still has reserved."""
        if not self._plan.divisible:
            return None
        reserved = {name: unit for name, unit in self._current.items() if unit}
        for name in sorted(reserved, key=lambda name: self._length_s(reserved[name]), reverse=True):
            unit = reserved[name]
            cut = self._cut(unit, waits=name in held_up)
            if cut is not None:
                return deque(reversed([unit.pop() for _ in range(len(unit) - cut)]))
        return None

    def _cut(self, unit: deque[int], *, waits: bool) -> int | None:
        """Where to divide a reserved unit: in the middle, at best between fixtures."""
        length_s = self._length_s(unit)
        cuts = [at for at in range(len(unit)) if unit[at] in self._plan.starts and (at or waits)]
        if cuts and (waits or length_s >= _WORTH_STEALING_S):
            return min(cuts, key=lambda at: abs(at - len(unit) // 2))
        if waits or (length_s >= _WORTH_DIVIDING_S and len(unit) > 1):
            return len(unit) // 2
        return None
