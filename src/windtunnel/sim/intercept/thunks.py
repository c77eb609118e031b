"""Replacing the C function of a static definition by a ctypes callback.

For class methods of C types: `datetime.datetime.now`, also where it was bound long ago, and also
of a subclass. Their definition is one static struct that all of them point to, and the class they
are called on is their ``self``, so none of the C functions of `pointers` can stand in.

A ctypes callback cannot raise: what leaves it is printed and dropped, and its result is then
whatever the stack held. So the callback here catches everything and returns a number 0 that
raises when it is freed; ctypes frees it as the last thing it does, and the caller sees NULL and
the exception, as from any C function. See `_Raising`.

A call costs about 150 ns more than one through `pointers`, and only while a world runs: outside,
the definition holds the C function it always held.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from windtunnel.sim.intercept.pointers import (
    FASTCALL,
    KEYWORDS,
    NOARGS,
    keep,
    raw_definition,
)

_two = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
_four = ctypes.PYFUNCTYPE(
    ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p
)


class _List(ctypes.Structure):
    """``PyListObject``, up to where its items are."""

    _fields_ = (("head", ctypes.c_ssize_t * 3), ("items", ctypes.c_void_p))


# A reference is handed over through a list of one: storing takes one, and writing another
# pointer over the raw one forgets it. ``Py_IncRef`` by way of ctypes costs three times as much.
# What is written there loses a reference each time, so it has to have enough of them.
_hand: list[Any] = [None]
_raw = ctypes.c_void_p.from_address(_List.from_address(id(_hand)).items)
_PLACEHOLDER = None if sys.version_info >= (3, 12) else object()
if _PLACEHOLDER is not None:
    ctypes.c_ssize_t.from_address(id(_PLACEHOLDER)).value = 1 << 60
_NOTHING = id(_PLACEHOLDER)

# A raw pointer to an object, read as that object.
_object_at = ctypes.py_object.from_address
_incoming = ctypes.c_void_p()
_incoming_object: Any = ctypes.py_object.from_address(ctypes.addressof(_incoming))

_pending: list[BaseException] = []
_spare: list[_Raising] = []


class _Raising(int):
    """A null pointer, as far as ctypes knows, that raises what is pending when it is freed."""

    __slots__ = ()

    def __neg__(self) -> int:
        # Called in the place of the memory's release, so the object is kept, and used again. The
        # traceback must not hold it: it would be freed, and raise again, with the traceback.
        _spare.append(self)
        del self
        raise _pending.pop()


class _TypeHead(ctypes.Structure):
    """The beginning of ``PyTypeObject``, up to what frees an instance."""

    _fields_ = (
        ("head", ctypes.c_ssize_t * 3),
        ("name", ctypes.c_char_p),
        ("sizes", ctypes.c_ssize_t * 2),
        ("dealloc", ctypes.c_void_p),
    )


_TypeHead.from_address(id(_Raising)).dealloc = ctypes.cast(
    ctypes.pythonapi.PyNumber_Negative, ctypes.c_void_p
).value
keep((_Raising, _spare, _pending, _hand, _incoming))


def _raising(error: BaseException) -> int:
    _pending.append(error)
    return _spare.pop() if _spare else _Raising()


class Thunk:
    """The C function of a builtin's definition, replaced for whoever shares the definition.

    :param function: a builtin called with NOARGS or FASTCALL | KEYWORDS.
    :param does: called with the object the function is bound to, then the arguments.

    >>> import datetime
    >>> now = Thunk(datetime.datetime.now, lambda cls, tz=None: cls(2024, 2, 29))
    >>> bound_before = datetime.datetime.now
    >>> now.put(); print(bound_before()); now.take_out()
    2024-02-29 00:00:00
    """

    def __init__(self, function: Callable[..., Any], does: Callable[..., Any]) -> None:
        self._definition = raw_definition(function)
        flags = self._definition.flags & (NOARGS | FASTCALL | KEYWORDS)
        kind, callback = (_two, _no_arguments(does)) if flags == NOARGS else (_four, _vector(does))
        self._callback = kind(callback)
        keep((function, does, self._callback))
        self._new = ctypes.cast(self._callback, ctypes.c_void_p).value
        self._old: int | None = None

    def put(self) -> None:
        """From now on the function does what the replacement does."""
        if self._definition.meth != self._new:
            self._old = self._definition.meth
            self._definition.meth = self._new

    def take_out(self) -> None:
        """From now on the function does what it did when `put` was called."""
        if self._old is not None and self._definition.meth == self._new:
            self._definition.meth = self._old


def _no_arguments(does: Callable[..., Any]) -> Callable[..., int | None]:
    def call(bound: Any, _nothing: int | None) -> int | None:
        try:
            result = does(bound)
            _hand[0] = result
            address = _raw.value
            _raw.value = _NOTHING
            return address
        except BaseException as error:
            return _raising(error)

    return call


def _vector(does: Callable[..., Any]) -> Callable[..., int | None]:
    def call(bound: Any, vector: Any, count: int, names: int | None) -> int | None:
        try:
            if not names:
                if not count:
                    result = does(bound)
                elif count == 1:
                    result = does(bound, _object_at(vector).value)
                else:
                    result = does(bound, *(ctypes.py_object * count).from_address(vector))
            else:
                _incoming.value = names
                keys: tuple[str, ...] = _incoming_object.value
                given = (ctypes.py_object * (count + len(keys))).from_address(vector)
                keywords = dict(zip(keys, given[count:], strict=True))
                result = does(bound, *given[:count], **keywords)
            _hand[0] = result
            address = _raw.value
            _raw.value = _NOTHING
            return address
        except BaseException as error:
            return _raising(error)

    return call
