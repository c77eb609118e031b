"""What runs in the cell of a ``starlark`` session: it evaluates code and keeps its names.

The cell is sent this file as text, beside the codec of values and the rewriting of last
expressions; it needs starlark-pyo3 and the standard library. It speaks the messages of the process
engine, whose owner's side it shares.

Starlark and Python hold different things, and the library between them carries JSON. So values go
as a list of steps for a stack (a leaf pushes itself, a container takes its members off), which says
what JSON cannot: tuples, nan, keys that are no text, any depth. What Starlark has no type for
(bytes, moments in time, sets) it holds as an opaque object: it can keep it, pass it on and give it
back, and cannot look inside.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import starlark

if TYPE_CHECKING:
    from windtunnel.sandboxes.inside import Channel
    from windtunnel.sessions import values
    from windtunnel.sessions.engines import rewriting
else:
    try:
        import _windtunnel_rewriting as rewriting
        import _windtunnel_values as values
    except ImportError:  # outside a cell, as where its documentation is read
        from windtunnel.sessions import values
        from windtunnel.sessions.engines import rewriting

PRELUDE = """
def __wt_out(value):
    steps = []
    todo = [(0, value, 0)]
    for _ in range(2147483647):
        if not todo:
            break
        closing, item, deep = todo.pop()
        if closing:
            steps.append(item)
            continue
        kind = type(item)
        if kind in ("NoneType", "bool", "int", "string"):
            steps.append(item)
        elif kind == "float":
            text = str(item)
            # Of nan and the infinities the library would make null.
            steps.append(["f", text if text in ("nan", "inf", "+inf", "-inf") else item])
        elif kind in ("list", "tuple"):
            todo.append((1, [kind, len(item)], 0))
            for member in reversed(item):
                todo.append((0, member, deep + 1))
        elif kind == "dict":
            todo.append((1, [kind, len(item)], 0))
            for key, member in reversed(item.items()):
                todo.append((0, member, deep + 1))
                todo.append((0, key, deep + 1))
        elif kind == "opaque_python_object":
            steps.append(["o", __wt_keep(item)])
        else:
            fail("__wt_refused a " + kind)
        if deep > 100000:
            fail("__wt_refused a container that holds itself")
    return steps

def __wt_in(steps):
    stack = []
    for step in steps:
        if type(step) != "list":
            stack.append(step)
            continue
        kind, about = step
        if kind == "f":
            stack.append(float(about))
        elif kind == "o":
            stack.append(__wt_give(about))
        elif kind == "list":
            taken = stack[len(stack) - about:]
            stack = stack[:len(stack) - about]
            stack.append(taken)
        elif kind == "tuple":
            taken = stack[len(stack) - about:]
            stack = stack[:len(stack) - about]
            stack.append(tuple(taken))
        else:
            made = {}
            first = len(stack) - 2 * about
            for pair in range(about):
                made[stack[first + 2 * pair]] = stack[first + 2 * pair + 1]
            if len(made) != about:
                fail("__wt_refused a dict with two keys that Starlark holds for one")
            stack = stack[:first]
            stack.append(made)
    return stack[0]
"""

_HOST_FUNCTION = """
def {name}(*args, **kwargs):
    return __wt_in(__wt_host("{name}", __wt_out([args, kwargs])))
"""
_CALL = "__wt_out({function}(*__wt_in(__wt_args), **__wt_in(__wt_kwargs)))"

_DEEPEST = 10_000  # calls; some thousands deeper the stack of the process itself would end
_OPAQUE = (bytes, datetime, date, time, timedelta, set, frozenset)
_PLAIN = (type(None), bool, int, str)
_MARK = "__wt_refused "


class Failed(Exception):
    """What the code ended with: the type's name and the message."""


