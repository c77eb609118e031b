"""Replacing what a builtin function does, without replacing the function object.

A name bound long before us (``from time import monotonic``, a default argument, a dataclass's
``default_factory=time.time``) holds the builtin function object itself, so the object has to stay
and its inside has to change. A builtin function has a pointer to its definition (C function,
flags) and one to the object it is bound to. Both are replaced by one 16-byte write:

=====================  =============================  ===================================
flags of the function  C function put in its place    what it calls
=====================  =============================  ===================================
NOARGS                 ``PyIter_Next(self)``          ``self.__next__()``
O                      ``PyObject_GetItem(self, x)``  ``self.__getitem__(x)``
VARARGS                ``PyObject_GetItem(self, t)``  ``self.__getitem__(the tuple)``
VARARGS, KEYWORDS      ``PyObject_Call(self, t, k)``  ``self.__call__(*t, **k)``
FASTCALL (, KEYWORDS)  ``PyObject_Vectorcall``        ``self.__call__(*args, **kwargs)``
=====================  =============================  ===================================

``self`` is an instance of a module class of ours that has the real module's name: a builtin
bound to a module prints and pickles by name, as before. These C functions
are part of the stable C API; no C function of ours is on the way, so an exception raised by the
replacement arrives as it was raised, and a call costs 30 to 40 ns more than a Python function's
body.

Class methods of C types (`datetime.datetime.now`) get their class as ``self``, which must not
change. There the static definition's C function is replaced by a ctypes callback:
`windtunnel.sim.intercept.thunks`.

Layouts: ``PyCFunctionObject`` and ``PyMethodDef`` of CPython 3.11 to 3.14, checked by
`check_layout` before the first write.
"""

from __future__ import annotations

import ctypes
import time
import types
from collections.abc import Callable
from typing import Any, Final

from windtunnel.core.errors import IsolationError

VARARGS: Final = 0x0001
KEYWORDS: Final = 0x0002
NOARGS: Final = 0x0004
O: Final = 0x0008  # noqa: E741 -- CPython's own name for it is METH_O
FASTCALL: Final = 0x0080
_CONVENTION: Final = VARARGS | KEYWORDS | NOARGS | O | FASTCALL


class MethodDef(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("meth", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_void_p),
    )


class _Pair(ctypes.Structure):
    """Definition and bound object: neighbours in the function, so one write changes both."""

    _fields_ = (("ml", ctypes.c_void_p), ("self", ctypes.c_void_p))


