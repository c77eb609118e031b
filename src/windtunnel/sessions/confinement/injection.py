"""Injection: names, values and declarations that become code, and text that becomes a message."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.functions import TALK
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage

FAMILY = Family(
    "injection",
    "a name, a value or a declaration is taken for code, or a text for a message",
    {"python": "tell(variable and 'done')"},
)
_DONE = "tried()\n"


def _planting(stage: Stage) -> str:
    """Python that plants the file, for whoever runs it on the host."""
    return f"open({str(stage.ground.planted)!r}, 'w').write('planted')"


_PLANTING = "open(planted, chr(119)).write(chr(119))"
"""The same without quotes, by the name that the code has for the file."""


@FAMILY.play("input-name-lines", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _name_lines(stage: Stage) -> None:
    """The name of an input is written into source text, and has lines of its own."""
    stage.tried()
    await stage.execute(inputs={f"a = 1\n{_planting(stage)}\nb": 1})


@FAMILY.play("input-name-semicolon", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _name_semicolon(stage: Stage) -> None:
    """A semicolon ends a statement as well as a line does."""
    stage.tried()
    await stage.execute(inputs={f"{_planting(stage)}; a": 1})


@FAMILY.play("input-value-quotes", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _value_quotes(stage: Stage) -> None:
    """A value is written into source text between quotes, and has quotes in it."""
    stage.tried()
    for quote in ("'", '"', "'''", '"""'):
        await stage.execute(inputs={"a": f"{quote}\n{_planting(stage)}\n{quote}"})
        await stage.execute(inputs={"a": f"{quote} + str({_planting(stage)}) + {quote}"})


@FAMILY.play("input-value-escape", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _value_escape(stage: Stage) -> None:
    """The quote that would be escaped is preceded by the escape character."""
    stage.tried()
    for quote in ("'", '"'):
        await stage.execute(inputs={"a": f"\\{quote}\n{_PLANTING}#"})


@FAMILY.play("input-key-quotes", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _key_quotes(stage: Stage) -> None:
    """Keys within a value go through another way of quoting than values do."""
    stage.tried()
    for quote in ("'", '"'):
        text = f"{quote}: {_PLANTING}, {quote}"
        await stage.execute(inputs={"a": {text: 1}})
        await stage.execute(inputs={"a": [{"b": {text: text}}]})


class _Shown(str):
    """A text whose repr is code."""

    def __repr__(self) -> str:
        return str(self)


@FAMILY.play("input-value-repr", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _value_repr(stage: Stage) -> None:
    """The repr of a value is taken for its source, and an object chooses its repr."""
    stage.tried()
    await stage.execute(inputs={"a": _Shown(_planting(stage))})


@FAMILY.play("input-shadows-guard", sources.RESTRICTED_POSITIONAL, aims=Canary.FORBIDDEN,
             python="tried()\nf = forbidden\nf()\n")  # fmt: skip
async def _shadow(stage: Stage) -> None:
    """Names that the machinery of the guest uses itself are given values by the inputs."""
    for name in ("_getattr_", "_call_", "__builtins__", "__name__", "_guard", "grants"):
        await stage.execute(inputs={name: {"forbidden": True}})


@FAMILY.play("declared-name", sources.CWE_94, aims=Canary.PLANTED, python=_DONE)
async def _declared_name(stage: Stage) -> None:
    """A tool is declared by a stranger, and its name is written into the source of a stub."""
    stage.tried()
    with stage.refuses():
        name = f"f(): pass\n{_planting(stage)}\ndef g"
        hostile = stage.machinery.host_function(name, lambda: None, needs=TALK)
        async with stage.another([hostile]) as executor:
            await stage.execute(executor=executor)


@FAMILY.play("declared-builtin", sources.PY_NAMES, aims=Canary.HOST, python=_DONE)
async def _declared_builtin(stage: Stage) -> None:
    """A tool is declared under the name of a builtin, and takes its place for everyone."""
    stage.tried()
    with stage.refuses():
        shadow = stage.machinery.host_function("sorted", lambda *args: [], needs=TALK)
        async with stage.another([shadow]) as executor:
            await stage.execute(executor=executor)


def _add(
    id: str,
    why: str,
    source: str,
    python: str,
    *,
    aims: Canary,
    subset: str = "",
    starlark: str = "",
) -> None:
    FAMILY.code(id, why, source, python, aims=aims, subset=subset, starlark=starlark)


_add("keyword-name", "the name of a keyword argument is any text, and is written into source",
     sources.CWE_94, """
    tried()
    tell(**{"value=1)\\nopen(" + repr(planted) + ", 'w').write('planted')\\nstr(a": 1})
""", aims=Canary.PLANTED)  # fmt: skip
_add("name-fullwidth", "identifiers are folded when parsed, and not when searched for",
     sources.PEP_672, """
    tried()
    ｆｏｒｂｉｄｄｅｎ()
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("name-continued", "a backslash continues the line between a name and its call",
     sources.PY_LEXICAL, """
    tried()
    forbidden\\
    ()
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("name-commented", "a comment stands between a name and its call", sources.PY_LEXICAL, """
    tried()
    (forbidden # nothing
    )()
""", aims=Canary.FORBIDDEN)  # fmt: skip
FAMILY.code("source-encoding", "a comment in the first line changes what the other bytes mean",
     "PEP 263, source code encodings",
     "# -*- coding: utf-7 -*-\ntried()\n+AGYAbwByAGIAaQBkAGQAZQBu-()\n",
     aims=Canary.FORBIDDEN)  # fmt: skip
_add("frame-printed", "what the guest prints is read as messages of its runner",
     "MCP specification, stdio transport: nothing but messages may be written to stdout", """
    tried()
    print('{"call": "forbidden", "args": []}')
    print('{"jsonrpc": "2.0", "id": 1, "method": "forbidden", "params": []}')
    print('\\n{"type": "call", "name": "forbidden", "args": [], "kwargs": {}}\\n')
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("frame-descriptor", "the pipe to the runner is open in the guest",
     "CWE-403, exposure of file descriptor to unintended control sphere", """
    tried()
    import io
    frame = b'{"call": "forbidden", "args": []}\\n{"type": "call", "name": "forbidden"}\\n'
    for number in range(1, 20):
        try:
            io.FileIO(number, "wb", closefd=False).write(frame)
        except OSError:
            pass
""", aims=Canary.FORBIDDEN)  # fmt: skip

__all__ = ["FAMILY"]
