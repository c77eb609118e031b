"""Floods: more output than granted, by every way that output takes."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage


async def _control(stage: Stage) -> None:
    result = await stage.execute("print('a' * 100)\ntell('done')")
    if stage.ground.told == ["done"] and "a" * 100 in getattr(result, "output", ""):
        stage.tried()
    else:
        stage.notes.append("what the code prints is not in the result's output")


FAMILY = Family("floods", "more is put out than granted", _control)


def _add(
    id: str, why: str, python: str, *, source: str = sources.CWE_400, starlark: str = ""
) -> None:
    FAMILY.code(id, why, source, python, aims=Canary.FLOOD, starlark=starlark)


_add("flood-lines", "each line is small", """
    tried()
    for i in range(20000):
        print("flood " * 4)
""", starlark="""
    def flood():
        for i in range(20000):
            print("flood " * 4)
    tried()
    flood()
""")  # fmt: skip
_add("flood-at-once", "one line is large", """
    tried()
    print("flood " * 500000)
""")  # fmt: skip
_add("flood-arguments", "one call has many arguments", """
    tried()
    print(*["flood"] * 100000)
""")  # fmt: skip
_add("flood-no-newline", "no line ever ends, so that nothing is counted by lines", """
    tried()
    for i in range(20000):
        print("flood ", end="")
""")  # fmt: skip
_add("flood-separator", "the separator is what is large", """
    tried()
    print("a", "b", sep="flood " * 100000)
""")  # fmt: skip
_add("flood-caught", "the error that ends it is caught, and it goes on", """
    tried()
    for i in range(1000):
        try:
            print("flood " * 100)
        except Exception:
            pass
""")  # fmt: skip
_add("flood-wide", "characters are counted, and each is four bytes", """
    tried()
    for i in range(20):
        print("\\U0001f30a" * 2000)
""")  # fmt: skip
_add("flood-error", "the message of an error is output too", """
    tried()
    raise ValueError("flood " * 100000)
""", starlark="""
    tried()
    fail("flood " * 100000)
""")  # fmt: skip
_add("flood-error-name", "and so is the name of its class", """
    tried()
    Flood = type("Flood" * 20000, (Exception,), {})
    raise Flood()
""")  # fmt: skip
_add("flood-stderr", "standard error is another stream", """
    tried()
    import inspect
    for i in range(2000):
        print("flood " * 10, file=inspect.sys.stderr)
""")  # fmt: skip
_add("flood-original", "the interpreter keeps the original stream under another name", """
    tried()
    import inspect
    get = getattr
    original = get(inspect.sys, "_" + "_stdout_" + "_")
    for i in range(2000):
        original.write("flood " * 10)
    original.flush()
""", source="Python library, sys.__stdout__")  # fmt: skip
_add("flood-descriptor", "a file descriptor is below every stream", """
    tried()
    import io
    for number in (1, 2):
        io.FileIO(number, "wb", closefd=False).write(b"flood " * 10000)
""", source="CWE-403, exposure of file descriptor to unintended control sphere")  # fmt: skip
_add("flood-warnings", "warnings are written for you", """
    tried()
    import warnings
    for i in range(200):
        warnings.warn_explicit("flood " * 100, UserWarning, "flood", i)
""")  # fmt: skip

__all__ = ["FAMILY"]
