"""`datetime` inside a simulated step: now, utcnow and today by the node's wall clock.

The types stay what they are: ``type(datetime.now()) is datetime``, and a subclass's ``now`` gives
the subclass. An original called in a step would read the machine's clock in C, so the moment is
built here, from whole microseconds, as CPython does (it rounds down).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from windtunnel.sim import inside
from windtunnel.sim.intercept.pointers import original

_DateTime = datetime.datetime
_UTC = datetime.UTC
_from_timestamp = _DateTime.fromtimestamp
_of_subclass = vars(_DateTime)["fromtimestamp"].__get__

# What the class methods do in a thread that is not the world's. They are bound to `datetime`
# itself; a subclass is asked to make its own from the parts.
_real_now = original(_DateTime.now)
_real_utcnow = original(_DateTime.utcnow)


def _at(cls: Any, wall_ns: int, tz: Any) -> Any:
    # A float holds a time of this century to a quarter of a microsecond, so the division and
    # fromtimestamp's rounding give back the very microsecond that was put in.
    seconds = wall_ns // 1000 / 1e6
    if cls is _DateTime:
        return _from_timestamp(seconds, tz)
    return _of_subclass(None, cls)(seconds, tz)  # not one that the subclass may have written


def _now(cls: Any, tz: Any = None) -> Any:
    world = inside.world
    if world is None or get_ident() != inside.thread:
        return _of_class(cls, _real_now(tz))
    return _at(cls, world.node.clock.time_ns(), tz)


def _utcnow(cls: Any) -> Any:
    world = inside.world
    if world is None or get_ident() != inside.thread:
        return _of_class(cls, _real_utcnow())
    return _at(cls, world.node.clock.time_ns(), _UTC).replace(tzinfo=None)


def _of_class(cls: Any, moment: datetime.datetime) -> Any:
    """The same moment as an object of a subclass, made by its constructor as CPython does."""
    if cls is _DateTime:
        return moment
    return cls(
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
        moment.tzinfo,
        fold=moment.fold,
    )


def thunks() -> Iterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Each class method that reads the clock itself, and its replacement.

    ``today`` of both classes is not among them: it asks `time.time` for the time.
    """
    yield _DateTime.now, _now
    yield _DateTime.utcnow, _utcnow
