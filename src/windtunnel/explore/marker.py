"""The marker ``simulated``: under how many seeds, and in what kind of world.

It is pytest's marker and nothing more; the decorator of that name is the same in shorter words.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

import pytest

from windtunnel.core.errors import UsageError

if TYPE_CHECKING:
    from windtunnel.sim.config import WorldConfig

F = TypeVar("F", bound=Callable[..., Any])

NAME = "simulated"
DEFAULT_SEEDS = 10


@overload
def simulated(test: F, /) -> F:
    """The marker alone: the run's setting says under how many seeds."""


@overload
def simulated(*, seeds: int = ..., **world: Any) -> Callable[[F], F]:
    """The marker with its settings."""


def simulated(test: Any = None, /, **settings: Any) -> Any:
    """Run an async test in the simulated world, once under each of many seeds.

    :param seeds: how many; where it is not given, what the run's setting ``seeds`` says.
    :param world: any field of :class:`windtunnel.sim.WorldConfig`: ``policy="pct"``,
        ``stall_s=60``, ``network=NetworkConfig(...)``.
    :raises UsageError: when the tests are collected: a sync test, an unknown name, a value
        outside its range.

    >>> import windtunnel as wt
    >>> @wt.simulated(seeds=100, policy="pct")
    ... async def test_two_clients(world): ...
    """
    mark = getattr(pytest.mark, NAME)
    if test is not None:
        return mark(test)
    return mark(**settings) if settings else mark


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How a test is to be run.

    :param seeds: under how many seeds; 0 where the marker does not say.
    :param config: in what kind of world.
    """

    seeds: int
    config: WorldConfig


def plan_of(item: pytest.Item, *, everything: bool, policy: str = "random") -> Plan | None:
    """How that test is to be run; None where it is not simulated.

    :param everything: whether async tests without a marker are simulated too.
    :param policy: the scheduling policy where the marker names none.
    :raises UsageError: for a marker that cannot be meant.
    """
    given: dict[str, Any] = {"policy": policy}
    marks = list(item.iter_markers(NAME))
    if not marks and not (everything and is_async(item)):
        return None
    for mark in reversed(marks):  # what stands closest to the test wins
        if mark.args:
            raise UsageError(
                f"{item.nodeid}: the marker simulated takes names only",
                found=f"simulated({', '.join(map(repr, mark.args))})",
                fix="write simulated(seeds=100)",
            )
        given |= mark.kwargs
    if not is_async(item):
        raise UsageError(
            f"{item.nodeid}: only an async test can be simulated",
            found="a marker simulated on a test that is not `async def`",
            fix="take the marker off, or make the test a coroutine function",
        )
    try:
        return _plan(given)
    except UsageError as error:
        raise UsageError(f"{item.nodeid}: {error.what}", found=error.found, fix=error.fix) from None


def _plan(given: Mapping[str, Any]) -> Plan:
    from windtunnel.sim.config import WorldConfig

    rest = dict(given)
    seeds = rest.pop("seeds", 0)
    if "seeds" in given and (not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1):
        raise UsageError("seeds is a whole number from 1 up", found=f"seeds={seeds!r}")
    known = [field.name for field in dataclasses.fields(WorldConfig)]
    for name, value in rest.items():
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, ["seeds", *known], n=1)
            raise UsageError(
                f"simulated has no setting {name!r}",
                fix=f"did you mean {close[0]}?" if close else f"use seeds, {', '.join(known)}",
            )
        if isinstance(value, list):
            rest[name] = tuple(value)
    try:
        return Plan(seeds, WorldConfig(**rest))
    except TypeError as error:
        found = ", ".join(f"{name}={value!r}" for name, value in rest.items())
        raise UsageError(f"the world cannot be so: {error}", found=found) from None


def is_async(item: pytest.Item) -> bool:
    """Whether a test is a coroutine function, bare, wrapped, or what Hypothesis calls."""
    return isinstance(item, pytest.Function) and is_coroutine_test(item.obj)


def is_coroutine_test(function: Any) -> bool:
    """The same of a test's function."""
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    return inspect.iscoroutinefunction(function if inner is None else inner)
