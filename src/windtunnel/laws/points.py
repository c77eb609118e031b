"""What of a law's source must have run, if the law is to have tested anything.

Read from the syntax tree: its assertions, the bodies of its loops, the branches that do something,
the alternatives of ``a or b`` in an assertion and what a comprehension in one goes through. A
branch that only gives up (``return``, ``raise``, ``pytest.fail``) need not be taken.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import linecache
import os
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_IDLE = (ast.Pass, ast.Continue, ast.Break, ast.Raise, ast.Global, ast.Nonlocal)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
# Names of what ends a test when it is called, so that a law that holds never gets there.
_GIVES_UP = frozenset({"fail", "skip", "reject", "broken", "xfail", "exit"})


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A stretch of source: lines from 1, columns in UTF-8 bytes, as code objects have them."""

    start: tuple[int, int]
    end: tuple[int, int]

    def holds(self, line: int, column: int) -> bool:
        """Whether something that begins there is part of it."""
        return self.start <= (line, column) < self.end


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """Something in a law that must have run at least once.

    :param told: what to say where it did not, with its source.
    :param line: its line.
    :param span: where its instructions lie.
    """

    told: str
    line: int
    span: Span


def points_of(code: CodeType) -> tuple[Point, ...] | None:
    """The points of a law's function; None where its source cannot be read.

    >>> def law(subject, draw):
    ...     for one in subject:
    ...         assert one > 0 or one is None
    >>> for point in points_of(law.__code__):
    ...     print(point.line, point.told)
    2 loop over nothing: for one in subject
    3 assertion never reached: one > 0 or one is None
    3 alternative never needed: one is None
    """
    read = _read(code.co_filename, _stamp(code.co_filename))
    if read is None:
        return None
    function = _function(read, code)
    return None if function is None else tuple(_points(function))


def _stamp(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:  # a doctest, or typed in
        return 0.0 if not linecache.getlines(path) else hash(tuple(linecache.getlines(path)))


@functools.lru_cache(maxsize=16)
def _read(path: str, stamp: float) -> ast.Module | None:
    lines = linecache.getlines(path)
    try:
        return ast.parse("".join(lines)) if lines else None
    except SyntaxError:
        return None


def _function(tree: ast.Module, code: CodeType) -> Function | None:
    found: list[Function] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            if code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
                found.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first == code.co_firstlineno:
                found.append(node)
    return found[0] if len(found) == 1 else None


def _points(function: Function) -> Iterator[Point]:
    body = function.body if isinstance(function.body, list) else []
    if body and not any(_does_something(one) for one in body):
        yield Point("it asserts nothing", function.lineno, Span((0, 0), (0, 0)))
    for statement in body:
        for node in ast.walk(statement):
            yield from _points_at(node)


def _does_something(node: ast.AST) -> bool:
    kinds = (ast.Assert, ast.Raise, ast.Call, ast.Await)
    return any(isinstance(inner, kinds) for inner in ast.walk(node))


def _points_at(node: ast.AST) -> Iterator[Point]:
    if isinstance(node, ast.Assert):
        yield _point("assertion never reached", node.test)
        yield from _inside_assertion(node.test)
    elif isinstance(node, ast.For | ast.AsyncFor):
        if _acts(node.body):
            yield _gone_through(node)
    elif isinstance(node, ast.While):
        if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
            yield _block(f"loop over nothing: while {_text(node.test)}", node.body)
    elif isinstance(node, ast.If):
        yield from _branches(f"if {_text(node.test)}", node.body, node.orelse)
    elif isinstance(node, ast.Try):
        for handler in node.handlers:
            kind = f"except {_text(handler.type)}" if handler.type else "except"
            yield from _branches(kind, handler.body, [])
        yield from _branches("else of try", node.orelse, [])
    elif isinstance(node, ast.Match):
        for case in node.cases:
            yield from _branches(f"case {_text(case.pattern)}", case.body, [])


def _branches(told: str, body: Sequence[ast.stmt], other: Sequence[ast.stmt]) -> Iterator[Point]:
    if _acts(body):
        yield _block(f"branch never taken: {told}", body)
    # Of `elif`, the next `if` tells.
    if _acts(other) and not (len(other) == 1 and isinstance(other[0], ast.If)):
        yield _block(f"branch never taken: else of {told}", other)


def _inside_assertion(test: ast.expr) -> Iterator[Point]:
    for node in ast.walk(test):
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            for value in node.values[1:]:
                if isinstance(value, ast.Constant):
                    continue  # Python folds it away
                yield _point("alternative never needed", value)
        elif isinstance(node, ast.IfExp):
            yield _point("branch never taken", node.body)
            yield _point("branch never taken", node.orelse)
        elif isinstance(node, _COMPREHENSIONS):
            yield _gone_through(node.generators[0])


def _gone_through(node: ast.comprehension | ast.For | ast.AsyncFor) -> Point:
    """Where a loop takes an element: its target is stored to, and nothing else happens there."""
    told = f"loop over nothing: for {_text(node.target)} in {_text(node.iter)}"
    return Point(told, node.target.lineno, _span(node.target, node.target))


def _acts(body: Sequence[ast.stmt]) -> bool:
    """Whether a block does more than give up or do nothing."""
    return any(not _gives_up(statement) for statement in body)


def _gives_up(statement: ast.stmt) -> bool:
    if isinstance(statement, _IDLE):
        return True
    if isinstance(statement, ast.Return):
        return statement.value is None or not _does_something(statement)
    if not isinstance(statement, ast.Expr):
        return False
    call = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
    if not isinstance(call, ast.Call):
        return isinstance(call, ast.Constant)
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in _GIVES_UP


def _point(told: str, node: ast.expr) -> Point:
    return Point(f"{told}: {_text(node)}", node.lineno, _span(node, node))


def _block(told: str, body: Sequence[ast.stmt]) -> Point:
    return Point(told, body[0].lineno, _span(body[0], body[-1]))


def _span(first: Any, last: Any) -> Span:
    return Span((first.lineno, first.col_offset), (last.end_lineno, last.end_col_offset))


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else text[:67] + "..."
