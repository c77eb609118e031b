"""Exhaustion: memory, depth, files and threads of the host, taken by few characters of code."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family

FAMILY = Family(
    "exhaustion",
    "more memory, depth or handles are taken than granted",
    {"python": "x = ['a' * 1000] * 100\nhold()\ntell(len(x) == 100 and 'done')"},
)


def _add(
    id: str,
    why: str,
    python: str,
    *,
    source: str = sources.CWE_400,
    aims: Canary = Canary.MEMORY,
    subset: str = "",
    starlark: str = "",
) -> None:
    FAMILY.code(id, why, source, python, aims=aims, subset=subset, starlark=starlark)


_add("memory-text", "one multiplication makes a text of any length", """
    tried()
    x = "x" * 200000000
    hold()
""")  # fmt: skip
_add("memory-list", "and a list", """
    tried()
    x = [None] * 25000000
    hold()
""")  # fmt: skip
_add("memory-doubling", "a text that is added to itself doubles", """
    x = "x" * 1000
    tried()
    for i in range(18):
        x = x + x
    hold()
""", source=sources.LAUGHS, starlark="""
    def grow():
        x = "x" * 1000
        for i in range(18):
            x = x + x
        hold()
        return x
    tried()
    grow()
""")  # fmt: skip
_add("memory-number", "a shift makes a number of any length", """
    tried()
    x = 1 << 1600000000
    hold()
""", source=sources.PY_INT)  # fmt: skip
_add("memory-bytes", "and a buffer of bytes", """
    tried()
    x = bytes(b"x" * 200000000)
    hold()
""", starlark="""
    tried()
    x = list(range(25000000))
    hold()
""")  # fmt: skip
_add("memory-width", "the width of a field is taken at its word", """
    tried()
    x = "{:>200000000}".format("x")
    hold()
""", source=sources.RONACHER)  # fmt: skip
_add("memory-percent", "also in the older notation", """
    tried()
    x = "%200000000s" % "x"
    hold()
""", source=sources.RONACHER)  # fmt: skip
_add("memory-fstring", "and in the newer one", """
    n = 200000000
    tried()
    x = f"{'x':>{n}}"
    hold()
""", source=sources.ASTEVAL_FORMAT)  # fmt: skip
_add("memory-justify", "methods of texts fill up to a width", """
    tried()
    x = "x".ljust(200000000)
    hold()
""", starlark="""
    tried()
    x = ("x" * 1000).replace("x", "y" * 200000)
    hold()
""")  # fmt: skip
_add("memory-replace", "a replacement multiplies two lengths", """
    tried()
    x = ("x" * 1000).replace("x", "y" * 200000)
    hold()
""", source=sources.LAUGHS)  # fmt: skip
_add("memory-join", "so does a join", """
    tried()
    x = ("y" * 200000).join(["x"] * 1000)
    hold()
""", source=sources.LAUGHS)  # fmt: skip
_add("memory-entries", "a table grows entry by entry", """
    x = {}
    tried()
    for i in range(2000000):
        x[i] = str(i)
    hold()
""", starlark="""
    def grow():
        x = {}
        for i in range(2000000):
            x[i] = str(i)
        hold()
        return x
    tried()
    grow()
""")  # fmt: skip
_add("depth-recursion", "a function calls itself until the host's stack is full", """
    def f(n):
        return f(n + 1) + 1
    def deepen():
        import inspect
        inspect.sys.setrecursionlimit(10 ** 5)
    tried()
    deepen()
    f(0)
""", source=sources.CWE_674, aims=Canary.HOST, subset="""
    def f(n):
        return f(n + 1) + 1
    tried()
    f(0)
""", starlark="""
    def f(n):
        return f(n + 1) + 1
    tried()
    f(0)
""")  # fmt: skip
_add("depth-value", "a value nested deeper than the host can follow is handed to it", """
    x = []
    for i in range(20000):
        x = [x]
    tried()
    x
""", source=sources.CWE_674, aims=Canary.HOST, starlark="""
    def nest():
        x = []
        for i in range(20000):
            x = [x]
        return x
    tried()
    nest()
""")  # fmt: skip
_add("size-laughs", "a small value that refers to itself often is enormous when written out", """
    x = ["ha" * 350]
    for i in range(4):
        x = [x] * 27
    tried()
    y = str(x)
    hold()
""", source=sources.LAUGHS, starlark="""
    def laugh():
        x = ["ha" * 350]
        for i in range(4):
            x = [x] * 27
        y = str(x)
        hold()
    tried()
    laugh()
""")  # fmt: skip
_add("handles-files", "files are opened until the host has no more handles", """
    tried()
    import io
    x = [io.FileIO("/dev/null") for i in range(200)]
    hold()
""", source="CWE-774, allocation of file descriptors without limits", aims=Canary.HOST)  # fmt: skip

__all__ = ["FAMILY"]