class Guest:
    """Runs what the owner commands, one command after another."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._keys = itertools.count(1)
        self._opaque: list[object] = []
        self._host_error: tuple[str, str] | None = None
        self._module = starlark.Module()
        self._globals = starlark.Globals.extended_by(
            [
                getattr(starlark.LibraryExtension, name)
                for name in ("StructType", "Map", "Filter", "Partial", "Print", "Json")
            ]
        )
        self._dialect = starlark.Dialect.extended()
        self._dialect.enable_f_strings = True
        self._module.add_callable("__wt_keep", self._keep)
        self._module.add_callable("__wt_give", self._give)
        self._module.add_callable("__wt_host", self._call_host)
        self._options = starlark.EvalOptions()
        self._evaluate(PRELUDE)

    def serve(self) -> None:
        """Obey until the owner is gone."""
        while True:
            command = values.decode(self._channel.receive())
            if command[0] != "reply":  # one too late, to a call that was given up
                self._channel.send(values.encode(self._obey(*command)))

    def _obey(
        self, kind: str, key: int, limits: tuple[int | None, int, bool], *rest: Any
    ) -> tuple[Any, ...]:
        if limits[2]:  # one may have come after the last result; else it is meant for this one
            self._channel.interrupts.forget()
        self._opaque.clear()
        self._host_error = None
        self._options = starlark.EvalOptions(
            check_cancelled=self._interrupted,
            max_callstack_size=min(limits[0] or _DEEPEST, _DEEPEST),
        )
        known: dict[str, Callable[..., Any]] = {
            "host": self._define_host,
            "run": self._run,
            "call": self._call,
            "assign": self._assign,
        }
        try:
            return ("result", key, True, values.encode(known[kind](*rest)), "", "", 0)
        except Failed as error:
            return ("result", key, False, b"", *error.args, 0)
        except values.ValueCrossingError as error:
            found = getattr(error, "found", "") or str(error)
            return ("result", key, False, b"", "ValueCrossingError", found, 0)
        except Exception as error:  # whatever the library refuses in its own way
            return ("result", key, False, b"", type(error).__name__, str(error), 0)
        finally:
            self._channel.interrupts.forget()

    # -- what the owner wants

    def _define_host(self, functions: Sequence[str]) -> None:
        for name in functions:
            self._evaluate(_HOST_FUNCTION.format(name=name))

    def _run(self, code: str, inputs: bytes) -> Any:
        for name, value in values.decode(inputs).items():
            self._bind(name, value)
        rewritten = rewriting.last_expression_to("__wt_out", code)
        if rewritten is None:
            value = self._evaluate(code)
            if type(value) in _PLAIN:
                return value
            raise Failed(
                "ValueCrossingError", "value is the value of code that Python cannot parse"
            )
        left = self._evaluate(rewritten)
        return None if rewritten == code else self._from_steps(left)

    def _call(self, function: str, arguments: bytes) -> Any:
        args, kwargs = values.decode(arguments)
        self._module["__wt_args"] = self._steps(list(args))
        self._module["__wt_kwargs"] = self._steps(kwargs)
        return self._from_steps(self._evaluate(_CALL.format(function=function)))

    def _assign(self, name: str, value: bytes) -> None:
        self._bind(name, values.decode(value))

    def _bind(self, name: str, value: object) -> None:
        self._module["__wt_given"] = self._steps(value)
        self._evaluate(f"{name} = __wt_in(__wt_given)")

    # -- evaluating

    def _evaluate(self, code: str) -> Any:
        try:
            parsed = starlark.parse("session", code, self._dialect)
        except starlark.StarlarkError as error:
            raise Failed("SyntaxError", _said(error)) from None
        try:
            return starlark.eval_with(self._options, self._module, parsed, self._globals).value
        except starlark.StarlarkError as error:
            raise self._failure(_said(error)) from None

    def _failure(self, said: str) -> Failed:
        if self._host_error is not None:
            return Failed(*self._host_error)
        if said.startswith(f"fail: {_MARK}"):
            return Failed("ValueCrossingError", f"value is {said.removeprefix(f'fail: {_MARK}')}")
        if "call stack overflow" in said:
            return Failed("RecursionError", said)
        if "Evaluation cancelled" in said:
            return Failed("KeyboardInterrupt", "it was interrupted")
        return Failed("StarlarkError", said)

    def _interrupted(self) -> bool:
        interrupts = self._channel.interrupts
        try:
            interrupts.allow()
            interrupts.hold()
        except KeyboardInterrupt:  # between the two as well; it holds itself back then
            return True
        return False

    # -- what Starlark calls

    def _keep(self, thing: object) -> int:
        self._opaque.append(thing)
        return len(self._opaque) - 1

    def _give(self, index: int) -> object:
        return starlark.OpaquePythonObject(self._opaque[index])

    def _call_host(self, name: str, steps: list[Any]) -> object:
        try:
            args, kwargs = self._from_steps(steps)
            key = next(self._keys)
            payload = values.encode((args, kwargs))
            self._channel.send(values.encode(("call", key, name, payload)))
            ok, answer = self._reply(key)
            if ok:
                return self._steps(values.decode(answer))
            self._host_error = values.decode(answer)
        except values.ValueCrossingError as error:
            found = getattr(error, "found", "") or str(error)
            self._host_error = ("ValueCrossingError", found)
        except KeyboardInterrupt:
            self._host_error = ("KeyboardInterrupt", "it was interrupted")
        raise RuntimeError("the host function failed")

    def _reply(self, key: int) -> tuple[bool, bytes]:
        while True:
            answer = values.decode(self._channel.receive(interruptible=True))
            if answer[:2] == ("reply", key):
                return answer[2], answer[3]

    # -- values as steps

    def _steps(self, value: object) -> list[Any]:
        steps: list[Any] = []
        todo: list[tuple[bool, Any]] = [(False, value)]
        while todo:
            closing, item = todo.pop()
            kind = type(item)
            if closing or kind in _PLAIN:
                steps.append(item)
            elif kind is float:
                steps.append(["f", item if item - item == 0 else str(item)])
            elif kind in _OPAQUE:
                steps.append(["o", self._keep(item)])
            elif kind is dict:
                todo.append((True, ["dict", len(item)]))
                for key, member in reversed(item.items()):
                    todo += [(False, member), (False, key)]
            else:
                todo.append((True, [kind.__name__, len(item)]))
                todo += [(False, member) for member in reversed(item)]
        return steps

    def _from_steps(self, steps: Any) -> Any:
        stack: list[Any] = []
        for step in steps:
            if type(step) is not list:
                stack.append(step)
                continue
            kind, about = step
            if kind == "f":
                stack.append(float(about))
            elif kind == "o":
                stack.append(self._opaque[about])
            else:
                size = 2 * about if kind == "dict" else about
                taken = stack[len(stack) - size :]
                del stack[len(stack) - size :]
                stack.append(_made(kind, taken))
        (value,) = stack
        return value


def _made(kind: str, members: list[Any]) -> object:
    if kind == "list":
        return members
    if kind == "tuple":
        return tuple(members)
    made = dict(zip(members[::2], members[1::2], strict=True))
    if 2 * len(made) != len(members):
        raise values.refused("value", "a dict with two keys that Python holds for one")
    return made


def _said(error: Exception) -> str:
    """The message itself, without the trace before and the picture of the place after it."""
    found = re.search(r"^error: (.*?)(?=\n\s*--> |\Z)", str(error), re.S | re.M)
    return (found[1] if found else str(error)).strip().removeprefix("Parse error: ")


def serve(channel: Channel) -> None:
    """The entry of the program."""
    sys.set_int_max_str_digits(0)  # numbers cross as JSON
    Guest(channel).serve()


__all__ = ["serve"]
