"""What is typed at the prompt: whether it is whole, and which names it binds."""

from __future__ import annotations

import ast
import codeop
import re
import warnings

_OPTION = re.compile(r"\s--(iterations|concurrency|warmup)(?:\s+|=)(\S+)\s*$")


def is_whole(text: str) -> bool:
    """Whether Enter should run it, rather than begin another line.

    A command and a line that stands for itself are whole; a block ends with an empty line, and
    what cannot become right by going on is handed to the engine, which says why.

    >>> is_whole("1 + 1"), is_whole("def f():"), is_whole("(1,"), is_whole(".help")
    (True, False, False, True)
    """
    if text.lstrip().startswith("."):
        return True
    if "\n" not in text:
        return not _wants_more(text, "single")
    if _wants_more(text, "exec"):
        return False
    return not text.rpartition("\n")[2].strip() or not _ends_in_block(text)


def _wants_more(text: str, symbol: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the guest's code is not ours to criticise
        try:
            return codeop.compile_command(text, "<prompt>", symbol) is None
        except (SyntaxError, ValueError, OverflowError):
            return False


def _ends_in_block(text: str) -> bool:
    """Whether the last statement is one to which a line could still belong."""
    try:
        return hasattr(ast.parse(text).body[-1], "body")
    except (SyntaxError, ValueError, IndexError):
        return False


def names_bound(code: str) -> set[str]:
    """Names that a piece of code binds at its top level, for completion.

    >>> sorted(names_bound("a, b = 1, 2\\ndef f(): c = 3"))
    ['a', 'b', 'f']
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add((node.asname or node.name).partition(".")[0])
    return names


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Code, and the ``--options`` that stand after it.

    >>> split_options("f(1) --iterations 50 --concurrency=2")
    ('f(1)', {'concurrency': '2', 'iterations': '50'})
    """
    options: dict[str, str] = {}
    while found := _OPTION.search(text):
        options.setdefault(found[1], found[2])
        text = text[: found.start()]
    return text.strip(), options
