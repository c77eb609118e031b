"""Straight-line Python, as far as a session's double reads it: enough to have names and call mocks.

Assignments, ``def``, ``return``, ``if``, ``raise`` and expressions of literals, names, operators,
f-strings, methods of plain values and calls. Loops, comprehensions, classes, imports, ``try`` and
``lambda`` are not read: code that has one of them is not begun, and the double answers by default.
Nothing here keeps code in: a double runs what its own test wrote.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from windtunnel.sessions.fake.waiting import Pending, Steps

Frame: TypeAlias = dict[str, Any]
Call: TypeAlias = Callable[[str, Any, Sequence[Any], Mapping[str, Any]], Steps[Any]]
"""Calls a function for the code: the name it was called by, it, and its arguments."""

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda member, whole: member in whole,
    ast.NotIn: lambda member, whole: member not in whole,
}
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
# What is read besides operators. A node of another class anywhere in the code: it is not begun.
_STRUCTURE = (
    *(ast.Module, ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Pass, ast.If),
    *(ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Raise),
    *(ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.IfExp),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Call, ast.keyword),
    *(ast.Subscript, ast.Slice, ast.Attribute, ast.JoinedStr, ast.FormattedValue),
    *(ast.expr_context, ast.And, ast.Or),
)
_PLAIN = (str, bytes, int, float, bool, list, tuple, dict, set, frozenset)

BUILTINS: dict[str, Any] = {
    **{
        name: getattr(builtins, name)
        for name in (
            *("abs", "all", "any", "bool", "bytes", "chr", "dict", "divmod", "enumerate"),
            *("float", "frozenset", "hash", "int", "isinstance", "len", "list", "max", "min"),
            *("ord", "pow", "range", "repr", "reversed", "round", "set", "sorted", "str"),
            *("sum", "tuple", "zip"),
        )
    },
    **{
        name: value
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, Exception)
    },
}
"""The builtins that code of a session's double finds, ``print`` aside."""