class _Function(ctypes.Structure):
    """``PyCFunctionObject``."""

    _fields_ = (
        ("refcount", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("pair", _Pair),
        ("module", ctypes.c_void_p),
        ("weakrefs", ctypes.c_void_p),
        ("vectorcall", ctypes.c_void_p),
    )


_api = ctypes.pythonapi
_new_function = _api.PyCMethod_New
_new_function.restype = ctypes.py_object
_new_function.argtypes = [ctypes.c_void_p] * 4

_immortal: list[object] = []
"""Everything a raw pointer of ours points to, also while the interpreter is torn down."""
_api.Py_IncRef(ctypes.py_object(_immortal))


def keep(thing: object) -> None:
    """Hold ``thing`` until the process ends."""
    _immortal.append(thing)


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def raw_definition(function: Callable[..., Any]) -> MethodDef:
    """The ``PyMethodDef`` of a builtin function, in place."""
    return MethodDef.from_address(_Function.from_address(id(function)).pair.ml)


def is_builtin(thing: object) -> bool:
    """Whether ``thing`` is a builtin function whose inside we know how to replace."""
    return type(thing) is types.BuiltinFunctionType


def check_layout() -> None:
    """Read a known builtin through the layouts above before anything is written through them.

    :raises IsolationError: when this interpreter lays functions out otherwise (PyPy, a debug or
        free-threaded build).

    >>> check_layout()
    """
    seen = _Function.from_address(id(time.monotonic))
    fits = (
        types.BuiltinFunctionType.__basicsize__ == ctypes.sizeof(_Function)
        and seen.type == id(types.BuiltinFunctionType)
        and seen.pair.self == id(time)
    )
    if not fits or raw_definition(time.monotonic).name != b"monotonic":
        raise IsolationError(
            "the simulated world cannot take over the clocks of this interpreter",
            found="builtin functions are laid out otherwise than in CPython 3.11 to 3.14",
            fix="run simulated tests on a release build of CPython",
        )


def original(function: Callable[..., Any]) -> Callable[..., Any]:
    """A second builtin that goes on doing what ``function`` does now.

    It has a definition of its own, so whatever is written later into the definition of
    ``function``, by us or by another library, it stays as it is.
    """
    found = _Function.from_address(id(function))
    source = raw_definition(function)
    own = MethodDef(source.name, source.meth, source.flags & ~0x0010, source.doc)  # not METH_CLASS
    keep(own)
    copy: Callable[..., Any] = _new_function(
        ctypes.addressof(own), found.pair.self, found.module, None
    )
    keep(copy)
    return copy


def _bound_object(function: Callable[..., Any], names: dict[str, Any]) -> types.ModuleType:
    """A module object with the given special methods, in the likeness of the function's module."""
    home = getattr(function, "__self__", None)
    name = home.__name__ if isinstance(home, types.ModuleType) else str(function.__module__)
    kind = type("module", (types.ModuleType,), {**names, "__slots__": ()})
    bound: types.ModuleType = kind(name)
    return bound


def _any_function(flags: int) -> Callable[..., Any]:
    """A builtin called by the convention ``flags``, to copy its vectorcall pointer from."""
    found = MethodDef(b"any", _address(_api.PyObject_Vectorcall), flags, None)
    keep(found)
    function: Callable[..., Any] = _new_function(ctypes.addressof(found), None, None, None)
    keep(function)
    return function


class Replacement:
    """One builtin function's second inside, put in and taken out at will.

    :param function: a builtin function bound to a module, or to an instance.
    :param makes: takes the original and gives the replacement, called with the same arguments.

    >>> from time import monotonic as bound_before
    >>> nine = Replacement(time.monotonic, lambda real: lambda: 9.0)
    >>> nine.put(); bound_before(); nine.take_out()
    9.0
    >>> bound_before() == 9.0
    False
    """

    def __init__(
        self, function: Callable[..., Any], makes: Callable[[Callable[..., Any]], Any]
    ) -> None:
        self._view = _Function.from_address(id(function))
        self.original = original(function)
        does = makes(self.original)
        source = raw_definition(function)
        convention = source.flags & _CONVENTION
        flags, special, c_function = _how(convention, does)
        bound = _bound_object(function, special)
        own = MethodDef(source.name, _address(c_function), flags, source.doc)
        for thing in (function, does, bound, own):
            keep(thing)
        self._c_function = _address(c_function)
        self._definition = own
        self._new = _Pair(ctypes.addressof(own), id(bound))
        self._vectorcall = self._view.vectorcall
        if flags != convention:
            self._vectorcall = _Function.from_address(id(_any_function(flags))).vectorcall
        self._old: tuple[_Pair, int] | None = None

    def put(self) -> None:
        """From now on the function does what the replacement does."""
        view = self._view
        self._old = (_Pair.from_buffer_copy(view.pair), view.vectorcall)
        self._definition.meth = self._c_function
        # First the entry point: the old C function ignores the one argument more it may pass.
        view.vectorcall = self._vectorcall
        view.pair = self._new

    def take_out(self) -> None:
        """From now on the function does what it did when `put` was called."""
        if self._old is None:
            return
        pair, vectorcall = self._old
        self._view.pair = pair
        self._view.vectorcall = vectorcall
        self._old = None


def _how(convention: int, does: Callable[..., Any]) -> tuple[int, dict[str, Any], Any]:
    """Flags, special method and C function for a calling convention; see the table above."""

    def no_arguments(_self: object) -> Any:
        return does()

    def one(_self: object, argument: Any) -> Any:
        return does(argument)

    def many(_self: object, arguments: tuple[Any, ...]) -> Any:
        return does(*arguments)

    def call(_self: object, /, *arguments: Any, **keywords: Any) -> Any:
        return does(*arguments, **keywords)

    # One that names the bound object as its first parameter is called without a step between.
    direct = getattr(getattr(does, "__code__", None), "co_varnames", ())[:1] == ("_self",)
    if convention == NOARGS:
        return convention, {"__next__": does if direct else no_arguments}, _api.PyIter_Next
    if convention == O:
        return convention, {"__getitem__": does if direct else one}, _api.PyObject_GetItem
    if convention == VARARGS:
        return convention, {"__getitem__": many}, _api.PyObject_GetItem
    if convention == VARARGS | KEYWORDS:
        return convention, {"__call__": call}, _api.PyObject_Call
    return FASTCALL | KEYWORDS, {"__call__": call}, _api.PyObject_Vectorcall
