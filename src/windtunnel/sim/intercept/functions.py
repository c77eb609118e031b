"""Replacing what a Python function does, without replacing the function object.

The counterpart of `pointers`: the function object stays, with its name, defaults and signature,
and its code is exchanged for a call of the replacement.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

_HOOK = "windtunnel: the replacement goes here"


class CodeReplacement:
    """One Python function's second body, put in and taken out at will.

    :param function: a function; or one that a class holds, for all of its instances.
    :param makes: takes the original and gives the replacement, called with the same arguments.

    >>> def answer(question="?"):
    ...     return 41
    >>> better = CodeReplacement(answer, lambda real: lambda question="?": real() + 1)
    >>> better.put(); answer(); better.take_out()
    42
    >>> answer()
    41
    """

    def __init__(
        self,
        function: types.FunctionType,
        makes: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        self._function = function
        self._old = function.__code__
        real = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        real.__kwdefaults__ = function.__kwdefaults__
        self._new = _calling(function.__code__, makes(real))

    def put(self) -> None:
        """From now on the function does what the replacement does."""
        if self._function.__code__ is not self._new:
            self._old = self._function.__code__
            self._function.__code__ = self._new

    def take_out(self) -> None:
        """From now on the function does what it did when `put` was called."""
        if self._function.__code__ is self._new:
            self._function.__code__ = self._old


def _calling(old: types.CodeType, replacement: Callable[..., Any]) -> types.CodeType:
    """Code with the parameters and free variables of ``old`` that hands all to a function."""
    count = old.co_argcount + old.co_kwonlyargcount
    names = list(old.co_varnames)
    positional, keyword = names[: old.co_argcount], names[old.co_argcount : count]
    rest = names[count:]
    head, given = list(positional), list(positional)
    if old.co_posonlyargcount:
        head.insert(old.co_posonlyargcount, "/")
    if old.co_flags & inspect.CO_VARARGS:
        star = f"*{rest.pop(0)}"
        head.append(star)
        given.append(star)
    elif keyword:
        head.append("*")
    head += keyword
    given += [f"{name}={name}" for name in keyword]
    if old.co_flags & inspect.CO_VARKEYWORDS:
        head.append(f"**{rest[0]}")
        given.append(f"**{rest[0]}")
    free = "".join(f"    {name} = None\n" for name in old.co_freevars)
    source = (
        f"def outer():\n{free}"
        f"    def {old.co_name}({', '.join(head)}):\n"
        + "".join(f"        {name}\n" for name in old.co_freevars)
        + f"        hook = {_HOOK!r}\n"
        f"        return hook({', '.join(given)})\n"
    )
    outer = compile(source, old.co_filename, "exec")
    code = _inner(_inner(outer, "outer"), old.co_name)
    return code.replace(
        co_consts=tuple(replacement if const == _HOOK else const for const in code.co_consts),
        co_firstlineno=old.co_firstlineno,
        co_qualname=old.co_qualname,
    )


def _inner(code: types.CodeType, name: str) -> types.CodeType:
    return next(
        const
        for const in code.co_consts
        if isinstance(const, types.CodeType) and const.co_name == name
    )
