"""The options of a measurement, checked."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

from windtunnel.bench.tally import Job
from windtunnel.core import REAL_CLOCK, Clock, UsageError
from windtunnel.core.seed import run_seed

_VIRTUAL_CALLS = 100  # where no time passes, a budget of time would never be used up
_MOST_CALLS = 10_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure. The parameters are those of :func:`windtunnel.bench.measure`."""

    name: str = ""
    iterations: int | None = None
    budget_s: float = 0.5
    warmup: int | Literal["auto"] = "auto"
    warmup_s: float = 1.0
    concurrency: int = 1
    rate: float | None = None
    arrivals: Literal["even", "poisson"] = "even"
    failed: Callable[[Any], bool] | None = None
    isolation: Literal["none", "process"] = "none"
    processes: int = 5
    memory: bool = True
    single: bool = False
    clock: Clock = REAL_CLOCK

    @classmethod
    def of(cls, fn: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Plan:
        """The plan that these options mean.

        :raises UsageError: where one is unknown or cannot be meant.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(
                    f"measure() has no option {name!r}",
                    found=f"{name}={options[name]!r}",
                    fix=f"give one of {', '.join(known)}; arguments of the function by position",
                )
        if not callable(fn):
            raise UsageError(
                "what is measured has to be callable",
                found=repr(fn)[:80],
                fix="give the function itself, its arguments after it",
            )
        if "concurrency" not in options and options.get("rate") is not None:
            options = {**options, "concurrency": 0}
        plan = cls(**{"name": name_of(fn), **options})
        plan._check()
        return plan

    def _check(self) -> None:
        def refuse(option: str, expected: str) -> None:
            value = getattr(self, option)
            raise UsageError(
                f"measure() cannot use {option}={value!r}", found=repr(value), fix=expected
            )

        if self.iterations is not None and self.iterations < 1:
            refuse("iterations", "give 1 or more calls")
        if self.budget_s <= 0:
            refuse("budget_s", "give seconds above 0")
        if self.warmup != "auto" and (not isinstance(self.warmup, int) or self.warmup < 0):
            refuse("warmup", 'give a number of calls, or "auto"')
        if self.concurrency < (1 if self.rate is None else 0):
            refuse("concurrency", "give 1 or more; 0, no limit, is for a rate only")
        if self.rate is not None and not self.rate > 0:
            refuse("rate", "give calls a second, above 0")
        if self.arrivals not in ("even", "poisson"):
            refuse("arrivals", "give even or poisson")
        if self.isolation not in ("none", "process"):
            refuse("isolation", "give none or process")
        if self.processes < 1:
            refuse("processes", "give 1 or more")

    @property
    def batches(self) -> bool:
        """Whether calls may be timed together: where they follow each other."""
        return self.concurrency == 1 and self.rate is None and not self.single

    @property
    def crowd(self) -> int:
        """How many calls a warm-up has under way: no open loop, which needs a warm system."""
        return self.concurrency if self.rate is None else 1

    def job(self, inner: int, *, virtual: bool) -> Job:
        """The measured calls."""
        if self.rate is not None:
            return Job(concurrency=self.concurrency, starts_s=self._starts(self.rate))
        calls = self.iterations
        if calls is None and virtual:
            calls = _VIRTUAL_CALLS
        return Job(
            calls=_MOST_CALLS if calls is None else calls,
            for_s=self.budget_s if calls is None else None,
            inner=inner,
            concurrency=self.concurrency,
        )

    def _starts(self, rate: float) -> tuple[float, ...]:
        count = self.iterations or max(1, round(rate * self.budget_s))
        if self.arrivals == "even":
            return tuple(index / rate for index in range(count))
        rng: random.Random = run_seed().stream(f"bench/{self.name}/arrivals")
        starts, at = [], 0.0
        for _ in range(count):
            at += rng.expovariate(rate)
            starts.append(at)
        return tuple(starts)


def name_of(fn: Callable[..., Any]) -> str:
    """What a function is called, without the function it was made in.

    >>> name_of(len), name_of(functools.partial(len, ()))
    ('len', 'len')
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", "") or type(fn).__qualname__
    return str(name).rpartition("<locals>.")[2]