class _ReturnedError(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


@functools.lru_cache(maxsize=512)
def parse(code: str) -> ast.Module:
    """The code's tree.

    :raises SyntaxError: where it is no Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(code)
        compile(tree, "<code>", "exec")  # which refuses more: a `return` outside a function
    return tree


@functools.lru_cache(maxsize=512)
def readable(code: str) -> bool:
    """Whether all of the code is read.

    >>> readable("x = 5"), readable("for x in y: pass")
    (True, False)
    """
    return all(_is_read(node) for node in ast.walk(parse(code)))


def _is_read(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        unusual = node.decorator_list or arguments.vararg or arguments.kwarg
        inner = sum(isinstance(part, ast.FunctionDef) for part in ast.walk(node)) > 1
        return not (unusual or inner or arguments.kwonlyargs or arguments.posonlyargs)
    if isinstance(node, ast.Attribute):
        return isinstance(node.ctx, ast.Load) and not node.attr.startswith("_")
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        return isinstance(node.target, ast.Name)
    if isinstance(node, ast.keyword):
        return node.arg is not None
    if isinstance(node, ast.Dict):
        return None not in node.keys
    if isinstance(node, ast.FormattedValue):
        return node.conversion == -1
    kind = type(node)
    return kind in _BINARY or kind in _UNARY or isinstance(node, _STRUCTURE)


class GuestFunction:
    """A function that code of the session defined."""

    def __init__(self, node: ast.FunctionDef, defaults: Sequence[Any], reader: Reader) -> None:
        self.name = node.name
        parameters = node.args.args
        required = len(parameters) - len(defaults)
        self.signature = inspect.Signature(
            [
                inspect.Parameter(
                    parameter.arg,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=inspect.Parameter.empty if at < required else defaults[at - required],
                )
                for at, parameter in enumerate(parameters)
            ]
        )
        self._body = node.body
        self._reader = reader

    def __repr__(self) -> str:
        return f"<function {self.name}{self.signature}>"

    def steps(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Steps[Any]:
        """Run its body.

        :raises TypeError: where the arguments do not fit.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        bound.apply_defaults()
        yield from self._reader.enter(self.name)
        try:
            yield from self._reader.block(self._body, dict(bound.arguments))
        except _ReturnedError as returned:
            return returned.value
        finally:
            self._reader.leave()


class Reader:
    """Carries code out on the names of a session.

    :param names: what assignments at the top go to.
    :param lookup: finds a name that is not a local one; raises NameError.
    :param call: calls whatever is no function of the code's own.
    :param depth: how deep calls may be nested; this interpreter's own limit, at about a hundred
        calls, comes first where it is lower.
    """

    def __init__(
        self, names: Frame, lookup: Callable[[str], Any], call: Call, depth: int | None
    ) -> None:
        self._names = names
        self._lookup = lookup
        self._call = call
        self._deepest = depth if depth is not None else math.inf
        self._depth = 0

    def run(self, code: str) -> Steps[Any]:
        """Carry the code out; the value of its last expression, None where it ends otherwise."""
        body = parse(code).body
        last = body[-1] if body else None
        if not isinstance(last, ast.Expr):
            yield from self.block(body, self._names)
            return None
        yield from self.block(body[:-1], self._names)
        return (yield from self._value(last.value, self._names))

    def enter(self, name: str) -> Steps[None]:
        """One call deeper."""
        if self._depth >= self._deepest:
            raise RecursionError("maximum recursion depth exceeded")
        self._depth += 1
        yield from ()

    def leave(self) -> None:
        """One call back."""
        self._depth -= 1

    def block(self, body: Sequence[ast.stmt], frame: Frame) -> Steps[None]:
        """Carry statements out, one after the other."""
        for statement in body:
            yield from self._statement(statement, frame)

    # -- statements -------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt, frame: Frame) -> Steps[None]:
        match node:
            case ast.Expr():
                yield from self._value(node.value, frame)
            case ast.Assign():
                value = yield from self._value(node.value, frame)
                for target in node.targets:
                    _bind(target, value, frame)
            case ast.AnnAssign():
                if node.value is not None:
                    value = yield from self._value(node.value, frame)
                    _bind(node.target, value, frame)
            case ast.AugAssign():
                assert isinstance(node.target, ast.Name)
                before = self._name(node.target.id, frame)
                value = yield from self._value(node.value, frame)
                frame[node.target.id] = _BINARY[type(node.op)](before, value)
            case ast.FunctionDef():
                defaults = []
                for default in node.args.defaults:
                    defaults.append((yield from self._value(default, frame)))
                frame[node.name] = GuestFunction(node, defaults, self)
            case ast.If():
                test = yield from self._value(node.test, frame)
                yield from self.block(node.body if test else node.orelse, frame)
            case ast.Return():
                value = None
                if node.value is not None:
                    value = yield from self._value(node.value, frame)
                raise _ReturnedError(value)
            case ast.Raise():
                if node.exc is None:
                    raise RuntimeError("No active exception to reraise")
                error = yield from self._value(node.exc, frame)
                if isinstance(error, type) and issubclass(error, Exception):
                    error = error()
                if not isinstance(error, Exception):
                    raise TypeError("exceptions must derive from BaseException")
                raise error

    # -- expressions ------------------------------------------------------------------------------

    def _name(self, name: str, frame: Frame) -> Any:
        return frame[name] if name in frame else self._lookup(name)

    def _values(self, nodes: Sequence[ast.expr], frame: Frame) -> Steps[list[Any]]:
        values = []
        for node in nodes:
            values.append((yield from self._value(node, frame)))
        return values

    def _value(self, node: ast.expr | None, frame: Frame) -> Steps[Any]:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(node.id, frame)
            case ast.Call():
                return (yield from self._called(node, frame))
            case ast.List():
                return (yield from self._values(node.elts, frame))
            case ast.Tuple():
                return tuple((yield from self._values(node.elts, frame)))
            case ast.Set():
                return set((yield from self._values(node.elts, frame)))
            case ast.Dict():
                keys = yield from self._values([key for key in node.keys if key], frame)
                return dict(zip(keys, (yield from self._values(node.values, frame)), strict=True))
            case ast.UnaryOp():
                return _UNARY[type(node.op)]((yield from self._value(node.operand, frame)))
            case ast.BinOp():
                left = yield from self._value(node.left, frame)
                right = yield from self._value(node.right, frame)
                return _BINARY[type(node.op)](left, right)
            case ast.BoolOp() | ast.Compare() | ast.IfExp():
                return (yield from self._decided(node, frame))
            case ast.Subscript():
                whole = yield from self._value(node.value, frame)
                return whole[(yield from self._value(node.slice, frame))]
            case ast.Slice():
                ends = (node.lower, node.upper, node.step)
                return slice(*(yield from self._ends(ends, frame)))
            case ast.Attribute():
                return _attribute((yield from self._value(node.value, frame)), node.attr)
            case ast.JoinedStr():
                return "".join((yield from self._values(node.values, frame)))
            case ast.FormattedValue():
                value = yield from self._value(node.value, frame)
                spec = yield from self._value(node.format_spec, frame)
                return format(value, spec or "")
        return None

    def _ends(self, nodes: Sequence[ast.expr | None], frame: Frame) -> Steps[list[Any]]:
        ends = []
        for node in nodes:
            ends.append((yield from self._value(node, frame)))
        return ends

    def _decided(self, node: ast.BoolOp | ast.Compare | ast.IfExp, frame: Frame) -> Steps[Any]:
        """What is evaluated only as far as it needs to be."""
        if isinstance(node, ast.IfExp):
            test = yield from self._value(node.test, frame)
            return (yield from self._value(node.body if test else node.orelse, frame))
        if isinstance(node, ast.BoolOp):
            stops_at = isinstance(node.op, ast.Or)
            value: Any = None
            for part in node.values:
                value = yield from self._value(part, frame)
                if bool(value) is stops_at:
                    break
            return value
        left = yield from self._value(node.left, frame)
        holds: Any = True
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = yield from self._value(part, frame)
            holds = _BINARY[type(kind)](left, right)
            if not holds:
                break
            left = right
        return holds

    def _called(self, node: ast.Call, frame: Frame) -> Steps[Any]:
        function = yield from self._value(node.func, frame)
        args = yield from self._values(node.args, frame)
        kwargs = {}
        for keyword in node.keywords:
            assert keyword.arg is not None
            kwargs[keyword.arg] = yield from self._value(keyword.value, frame)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        return (yield from self._call(name, function, args, kwargs))


def _bind(target: ast.expr, value: Any, frame: Frame) -> None:
    if isinstance(target, ast.Name):
        frame[target.id] = value
        return
    assert isinstance(target, ast.Tuple)
    values = list(value)
    if len(values) != len(target.elts):
        few = "not enough" if len(values) < len(target.elts) else "too many"
        raise ValueError(f"{few} values to unpack (expected {len(target.elts)})")
    for part, member in zip(target.elts, values, strict=True):
        _bind(part, member, frame)


def _attribute(value: Any, name: str) -> Any:
    if not isinstance(value, _PLAIN) and not isinstance(value, BaseException):
        raise AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
    return getattr(value, name)


def plain_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Steps[Any]:
    """Call a Python function; what is awaitable of it is awaited."""
    if not callable(function):
        raise TypeError(f"{type(function).__name__!r} object is not callable")
    value = function(*args, **kwargs)
    if inspect.isawaitable(value):
        value = yield Pending(value)
    return value


__all__ = ["BUILTINS", "GuestFunction", "Reader", "parse", "plain_call", "readable"]
