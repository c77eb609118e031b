"""Guest code with its last expression handed to a function of the guest's.

Both embedded engines give a value to the host by turning what the host cannot hold into text or
null. So the value is looked at where it still is what it is: in the guest.

Needs nothing but the standard library: cells load it by its text.
"""

from __future__ import annotations

import ast
import re

_LINE_END = re.compile("\r\n|\r|\n")


def last_expression_to(function: str, code: str) -> str | None:
    """``code`` with its last expression as the argument of ``function``.

    :returns: the same code where it ends with a statement; None where this interpreter cannot
        parse it, which does not say that the guest's cannot.

    >>> last_expression_to("out", "x = 1\\nx, 2  # both")
    'x = 1\\nout((x, 2))  # both'
    >>> last_expression_to("out", "x = 1")
    'x = 1'
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not body or not isinstance(body[-1], ast.Expr):
        return code
    last = body[-1]
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    start = _offset(code, last.lineno, last.col_offset)
    end = _offset(code, last.end_lineno, last.end_col_offset)
    return f"{code[:start]}{function}(({code[start:end]})){code[end:]}"


def _offset(code: str, line: int, column: int) -> int:
    """The index in ``code`` of a place as :mod:`ast` gives it: a line, and bytes into it."""
    begins = 0
    for _ in range(line - 1):
        found = _LINE_END.search(code, begins)
        assert found is not None
        begins = found.end()
    characters = len(code[begins:].encode()[:column].decode())
    return begins + characters
