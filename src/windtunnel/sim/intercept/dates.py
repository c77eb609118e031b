"""`datetime` inside a simulated step: now, utcnow and today by the node's wall clock.

The types stay what they are: ``type(datetime.now()) is datetime``, and a subclass's ``now`` gives
the subclass. An original called in a step would read the machine's clock in C, so the moment is
built here: from whole microseconds, as CPython does (it rounds down).
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
_EPOCH_UTC = _DateTime(1970, 1, 1, tzinfo=_UTC)
_EPOCH = _DateTime(1970, 1, 1)
_Delta = datetime.timedelta

# What the class methods do in a thread that is not the world's. They are bound to `datetime`
# itself; a subclass is asked to make its own from the parts.
_real_now = original(_DateTime.now)
_real_utcnow = original(_DateTime.utcnow)


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


def _now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
    world = inside.world
    if world is None or get_ident() != inside.thread:
        return _of_class(cls, _real_now(tz))
    micros = world.node.clock.time_ns() // 1000
    if tz is None:
        # fromtimestamp does the local zone; its float is exact to the second, not below.
        seconds, rest = divmod(micros, 1_000_000)
        moment = _DateTime.fromtimestamp(seconds)
        return _of_class(cls, moment.replace(microsecond=rest))
    if tz is _UTC:
        return _of_class(cls, _EPOCH_UTC + _Delta(microseconds=micros))
    if not isinstance(tz, datetime.tzinfo):
        # Let CPython find the words for it; the argument is looked at before the clock.
        return _real_now(tz)
    naive = _EPOCH + _Delta(microseconds=micros)
    return tz.fromutc(_of_class(cls, naive.replace(tzinfo=tz)))


def _utcnow(cls: Any) -> Any:
    world = inside.world
    if world is None or get_ident() != inside.thread:
        return _of_class(cls, _real_utcnow())
    return _of_class(cls, _EPOCH + _Delta(microseconds=world.node.clock.time_ns() // 1000))


def thunks() -> Iterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Each class method that reads the clock itself, and its replacement.

    ``today`` of both classes is not among them: it asks `time.time` for the time.
    """
    yield _DateTime.now, _now
    yield _DateTime.utcnow, _utcnow
