"""``compare``: is the candidate slower than the baseline?

Each process runs one of the two; which, is drawn in blocks of two and two, so that both meet the
machine's moods alike. A process says one number: the shortest of a few samples, without the time
it waited for a processor. The numbers of a block are compared with each other and no others.
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from windtunnel.bench import processes
from windtunnel.bench.decision import Change, Rule
from windtunnel.bench.plan import name_of
from windtunnel.bench.ranksum import Block
from windtunnel.bench.result import Json
from windtunnel.bench.statistics import median
from windtunnel.bench.target import Reference, Target, target_of
from windtunnel.bench.units import duration, percent
from windtunnel.bench.worker import Answer
from windtunnel.core import REAL_CLOCK, Clock, Sample, UsageError, current_test, emit
from windtunnel.core.seed import Seed, run_seed

Comparable: TypeAlias = "Callable[[], Any] | str | Reference"
"""A function without arguments, ``FILE:NAME``, or where one is found."""

_EACH = 2  # processes of each side in a block
_SAMPLES = 6
_WARMUP = 2
_LEAST_SAMPLE_S = 1e-3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two.

    :param name: what it is called.
    :param best_s: what each process said: its shortest sample, seconds a call, without waits for
        a processor.
    :param wall_s: every sample of every process by the wall clock, seconds a call.
    :param failures: samples in which a call raised.
    :param error: the first error.
    """

    name: str
    best_s: tuple[float, ...]
    wall_s: tuple[tuple[float, ...], ...]
    failures: int = 0
    error: str = ""

    @property
    def median(self) -> float:
        """The median of what the processes said, seconds a call."""
        return median(self.best_s)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What :func:`compare` found.

    :param verdict: of the candidate. ``unknown`` when the budget was used up before the bounds
        were narrow enough, or when calls failed.
    :param ratio: the candidate's time over the baseline's.
    :param low: the ratio is not below this,
    :param high: nor above this, three standard errors to each side.
    :param candidate: its samples.
    :param baseline: its samples.
    :param floor: the share up to which a change is none.
    :param elapsed_s: seconds that the comparison took.
    :param seed: of the order in which processes were run.
    :param order: that order, ``c`` and ``b``.
    """

    verdict: Change
    ratio: float
    low: float
    high: float
    candidate: Side
    baseline: Side
    floor: float
    elapsed_s: float
    seed: int
    order: str

    @property
    def processes(self) -> int:
        """How many processes were run."""
        return len(self.order)

    @property
    def failures(self) -> int:
        """Samples in which a call raised, of both sides."""
        return self.candidate.failures + self.baseline.failures

    def to_json(self) -> dict[str, Json]:
        """As plain data, format 1."""
        return {
            "format": 1,
            "verdict": str(self.verdict),
            "ratio": _finite(self.ratio),
            "low": _finite(self.low),
            "high": _finite(self.high),
            "floor": self.floor,
            "processes": self.processes,
            "elapsed_s": self.elapsed_s,
            "seed": self.seed,
            **{
                key: {
                    "name": side.name,
                    "best_s": list(side.best_s),
                    "median": _finite(side.median),
                    "failures": side.failures,
                    "error": side.error,
                }
                for key, side in (("candidate", self.candidate), ("baseline", self.baseline))
            },
        }

    def __str__(self) -> str:
        return "\n".join(_text(self))


def compare(
    candidate: Comparable,
    baseline: Comparable,
    *,
    budget_s: float = 60.0,
    floor: float = 0.02,
    seed: int | None = None,
    clock: Clock = REAL_CLOCK,
    run: Callable[[Target, dict[str, Any], str], Answer] = processes.run,
) -> Comparison:
    """Compare two functions, each process running one of them.

    It ends as soon as the evidence is enough, at the latest when ``budget_s`` is used up.

    :param candidate: a function without arguments, plain or asynchronous, or ``FILE:NAME``. One
        that can be imported is run in fresh interpreters; another in forks of this process.
    :param baseline: likewise.
    :param budget_s: seconds it may take.
    :param floor: a change up to this share is none.
    :param seed: of the order of processes; drawn from the run's seed where not given.
    :param run: carries an order out in a process; for tests.
    :raises UsageError: where one cannot be found, or cannot be run in another process.

    >>> from windtunnel.bench import compare
    >>> import platform
    >>> compare(platform.node, platform.node, budget_s=0.5).verdict in ("same", "unknown")
    True
    """
    if budget_s <= 0:
        raise UsageError("a comparison needs time", found=f"budget_s={budget_s!r}")
    race = _Race(candidate, baseline, run, budget_s)
    rule = Rule(floor=floor)
    seed = run_seed().child("bench/compare").value if seed is None else seed
    rng = Seed(seed).stream("bench/order")
    began = clock.monotonic()
    blocks: list[Block] = []
    verdict = Change.UNKNOWN
    slowest = 0.0
    while not race.failures:
        block_began = clock.monotonic()
        if blocks and block_began - began + slowest > budget_s:
            break
        blocks.append(race.block(rng))
        slowest = max(slowest * 0.8, clock.monotonic() - block_began)
        if rule.looks_at(len(blocks)):
            verdict = rule.decide(blocks)
            if verdict is not Change.UNKNOWN:
                break
    ratio = rule.ratio(blocks)
    found = Comparison(
        verdict=Change.UNKNOWN if race.failures else verdict,
        ratio=ratio.middle,
        low=ratio.low,
        high=ratio.high,
        candidate=race.side("c"),
        baseline=race.side("b"),
        floor=floor,
        elapsed_s=clock.monotonic() - began,
        seed=seed,
        order=race.order,
    )
    _put_on_record(found)
    return found


def _put_on_record(found: Comparison) -> None:
    """The ratio as a sample, named for the candidate, with the baseline as its unit."""
    if math.isfinite(found.ratio):
        name = f"bench/compared/{found.candidate.name}"
        emit(Sample(name=name, value=found.ratio, unit=found.baseline.name, nodeid=current_test()))


class _Race:
    """Runs the processes of both sides, and keeps what they say."""

    def __init__(
        self,
        candidate: Comparable,
        baseline: Comparable,
        run: Callable[[Target, dict[str, Any], str], Answer],
        budget_s: float,
    ) -> None:
        self._targets = {"c": target_of(candidate), "b": target_of(baseline)}
        self._names = {"c": _name(candidate), "b": _name(baseline)}
        self._run = run
        self._answers: dict[str, list[Answer]] = {"c": [], "b": []}
        self._order: dict[str, Any] = {
            "task": "sample",
            "count": _SAMPLES,
            "warmup": _WARMUP,
            "least_s": _LEAST_SAMPLE_S,
            # Of a function that takes seconds, fewer samples, so that there are enough processes.
            "most_s": budget_s / 60,
        }
        self.order = ""

    @property
    def failures(self) -> int:
        """Samples in which a call raised."""
        return sum(answer["failures"] for side in self._answers.values() for answer in side)

    def block(self, rng: random.Random) -> Block:
        """Two processes of each, in random order: the logarithms of what they say."""
        turns = list("cb" * _EACH)
        rng.shuffle(turns)
        said: dict[str, list[float]] = {"c": [], "b": []}
        for turn in turns:
            self.order += turn
            answer = self._run(self._targets[turn], self._order, self._names[turn])
            self._answers[turn].append(answer)
            if answer["failures"]:
                break
            said[turn].append(math.log(max(1e-12, min(answer["times_s"]))))
        return said["c"], said["b"]

    def side(self, turn: str) -> Side:
        """All that the processes of one side said."""
        answers = self._answers[turn]
        return Side(
            name=self._names[turn],
            best_s=tuple(min(a["times_s"]) for a in answers if a["times_s"]),
            wall_s=tuple(tuple(a["wall_s"]) for a in answers),
            failures=sum(a["failures"] for a in answers),
            error=next((a["error"] for a in answers if a["error"]), ""),
        )


def _name(target: Comparable) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, Reference):
        return target.qualname or os.path.basename(target.file)
    return name_of(target)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(found: Comparison) -> list[str]:
    candidate, baseline = found.candidate, found.baseline
    lines = [
        f"{found.verdict.upper()}: {candidate.name} beside {baseline.name}",
        f"  candidate  {duration(candidate.median)}, median of each process's shortest",
        f"  baseline   {duration(baseline.median)}",
    ]
    if found.failures:
        for side in (candidate, baseline):
            if side.failures:
                lines.append(f"  {side.name} FAILED: {side.error}")
        return lines
    if math.isfinite(found.low) and found.high < 1e6:
        bounds = f"between {percent(found.low - 1)} and {percent(found.high - 1)}"
    else:
        bounds = "too few processes for bounds"
    lines.append(f"  change     {percent(found.ratio - 1)}, {bounds}")
    lines.append(
        f"  how        {found.processes} processes in {duration(found.elapsed_s)}, in blocks of "
        f"{_EACH} and {_EACH}, seed {found.seed}; up to {found.floor:.1%} is no change"
    )
    if found.verdict is Change.UNKNOWN:
        lines.append("  the time given was not enough to tell: give a larger budget")
    return lines
